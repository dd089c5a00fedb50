//! The least policies of `permissions`: a command runs under them, and fails without any part of them.

mod aws;
mod backup;
pub mod kubernetes;
mod plans;
mod proof;
mod rotate;
mod vault;

use std::collections::BTreeSet;

use groundwork::place::Realm;
use groundwork::plan::Given;
use groundwork::proof::Proof;
use groundwork::providers::PROVIDERS;
use groundwork::run::Access;
use groundwork::session;
use groundwork::trust::Trust;
use serde_json::{Value, json};

use crate::aws::OWN;
use crate::support::{Ran, write_example};

#[test]
fn every_kind_states_what_it_needs() {
    const NOTHING: [(&str, &str); 5] = [
        ("kubernetes.manifest", "only the server knows where objects of its kinds are"),
        ("kubernetes.rendered", "a file"),
        ("vault.helm_values", "a file"),
        ("vault.init", "anyone may initialise and unseal a server"),
        ("vault.server_config", "a file"),
    ];
    /// Kinds whose proof needs nothing besides looking at them, and why.
    const LOOKED_AT: [(&str, &str); 8] = [
        ("aws.iam_access_key", "the key signs its own request"),
        ("aws.secret", "its age is judged"),
        ("aws.sns_topic", "its attributes count its subscribers"),
        ("aws.ssm_parameter", "its age is judged"),
        ("vault.init", "the run itself asks the nodes"),
        ("vault.kv_secret", "its version and its metadata are judged"),
        ("vault.pki_ca", "its certificate is judged"),
        ("vault.root_token", "other tokens are tried"),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let realm = Realm::default().with("account", OWN).with("region", "us-east-1");
    let (mut silent, mut looked_at, mut tried) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    // Rights in PostgreSQL are not asked for before a run.
    let of_policies = PROVIDERS.kinds().filter(|kind| !["file", "postgres"].contains(&kind.provider()));
    for kind in of_policies {
        let path = write_example(kind, folder.path());
        let checked = session::check(&path, &Given::default(), &Trust::default()).expect("valid");
        let steps = checked.resolved.steps.iter().zip(&checked.instances);
        for (_, instance) in steps.filter(|(step, _)| step.kind.name() == kind.name()) {
            let all = [Access::Read, Access::Create, Access::Update, Access::Delete];
            let is_tried = matches!(kind.proof(), Proof::Tried(_));
            let proven = instance.permissions(Access::Prove, &realm);
            assert!(is_tried || proven.is_empty(), "{} is not tried, and needs {proven:?}", kind.name());
            if is_tried && proven.is_empty() {
                looked_at.insert(kind.name());
            } else {
                tried.insert(kind.name());
            }
            let needed = all.map(|access| instance.permissions(access, &realm));
            if needed.iter().all(Vec::is_empty) {
                silent.insert(kind.name());
            }
            for one in needed.iter().flatten().filter(|_| kind.provider() == "aws") {
                let known = one.elsewhere.is_some() || one.on == "*" || one.on.starts_with("arn:aws:");
                assert!(known && !one.on.contains("::*:"), "{}: {}", kind.name(), one.on);
            }
        }
    }
    looked_at.retain(|kind| !tried.contains(kind));
    assert_eq!(looked_at, LOOKED_AT.iter().map(|(kind, _)| *kind).collect());
    assert_eq!(silent, NOTHING.iter().map(|(kind, _)| *kind).collect());
}

#[test]
fn policies_become_files_and_steps_of_a_plan() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    let run = |arguments: &[&str]| {
        let mut command = crate::support::program();
        let ran = command.args(arguments).current_dir(folder.path()).env("NO_COLOR", "1").output();
        Ran::of(ran.expect("the program starts"))
    };
    let mut steps = vault::in_vault("one", "1h");
    steps["role_in_aws"] =
        json!({ "kind": "aws.iam_role", "name": "least", "trust": [{ "service": "ec2.amazonaws.com" }] });
    let mut plan = json!({ "version": 1, "name": "least", "aws": { "region": "eu-west-1", "account_id": "123456789012" },
        "vault": { "address": "http://127.0.0.1:8200" }, "steps": steps });
    write("plan.yaml", &plan.to_string());
    let steps = run(&["permissions", "plan.yaml", "--format", "plan"]);
    assert_eq!(steps.code, 0, "{steps:?}");
    write("operator.yaml", &steps.stdout);
    plan["include"] = json!(["operator.yaml"]);
    write("whole.yaml", &plan.to_string());
    let checked = run(&["graph", "whole.yaml"]);
    assert!(
        checked.stdout.contains("least_apply_aws") && checked.stdout.contains("least_apply_vault"),
        "{checked:?}"
    );

    let ran = run(&["permissions", "plan.yaml", "--for", "plan", "--out", "policies"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let read =
        |name: &str| std::fs::read_to_string(folder.path().join("policies").join(name)).expect("a file");
    let policy: Value = serde_json::from_str(&read("least-plan.json")).expect("JSON");
    assert_eq!(policy["Statement"][0]["Resource"], json!(["arn:aws:iam::123456789012:role/least"]));
    assert!(read("least-plan.hcl").contains("path \"sys/mounts\" {\n  capabilities = [\"read\"]\n}"));
}
