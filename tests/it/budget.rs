//! How many requests a large plan takes.

use serde_json::{Map, json};

use crate::support::{TestEnvironment, summary};

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
fn a_list_is_read_once_however_many_steps_there_are() {
    let environment = TestEnvironment::new();
    let (few, none) = second_apply(&environment, 20, 10);
    let (many, none_either) = second_apply(&environment, 60, 30);
    assert_eq!((none, none_either), (0, 0), "what is in place is not written");
    // Vault has no list of roles with their fields: each is one request.
    assert_eq!(many - few, 20, "forty more policies and twenty more roles: {few} and {many} reads");
}
