//! What is this plan's, and where it is: names in several regions and namespaces, things of others that
//! have the same name or appear meanwhile, and names that a server takes for the same.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::aws::{OWN, config_with, credentials};
use crate::iam::iam;
use crate::intrude::intrude;
use crate::kms::{behind, kms};
use crate::support::{
    Cluster, Ran, TestEnvironment, block_on, custody_in, root_token, step, summary, text_of,
};

fn plan(aws: &Value, steps: &Value) -> String {
    json!({ "version": 1, "name": "places", "aws": aws, "steps": steps }).to_string()
}

/// Everything that a run has printed, in one line.
fn said(ran: &Ran) -> String {
    let words = ran.stdout.split_whitespace().chain(ran.stderr.split_whitespace());
    words.collect::<Vec<_>>().join(" ")
}

fn topics(environment: &TestEnvironment, region: &str) -> Vec<String> {
    let config = config_with(&environment.sandbox, credentials(&environment.sandbox), region);
    let listed = block_on(aws_sdk_sns::Client::new(&config).list_topics().send()).expect("listed");
    let arns = listed.topics().iter().filter_map(|topic| topic.topic_arn());
    arns.filter_map(|arn| arn.rsplit(':').next()).map(ToOwned::to_owned).collect()
}

#[test]
fn step_removed_with_its_alias_leaves_the_one_at_home() {
    let environment = TestEnvironment::new();
    let alerts = json!({ "kind": "aws.sns_topic", "name": "gw-alerts" });
    let mut far = alerts.clone();
    far["provider"] = json!("aws.eu");
    let both = json!({ "near": alerts, "far": far });
    let aliased = json!({ "region": "us-east-1", "aliases": { "eu": { "region": "eu-central-1" } } });
    environment.write("plan.yaml", &plan(&aliased, &both));
    environment.apply("plan.yaml");
    assert_eq!(topics(&environment, "us-east-1"), ["gw-alerts"]);
    assert_eq!(topics(&environment, "eu-central-1"), ["gw-alerts"]);

    environment.write("plan.yaml", &plan(&json!({ "region": "us-east-1" }), &json!({ "near": alerts })));
    let pruned = environment.run(&["apply", "plan.yaml", "--prune", "--yes"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert_eq!(topics(&environment, "us-east-1"), ["gw-alerts"], "the declared one stays: {pruned:?}");
    assert_eq!(topics(&environment, "eu-central-1"), ["gw-alerts"], "nobody looked there");
    let shown = environment.plan("plan.yaml");
    assert!(shown["elsewhere"].to_string().contains("eu-central-1"), "{shown:#}");

    // With the alias there is a way to it again.
    environment.write("plan.yaml", &plan(&aliased, &json!({ "near": alerts })));
    assert_eq!(environment.run(&["apply", "plan.yaml", "--prune", "--yes"]).code, 0);
    assert_eq!(topics(&environment, "us-east-1"), ["gw-alerts"]);
    assert_eq!(topics(&environment, "eu-central-1"), Vec::<String>::new());
}

#[test]
fn role_without_its_alias_stays_the_plans() {
    let environment = TestEnvironment::new();
    let mut role = json!({ "kind": "aws.iam_role", "name": "gw-role", "provider": "aws.eu",
                           "trust": [{ "service": "ec2.amazonaws.com" }] });
    let aws = json!({ "region": "us-east-1", "aliases": { "eu": { "region": "eu-central-1" } } });
    environment.write("plan.yaml", &plan(&aws, &json!({ "role": role })));
    environment.apply("plan.yaml");
    role.as_object_mut().expect("a step").remove("provider");
    environment.write("plan.yaml", &plan(&aws, &json!({ "role": role })));
    let shown = environment.plan("plan.yaml");
    assert_eq!(step(&shown, "role")["action"], "none", "IAM has no regions: {shown:#}");
    assert_eq!(shown["undeclared"].as_array().map_or(0, Vec::len), 0, "{shown:#}");
    let pruned = environment.run(&["apply", "plan.yaml", "--prune", "--yes"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    let is_there = || block_on(iam(&environment, OWN).get_role().role_name("gw-role").send()).is_ok();
    assert!(is_there());
    // It is the plan's still, under its new place.
    let destroyed = environment.run(&["destroy", "plan.yaml", "--yes"]);
    assert!(destroyed.code == 0 && !is_there(), "{destroyed:?}");
}

/// Runs the program against the cluster as its root, in this namespace.
fn within(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> Ran {
    let mut command = cluster.environment.command(arguments);
    cluster.lead(&mut command);
    Ran::of(command.env("VAULT_NAMESPACE", namespace).output().expect("the program starts"))
}

const POLICY: &str = "path \"theirs\" { capabilities = [\"list\"] }";

#[test]
fn destroy_in_another_namespace_deletes_nothing() {
    let cluster = Cluster::new("places");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    for namespace in ["teama", "teamb"] {
        assert_eq!(cluster.ask("POST", "", &format!("sys/namespaces/{namespace}"), &json!({})).0, 200);
    }
    let app = json!({ "kind": "vault.policy", "name": "app", "rules": { "secret/data/app": ["read"] } });
    let team = json!({ "version": 1, "name": "team", "steps": { "app": app } });
    cluster.environment.write("team.yaml", &team.to_string());
    let applied = within(&cluster, "teama", &["apply", "team.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let path = "sys/policies/acl/app";
    assert_eq!(cluster.ask("POST", "teamb", path, &json!({ "policy": POLICY })).0, 204);

    let text = |namespace: &str| {
        text_of(&cluster.ask("GET", namespace, path, &Value::Null).1["data"]["policy"]).to_owned()
    };
    let ours = text("teama");
    assert!(ours.contains("secret/data/app"), "{ours}");
    for arguments in [&["destroy", "team.yaml", "--yes"][..], &["apply", "team.yaml", "--prune", "--yes"]] {
        let ran = within(&cluster, "teamb", arguments);
        assert_eq!(ran.code, 3, "{arguments:?}: {ran:?}");
        assert_eq!((text("teama"), text("teamb")), (ours.clone(), POLICY.to_owned()), "{arguments:?}");
    }
    let ran = within(&cluster, "teamb", &["destroy", "team.yaml", "--yes"]);
    assert!(said(&ran).contains("Elsewhere") && said(&ran).contains("teama"), "{ran:?}");
    let ran = within(&cluster, "teama", &["destroy", "team.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!((text("teama"), text("teamb")), (String::new(), POLICY.to_owned()));
}

#[test]
fn destroy_in_another_region_deletes_nothing() {
    let environment = TestEnvironment::new();
    let topic = json!({ "kind": "aws.sns_topic", "name": "gw-alerts" });
    let text = json!({ "version": 1, "name": "places", "steps": { "topic": topic } });
    environment.write("plan.yaml", &text.to_string());
    let run = |region: &str, arguments: &[&str]| {
        let mut command = environment.command(arguments);
        command.env("AWS_REGION", region).env("AWS_DEFAULT_REGION", region);
        Ran::of(command.output().expect("the program starts"))
    };
    let applied = run("eu-central-1", &["apply", "plan.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let gone = run("us-east-1", &["destroy", "plan.yaml", "--yes"]);
    assert_eq!(gone.code, 3, "{gone:?}");
    assert!(said(&gone).contains("Elsewhere") && said(&gone).contains("eu-central-1"), "{gone:?}");
    assert_eq!(topics(&environment, "eu-central-1"), ["gw-alerts"]);
    let gone = run("eu-central-1", &["destroy", "plan.yaml", "--yes"]);
    assert_eq!(gone.code, 0, "{gone:?}");
    assert_eq!(topics(&environment, "eu-central-1"), Vec::<String>::new());
}

fn tags(client: &aws_sdk_kms::Client, key: &str) -> BTreeMap<String, String> {
    let listed = block_on(client.list_resource_tags().key_id(key).send()).expect("listed");
    listed.tags().iter().map(|tag| (tag.tag_key.clone(), tag.tag_value.clone())).collect()
}

#[test]
fn key_of_another_plan_is_taken_only_with_adopt() {
    let environment = TestEnvironment::new();
    let client = kms(&environment, "us-east-1");
    let tag = |key: &str, value: &str| {
        aws_sdk_kms::types::Tag::builder().tag_key(key).tag_value(value).build().expect("a tag")
    };
    let request =
        client.create_key().tags(tag("groundwork:plan", "other")).tags(tag("groundwork:step", "key"));
    let key = block_on(request.send()).expect("made").key_metadata.expect("its description").key_id;
    let mut declared = json!({ "kind": "aws.kms_key", "alias": "alias/gw-taken", "key_id": key });
    let declare = |key: &Value| {
        environment.write("plan.yaml", &plan(&json!({ "region": "us-east-1" }), &json!({ "key": key })));
    };
    declare(&declared);
    let shown = environment.plan("plan.yaml");
    assert_eq!(step(&shown, "key")["action"], "blocked", "{shown:#}");
    assert!(text_of(&step(&shown, "key")["reason"]).contains("belongs to the plan `other`"), "{shown:#}");
    assert_eq!(environment.run(&["apply", "plan.yaml", "--yes"]).code, 3);
    assert_eq!(behind(&client, "alias/gw-taken"), None);
    assert_eq!(tags(&client, &key)["groundwork:plan"], "other");

    declared["adopt"] = json!(true);
    declare(&declared);
    assert_eq!(step(&environment.plan("plan.yaml"), "key")["action"], "adopt");
    environment.apply("plan.yaml");
    assert_eq!(behind(&client, "alias/gw-taken"), Some(key.clone()));
    assert_eq!(tags(&client, &key)["groundwork:plan"], "places");
    assert_eq!(step(&environment.plan("plan.yaml"), "key")["action"], "none");
}

#[test]
fn second_alias_on_the_plans_own_key_is_refused() {
    let environment = TestEnvironment::new();
    let client = kms(&environment, "us-east-1");
    let first = json!({ "kind": "aws.kms_key", "alias": "alias/gw-first" });
    let mut second =
        json!({ "kind": "aws.kms_key", "alias": "alias/gw-second", "key_id": "{{ first.key_id }}" });
    let aws = json!({ "region": "us-east-1" });
    // A reference to the key is known only during the apply; its id is known to the plan.
    environment.write("plan.yaml", &plan(&aws, &json!({ "first": first, "second": second })));
    let ran = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(said(&ran).contains("belongs to the step `first`"), "{ran:?}");
    let key = behind(&client, "alias/gw-first").expect("a key");
    second["key_id"] = json!(key);
    environment.write("plan.yaml", &plan(&aws, &json!({ "first": first, "second": second })));
    let shown = environment.plan("plan.yaml");
    assert_eq!(step(&shown, "first")["action"], "none", "{shown:#}");
    assert_eq!(step(&shown, "second")["action"], "blocked", "{shown:#}");
    assert!(text_of(&step(&shown, "second")["reason"]).contains("step `first`"), "{shown:#}");
    assert_eq!(
        (behind(&client, "alias/gw-second"), &*tags(&client, &key)["groundwork:step"]),
        (None, "first")
    );
}

/// Requests to a server as its root, from a thread that has only its address.
#[derive(Clone)]
struct Root {
    url: String,
    token: String,
}

impl Root {
    fn of(cluster: &Cluster) -> Self {
        Self { url: cluster.environment.sandbox.vault_addrs()[0].clone(), token: cluster.root_token() }
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = reqwest::Client::new().post(format!("{}/v1/{path}", self.url));
        let request = request.header("X-Vault-Token", &self.token).body(body.to_string());
        block_on(async {
            let answer = request.send().await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default()
        })
    }
}

/// What somebody else makes, and our step for the same: id, step, path, body, and what the body becomes.
fn appearing() -> Vec<(&'static str, Value, &'static str, Value, Value)> {
    let theirs = json!({ "by": "them" });
    let kv = json!({ "type": "kv", "description": "theirs" });
    vec![
        (
            "policy",
            json!({ "kind": "vault.policy", "name": "app", "rules": { "ours": ["read"] } }),
            "sys/policies/acl/app",
            json!({ "policy": POLICY }),
            json!({ "policy": POLICY }),
        ),
        (
            "entity",
            json!({ "kind": "vault.entity", "name": "service", "metadata": { "by": "us" } }),
            "identity/entity/name/service",
            json!({ "metadata": theirs }),
            json!({ "metadata": theirs }),
        ),
        (
            "group",
            json!({ "kind": "vault.group", "name": "people", "metadata": { "by": "us" } }),
            "identity/group/name/people",
            json!({ "metadata": theirs }),
            json!({ "metadata": theirs }),
        ),
        (
            "role",
            json!({ "kind": "vault.approle_role", "name": "ci", "token_ttl": "1h" }),
            "auth/approle/role/ci",
            json!({ "token_ttl": 77 }),
            json!({ "token_ttl": 77 }),
        ),
        (
            "token_role",
            json!({ "kind": "vault.token_role", "name": "batch", "renewable": true }),
            "auth/token/roles/batch",
            json!({ "renewable": false }),
            json!({ "renewable": false }),
        ),
        (
            "quota",
            json!({ "kind": "vault.quota", "name": "all", "rate": 4000 }),
            "sys/quotas/rate-limit/all",
            json!({ "rate": 5000 }),
            json!({ "rate": 5000 }),
        ),
        (
            "namespace",
            json!({ "kind": "vault.namespace", "name": "east", "custom_metadata": { "by": "us" } }),
            "sys/namespaces/east",
            json!({ "custom_metadata": theirs }),
            json!({ "custom_metadata": theirs }),
        ),
        (
            "mount",
            json!({ "kind": "vault.mount", "path": "team", "type": "kv", "description": "ours" }),
            "sys/mounts/team",
            kv.clone(),
            kv,
        ),
        (
            "secret",
            json!({ "kind": "vault.kv_secret", "mount": "secret", "path": "app", "data": { "user": "us" } }),
            "secret/data/app",
            json!({ "data": { "user": "them" } }),
            json!({ "data": { "user": "them" } }),
        ),
    ]
}

#[test]
fn things_that_appear_during_an_apply_are_not_overwritten() {
    let cluster = Cluster::new("places");
    let steps = json!({
        "methods": { "kind": "vault.auth_method", "type": "approle" },
        "people": { "kind": "vault.auth_method", "type": "userpass" },
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv" },
    });
    cluster.declare(&steps);
    cluster.apply(&[]);
    let root = Root::of(&cluster);
    let accessor =
        cluster.ask("GET", "", "sys/auth", &Value::Null).1["data"]["userpass/"]["accessor"].clone();
    let entity = |name: &str| root.post("identity/entity", &json!({ "name": name }))["data"]["id"].clone();
    let (one, two) = (entity("one"), entity("two"));

    // The first step makes the moment: whatever is made then, the plan has not seen.
    let first = json!({ "kind": "vault.policy", "name": "first", "rules": { "a": ["read"] } });
    let mut steps = json!({ "first": first });
    for (id, step, ..) in appearing() {
        steps[id] = step;
        steps[id]["needs"] = json!(["first"]);
    }
    steps["alias"] = json!({ "kind": "vault.entity_alias", "name": "alice", "mount": "userpass",
                             "canonical_id": two, "needs": ["first"] });
    steps["file"] =
        json!({ "kind": "file.template", "path": "rendered/a.txt", "content": "ours", "needs": ["first"] });
    let text = json!({ "version": 1, "name": "meanwhile", "steps": steps });
    cluster.environment.write("meanwhile.yaml", &text.to_string());
    let (deed, file) = (root.clone(), cluster.environment.folder.join("rendered/a.txt"));
    let alias = json!({ "name": "Alice", "mount_accessor": accessor, "canonical_id": one });
    let relay = intrude(&root.url, "sys/policies/acl/first", move || {
        for (_, _, path, body, _) in appearing() {
            deed.post(path, &body);
        }
        deed.post("identity/entity-alias", &alias);
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        std::fs::write(&file, "theirs").expect("written");
    });
    let run = |address: &str, arguments: &[&str]| {
        let mut command = cluster.command(arguments);
        command.env("VAULT_ADDR", address).env("GROUNDWORK_VAULT_NODES", address);
        Ran::of(command.env("VAULT_TOKEN", &root.token).output().expect("the program starts"))
    };
    let ran = run(&relay, &["apply", "meanwhile.yaml", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(summary(&ran.events())["done"], 1, "only the first: {ran:?}");

    for (id, _, path, _, expected) in appearing() {
        let (status, answer) = cluster.ask("GET", "", path, &Value::Null);
        assert_eq!(status, 200, "{id}");
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(answer["data"][field], *value, "{id} was overwritten: {ran:?}");
        }
    }
    let aliases =
        cluster.ask("LIST", "", "identity/entity-alias/id", &Value::Null).1["data"]["key_info"].clone();
    let aliases: Vec<&Value> = aliases.as_object().expect("aliases").values().collect();
    assert_eq!(aliases.len(), 1, "{aliases:?}");
    assert_eq!((&aliases[0]["name"], &aliases[0]["canonical_id"]), (&json!("Alice"), &one));
    let file = cluster.environment.folder.join("rendered/a.txt");
    assert_eq!(std::fs::read_to_string(file).expect("there"), "theirs");

    // Nothing of it counts as made by this plan.
    let shown = run(&root.url, &["plan", "meanwhile.yaml", "--format", "json"]);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("a changeset");
    let ids = appearing().into_iter().map(|(id, ..)| id).chain(["alias", "file"]);
    for id in ids {
        assert_eq!(step(&shown, id)["action"], "blocked", "{id}: {shown:#}");
    }
}

#[test]
fn secret_behind_an_upgrade_is_not_overwritten() {
    let cluster = Cluster::new("places");
    let mut steps = json!({ "kv": { "kind": "vault.mount", "path": "kv", "type": "kv", "version": 1 } });
    cluster.declare(&steps);
    cluster.apply(&[]);
    Root::of(&cluster).post("kv/app", &json!({ "user": "them" }));
    steps["kv"]["version"] = json!(2);
    steps["app"] =
        json!({ "kind": "vault.kv_secret", "mount": "kv", "path": "app", "data": { "user": "us" } });
    cluster.declare(&steps);
    assert_eq!(step(&cluster.plan(), "app")["action"], "create", "version 1 has no such path");
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert!(ran.code == 1 && said(&ran).contains("adopt: true"), "{ran:?}");
    let live = cluster.ask("GET", "", "kv/data/app", &Value::Null).1;
    assert_eq!(live["data"]["data"]["user"], "them", "{ran:?}");
    assert_eq!(step(&cluster.plan(), "app")["action"], "blocked");
}

#[test]
fn things_that_appear_after_the_initialisation_are_not_overwritten() {
    let cluster = Cluster::new("places");
    cluster.declare(&json!({
        "first": { "kind": "vault.policy", "name": "first", "rules": { "a": ["read"] } },
        "app": { "kind": "vault.policy", "name": "app", "rules": { "ours": ["read"] }, "needs": ["first"] },
    }));
    let (folder, url) =
        (cluster.environment.folder.clone(), cluster.environment.sandbox.vault_addrs()[0].clone());
    let server = url.clone();
    let relay = intrude(&server, "sys/policies/acl/first", move || {
        let identity = std::fs::read_to_string(folder.join("identity")).expect("the key of the caller");
        let identity = identity.trim().parse().expect("an identity");
        let token = root_token(&custody_in(&folder.join("custody"), &identity));
        Root { url, token }.post("sys/policies/acl/app", &json!({ "policy": POLICY }));
    });
    let mut command = cluster.command(&["apply", "plan.yaml", "--yes"]);
    command.env("VAULT_ADDR", &relay).env("GROUNDWORK_VAULT_NODES", &relay);
    let ran = Ran::of(command.output().expect("the program starts"));
    assert!(ran.code == 1 && said(&ran).contains("adopt: true"), "{ran:?}");
    let live = cluster.ask("GET", "", "sys/policies/acl/app", &Value::Null).1;
    assert_eq!(live["data"]["policy"], POLICY, "{ran:?}");
}

#[test]
fn alias_in_another_case_is_not_moved() {
    let cluster = Cluster::new("places");
    let mut steps = json!({ "people": { "kind": "vault.auth_method", "type": "userpass" } });
    cluster.declare(&steps);
    cluster.apply(&[]);
    let root = Root::of(&cluster);
    let accessor =
        cluster.ask("GET", "", "sys/auth", &Value::Null).1["data"]["userpass/"]["accessor"].clone();
    let entity = |name: &str| root.post("identity/entity", &json!({ "name": name }))["data"]["id"].clone();
    let (one, two) = (entity("one"), entity("two"));
    root.post(
        "identity/entity-alias",
        &json!({ "name": "Alice", "mount_accessor": accessor, "canonical_id": one }),
    );
    steps["alias"] =
        json!({ "kind": "vault.entity_alias", "name": "alice", "mount": "userpass", "canonical_id": two });
    cluster.declare(&steps);
    let shown = cluster.plan();
    assert_eq!(step(&shown, "alias")["action"], "blocked", "{shown:#}");
    assert_eq!(cluster.run(&["apply", "plan.yaml", "--yes"]).code, 3);
    let aliases =
        cluster.ask("LIST", "", "identity/entity-alias/id", &Value::Null).1["data"]["key_info"].clone();
    let owners: Vec<&Value> =
        aliases.as_object().expect("aliases").values().map(|alias| &alias["canonical_id"]).collect();
    assert_eq!(owners, [&one]);

    steps["alias"]["adopt"] = json!(true);
    cluster.declare(&steps);
    assert_eq!(step(&cluster.plan(), "alias")["action"], "adopt");
}

/// What names are made of in the table: a kind, its other fields, where it is read, a request that makes it,
/// and whether the server finds it under its name in lower case.
struct Named {
    kind: &'static str,
    fields: Value,
    path: &'static str,
    body: Value,
    folds: bool,
}

fn named(kind: &'static str, path: &'static str, fields: Value, body: Value, folds: bool) -> Named {
    Named { kind, fields, path, body, folds }
}

/// Measured with OpenBao 2.6.2 and 2.7.2, which do the same.
fn measured(certificate: &str) -> Vec<Named> {
    let kubernetes =
        json!({ "bound_service_account_names": ["a"], "bound_service_account_namespaces": ["a"] });
    let jwt = json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["a"] });
    let password = "length = 20\nrule \"charset\" { charset = \"abcdefghij\" }\n";
    let certificate = json!({ "certificate": certificate });
    let ssh = json!({ "key_type": "ca", "allow_user_certificates": true });
    vec![
        named(
            "policy",
            "sys/policies/acl/",
            json!({ "rules": { "a": ["read"] } }),
            json!({ "policy": POLICY }),
            true,
        ),
        named(
            "password_policy",
            "sys/policies/password/",
            json!({ "policy": password }),
            json!({ "policy": password }),
            false,
        ),
        named("quota", "sys/quotas/rate-limit/", json!({ "rate": 5000 }), json!({ "rate": 5000 }), false),
        named("namespace", "sys/namespaces/", json!({}), json!({}), false),
        named("approle_role", "auth/approle/role/", json!({}), json!({}), true),
        named("cert_role", "auth/cert/certs/", certificate.clone(), certificate, true),
        named("jwt_role", "auth/jwt/role/", jwt.clone(), jwt, true),
        named("kubernetes_role", "auth/kubernetes/role/", kubernetes.clone(), kubernetes, true),
        named("token_role", "auth/token/roles/", json!({}), json!({}), false),
        named(
            "userpass_user",
            "auth/userpass/users/",
            json!({}),
            json!({ "password": "0123456789abcdef" }),
            true,
        ),
        named("entity", "identity/entity/name/", json!({}), json!({}), true),
        named("group", "identity/group/name/", json!({}), json!({}), true),
        named("pki_role", "pki/roles/", json!({ "mount": "pki" }), json!({}), false),
        named(
            "ssh_role",
            "ssh/roles/",
            json!({ "mount": "ssh", "key_type": "ca", "allow_user_certificates": true }),
            ssh,
            false,
        ),
        named("transit_key", "transit/keys/", json!({ "mount": "transit" }), json!({}), false),
    ]
}

const JWT_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9\n\
    q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==\n\
    -----END PUBLIC KEY-----\n";

#[test]
fn names_are_the_same_where_the_server_ignores_case() {
    let cluster = Cluster::new("places");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let root = Root::of(&cluster);
    for method in ["approle", "cert", "jwt", "kubernetes", "userpass"] {
        root.post(&format!("sys/auth/{method}"), &json!({ "type": method }));
    }
    for engine in ["pki", "ssh", "transit"] {
        root.post(&format!("sys/mounts/{engine}"), &json!({ "type": engine }));
    }
    let body = json!({ "common_name": "example", "ttl": "24h" });
    let certificate = root.post("pki/root/generate/internal", &body)["data"]["certificate"].clone();
    root.post("auth/jwt/config", &json!({ "jwt_validation_pubkeys": [JWT_KEY] }));
    let host = json!({ "kubernetes_host": "https://127.0.0.1:1", "kubernetes_ca_cert": certificate,
                       "disable_local_ca_jwt": true });
    root.post("auth/kubernetes/config", &host);

    for row in measured(text_of(&certificate)) {
        root.post(&format!("{}GwCase", row.path), &row.body);
        let read = |name: &str| cluster.ask("GET", "", &format!("{}{name}", row.path), &Value::Null).0;
        assert_eq!(read("GwCase"), 200, "{}", row.kind);
        assert_eq!(read("gwcase") == 200, row.folds, "{}: what the server does has changed", row.kind);

        let declared = |name: &str| {
            let mut step = row.fields.clone();
            step["kind"] = json!(format!("vault.{}", row.kind));
            step["name"] = json!(name);
            step
        };
        let both = |one: &str, two: &str| {
            validate(&cluster.environment, &json!({ "one": declared(one), "two": declared(two) }))
        };
        let (same, other) = (both("GwCase", "GwCase"), both("GwCase", "gwcase"));
        assert!(same.contains("both declare"), "{}: {same}", row.kind);
        assert_eq!(other.contains("both declare"), row.folds, "{}: {other}", row.kind);
    }
}

/// What `validate` says of these steps.
fn validate(environment: &TestEnvironment, steps: &Value) -> String {
    environment.write("names.yaml", &plan(&json!({ "region": "us-east-1" }), steps));
    let ran = environment.run(&["validate", "names.yaml"]);
    format!("{}{}", ran.stdout, ran.stderr)
}

#[test]
fn names_of_iam_and_aliases_are_compared_without_case() {
    let environment = TestEnvironment::new();
    let document = json!([{ "allow": "s3:GetObject", "on": "arn:aws:s3:::example/*" }]);
    let kinds = [
        ("aws.iam_user", json!({ "name": "N" })),
        ("aws.iam_group", json!({ "name": "N" })),
        ("aws.iam_role", json!({ "name": "N", "trust": [{ "service": "ec2.amazonaws.com" }] })),
        ("aws.iam_policy", json!({ "name": "N", "document": document })),
        ("aws.iam_instance_profile", json!({ "name": "N", "role": "r" })),
        ("vault.entity_alias", json!({ "name": "N", "mount": "userpass", "canonical_id": "X" })),
        ("vault.group_alias", json!({ "name": "N", "mount": "jwt", "canonical_id": "X" })),
    ];
    for (kind, fields) in kinds {
        let declared = |name: &str| {
            let mut step = fields.clone();
            step["kind"] = json!(kind);
            step["name"] = json!(name);
            if step["canonical_id"] == "X" {
                step["canonical_id"] = json!(format!("id-of-{name}"));
            }
            step
        };
        let said = validate(&environment, &json!({ "one": declared("Reader"), "two": declared("reader") }));
        assert!(said.contains("`one` and `two` both declare"), "{kind}: {said}");
        let said = validate(&environment, &json!({ "one": declared("Reader"), "two": declared("writer") }));
        assert!(!said.contains("both declare"), "{kind}: {said}");
    }
    // SNS tells names by their case.
    let topic = |name: &str| json!({ "kind": "aws.sns_topic", "name": name });
    let said = validate(&environment, &json!({ "one": topic("Alerts"), "two": topic("alerts") }));
    assert!(!said.contains("both declare"), "{said}");
}

#[test]
fn unseal_in_a_fresh_clone_keeps_one_journal() {
    let cluster = Cluster::new("places");
    let environment = &cluster.environment;
    crate::aws::versioned_bucket(environment, "gw-places");
    let text = json!({
        "version": 1, "name": "places", "aws": { "region": "us-east-1" },
        "custody": {
            "recipients": [{ "age": cluster.recipient() }],
            "stores": [{ "file": "custody" }, { "s3": "s3://gw-places/custody" }],
        },
        "journal": { "s3": "s3://gw-places/journal" },
        "steps": { "cluster": { "kind": "vault.init", "shares": 1, "threshold": 1 } },
    });
    environment.write("plan.yaml", &text.to_string());
    cluster.apply(&[]);
    environment.write("clone/plan.yaml", &text.to_string());
    assert_eq!(cluster.ask("PUT", "", "sys/seal", &Value::Null).0, 204);
    let unsealed = cluster.run(&["unseal", "clone/plan.yaml"]);
    assert_eq!(unsealed.code, 0, "{unsealed:?}");
    let steps = json!({ "cluster": { "kind": "vault.init", "shares": 1, "threshold": 1 },
        "app": { "kind": "vault.policy", "name": "app", "rules": { "a": ["read"] } } });
    // Both machines go on with the same journal.
    for folder in ["clone/", ""] {
        let mut text = text.clone();
        text["steps"] = steps.clone();
        text["steps"]["app"]["rules"] = json!({ format!("{folder}x"): ["read"] });
        let plan = format!("{folder}plan.yaml");
        environment.write(&plan, &text.to_string());
        let mut command = cluster.command(&["apply", &plan, "--yes"]);
        let ran = Ran::of(command.env("VAULT_TOKEN", cluster.root_token()).output().expect("starts"));
        assert!(!ran.stderr.contains("separate ways"), "{folder}: {ran:?}");
        let shown = cluster.run(&["journal", &plan]);
        assert!(shown.code == 0 && !shown.stderr.contains("only this machine"), "{folder}: {shown:?}");
    }
}
