//! States of Vault that were not made by the program: deleted versions, metadata and fields of others,
//! wider policies, another signer. Nothing of it is lost, and nothing of it counts as declared.

use serde_json::{Value, json};

use crate::support::{Cluster, Ran, paths, step};

fn write(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Value {
    let (status, answer) = cluster.ask(method, "", path, body);
    assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
    answer["data"].clone()
}

fn read(cluster: &Cluster, path: &str) -> Value {
    write(cluster, "GET", path, &Value::Null)
}

fn password(cluster: &Cluster) -> Value {
    let password = read(cluster, "kv/data/app")["data"]["password"].clone();
    assert_eq!(password.as_str().map(str::len), Some(32));
    password
}

/// The note beside the first change of a step.
fn note(changeset: &Value, id: &str) -> String {
    step(changeset, id)["changes"][0]["note"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn kv_secrets_recover_from_changes_by_others() {
    let cluster = Cluster::new("kv-state");
    let secret = json!({
        "kind": "vault.kv_secret", "mount": "kv", "path": "app", "metadata": { "owner": "platform" },
        "delete_version_after": "720h",
        "data": { "user": "app", "password": { "generate": {} }, "uri": { "template": "x://{{ data.password }}" } },
    });
    let mut steps = json!({
        "kv": { "kind": "vault.mount", "path": "kv", "type": "kv" },
        "limits": { "kind": "vault.kv_config", "mount": "kv", "max_versions": 7 },
    });
    cluster.declare(&steps);
    cluster.apply(&[]);
    // Metadata of others at a path that has no version yet.
    let others = json!({ "custom_metadata": { "seen_by": "audit" }, "cas_required": true });
    write(&cluster, "POST", "kv/metadata/app", &others);
    steps["app"] = secret;
    cluster.declare(&steps);
    cluster.apply(&[]);
    let metadata = read(&cluster, "kv/metadata/app");
    assert_eq!(metadata["custom_metadata"], json!({ "owner": "platform", "seen_by": "audit" }));
    assert_eq!(metadata["cas_required"], true);
    assert_ne!(metadata["versions"]["1"]["deletion_time"], "", "the first version ends, too: {metadata}");

    let made = password(&cluster);
    write(&cluster, "DELETE", "kv/data/app", &Value::Null);
    let plan = cluster.plan();
    assert_eq!(paths(step(&plan, "app")), ["deleted"]);
    assert!(note(&plan, "app").contains("undeleted first"), "{plan:#}");
    cluster.apply(&[]);
    assert_eq!(password(&cluster), made, "the deleted value is back");
    assert_eq!(read(&cluster, "kv/data/app")["metadata"]["version"], 1);

    // A value that says nothing is not one that was made, and no template writes the word.
    let nothing = json!({ "data": { "password": null, "uri": "x://:null" }, "options": { "cas": 1 } });
    write(&cluster, "POST", "kv/data/app", &nothing);
    assert!(cluster.plan().to_string().contains("the live value is empty"));
    cluster.apply(&[]);
    let again = password(&cluster);
    let uri = read(&cluster, "kv/data/app")["data"]["uri"].clone();
    assert_eq!(uri, format!("x://{}", again.as_str().unwrap_or_default()));

    write(&cluster, "POST", "kv/destroy/app", &json!({ "versions": [3] }));
    let plan = cluster.plan();
    assert!(plan.to_string().contains("version 3 was destroyed"), "{plan:#}");
    cluster.apply(&[]);
    assert_ne!(password(&cluster), again);
    without_patch(&cluster, &mut steps);
}

/// The database is made later, by whom the engine does not know.
#[test]
fn connection_can_precede_its_database() {
    let cluster = Cluster::new("early-connection");
    let mut steps = json!({
        "engine": { "kind": "vault.mount", "path": "database", "type": "database" },
        "orders": {
            "kind": "vault.database_connection", "name": "orders", "plugin_name": "postgresql-database-plugin",
            "connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/orders", "username": "vault",
            "password": { "file": "password" },
        },
    });
    cluster.environment.write("password", "of a user to come");
    cluster.declare(&steps);
    let ran = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert!(ran.code != 0 && format!("{ran:?}").contains("verifying connection"), "{ran:?}");
    steps["orders"]["verify_connection"] = json!(false);
    cluster.declare(&steps);
    cluster.apply(&[]);
    assert_eq!(step(&cluster.plan(), "orders")["action"], "none");
    steps["orders"]["allowed_roles"] = json!(["app"]);
    cluster.declare(&steps);
    cluster.apply(&[]);
    assert_eq!(read(&cluster, "database/config/orders")["allowed_roles"], json!(["app"]));
}

/// A token that may not patch writes the whole secret, and keeps what others have in it.
fn without_patch(cluster: &Cluster, steps: &mut Value) {
    let policy = "path \"kv/*\" { capabilities = [\"create\", \"read\", \"update\", \"list\"] }\n\
                  path \"sys/*\" { capabilities = [\"read\", \"list\"] }";
    write(cluster, "POST", "sys/policies/acl/no-patch", &json!({ "policy": policy }));
    let token = write_whole(cluster, "auth/token/create", &json!({ "policies": ["no-patch"] }));
    let live = read(cluster, "kv/data/app");
    let mut data = live["data"].clone();
    (data["note"], data["port"], data["share"]) = (Value::Null, json!(5432), json!(0.25));
    let version = &live["metadata"]["version"];
    write(cluster, "POST", "kv/data/app", &json!({ "data": data, "options": { "cas": version } }));
    steps["app"]["data"]["user"] = json!("other");
    cluster.declare(steps);
    let run = |arguments: &[&str]| {
        let mut command = cluster.environment.command(arguments);
        Ran::of(command.env("VAULT_TOKEN", &token).output().expect("the program starts"))
    };
    let ran = run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let after = read(cluster, "kv/data/app")["data"].clone();
    let expected = json!({ "user": "other", "note": null, "port": 5432, "share": 0.25 });
    for (name, value) in expected.as_object().expect("fields") {
        assert_eq!(after.get(name), Some(value), "{name} in {after}");
    }
    // A number that would not be written as it was read is not written at all.
    data = after;
    data["large"] = json!(1.234_567_890_123_456_8e29);
    let version = read(cluster, "kv/data/app")["metadata"]["version"].clone();
    write(cluster, "POST", "kv/data/app", &json!({ "data": data, "options": { "cas": version } }));
    steps["app"]["data"]["user"] = json!("third");
    cluster.declare(steps);
    let ran = run(&["apply", "plan.yaml", "--yes"]);
    assert!(ran.code != 0 && format!("{ran:?}").contains("capability `patch`"), "{ran:?}");
    assert_eq!(read(cluster, "kv/data/app")["data"]["user"], "other");
}

/// As [`write`], for an answer whose token counts.
fn write_whole(cluster: &Cluster, path: &str, body: &Value) -> String {
    let (status, answer) = cluster.ask("POST", "", path, body);
    assert_eq!(status, 200, "{answer}");
    answer["auth"]["client_token"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn wider_policy_or_other_signer_is_a_difference() {
    let cluster = Cluster::new("state");
    let ca = |mount: &str, name: &str| {
        json!({ "kind": "vault.pki_ca", "mount": mount, "name": name, "common_name": format!("State {name}"),
                "ttl": "240h" })
    };
    let mut steps = json!({
        "reader": { "kind": "vault.policy", "name": "reader", "rules": { "kv/data/app": ["read"] } },
        "other_engine": { "kind": "vault.mount", "path": "pki-other", "type": "pki", "max_lease_ttl": "480h" },
        "other": ca("pki-other", "other"),
    });
    // Root and intermediate in one engine, several times: the server lists issuers in no order.
    for index in 0..5 {
        let mount = format!("pki-{index}");
        steps[format!("engine_{index}")] =
            json!({ "kind": "vault.mount", "path": mount, "type": "pki", "max_lease_ttl": "480h" });
        steps[format!("root_{index}")] = ca(&mount, "root");
        let mut below = ca(&mount, "issuing");
        below["signed_by"] = json!({ "mount": mount, "issuer": "root" });
        below["default"] = json!(true);
        steps[format!("issuing_{index}")] = below;
    }
    cluster.declare(&steps);
    cluster.apply(&[]);
    for index in 0..5 {
        let of = |name: &str| read(&cluster, &format!("pki-{index}/issuer/{name}"));
        let (root, issuing) = (of("root"), of("issuing"));
        assert_ne!(root["issuer_id"], issuing["issuer_id"], "{index}");
        assert_ne!(root["key_id"], issuing["key_id"], "{index}");
        let default = read(&cluster, &format!("pki-{index}/config/issuers"));
        assert_eq!(default["default"], issuing["issuer_id"], "{index}");
    }

    let wider = "path \"kv/data/app\" {\n capabilities = [\"read\"]\n policy = \"write\"\n}";
    write(&cluster, "POST", "sys/policies/acl/reader", &json!({ "policy": wider }));
    let twice = "path \"kv/data/app\" {\n capabilities = [\"delete\"]\n capabilities = [\"read\"]\n}";
    steps["issuing_0"]["signed_by"] = json!({ "mount": "pki-other", "issuer": "other" });
    cluster.declare(&steps);
    let plan = cluster.plan();
    assert_eq!(step(&plan, "reader")["action"], "update");
    assert_eq!(paths(step(&plan, "issuing_0")), ["signed_by"]);
    assert_eq!(step(&plan, "issuing_0")["action"], "blocked");
    assert_eq!(step(&plan, "issuing_1")["action"], "none");
    write(&cluster, "POST", "sys/policies/acl/reader", &json!({ "policy": twice }));
    assert_eq!(step(&cluster.plan(), "reader")["action"], "update");
    write(&cluster, "POST", "pki-1/issuer/issuing/revoke", &json!({}));
    assert_eq!(paths(step(&cluster.plan(), "issuing_1")), ["revoked"]);
}
