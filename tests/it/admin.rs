//! The admin that takes the root token's place can do the plan's work, or the root token stays.

use std::collections::BTreeSet;

use groundwork::providers::vault::Acl;
use serde_json::{Value, json};

use crate::support::Cluster;

/// Policies, and paths on which the server is asked what they give together.
const POLICIES: &[(&[&str], &[&str])] = &[
    (
        &["path \"secret/*\" { capabilities = [\"read\", \"list\"] }\n\
           path \"secret/a/*\" { capabilities = [\"update\"] }\n\
           path \"secret/+/b\" { capabilities = [\"create\"] }\n\
           path \"secret/a/b\" { capabilities = [\"delete\"] }\n\
           path \"secret/a/closed\" { capabilities = [\"read\", \"deny\"] }\n\
           path \"+/x/+\" { capabilities = [\"patch\"] }\n\
           path \"+/x/y*\" { capabilities = [\"sudo\"] }\n\
           path \"+/+/y\" { policy = \"write\" }\n\
           path \"secret/+/+/d*\" { capabilities = [\"scan\"] }"],
        &[
            "secret/c",
            "secret/a/c",
            "secret/c/b",
            "secret/a/b",
            "secret/a/closed",
            "kv/x/z",
            "kv/x/yz",
            "kv/x/y",
            "kv/x/y/z",
            "kv/y",
            "secret/x/y",
            "secret/q/y",
            "kv/q/y",
            "secret/1/2/d",
            "secret/1/2/dd/e",
            "secret",
            "secret/",
            "a/+/b",
        ],
    ),
    (
        &[
            "path \"a\" { capabilities = [\"read\"] } path \"b*\" { capabilities = [\"read\"] } path \"+\" { capabilities = [\"list\"] }",
            "path \"a\" { capabilities = [\"list\"] } path \"b*\" { capabilities = [\"deny\"] } path \"*\" { capabilities = [\"sudo\"] }",
            "path \"b\" { policy = \"read\" } path \"/c/d\" { capabilities = [\"patch\"] } path \"c/\" { capabilities = [\"list\"] }",
        ],
        &["a", "b", "bb", "b/c", "c/d", "c", "c/", "x", "x/y"],
    ),
];

#[test]
fn capabilities_are_those_that_the_server_reports() {
    let cluster = Cluster::new("capabilities");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let ask = |path: &str, body: &Value| {
        let (status, answer) = cluster.ask("POST", "", path, body);
        assert!(status < 300, "{path}: {status} {answer}");
        answer
    };
    for (index, (policies, paths)) in POLICIES.iter().enumerate() {
        let names: Vec<String> = (0..policies.len()).map(|number| format!("p{index}-{number}")).collect();
        for (name, text) in names.iter().zip(*policies) {
            ask(&format!("sys/policies/acl/{name}"), &json!({ "policy": text }));
        }
        let token = ask("auth/token/create", &json!({ "policies": names, "no_default_policy": true }));
        let told =
            ask("sys/capabilities", &json!({ "token": token["auth"]["client_token"], "paths": paths }));
        let acl = Acl::of(policies.iter().copied());
        for path in *paths {
            let listed = told["data"][path].as_array().into_iter().flatten().filter_map(Value::as_str);
            let expected: BTreeSet<&str> = listed.filter(|name| *name != "deny").collect();
            assert_eq!(acl.on(path), expected, "on {path} by {policies:#?}");
        }
    }
}

fn admin(rules: &Value) -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "kv", "type": "kv" },
        "app": { "kind": "vault.kv_secret", "mount": "kv", "path": "app", "data": { "key": { "generate": {} } } },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "limit": { "kind": "vault.quota", "name": "all", "rate": 500 },
        "admin_policy": { "kind": "vault.policy", "name": "admin", "rules": rules },
        "admin_role": { "kind": "vault.approle_role", "name": "admin", "token_policies": ["admin"] },
        "root": { "kind": "vault.root_token", "admin": { "approle": { "role": "admin" } } },
    })
}

/// What the admin has to have for `admin`, as few rules as possible.
fn enough() -> Value {
    json!({
        "sys/mounts*": ["create", "read", "update"], "sys/auth*": ["create", "read", "update", "sudo"],
        "sys/policies/acl/*": ["create", "read", "update"], "auth/approle/*": ["create", "read", "update"],
        "sys/quotas/*": ["create", "read", "update"], "kv/*": ["create", "read", "update", "patch"],
        "sys/generate-root-token/attempt": ["update"],
    })
}

#[test]
fn admin_that_cannot_do_the_plans_work_is_refused() {
    let cluster = Cluster::new("weak-admin");
    for (path, step) in
        [("sys/mounts*", "kv"), ("kv/*", "app"), ("sys/auth*", "approle"), ("sys/quotas/*", "limit")]
    {
        let mut rules = enough();
        rules.as_object_mut().expect("rules").remove(path);
        cluster.declare(&admin(&rules));
        let ran = cluster.run(&["validate", "plan.yaml"]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code == 1 && said.contains(&format!("for step `{step}`")), "without {path}: {said}");
        assert!(said.contains("capabilities = ["), "the rule to add: {said}");
    }
    // A policy of others is known to the server alone.
    let mut steps = admin(&enough());
    steps.as_object_mut().expect("steps").remove("admin_policy");
    let role = json!({ "kind": "vault.approle_role", "name": "admin", "token_policies": ["others"] });
    steps["admin_role"] = role;
    let root = steps.as_object_mut().and_then(|steps| steps.remove("root")).expect("the root token's step");
    cluster.declare(&steps);
    cluster.apply(&[]);
    let put = |rules: &Value| {
        let rules = rules.as_object().expect("rules").iter();
        let text: String =
            rules.map(|(path, names)| format!("path \"{path}\" {{ capabilities = {names} }}\n")).collect();
        let (status, answer) = cluster.ask("POST", "", "sys/policies/acl/others", &json!({ "policy": text }));
        assert!(status < 300, "{answer}");
    };
    let mut weak = enough();
    weak.as_object_mut().expect("rules").remove("kv/*");
    put(&weak);
    steps["root"] = root;
    cluster.declare(&steps);
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    let said = format!("{ran:?}");
    assert!(ran.code != 0 && said.contains("kv/data/app") && said.contains("was not revoked"), "{said}");
    assert_eq!(cluster.ask("GET", "", "auth/token/lookup-self", &Value::Null).0, 200, "the root token works");
    put(&enough());
    cluster.apply(&[]);
    assert_eq!(cluster.ask("GET", "", "auth/token/lookup-self", &Value::Null).0, 403);
    // As the admin, everything is read and in order.
    let plan = cluster.plan();
    assert_eq!(
        plan["summary"]["none"],
        plan["steps"].as_array().map(Vec::len).unwrap_or_default(),
        "{plan:#}"
    );
}
