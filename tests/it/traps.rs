//! The traps of backups and restores. Each was met on real servers: it answered with success and did harm.

use std::time::{Duration, Instant};

use groundwork::sandbox::Settings;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Cluster, Ran, files, opened};

/// Each trap with the test that steps into it.
const TRAPS: [(&str, &str); 8] = [
    ("a standby answers a restore with success", "restore_reaches_the_leader_and_reloads_every_standby"),
    ("the answer comes before the restore", "restore_reaches_the_leader_and_reloads_every_standby"),
    ("standbys keep the tables of before", "restore_reaches_the_leader_and_reloads_every_standby"),
    ("a declared audit device differs", "restore_is_refused_where_a_declared_audit_device_differs"),
    ("a backup of before a rekey", "backup_of_before_a_rekey_opens_with_the_shares_of_then"),
    ("what was revoked is good again", "restore_reaches_the_leader_and_reloads_every_standby"),
    ("a newer backup in an older server", "newer_backup_is_not_put_into_an_older_server"),
    ("a cut or lengthened file is restored", "backup_is_proven_and_stored_in_every_place"),
];

#[test]
fn each_trap_has_its_test() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let sources: String =
        files(&folder).iter().map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect();
    for (trap, test) in TRAPS {
        assert!(sources.contains(&format!("#[test]\nfn {test}()")), "{trap}: there is no test {test}");
    }
}

fn cluster(name: &'static str, settings: Settings) -> Cluster {
    let cluster = Cluster::with(name, settings);
    cluster.declare(&json!({
        "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
    }));
    let file = cluster.environment.folder.join("plan.yaml");
    let mut plan: Value =
        serde_json::from_str(&std::fs::read_to_string(file).expect("the plan")).expect("JSON");
    plan["backup"] = json!({ "stores": [{ "file": "backups" }], "keep": { "last": 1, "daily": 0 } });
    cluster.environment.write("plan.yaml", &plan.to_string());
    cluster.apply(&[]);
    let ran = cluster.run(&["backup", "plan.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    cluster
}

fn ask(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = cluster.ask(method, "", path, body);
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}

/// Has the server read its configuration again, in which `change` was made, and waits until `is_done`.
fn reconfigure(cluster: &Cluster, change: impl Fn(&str) -> String, is_done: impl Fn(&Value) -> bool) {
    let sandbox = &cluster.environment.sandbox;
    let file = sandbox.dir().join("config/vault-1.hcl");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, change(&text)).expect("written");
    let pids = sandbox.pids();
    let pid = pids.iter().find(|(name, _)| name == "vault-1").map(|(_, pid)| *pid).expect("it runs");
    kill_process(Pid::from_raw(pid).expect("a process"), Signal::HUP).expect("signalled");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_done(&ask(cluster, "GET", "sys/audit", &Value::Null)["data"]) {
        assert!(Instant::now() < deadline, "the server has not taken its configuration");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn restore_is_refused_where_a_declared_audit_device_differs() {
    let cluster = cluster("audited", Settings::default());
    let (stanza, other) = ("audit \"file\"", "other-audit.log");
    let text = std::fs::read_to_string(cluster.environment.sandbox.dir().join("config/vault-1.hcl"));
    let text = text.expect("the configuration");
    assert!(text.contains(stanza), "{text}");
    let first = files(&cluster.environment.folder.join("backups"));
    let first = first.iter().find(|file| file.extension().is_some_and(|end| end == "snap")).expect("taken");
    std::fs::copy(first, cluster.environment.folder.join("first.snap")).expect("copied");
    // The server refuses other options of a device that it has, so that one goes first.
    let begin = text.find(stanza).expect("there");
    let end = begin + text[begin..].find("\n}\n").expect("its end") + 3;
    reconfigure(
        &cluster,
        |text| text.replace(&text[begin..end], ""),
        |devices| devices.as_object().is_some_and(serde_json::Map::is_empty),
    );
    // Without a device, nothing in the backup reaches out of a server: it is recovered even where none can be confined.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    let mut drill = crate::drill::in_a_container(cluster.command(&["drill", "plan.yaml"]));
    let ran = Ran::of(drill.output().expect("the program starts"));
    assert!(ran.code == 0 && ran.stdout.contains("nothing in the backup reaches out of it"), "{ran:?}");
    let moved = text.replace("vault-audit.log", other);
    reconfigure(&cluster, |_| moved.clone(), |devices| devices.to_string().contains(other));
    let ran = cluster.run(&["restore", "plan.yaml", "--from", "first.snap", "--confirm", "audited"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for expected in ["audit device file with other options", "take the `audit` stanza out"] {
        assert!(ran.stderr.contains(expected), "{expected}: {ran:?}");
    }
    assert!(
        ask(&cluster, "GET", "sys/audit", &Value::Null).to_string().contains(other),
        "nothing was changed"
    );
}

/// Replaces the key shares; gives the new ones.
fn rekey(cluster: &Cluster) -> Vec<String> {
    let begun =
        ask(cluster, "POST", "sys/rotate/root/init", &json!({ "secret_shares": 3, "secret_threshold": 2 }));
    let nonce = begun["data"]["nonce"].as_str().expect("a nonce").to_owned();
    let mut done = Value::Null;
    for share in &opened(&cluster.custody(), "keys_base64")[..2] {
        done = ask(cluster, "POST", "sys/rotate/root/update", &json!({ "key": share, "nonce": nonce }));
    }
    assert_eq!(done["data"]["complete"], true, "{:?}", done["data"]["progress"]);
    let shares = done["data"]["keys"].as_array().expect("shares").iter();
    shares.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn backup_of_before_a_rekey_opens_with_the_shares_of_then() {
    let cluster = cluster("rekeyed", Settings::default());
    let snapshots = || {
        let mut all = files(&cluster.environment.folder.join("backups"));
        all.retain(|file| file.extension().is_some_and(|end| end == "snap"));
        all.sort();
        all
    };
    let before = snapshots();
    rekey(&cluster);
    std::thread::sleep(Duration::from_millis(1100));
    // The shares in custody are those of before, which do not open what is taken now.
    let ran = cluster.run(&["backup", "plan.yaml", "--format", "json"]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!((ran.code, &report["state"]), (3, &json!("locked")), "{ran:?}");
    assert_eq!(snapshots().len(), 2, "the last one that the old shares open stays");

    let old = before[0].display().to_string();
    let ran = cluster.run(&["backup", "check", &old, "plan.yaml"]);
    assert!(ran.code == 0 && ran.stdout.contains("proven"), "{ran:?}");
    let ran = cluster.run(&["restore", "plan.yaml", "--from", &old, "--confirm", "rekeyed"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("other key shares open the backup than the live cluster"), "{ran:?}");
}
