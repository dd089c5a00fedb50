//! Restoring into a real cluster: what a backup brings back, on every node, and what is refused.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::aws::{lock_item, put_lock_item};
use crate::support::{Cluster, block_on, files, text_of};
use groundwork::sandbox::Settings;

/// What must never be seen outside of Vault.
const CANARY: &str = "canary-of-the-restore-93ad";

/// How long a server that has joined may take to become a voter.
const VOTES_WITHIN: std::time::Duration = std::time::Duration::from_mins(2);

/// A plan with a secrets engine, a policy and a store for backups.
pub fn declare(cluster: &Cluster) {
    cluster.declare(&json!({
        "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "reader": { "kind": "vault.policy", "name": "reader", "rules": { "secret/data/*": ["read"] } },
    }));
    cluster.edit(|plan| plan["backup"] = json!({ "stores": [{ "file": "backups" }] }));
}

/// A request as root, which must succeed.
pub fn ask(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = cluster.ask(method, "", path, body);
    assert!(status < 300, "{method} {path}: {status} {answer}");
    answer
}

/// Writes the password of `secret/app/db`.
pub fn write_secret(cluster: &Cluster, value: &str) {
    ask(cluster, "POST", "secret/data/app/db", &json!({ "data": { "password": value, "user": "app" } }));
}

/// The password of `secret/app/db`.
pub fn password(cluster: &Cluster) -> String {
    let live = ask(cluster, "GET", "secret/data/app/db", &Value::Null);
    text_of(&live["data"]["data"]["password"]).to_owned()
}

/// What each node says for itself: the status of `path`.
pub fn on_each_node(cluster: &Cluster, path: &str) -> Vec<u16> {
    let (token, http) = (cluster.root_token(), cluster.environment.http());
    let addresses = cluster.environment.sandbox.vault_addrs();
    let asked = addresses.into_iter().map(|address| {
        let request = http.get(format!("{address}/v1/{path}")).header("X-Vault-Token", token.clone());
        async { request.send().await.expect("an answer").status().as_u16() }
    });
    block_on(futures::future::join_all(asked))
}

#[test]
fn one_secret_is_restored_with_check_and_set() {
    let cluster = Cluster::new("one");
    declare(&cluster);
    cluster.apply(&[]);
    for value in ["first", CANARY] {
        write_secret(&cluster, value);
    }
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    write_secret(&cluster, "mistake");
    let restore =
        |secret: &str| cluster.run(&["restore", "plan.yaml", "--latest", "--secret", secret, "--yes"]);
    let ran = restore("secret/app/db");
    assert!(ran.code == 0 && ran.stdout.contains("secret/app/db has version 4 now"), "{ran:?}");
    assert!(ran.stdout.contains("fields that differ: password\n"), "only the names: {ran:?}");
    assert_eq!(password(&cluster), CANARY);
    let again = restore("secret/app/db");
    assert!(again.code == 0 && again.stdout.contains("is the same as version 2"), "{again:?}");
    assert_eq!(restore("secret/app/db@1").code, 0);
    assert_eq!(password(&cluster), "first");
    let absent = restore("secret/app/nothing");
    assert!(absent.code == 1 && absent.stderr.contains("the backup has no secret"), "{absent:?}");
    let absent = restore("secret/app/db@7");
    assert!(absent.code == 1 && absent.stderr.contains("it knows the versions 1, 2"), "{absent:?}");
    // One that is gone altogether begins anew.
    ask(&cluster, "DELETE", "secret/metadata/app/db", &Value::Null);
    assert!(restore("secret/app/db").stdout.contains("has version 1 now"));
    assert_eq!(password(&cluster), CANARY);
    assert!(!format!("{ran:?}{again:?}").contains(CANARY));
}

/// Standbys keep the mounts and policies of before in memory, and a restore that a standby gets does nothing but
/// seal it: the program finds the leader, proves the effect, and has every other node read its tables again.
#[test]
fn restore_reaches_the_leader_and_reloads_every_standby() {
    let cluster = Cluster::with("whole", Settings { nodes: 3, ..Settings::default() });
    declare(&cluster);
    cluster.apply(&[]);
    write_secret(&cluster, CANARY);
    let doomed = ask(&cluster, "POST", "auth/token/create", &json!({ "policies": ["reader"] }));
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);

    write_secret(&cluster, "later");
    ask(&cluster, "DELETE", "sys/policies/acl/reader", &Value::Null);
    ask(&cluster, "POST", "sys/mounts/later", &json!({ "type": "kv" }));
    let accessor = &doomed["auth"]["accessor"];
    ask(&cluster, "POST", "auth/token/revoke-accessor", &json!({ "accessor": accessor }));

    let restore = |more: &[&str]| cluster.run(&[&["restore", "plan.yaml", "--latest"], more].concat());
    let unconfirmed = restore(&["--yes"]);
    assert!(unconfirmed.code == 1 && unconfirmed.stderr.contains("--confirm whole"), "{unconfirmed:?}");
    for expected in [
        "is lost  secrets engine later/",
        "comes back  policy reader",
        "secret secret/app/db: version 2 becomes version 1",
        "1 tokens that were revoked or have expired since are good again",
    ] {
        assert!(unconfirmed.stdout.contains(expected), "{expected}: {unconfirmed:?}");
    }
    assert_eq!(password(&cluster), "later", "nothing was changed");
    assert_eq!(restore(&["--confirm", "other"]).code, 1);

    let ran = restore(&["--confirm", "whole"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.matches("has read its tables again").count(), 2, "{ran:?}");
    assert_eq!(password(&cluster), CANARY);
    assert_eq!(on_each_node(&cluster, "sys/policies/acl/reader"), [200; 3]);
    assert_eq!(on_each_node(&cluster, "sys/mounts/later/tune"), [400; 3]);
    let token = text_of(&doomed["auth"]["client_token"]).to_owned();
    assert!(!format!("{unconfirmed:?}{ran:?}").contains(CANARY) && !ran.stdout.contains(&token));
    let same = restore(&["--yes"]);
    assert!(same.stdout.contains("are the same as in the backup"), "{same:?}");
}

/// A backup goes into the nodes that are there, and a person is told which one is not.
#[test]
fn dead_node_does_not_keep_a_backup_from_the_others() {
    let cluster = Cluster::with("lacking", Settings { nodes: 3, ..Settings::default() });
    declare(&cluster);
    cluster.apply(&[]);
    write_secret(&cluster, CANARY);
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    write_secret(&cluster, "later");
    let mut servers = Vec::new();
    // First a standby, and then the leader, when another one has taken its place.
    for dead in ["vault-3", "vault-1"] {
        let place = usize::from(dead == "vault-3") * 2;
        let address = cluster.environment.sandbox.vault_addrs()[place].clone();
        cluster.environment.lose(dead);
        let ran = cluster.run(&["restore", "plan.yaml", "--latest", "--confirm", "lacking"]);
        assert!(ran.stdout.contains("has read its tables again"), "the standby that is there: {ran:?}");
        let told = format!("start the server {address}");
        assert!(ran.code == 1 && ran.stdout.contains(&told), "`verify` misses it, too: {ran:?}");
        servers.push(cluster.environment.revive());
        let mended = cluster.run(&["apply", "plan.yaml", "--yes"]);
        assert_eq!(mended.code, 0, "the empty server joins: {mended:?}");
        assert_eq!(password(&cluster), CANARY, "{ran:?}");
        assert_eq!(on_each_node(&cluster, "sys/policies/acl/reader"), [200; 3]);
        write_secret(&cluster, "later");
        // A server that has just joined gets its vote after a while.
        let voting = std::time::Instant::now();
        while cluster.run(&["verify", "plan.yaml"]).code != 0 {
            assert!(voting.elapsed() < VOTES_WITHIN, "the new server does not vote");
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
    }
}

/// The backups in the plan's folder, the oldest first.
fn backups(cluster: &Cluster) -> Vec<PathBuf> {
    let mut found = files(&cluster.environment.folder.join("backups"));
    found.retain(|file| file.extension().is_some_and(|end| end == "snap"));
    found.sort();
    found
}

/// The admin's credential in custody is younger than what a backup knows, in which the root token may live.
#[test]
fn login_of_the_plan_is_regained_from_the_root_token_or_an_earlier_credential() {
    const YOUNGER: &str = "the admin's login in custody was younger than the backup; admin has a new one";
    const CAME_BACK: &str = "the root token had come back, and is revoked again";
    let cluster = Cluster::new("regained");
    declare(&cluster);
    let all = ["create", "read", "update", "delete", "list", "sudo"];
    cluster.edit(|plan| {
        let steps = &mut plan["steps"];
        steps["approle"] = json!({ "kind": "vault.auth_method", "type": "approle" });
        steps["policy"] = json!({ "kind": "vault.policy", "name": "admin", "rules": {
            "sys/*": all, "auth/*": all, "secret/*": all } });
        steps["role"] = json!({ "kind": "vault.approle_role", "name": "admin",
                                "token_policies": ["{{ policy.name }}"] });
    });
    cluster.apply(&[]);
    let root = cluster.root_token();
    let root_answers = || cluster.ask("GET", "", "auth/token/lookup-self", &Value::Null).0;
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    cluster.edit(|plan| {
        plan["steps"]["root_token"] =
            json!({ "kind": "vault.root_token", "admin": { "approle": { "role": "{{ role.name }}" } } });
    });
    cluster.apply(&[]);
    assert_eq!(root_answers(), 403, "the root token is revoked");
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    let [with_root, without_root] = &backups(&cluster)[..] else { panic!("two backups") };

    let restore = |from: &PathBuf| {
        let from = from.display().to_string();
        let ran = cluster.run(&["restore", "plan.yaml", "--from", &from, "--confirm", "regained"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(!format!("{ran:?}").contains(&root), "{ran:?}");
        assert_eq!(root_answers(), 403, "{ran:?}");
        let summary = crate::support::summary(&cluster.apply(&[])).clone();
        assert_eq!(summary["api_calls"]["write"], 0, "{summary:#}");
        ran.stdout
    };
    let told = restore(with_root);
    assert!(told.contains(YOUNGER) && told.contains(CAME_BACK), "{told}");
    // Now the admin's first credential is the one that the server knows.
    let told = restore(without_root);
    assert!(told.contains(YOUNGER) && !told.contains(CAME_BACK), "{told}");
}

/// An `apply` of another machine would write into what goes back in time.
#[test]
fn restore_holds_the_lock_that_other_machines_see() {
    const PATH: &str = "gw-state/env/terraform.tfstate";
    let cluster = Cluster::new("held");
    declare(&cluster);
    cluster.edit(|plan| {
        plan["aws"] = json!({ "region": "us-east-1" });
        plan["lock"] = json!({ "dynamodb": "{{ table.name }}", "key": PATH });
        plan["steps"]["table"] =
            json!({ "kind": "aws.dynamodb_table", "name": "gw-held", "preset": "terraform_lock" });
    });
    cluster.apply(&[]);
    write_secret(&cluster, CANARY);
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    write_secret(&cluster, "later");
    let info = json!({ "ID": "of-ann", "Operation": "apply", "Info": "", "Who": "ann@build-7", "Version": "1.11.0",
                       "Created": "2026-01-02T03:04:05Z", "Path": PATH });
    put_lock_item(&cluster.environment, "gw-held", PATH, &info.to_string());
    let restore = |more: &[&str]| {
        cluster.run(&[&["restore", "plan.yaml", "--latest", "--confirm", "held"], more].concat())
    };
    let held = restore(&[]);
    assert!(held.code == 1 && held.stderr.contains("is locked by ann@build-7"), "{held:?}");
    assert_eq!(password(&cluster), "later");
    let ran = restore(&["--without-shared-lock"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(password(&cluster), CANARY);
    assert!(lock_item(&cluster.environment, "gw-held", PATH).is_some(), "the lock stays Ann's");
    assert_eq!(cluster.run(&["unlock", "--id", "of-ann", "plan.yaml"]).code, 0);
    let ran = restore(&[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(lock_item(&cluster.environment, "gw-held", PATH).is_none(), "it is given back");
}
