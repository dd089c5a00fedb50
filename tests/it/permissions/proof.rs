//! `verify` under its least policies, and without each right that only it needs.

use serde_json::{Value, json};

use super::aws;
use super::vault::{Operator, rights, rules_for, without};
use crate::support::{Cluster, block_on};
use crate::verify::plan::{everything, write_files};

#[test]
fn proof_of_vault_needs_each_capability() {
    let cluster = Cluster::new("least-proof");
    let mut steps = everything("unused");
    let given_by_others = ["people", "alice", "jwt", "issuer", "pods"];
    steps.as_object_mut().expect("steps").retain(|id, _| !given_by_others.contains(&id.as_str()));
    cluster.declare(&steps);
    write_files(&cluster.environment);
    cluster.apply(&[]);
    let operator = Operator::new(&cluster);
    let all = rules_for(&cluster, "verify");
    operator.give(&all);
    let ran = operator.run(&["verify", "plan.yaml"]);
    assert_eq!(ran.code, 0, "the whole policy suffices: {ran:?}");

    let to_look = rights(&rules_for(&cluster, "plan"));
    let mut only_to_prove = rights(&all);
    only_to_prove.retain(|right| !to_look.contains(right));
    let mut spared = Vec::new();
    for (path, capability) in &only_to_prove {
        operator.give(&without(&all, path, capability));
        if operator.run(&["verify", "plan.yaml", "--format", "json"]).code == 0 {
            spared.push((path, capability));
        }
    }
    let (tried, needed) = (only_to_prove.len(), only_to_prove.len() - spared.len());
    println!(
        "{:<28} verify   {:>4} rights  {tried:>4} tried {needed:>4} needed",
        "everything of Vault",
        rights(&all).len()
    );
    assert!(spared.is_empty(), "`verify` goes well without {spared:?}");
    assert!(tried > 20, "{only_to_prove:?}");
}

/// A plan of AWS with a proof of each sort, but the one that waits for a lock to end.
fn of_aws(outside: &str) -> Value {
    json!({ "version": 1, "name": "least-proof", "aws": { "region": "us-east-1", "account_id": crate::aws::OWN }, "steps": {
        "key": { "kind": "aws.kms_key", "alias": "alias/least-proof" },
        "signing": {
            "kind": "aws.kms_key", "alias": "alias/least-signing", "rotation": false,
            "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY",
        },
        "mac": {
            "kind": "aws.kms_key", "alias": "alias/least-mac", "rotation": false,
            "key_spec": "HMAC_256", "key_usage": "GENERATE_VERIFY_MAC",
        },
        "bucket": { "kind": "aws.s3_bucket", "name": "least-proof" , "tls_only": { "off": "the emulator speaks http" } },
        "locks": {
            "kind": "aws.dynamodb_table", "name": "least-locks", "preset": "terraform_lock",
            "deletion_protection": { "off": "a test deletes it" },
        },
        "sessions": { "kind": "aws.dynamodb_table", "name": "least-sessions", "hash_key": { "name": "user", "type": "S" } },
        "reader": {
            "kind": "aws.iam_role", "name": "least-reader", "trust": [{ "service": "ec2.amazonaws.com" }],
            "managed_policies": ["{{ reading.arn }}"],
        },
        "reading": {
            "kind": "aws.iam_policy", "name": "least-reading",
            "document": [{ "allow": "s3:GetObject", "on": "arn:aws:s3:::least-proof/*" }],
        },
        "alarm": {
            "kind": "aws.cloudwatch_alarm", "name": "least-proof", "namespace": "Least", "metric": "Faults",
            "statistic": "Sum", "comparison": ">", "threshold": 5, "alarm_actions": [outside],
        },
    } })
}

#[test]
fn proof_of_aws_needs_each_action() {
    let operator = aws::Operator::new();
    let environment = &operator.environment;
    let sns = aws_sdk_sns::Client::new(&crate::aws::config(&environment.sandbox));
    let outside = block_on(sns.create_topic().name("least-outside").send()).expect("a topic").topic_arn;
    environment.write("plan.yaml", &of_aws(&outside.expect("an ARN")).to_string());
    operator.root(&["apply", "plan.yaml", "--yes"]);
    let all = aws::policies(environment, "plan.yaml", "verify");
    operator.give(&aws::without(&all, []));
    let ran = operator.run(&["verify", "plan.yaml"]);
    assert_eq!(ran.code, 0, "the whole policy suffices: {ran:?}");

    let to_look = aws::actions(&aws::policies(environment, "plan.yaml", "plan"));
    let only_to_prove: std::collections::BTreeSet<String> =
        aws::actions(&all).difference(&to_look).cloned().collect();
    let mut spared = std::collections::BTreeSet::new();
    for action in &only_to_prove {
        operator.give(&aws::without(&all, [action.as_str()]));
        if operator.run(&["verify", "plan.yaml", "--format", "json"]).code == 0 {
            spared.insert(action.clone());
        }
    }
    aws::report("everything of AWS", "verify", &only_to_prove, &spared);
    assert!(only_to_prove.len() > 10, "{only_to_prove:?}");
}
