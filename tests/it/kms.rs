//! Keys where the contract cannot go: keys that were there before, and replicas.

use serde_json::{Value, json};

use crate::aws::{config_with, credentials};
use crate::support::{TestEnvironment, block_on, paths, step, summary};

/// KMS in a region of the sandbox.
pub fn kms(environment: &TestEnvironment, region: &str) -> aws_sdk_kms::Client {
    let sandbox = &environment.sandbox;
    aws_sdk_kms::Client::new(&config_with(sandbox, credentials(sandbox), region))
}

/// The key that an alias names.
pub fn behind(kms: &aws_sdk_kms::Client, alias: &str) -> Option<String> {
    let aliases = block_on(kms.list_aliases().send()).expect("listed").aliases.unwrap_or_default();
    aliases.into_iter().find(|one| one.alias_name() == Some(alias))?.target_key_id
}

fn new_key(kms: &aws_sdk_kms::Client) -> String {
    let made = block_on(kms.create_key().send()).expect("made");
    made.key_metadata.expect("its description").key_id
}

fn plan(key: &Value) -> String {
    let mut key = key.clone();
    key["kind"] = json!("aws.kms_key");
    json!({ "version": 1, "name": "kms", "aws": { "region": "us-east-1" }, "steps": { "key": key } })
        .to_string()
}

#[test]
fn existing_key_gets_alias_and_alias_can_move() {
    let environment = TestEnvironment::new();
    let kms = kms(&environment, "us-east-1");
    let (first, second) = (new_key(&kms), new_key(&kms));
    let declared = |key: &str| plan(&json!({ "alias": "alias/gw-taken", "key_id": key, "adopt": true }));
    environment.write("plan.yaml", &declared(&first));
    environment.apply("plan.yaml");
    assert_eq!(behind(&kms, "alias/gw-taken"), Some(first.clone()));
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);

    environment.write("plan.yaml", &declared(&second));
    let shown = environment.plan("plan.yaml");
    assert_eq!(paths(step(&shown, "key")), ["key_id"], "{shown:#}");
    environment.apply("plan.yaml");
    assert_eq!(behind(&kms, "alias/gw-taken"), Some(second));
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);
    let keys = block_on(kms.list_keys().send()).expect("listed").keys.unwrap_or_default();
    assert_eq!(keys.len(), 2, "no key was made");
}

#[test]
fn key_is_replicated_and_other_replicas_are_kept() {
    let environment = TestEnvironment::new();
    let declared = |regions: &[&str]| {
        plan(&json!({ "alias": "alias/gw-wide", "multi_region": true, "replica_regions": regions }))
    };
    environment.write("plan.yaml", &declared(&["eu-west-1"]));
    environment.apply("plan.yaml");
    let here = kms(&environment, "us-east-1");
    let key = behind(&here, "alias/gw-wide").expect("a key");
    let there = |region: &str| block_on(kms(&environment, region).describe_key().key_id(&key).send()).is_ok();
    assert!(there("eu-west-1") && !there("eu-central-1"));

    environment.write("plan.yaml", &declared(&["eu-central-1"]));
    assert_eq!(paths(step(&environment.plan("plan.yaml"), "key")), ["replica_regions"]);
    environment.apply("plan.yaml");
    assert!(there("eu-west-1") && there("eu-central-1"));
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);
}

/// AWS puts the unique id of a role that is deleted in its place in a policy, and a new role of the same name has another
/// id: the policy is written again. The emulator keeps the name, so the id is put there by hand.
#[test]
fn key_policy_names_a_role_that_was_made_again() {
    let environment = TestEnvironment::new();
    let declared = json!({ "version": 1, "name": "kms", "aws": { "region": "us-east-1" }, "steps": {
        "role": { "kind": "aws.iam_role", "name": "gw-server", "trust": [{ "service": "ec2.amazonaws.com" }] },
        "key": { "kind": "aws.kms_key", "alias": "alias/gw-used",
                 "access": { "account": true, "users": ["{{ role.arn }}"] } },
    } });
    environment.write("plan.yaml", &declared.to_string());
    environment.apply("plan.yaml");
    let kms = kms(&environment, "us-east-1");
    let key = behind(&kms, "alias/gw-used").expect("a key");
    let policy = || {
        let read = kms.get_key_policy().key_id(&key).policy_name("default").send();
        block_on(read).expect("a policy").policy.expect("its text")
    };
    let role = format!("arn:aws:iam::{}:role/gw-server", crate::aws::OWN);
    assert!(policy().contains(&role), "{}", policy());
    let iam = crate::iam::iam(&environment, crate::aws::OWN);
    block_on(iam.delete_role().role_name("gw-server").send()).expect("deleted");
    let dangling = policy().replace(&role, "AROAEXAMPLE1234567890");
    let put = kms.put_key_policy().key_id(&key).policy_name("default").policy(dangling);
    block_on(put.send()).expect("put");

    environment.apply("plan.yaml");
    assert!(policy().contains(&role) && !policy().contains("AROAEXAMPLE"), "{}", policy());
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);
}
