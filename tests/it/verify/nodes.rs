//! What only several nodes, or the passing of time, can get wrong.

use std::time::{Duration, Instant};

use groundwork::sandbox::Settings;
use serde_json::json;

use super::verify;
use crate::restore::{declare, on_each_node};
use crate::support::{Cluster, block_on, files};

/// How long the servers may take to agree again.
const CATCH_UP: Duration = Duration::from_mins(1);

fn until(is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < CATCH_UP, "the servers do not agree");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Gives the leader a backup by its own API alone, which leaves every standby as it was.
fn restore_on_the_leader_only(cluster: &Cluster) {
    let backups = files(&cluster.environment.folder.join("backups"));
    let snapshot = backups.iter().find(|file| file.extension().is_some_and(|end| end == "snap"));
    let bytes = std::fs::read(snapshot.expect("a backup")).expect("readable");
    let url = format!("{}/v1/sys/storage/raft/snapshot-force", cluster.environment.sandbox.vault_addrs()[0]);
    let request = cluster.environment.http().put(url).header("X-Vault-Token", cluster.root_token());
    let answer = block_on(request.body(bytes).send()).expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
}

#[test]
fn nodes_that_differ_and_an_authority_that_ends_soon_are_found() {
    let cluster = Cluster::with("nodes", Settings { nodes: 3, ..Settings::default() });
    declare(&cluster);
    cluster.edit(|plan| {
        plan["steps"]["pki"] = json!({ "kind": "vault.mount", "path": "pki", "type": "pki" });
        plan["steps"]["authority"] = json!({
            "kind": "vault.pki_ca", "mount": "pki", "name": "root", "common_name": "Test", "ttl": "240h",
        });
    });
    cluster.apply(&[]);
    let same = "the same engines, methods and policies on every node";
    let seen = verify(&cluster, &[]);
    assert_eq!(seen.with("failed"), ["authority: its certificate is good for a while"], "{:#}", seen.report);
    assert!(seen.proves("cluster", same), "{:#}", seen.report);

    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    let (status, _) = cluster.ask("POST", "", "sys/mounts/later", &json!({ "type": "kv" }));
    assert_eq!(status, 204);
    until(|| on_each_node(&cluster, "sys/mounts/later/tune") == [200; 3]);
    restore_on_the_leader_only(&cluster);
    // The servers count on each other again after a while; what a standby has in memory stays.
    until(|| verify(&cluster, &[]).with("failed").len() == 2);
    let seen = verify(&cluster, &[]);
    let differs = format!("cluster: {same}");
    assert_eq!(seen.with("failed"), [differs.as_str(), "authority: its certificate is good for a while"]);
    assert!(seen.report.to_string().contains("engine later/ is there, and is not on the others"), "{seen:?}");
}
