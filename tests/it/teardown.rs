//! A complete teardown: everything that a plan has made, then custody, the lock and the journal.

use serde_json::{Value, json};

use crate::aws::{lock_item, object, put_object, s3, tables, users};
use crate::selected::killed_at;
use crate::support::{TestEnvironment, block_on, files, summary, text_of};

fn buckets(environment: &TestEnvironment) -> Vec<String> {
    let listed = block_on(s3(environment).list_buckets().send()).expect("listed");
    listed.buckets.unwrap_or_default().into_iter().filter_map(|bucket| bucket.name).collect()
}

/// A plan that keeps its journal, its lock and a part of its custody in what it makes.
fn declare(environment: &TestEnvironment) {
    let plan = json!({
        "version": 1, "name": "down", "aws": { "region": "us-east-1" },
        "journal": { "s3": "s3://{{ state.name }}/groundwork" },
        "lock": { "dynamodb": "{{ table.name }}" },
        "custody": { "recipients": [{ "kms": "{{ key.arn }}" }],
                     "stores": [{ "file": "custody" }, { "s3": "s3://{{ state.name }}/custody" }] },
        "steps": {
            "key": { "kind": "aws.kms_key", "alias": "alias/down" },
            "state": { "kind": "aws.s3_bucket", "name": "gw-down" },
            "table": { "kind": "aws.dynamodb_table", "name": "gw-down", "preset": "terraform_lock" },
            "server": { "kind": "vault.init", "shares": 1, "threshold": 1 },
            "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
            "secret": { "kind": "vault.kv_secret", "mount": "secret", "path": "app",
                        "data": { "password": { "generate": {} } } },
            "user": { "kind": "aws.iam_user", "name": "gw-down" },
            "access": { "kind": "aws.iam_access_key", "user": "{{ user.name }}",
                        "deliver": [{ "vault_kv": { "mount": "secret", "path": "aws" } }] },
            "kept": { "kind": "file.template", "path": "kept.txt", "content": "x", "retain": true },
        },
    });
    environment.write("down.yaml", &plan.to_string());
}

const ALL: [&str; 5] = ["destroy", "down.yaml", "--everything", "--confirm", "down"];

#[test]
fn everything_goes_in_order_and_a_fresh_apply_builds_it_again() {
    let environment = TestEnvironment::new();
    declare(&environment);
    environment.apply("down.yaml");
    let plain = environment.run(&["destroy", "down.yaml", "--yes"]);
    assert!(plain.code == 3 && plain.stdout.contains("protected"), "{plain:?}");
    environment.apply("down.yaml");

    let unconfirmed = environment.run(&["destroy", "down.yaml", "--everything", "--yes"]);
    assert!(unconfirmed.code == 1 && unconfirmed.stderr.contains("Use --confirm down"), "{unconfirmed:?}");
    let wrong = environment.run(&["destroy", "down.yaml", "--everything", "--confirm", "up"]);
    assert!(wrong.code == 1 && wrong.stderr.contains("is not the plan's name, down"), "{wrong:?}");
    assert_eq!(users(&environment), ["gw-down"]);
    let shown = environment.run(&["plan", "down.yaml", "--destroy", "--everything"]);
    for told in
        ["A complete teardown", "In this order", "the journal", "retain: true", "cluster is still there"]
    {
        assert!(shown.stdout.contains(told), "{told} in {shown:?}");
    }

    // As long as the cluster is there, its keys stay.
    let first = environment.run(&ALL);
    assert!(first.code == 3, "{first:?}");
    assert!(users(&environment).is_empty() && buckets(&environment) == ["gw-down"], "{first:?}");
    assert!(
        environment.folder.join("custody").exists()
            && environment.folder.join(".groundwork/journal").exists()
    );
    environment.lose("vault-1");
    let _servers = environment.revive();

    // A death anywhere is taken up by the next run.
    for moment in ["DELETE /gw-down/", "DynamoDB_20120810.DeleteTable"] {
        let killed = killed_at(&environment, environment.command(&ALL), moment);
        assert_eq!(killed.code, -1, "{moment}: {killed:?}");
        // The lock of a dead run is taken away by a person.
        let is_there = !tables(&environment).is_empty();
        let lock =
            is_there.then(|| lock_item(&environment, "gw-down", "gw-down/groundwork/down.jsonl")).flatten();
        if let Some(lock) = lock {
            let info: Value = serde_json::from_str(&lock).expect("JSON");
            let ran = environment.run(&["unlock", "down.yaml", "--id", text_of(&info["ID"])]);
            assert_eq!(ran.code, 0, "{moment}: {ran:?}");
        }
    }
    let last = environment.run(&ALL);
    assert_eq!(last.code, 0, "{last:?}");
    assert!(tables(&environment).is_empty() && buckets(&environment).is_empty(), "{last:?}");
    let mut left: Vec<String> = files(&environment.folder)
        .iter()
        .map(|file| file.strip_prefix(&environment.folder).expect("below").display().to_string())
        .collect();
    left.sort();
    assert_eq!(left, ["down.yaml", "kept.txt"]);
    assert!(!environment.folder.join(".groundwork").exists() && !environment.folder.join("custody").exists());
    let keys = environment.config().join("keys");
    assert!(!keys.exists() || files(&keys).is_empty());

    // Without a journal the file that was retained is anybody's.
    std::fs::remove_file(environment.folder.join("kept.txt")).expect("removed");
    environment.apply("down.yaml");
    assert_eq!(users(&environment), ["gw-down"]);
    assert_eq!(summary(&environment.apply("down.yaml"))["api_calls"]["write"], 0);
}

#[test]
fn bucket_with_others_objects_is_named_and_stays() {
    let environment = TestEnvironment::new();
    let plan = json!({
        "version": 1, "name": "down", "aws": { "region": "us-east-1" },
        "journal": { "s3": "s3://{{ state.name }}/groundwork" },
        "lock": { "s3": true },
        "steps": {
            "state": { "kind": "aws.s3_bucket", "name": "gw-down" },
            "user": { "kind": "aws.iam_user", "name": "gw-down" },
        },
    });
    environment.write("down.yaml", &plan.to_string());
    environment.apply("down.yaml");
    put_object(&environment, "gw-down", "theirs.txt", "theirs");
    let ran = environment.run(&ALL);
    assert!(ran.code == 3 && ran.stdout.contains("theirs.txt"), "{ran:?}");
    assert_eq!(object(&environment, "gw-down", "theirs.txt").as_deref(), Some("theirs"));
    assert_eq!(object(&environment, "gw-down", "groundwork/down.jsonl"), None, "what is ours is gone");
    assert!(users(&environment).is_empty() && !environment.folder.join(".groundwork").exists());
}

#[test]
fn key_that_a_retained_secret_needs_is_named_at_the_end() {
    let environment = TestEnvironment::new();
    let plan = json!({
        "version": 1, "name": "down", "aws": { "region": "us-east-1" },
        "journal": { "s3": "s3://{{ state.name }}/groundwork" },
        "steps": {
            "key": { "kind": "aws.kms_key", "alias": "alias/down" },
            "state": { "kind": "aws.s3_bucket", "name": "gw-down", "encryption": { "kms_key": "{{ key.arn }}" } },
            "kept": { "kind": "aws.secret", "name": "gw-kept", "kms_key": "{{ key.arn }}", "retain": true,
                      "data": { "password": { "generate": {} } } },
        },
    });
    environment.write("down.yaml", &plan.to_string());
    environment.apply("down.yaml");
    let ran = environment.run(&ALL);
    assert!(ran.code == 3 && ran.stdout.contains("`kept`, which stays, needs it"), "{ran:?}");
    assert!(ran.stderr.contains("of what this plan has made, this is left: key"), "{ran:?}");
    assert!(buckets(&environment).is_empty(), "{ran:?}");
}
