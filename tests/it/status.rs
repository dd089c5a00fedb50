//! How an environment stands, seen on good and on bad days.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use groundwork::environment::Environment;
use groundwork::journal::Who;
use groundwork::lock::LocalLock;
use groundwork::sandbox::Settings;
use groundwork::workspace::Workspace;
use serde_json::{Value, json};

use crate::support::{Cluster, Ran, files, text_of};

/// Three nodes, a secret with a date, custody in two folders, backups in one.
fn cluster() -> Cluster {
    let cluster = Cluster::with("standing", Settings { nodes: 3, ..Settings::default() });
    cluster.declare(&json!({
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "database": { "kind": "vault.kv_secret", "mount": "secret", "path": "app/database", "needs": ["secrets"],
                      "data": { "password": { "generate": { "length": 32 } } }, "metadata": { "rotation_days": 5 } },
        "table": { "kind": "aws.dynamodb_table", "name": "standing-lock", "preset": "terraform_lock", "protect": false },
    }));
    edit(&cluster, |plan| {
        plan["steps"]["cluster"]["shares"] = json!(3);
        plan["steps"]["cluster"]["threshold"] = json!(2);
        plan["aws"] = json!({ "region": "us-east-1" });
        plan["custody"]["stores"] = json!([{ "file": "custody" }, { "file": "copy" }]);
        plan["backup"] = json!({ "stores": [{ "file": "backups" }] });
        plan["lock"] = json!({ "dynamodb": "standing-lock" });
    });
    cluster.apply(&[]);
    cluster
}

fn edit(cluster: &Cluster, change: impl FnOnce(&mut Value)) {
    let file = cluster.environment.folder.join("plan.yaml");
    let mut plan = serde_json::from_str(&std::fs::read_to_string(&file).expect("the plan")).expect("JSON");
    change(&mut plan);
    std::fs::write(file, plan.to_string()).expect("written");
}

/// The status as JSON, and the exit code.
fn status(cluster: &Cluster, more: &[&str]) -> (i32, Value) {
    let ran = cluster.run(&[&["status", "plan.yaml", "--format", "json"], more].concat());
    let report =
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran:?}"));
    (ran.code, report)
}

fn messages(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    findings
        .iter()
        .map(|one| format!("{}: {}", text_of(&one["severity"]), text_of(&one["message"])))
        .collect()
}

/// Every file below a folder with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    files(folder).into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap_or_default())).collect()
}

#[test]
fn status_sees_a_healthy_environment_and_each_bad_day() {
    let cluster = cluster();
    let folder = &cluster.environment.folder;

    let (code, report) = status(&cluster, &[]);
    let found = messages(&report);
    assert_eq!((code, found.len(), found[0].as_str()), (1, 2, "broken: there is no backup"));
    assert!(found[1].starts_with("attention: the secret of database is due in "), "{found:?}");
    let backup = cluster.run(&["backup", "plan.yaml"]);
    assert_eq!(backup.code, 0, "{backup:?}");

    let before = contents(folder);
    let (code, report) = status(&cluster, &["--prove-backups", "--no-drift"]);
    assert_eq!(
        (code, &report["backups"]["generations"][0]["opens_now"]),
        (0, &json!("proven")),
        "{report:#}"
    );
    let (code, report) = status(&cluster, &["--due-within", "3d"]);
    assert_eq!((code, messages(&report)), (0, Vec::new()), "{report:#}");
    assert_eq!((&report["format_version"], &report["state"]), (&json!("1"), &json!("healthy")));
    let vault = &report["systems"][0];
    let states: Vec<&str> =
        vault["nodes"].as_array().expect("nodes").iter().map(|node| text_of(&node["state"])).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "standby").count(), 2, "{states:?}");
    assert_eq!((&vault["storage"]["failure_tolerance"], &vault["keys"]["shares"]), (&json!(1), &json!(3)));
    let custody = &report["custody"];
    assert_eq!(
        (&custody["objects"], custody["stores"].as_array().map(Vec::len)),
        (&custody["obtainable"], Some(2))
    );
    assert_eq!(report["backups"]["stores"][0]["newest"]["proof"], "proven");
    assert_eq!(report["backups"]["generations"][0]["in_custody"], true);
    assert_eq!((&report["due"][0]["of"], &report["due"][0]["what"]), (&json!("database"), &json!("secret")));
    assert_eq!(report["locks"], json!({ "here": null, "everywhere": null }));
    assert_eq!(report["drift"]["counts"]["none"], 4);

    let metrics = folder.join("groundwork.prom");
    let shown =
        cluster.run(&["status", "plan.yaml", "--prometheus", "groundwork.prom", "--due-within", "3d"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.stdout.contains("3 of 3 servers serve") && shown.stdout.contains("healthy"),
        "{}",
        shown.stdout
    );
    let text = std::fs::read_to_string(&metrics).expect("metrics");
    assert!(text.contains("groundwork_healthy{plan=\"standing\"} 1\n"), "{text}");
    std::fs::remove_file(metrics).expect("removed");
    assert_eq!(contents(folder), before, "it leaves nothing but what was asked for");

    locks_are_shown(&cluster);
    without_an_account(&cluster);
    damaged_journal_hides_only_itself(&cluster);
    lost_node_and_store_are_named(&cluster);
    no_server_at_all(&cluster);
}

fn locks_are_shown(cluster: &Cluster) {
    let workspace = Workspace::of(&cluster.environment.folder).expect("usable");
    let who = Who::here("sha256:0", &Environment::default());
    let held = LocalLock::acquire(&workspace, "standing", &who).expect("free");
    let (code, report) = status(cluster, &["--no-drift"]);
    assert_eq!((code, &report["due"], &report["drift"]), (0, &Value::Null, &Value::Null));
    assert!(text_of(&report["locks"]["here"]["holder"]).contains(&who.pid.to_string()), "{report:#}");
    drop(held);
    let mut applying = cluster.command(&["apply", "plan.yaml", "--replace", "database", "--yes"]);
    let applying = Ran::of(applying.output().expect("it runs"));
    assert_eq!(applying.code, 0, "a look has not kept the lock: {applying:?}");
}

/// What needs the account is not known; the rest is.
fn without_an_account(cluster: &Cluster) {
    let mut command = cluster.command(&["status", "plan.yaml", "--format", "json", "--timeout", "5s"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let ran = Ran::of(command.output().expect("it runs"));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}\n{ran:?}"));
    assert_eq!(ran.code, 3, "{report:#}");
    assert_eq!(report["systems"][0]["keys"]["shares"], 3, "{report:#}");
    assert!(report["drift"]["unseen"].is_string() && report["locks"]["everywhere"]["unseen"].is_string());
    assert_eq!(report["backups"]["stores"][0]["count"], 1);
}

fn damaged_journal_hides_only_itself(cluster: &Cluster) {
    let journal = cluster.environment.folder.join(".groundwork/journal/standing.jsonl");
    let whole = std::fs::read(&journal).expect("the journal");
    std::fs::write(&journal, [b"{}\n", whole.as_slice()].concat()).expect("damaged");
    let (code, report) = status(cluster, &["--no-drift"]);
    assert_eq!(code, 3, "{report:#}");
    assert!(text_of(&report["outcomes"]["unseen"]).contains("damaged"), "{report:#}");
    let vault = &report["systems"][0];
    assert_eq!(vault["nodes"].as_array().map(Vec::len), Some(3));
    assert!(report["custody"]["objects"].as_u64() > Some(0), "{report:#}");
    std::fs::write(journal, whole).expect("mended");
}

fn lost_node_and_store_are_named(cluster: &Cluster) {
    let environment = &cluster.environment;
    environment.lose("vault-3");
    std::fs::rename(environment.folder.join("copy"), environment.folder.join("aside")).expect("moved");
    std::fs::write(environment.folder.join("copy"), "no folder").expect("written");
    let (code, report) = status(cluster, &["--no-drift"]);
    let told = messages(&report);
    assert_eq!(code, 1, "{told:?}");
    let lost = environment.sandbox.vault_addrs()[2].clone();
    assert!(told[0].starts_with(&format!("broken: {lost} does not answer")), "{told:?}");
    assert!(
        told.iter().any(|one| one.starts_with("attention: the store folder ./copy does not answer")),
        "{told:?}"
    );
    assert_eq!(report["systems"][0]["keys"]["shares"], 3, "the other store is enough");
    std::fs::remove_file(environment.folder.join("copy")).expect("removed");
    std::fs::rename(environment.folder.join("aside"), environment.folder.join("copy")).expect("moved back");
}

fn no_server_at_all(cluster: &Cluster) {
    cluster.environment.lose("vault-1");
    cluster.environment.lose("vault-2");
    let began = std::time::Instant::now();
    let (code, report) = status(cluster, &["--no-drift"]);
    assert_eq!(code, 1, "{report:#}");
    let unreachable = messages(&report).iter().filter(|one| one.contains("does not answer")).count();
    assert_eq!(unreachable, 3, "{report:#}");
    assert_eq!(report["systems"][0]["keys"]["shares"], 3, "custody opens without a server: {report:#}");
    assert_eq!(report["backups"]["stores"][0]["count"], 1);
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn plan_that_is_wrong_or_not_allowed_is_refused_before_anything_is_asked() {
    let cluster = Cluster::new("refused");
    cluster.declare(&json!({}));
    edit(&cluster, |plan| plan["vault"] = json!({ "address": "https://stranger.example:8200" }));
    let ran = cluster.run(&["status", "plan.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("vault=https://stranger.example:8200"), "{ran:?}");
    edit(&cluster, |plan| plan["steps"]["cluster"]["threshold"] = json!(7));
    assert_eq!(cluster.run(&["status", "plan.yaml"]).code, 1);
}
