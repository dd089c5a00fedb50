//! The least policy of Vault for `rotate`, on a real server: each part of it is needed in some phase.

use std::time::Duration;

use serde_json::json;

use super::vault::{Operator, rights, rules_for, without};
use crate::support::Cluster;

#[test]
fn rotation_needs_each_capability_of_its_policy() {
    let cluster = Cluster::new("turning");
    cluster.declare(&json!({
        "kv": { "kind": "vault.mount", "path": "kv", "type": "kv", "version": 2 },
        "transit": { "kind": "vault.mount", "path": "transit", "type": "transit" },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "people": { "kind": "vault.auth_method", "type": "userpass" },
        "db": { "kind": "vault.kv_secret", "mount": "kv", "path": "db",
                "data": { "password": { "generate": { "length": 24 } } } },
        "app": { "kind": "vault.userpass_user", "name": "app", "password": { "secret": "db.data.password" } },
        "orders": { "kind": "vault.transit_key", "mount": "transit", "name": "orders" },
        "role": { "kind": "vault.approle_role", "name": "app", "token_policies": ["default"], "token_ttl": "1h" },
        "login": { "kind": "vault.approle_secret_id", "role": "{{ role.name }}", "name": "one",
                   "deliver": { "file": "login.json" }, "overlap": "1s" },
    }));
    cluster.apply(&[]);
    let operator = Operator::new(&cluster);
    // The secret-id goes in two phases.
    let phases: [&[&str]; 2] = [
        &["rotate", "plan.yaml", "db", "orders", "login", "--yes"],
        &["rotate", "plan.yaml", "login", "--yes"],
    ];
    // The first run that fails, or the journal where a rotation has not ended.
    let rotates = || {
        for words in phases {
            let ran = operator.run(words);
            if ran.code != 0 {
                return Some(ran);
            }
            std::thread::sleep(Duration::from_millis(1500));
        }
        let journal = cluster.run(&["journal", "plan.yaml"]);
        (!journal.stdout.contains("Nothing is open.")).then_some(journal)
    };
    let finished = || {
        for _ in 0..5 {
            let ran = cluster.run(&["rotate", "plan.yaml", "--due", "--yes"]);
            if ran.code == 0 {
                return;
            }
            assert_eq!(ran.code, 2, "{ran:?}");
            std::thread::sleep(Duration::from_millis(1500));
        }
        panic!("a rotation does not end");
    };
    let all = rules_for(&cluster, "rotate");
    operator.give(&all);
    assert!(rotates().is_none_or(|ran| panic!("the whole policy suffices: {ran:?}")));
    finished();
    let each = rights(&all);
    let mut spared = Vec::new();
    for (path, capability) in &each {
        operator.give(&without(&all, path, capability));
        // Only for a secret that another hand has deleted.
        let is_of_drift = path == "kv/undelete/db";
        if rotates().is_none() && !is_of_drift {
            spared.push((path, capability));
        }
        finished();
    }
    println!("{} rights, {} needed", each.len(), each.len() - spared.len());
    assert!(spared.is_empty(), "it goes well without {spared:?}");
}
