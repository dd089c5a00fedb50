//! A cluster is the same one under any of its addresses; a stranger that repeats its id is not.

use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use crate::cluster::seal_status;
use crate::listener::{self, Listener};
use crate::support::{Cluster, Ran, block_on};

/// The same server under another name.
fn alias(address: &str) -> String {
    address.replace("127.0.0.1", "localhost")
}

/// Runs the program with one address of Vault and no list of nodes.
fn run_at(cluster: &Cluster, address: &str, arguments: &[&str]) -> Ran {
    let mut command = cluster.command(arguments);
    command.env("VAULT_ADDR", address).env_remove("GROUNDWORK_VAULT_NODES");
    Ran::of(command.output().expect("the program starts"))
}

/// Requires that nothing is to be done at this address.
fn require_in_sync(cluster: &Cluster, address: &str) {
    let ran = run_at(cluster, address, &["plan", "plan.yaml", "--format", "json"]);
    let plan: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("no changeset: {ran:?}"));
    for step in plan["steps"].as_array().expect("steps") {
        assert_eq!(step["action"], "none", "at {address}: {plan:#} {}", ran.stderr);
    }
}

/// Seals one node, past the program.
fn seal(cluster: &Cluster, address: &str) {
    let request = cluster.environment.http().put(format!("{address}/v1/sys/seal"));
    let answer = block_on(request.header("X-Vault-Token", cluster.root_token()).send()).expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
    assert_eq!(is_sealed(cluster, address), true);
}

fn is_sealed(cluster: &Cluster, address: &str) -> Value {
    seal_status(&cluster.environment.http(), address)["sealed"].clone()
}

/// Has the plan itself name Vault's address.
fn declare_address(cluster: &Cluster, address: &str) {
    cluster.edit(|plan| plan["vault"] = json!({ "address": address }));
    cluster.environment.allow("plan.yaml", &[&format!("--trust=vault={address}")]);
}

/// A policy, and an admin in the place of the root token.
fn with_admin() -> Value {
    let all = ["create", "read", "update", "delete", "list", "sudo"];
    json!({
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "policy": { "kind": "vault.policy", "name": "admin", "rules": {
            "sys/*": all, "auth/*": all,
        } },
        "role": { "kind": "vault.approle_role", "name": "admin", "token_policies": ["{{ policy.name }}"] },
        "root_token": { "kind": "vault.root_token", "admin": { "approle": { "role": "{{ role.name }}" } } },
    })
}

#[test]
fn cluster_is_found_in_custody_under_another_address() {
    let cluster = Cluster::new("addresses");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let own = cluster.environment.sandbox.vault_addrs()[0].clone();
    let other = alias(&own);
    require_in_sync(&cluster, &other);

    // Sealed, it does not say which cluster it is of, and without TLS nothing proves it.
    seal(&cluster, &own);
    let flag = format!("node={other}");
    let refused = run_at(&cluster, &other, &["unseal", "plan.yaml"]);
    assert!(refused.code != 0 && refused.stderr.contains(&format!("--trust {flag}")), "{refused:?}");
    assert_eq!(is_sealed(&cluster, &own), true);
    let opened = run_at(&cluster, &other, &["unseal", "plan.yaml", "--trust", &flag]);
    assert!(opened.code == 0 && opened.stdout.contains(&format!("{other}: unsealed")), "{opened:?}");
    // It is on record from now on.
    seal(&cluster, &own);
    let opened = run_at(&cluster, &other, &["unseal", "plan.yaml"]);
    assert_eq!((opened.code, is_sealed(&cluster, &own)), (0, json!(false)), "{opened:?}");
    require_in_sync(&cluster, &other);
    require_in_sync(&cluster, &own);
    let checked = run_at(&cluster, &other, &["custody", "check", "plan.yaml"]);
    assert_eq!(checked.code, 0, "{checked:?}");

    cluster.declare(&with_admin());
    let applied = run_at(&cluster, &other, &["apply", "plan.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let command = ["login", "plan.yaml", "--", "sh", "-c", "test -n \"$VAULT_TOKEN\" && echo $VAULT_ADDR"];
    for address in [&other, &own] {
        let ran = run_at(&cluster, address, &command);
        assert!(ran.code == 0 && ran.stdout.trim() == *address, "{ran:?}");
        require_in_sync(&cluster, address);
    }
}

/// Without a list of nodes, and through the names that the certificate proves.
#[test]
fn standby_alone_leads_to_what_custody_has_of_the_cluster() {
    let cluster = Cluster::with("standby", Settings { nodes: 3, tls: true, ..Settings::default() });
    cluster.declare(&json!({ "engine": { "kind": "vault.mount", "path": "app", "type": "kv" } }));
    cluster.apply(&[]);
    let standby = cluster.environment.sandbox.vault_addrs()[1].clone();
    require_in_sync(&cluster, &standby);
    seal(&cluster, &standby);
    let opened = run_at(&cluster, &standby, &["unseal", "plan.yaml"]);
    assert_eq!((opened.code, is_sealed(&cluster, &standby)), (0, json!(false)), "{opened:?}");

    // The plan's own word for an address that may get credentials; the server's key is on record.
    let (other, own) = (alias(&standby), &cluster.environment.sandbox.vault_addrs()[0]);
    declare_address(&cluster, &other);
    require_in_sync(&cluster, own);
    seal(&cluster, &standby);
    let opened = run_at(&cluster, own, &["unseal", "plan.yaml"]);
    assert_eq!((opened.code, is_sealed(&cluster, &standby)), (0, json!(false)), "{opened:?}");
    assert!(opened.stdout.contains(&format!("{other}: unsealed")), "{opened:?}");
}

/// A server that answers as the cluster would, as far as anybody can know.
fn stranger(id: &str, sealed: bool) -> Listener {
    let status = json!({
        "type": "shamir", "initialized": true, "sealed": sealed, "t": 1, "n": 1, "cluster_id": id,
        "standby": false, "version": "2.7.2", "data": { "id": "x" },
        "auth": { "client_token": "hvs.theirs" },
    });
    let status = status.to_string();
    Listener::start(move |_| Some(listener::json("200 OK", &status)))
}

#[test]
fn stranger_with_the_clusters_id_gets_no_share_and_no_credential() {
    let cluster = Cluster::new("repeated");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let own = cluster.environment.sandbox.vault_addrs()[0].clone();
    let status = seal_status(&cluster.environment.http(), &own);
    let id = status["cluster_id"].as_str().expect("it is unsealed");
    let root = cluster.root_token();
    let engine = json!({ "engine": { "kind": "vault.mount", "path": "app", "type": "kv" } });
    let commands = [
        &["plan", "plan.yaml"][..],
        &["apply", "plan.yaml", "--yes"],
        &["unseal", "plan.yaml"],
        &["login", "plan.yaml", "--", "true"],
    ];
    // The root token first, then an admin's credential.
    for steps in [engine, with_admin()] {
        for sealed in [false, true] {
            let stranger = stranger(id, sealed);
            cluster.declare(&steps);
            declare_address(&cluster, &stranger.address);
            for arguments in commands {
                let ran = run_at(&cluster, &own, arguments);
                let shown = format!("{} {}", ran.stdout, ran.stderr);
                let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
                // There is nothing to unseal in one that says that it is open.
                let is_idle = arguments[0] == "unseal" && !sealed;
                assert!(is_idle || ran.code != 0, "{arguments:?}: {ran:?}");
                let flag = format!("--trust node={}", stranger.address);
                assert!(
                    sealed || arguments[0] == "unseal" || shown.contains(&flag),
                    "{arguments:?}: {shown}"
                );
            }
            let heard = stranger.heard();
            assert!(heard.contains("sys/seal-status"), "it was never asked");
            for word in [root.as_str(), "/sys/unseal", "role_id", "X-Vault-Token: hvs", "/login"] {
                assert!(!heard.to_lowercase().contains(&word.to_lowercase()), "it heard {word}: {heard}");
            }
        }
        cluster.declare(&with_admin());
        let applied = cluster.run(&["apply", "plan.yaml", "--yes"]);
        assert_eq!(applied.code, 0, "{applied:?}");
    }
}
