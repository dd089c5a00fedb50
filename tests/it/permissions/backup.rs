//! `backup` and `restore` under their least policies, and without each right.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use super::aws::{actions, give, key_of_operator, policies, report, without as without_action};
use super::vault::{Operator, rights, rules_for, without};
use crate::aws::s3;
use crate::support::{Cluster, Ran, block_on};

/// A cluster whose plan keeps its one backup in a bucket.
fn cluster() -> Cluster {
    let cluster = Cluster::new("least-backup");
    cluster.declare(&json!({
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
    }));
    cluster.edit(|plan| {
        plan["aws"] = json!({ "region": "us-east-1" });
        plan["backup"] =
            json!({ "stores": [{ "s3": "s3://least-kept/vault" }], "keep": { "last": 1, "daily": 0 } });
    });
    cluster.apply(&[]);
    let made = s3(&cluster.environment).create_bucket().bucket("least-kept").send();
    block_on(made).expect("a bucket");
    cluster
}

/// Names of backups have seconds.
fn next_second() {
    std::thread::sleep(std::time::Duration::from_millis(1100));
}

const BACKUP: [&str; 4] = ["backup", "plan.yaml", "--format", "json"];
const RESTORE: [&str; 5] = ["restore", "plan.yaml", "--latest", "--confirm", "least-backup"];

#[test]
fn backup_and_restore_need_each_right() {
    let cluster = cluster();
    let operator = Operator::new(&cluster);
    let key = key_of_operator(&cluster.environment);
    let run = |arguments: &[&str]| {
        let mut command: Command = operator.command(arguments);
        command.env("AWS_ACCESS_KEY_ID", &key.0).env("AWS_SECRET_ACCESS_KEY", &key.1);
        Ran::of(command.env_remove("AWS_SESSION_TOKEN").output().expect("the program starts"))
    };
    let of_aws = |command: &str| policies(&cluster.environment, "plan.yaml", command);
    let allow = |command: &str, action: Option<&str>| {
        give(&cluster.environment, &without_action(&of_aws(command), action));
    };
    // A restore brings back the policy of the time of the backup, and ends with a verification.
    let restoring = || [rules_for(&cluster, "restore"), rules_for(&cluster, "verify")].concat();
    operator.give(&[rules_for(&cluster, "backup"), restoring()].concat());
    let ran = cluster.run(&BACKUP);
    assert_eq!(ran.code, 0, "{ran:?}");

    // Backup: the store says what it could not do.
    let of_vault = rules_for(&cluster, "backup");
    let mut spared = BTreeSet::new();
    let complete = |ran: &Ran| {
        let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        ran.code == 0 && told["stores"][0]["left"] == json!([])
    };
    for action in &actions(&of_aws("backup")) {
        next_second();
        allow("backup", Some(action));
        if complete(&run(&BACKUP)) {
            spared.insert(action.clone());
        }
    }
    report("kept in S3", "backup", &actions(&of_aws("backup")), &spared);
    allow("backup", None);
    let less: Vec<_> = rights(&of_vault);
    for (path, capability) in &less {
        operator.give(&without(&of_vault, path, capability));
        assert_ne!(run(&BACKUP).code, 0, "{capability} on {path} is needed");
    }
    operator.give(&[of_vault, restoring()].concat());
    next_second();
    let ran = run(&BACKUP);
    assert!(complete(&ran), "the whole policies suffice: {ran:?}");

    // Restore: the guard against an audit device that would keep the server from starting says that it cannot see.
    let of_vault = rules_for(&cluster, "restore");
    let mut spared = BTreeSet::new();
    for action in &actions(&of_aws("restore")) {
        allow("restore", Some(action));
        if run(&RESTORE).code == 0 {
            spared.insert(action.clone());
        }
    }
    report("kept in S3", "restore", &actions(&of_aws("restore")), &spared);
    allow("restore", None);
    for (path, capability) in &rights(&of_vault) {
        operator.give(&[without(&of_vault, path, capability), rules_for(&cluster, "verify")].concat());
        let ran = run(&RESTORE);
        let says_so = format!("{ran:?}").contains("which audit devices the server declares is not known");
        assert!(ran.code != 0 || says_so, "{capability} on {path} is needed: {ran:?}");
    }
    println!("{:<28} restore  {1:>4} rights  {1:>4} tried {1:>4} needed", "Vault", rights(&of_vault).len());
    operator.give(&restoring());
    let ran = run(&RESTORE);
    assert_eq!(ran.code, 0, "the whole policies suffice: {ran:?}");
}
