//! Removals in Vault: what lies in a mount or a namespace, and what goes only with it.

use serde_json::{Value, json};

use crate::lifecycle::{Life, changing, without};
use crate::removal::{lost, reason};

#[test]
fn mount_removal_shows_foreign_content_and_removes_keys() {
    let steps = json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2, "protect": false },
        "own": { "kind": "vault.kv_secret", "mount": "secret", "path": "app/own", "protect": false,
                 "data": { "user": "app" } },
        "transit": { "kind": "vault.mount", "path": "transit", "type": "transit", "protect": false },
        "key": { "kind": "vault.transit_key", "name": "payments", "protect": false },
    });
    let life = Life::with(&steps);
    let foreign = json!({ "data": { "user": "other" } });
    assert_eq!(life.vault("POST", "secret/data/other", &foreign).0, 200);

    life.declare(&without(&steps, &["key"]), &json!({}));
    let shown = life.plan(&["--prune"]);
    assert_eq!(changing(&shown), [("key", "blocked")]);
    assert!(reason(&shown, "key").contains("deletion_allowed"), "{shown:#}");

    life.declare(&steps, &json!({}));
    let shown = life.plan(&["--destroy"]);
    let all = [("key", "delete"), ("kv", "delete"), ("own", "delete"), ("transit", "delete")];
    assert_eq!(changing(&shown), all);
    assert_eq!(lost(&shown, "kv"), [("content".to_owned(), json!(["secret/other"]))]);
    assert_eq!((lost(&shown, "transit"), reason(&shown, "key")), (vec![], "removed with `transit`"));
    let ran = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let again = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{again:?}");
}

#[test]
fn shared_key_issuer_is_removed_only_with_mount() {
    let steps = json!({
        "pki": { "kind": "vault.mount", "path": "pki", "type": "pki", "max_lease_ttl": "87600h", "protect": false },
        "root": { "kind": "vault.pki_ca", "mount": "pki", "name": "root-a", "common_name": "Root A",
                  "key_type": "ec", "ttl": "3650d", "protect": false },
    });
    let life = Life::with(&steps);
    let other = json!({ "common_name": "Root B", "issuer_name": "root-b", "key_ref": "root-a" });
    assert_eq!(life.vault("POST", "pki/root/generate/existing", &other).0, 200);

    life.declare(&without(&steps, &["root"]), &json!({}));
    let shown = life.plan(&["--prune"]);
    assert_eq!(changing(&shown), [("root", "blocked")]);
    assert!(reason(&shown, "root").contains("the issuer `root-b` uses its key"), "{shown:#}");
    life.declare(&steps, &json!({}));
    let shown = life.plan(&["--destroy"]);
    assert_eq!(changing(&shown), [("pki", "delete"), ("root", "delete")]);
    assert_eq!(lost(&shown, "pki"), [("content".to_owned(), json!(["pki/root-b"]))]);
    let ran = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn namespace_with_a_foreign_child_is_kept() {
    let steps = json!({
        "team": { "kind": "vault.namespace", "name": "team", "protect": false },
        "project": { "kind": "vault.namespace", "namespace": "team", "name": "project", "protect": false },
        "kv": { "kind": "vault.mount", "namespace": "team", "path": "own", "type": "kv", "protect": false },
        "alone": { "kind": "vault.namespace", "name": "alone", "protect": false },
    });
    let life = Life::with(&steps);
    assert_eq!(life.vault("POST", "alone/sys/namespaces/child", &json!({})).0, 200);
    assert_eq!(life.vault("POST", "team/sys/mounts/foreign", &json!({ "type": "kv" })).0, 204);
    let shown = life.plan(&["--destroy"]);
    let all = [("alone", "blocked"), ("kv", "delete"), ("project", "delete"), ("team", "delete")];
    assert_eq!(changing(&shown), all);
    assert!(reason(&shown, "alone").contains("it contains the namespace `child`"), "{shown:#}");
    assert_eq!(lost(&shown, "team"), [("mounts".to_owned(), json!(["foreign"]))]);
    let ran = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(life.vault("GET", "sys/namespaces/alone", &Value::Null).0, 200);
    // It can be read until everything in it is gone.
    let (status, team) = life.vault("GET", "sys/namespaces/team", &Value::Null);
    assert!(status == 404 || team["data"]["tainted"] == true, "{team:#}");
}

#[test]
fn role_shows_the_secret_ids_of_others() {
    let steps = json!({
        "approle": { "kind": "vault.auth_method", "type": "approle", "protect": false },
        "ci": { "kind": "vault.approle_role", "name": "ci" },
        "runner": { "kind": "vault.approle_secret_id", "role": "ci", "name": "runner",
                    "deliver": { "file": "runner.json" } },
    });
    let life = Life::with(&steps);
    let (_, made) = life.vault("POST", "auth/approle/role/ci/secret-id", &json!({}));
    let accessor = made["data"]["secret_id_accessor"].clone();
    assert!(accessor.is_string(), "{made:#}");
    let shown = life.plan(&["--destroy"]);
    assert_eq!(lost(&shown, "ci"), [("secret_ids".to_owned(), json!([accessor]))], "and not the plan's own");
    let ran = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}
