//! How many requests a large plan takes.

use serde_json::{Map, json};

use crate::support::{Cluster, TestEnvironment, summary, text_of};

/// A plan of an initialised Vault with that many policies and roles.
fn plan(policies: usize, roles: usize) -> String {
    let mut steps = Map::new();
    steps.insert("cluster".to_owned(), json!({ "kind": "vault.init", "shares": 1, "threshold": 1 }));
    steps.insert("key".to_owned(), json!({ "kind": "aws.kms_key", "alias": "alias/budget" }));
    for index in 0..policies {
        let rules = json!({ format!("secret/data/app-{index}"): ["read"] });
        let step = json!({ "kind": "vault.policy", "name": format!("app-{index}"), "rules": rules });
        steps.insert(format!("policy_{index}"), step);
    }
    for index in 0..roles {
        let step = json!({
            "kind": "vault.token_role", "name": format!("job-{index}"),
            "allowed_policies": [format!("app-{index}")],
        });
        steps.insert(format!("role_{index}"), step);
    }
    let custody = json!({ "recipients": [{ "kms": "{{ key.arn }}" }], "stores": [{ "file": "custody" }] });
    json!({ "version": 1, "name": "budget", "custody": custody, "steps": steps }).to_string()
}

/// Reads and writes of an apply that finds everything in place.
fn second_apply(environment: &TestEnvironment, policies: usize, roles: usize) -> (u64, u64) {
    environment.write("budget.yaml", &plan(policies, roles));
    environment.apply("budget.yaml");
    let events = environment.apply("budget.yaml");
    let calls = &summary(&events)["api_calls"];
    (calls["read"].as_u64().expect("a number"), calls["write"].as_u64().expect("a number"))
}

#[test]
fn list_is_read_once_for_all_steps() {
    let environment = TestEnvironment::new();
    let (few, none) = second_apply(&environment, 20, 10);
    let (many, none_either) = second_apply(&environment, 60, 30);
    assert_eq!((none, none_either), (0, 0), "what is in place is not written");
    // Vault has no list of roles with their fields: each is one request.
    assert_eq!(many - few, 20, "forty more policies and twenty more roles: {few} and {many} reads");
}

/// The plan that a large organisation may have: this many policies and roles.
const POLICIES: usize = 1000;
const ROLES: usize = 500;

/// A plan of AppRole roles with the policies that they name.
fn large() -> serde_json::Value {
    let mut steps = json!({ "machines": { "kind": "vault.auth_method", "type": "approle" } });
    for index in 0..POLICIES {
        let rules = json!({
            format!("secret/data/app-{index}"): ["read"], format!("sys/policies/acl/app-{index}"): ["update"],
        });
        steps[format!("policy_{index}")] =
            json!({ "kind": "vault.policy", "name": format!("app-{index}"), "rules": rules });
    }
    for index in 0..ROLES {
        let policies = [format!("app-{}", 2 * index), format!("app-{}", 2 * index + 1)];
        steps[format!("role_{index}")] = json!({ "kind": "vault.approle_role", "name": format!("job-{index}"), "token_policies": policies });
    }
    steps
}

/// Requests to Vault below a path, by the server's own log.
struct Log(Vec<(String, String)>);

impl Log {
    fn read(cluster: &Cluster) -> Self {
        let log = cluster.environment.sandbox.audit_log().expect("an audit log");
        let text = std::fs::read_to_string(log).expect("readable");
        let requests =
            text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let requests = requests.filter(|entry| entry["type"] == "request");
        let told = |entry: serde_json::Value| {
            let request = &entry["request"];
            (text_of(&request["operation"]).to_owned(), text_of(&request["path"]).to_owned())
        };
        Self(requests.map(told).collect())
    }

    /// Those that this log has more than `before`.
    fn since(mut self, before: &Self) -> Self {
        self.0.drain(..before.0.len());
        self
    }

    fn count(&self, operations: &[&str], path: &str) -> usize {
        let fits = |(operation, at): &&(String, String)| {
            operations.contains(&operation.as_str()) && at.starts_with(path)
        };
        self.0.iter().filter(fits).count()
    }
}

const READS: [&str; 2] = ["read", "list"];
const WRITES: [&str; 4] = ["create", "update", "patch", "delete"];

#[test]
fn large_plan_stays_within_the_request_budget() {
    let cluster = Cluster::new("budget");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    cluster.declare(&large());
    let empty = Log::read(&cluster);

    // Nothing is there: one list of policies, one of methods, and each role is looked for. Who can reach what
    // afterwards is known of each role, although there are half a million pairs.
    let started = std::time::Instant::now();
    let changeset = cluster.plan();
    println!("planned with access in {:?}", started.elapsed());
    assert_eq!(changeset["access_not_compared"], json!(null));
    let gains = changeset["access_changes"].as_array().expect("gains");
    assert_eq!(gains.len(), ROLES, "each role may write its two policies");
    assert_eq!(gains[0]["targets"].as_array().map(Vec::len), Some(2), "{:#}", gains[0]);
    let planned = Log::read(&cluster);
    let first = planned.since(&empty);
    assert_eq!(first.count(&READS, "sys/policies/"), 1, "every policy in one list");
    assert_eq!(first.count(&READS, "sys/auth"), 1);
    assert_eq!(first.count(&READS, "auth/approle/role/"), ROLES);
    assert_eq!(first.count(&WRITES, ""), 0, "a plan writes nothing");

    // Each is written once. What is looked at again after its write is read alone.
    let before = Log::read(&cluster);
    let events = cluster.apply(&[]);
    let applied = Log::read(&cluster).since(&before);
    assert_eq!(applied.count(&WRITES, "sys/policies/acl/"), POLICIES);
    assert_eq!(applied.count(&WRITES, "auth/approle/role/"), ROLES);
    assert_eq!(summary(&events)["api_calls"]["write"], POLICIES + ROLES + 1);
    let reads = applied.count(&READS, "");
    assert!(reads <= 3 * (POLICIES + ROLES) + 20, "{reads} reads for {} things", POLICIES + ROLES);

    // Everything is there: still one list, and one request for each role.
    let before = Log::read(&cluster);
    let shown = cluster.plan();
    let second = Log::read(&cluster).since(&before);
    assert_eq!(shown["summary"]["none"], POLICIES + ROLES + 2);
    assert_eq!(second.count(&READS, "sys/policies/"), 1);
    assert_eq!(second.count(&READS, "auth/approle/role/"), ROLES, "nobody refers to a role-id");
    assert!(second.count(&READS, "") <= ROLES + 5, "{:?}", second.0.iter().take(20).collect::<Vec<_>>());
    assert_eq!(second.count(&WRITES, ""), 0);
}
