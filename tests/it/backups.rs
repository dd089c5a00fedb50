//! Backups of a real Vault: taken, proven, stored in several places, and kept.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::aws::{config_with, credentials};
use crate::support::{Cluster, Ran, block_on, files};

/// What must never be seen outside of Vault.
const CANARY: &str = "canary-of-the-backup-5b1e";

/// A cluster with a secret in two versions, and a plan that keeps backups in these stores.
fn cluster(stores: &Value) -> Cluster {
    let cluster = Cluster::new("kept");
    cluster.declare(&json!({
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "reader": { "kind": "vault.policy", "name": "reader", "rules": { "secret/data/*": ["read"] } },
    }));
    keep_in(&cluster, stores, &json!({ "last": 2, "daily": 0 }));
    cluster.apply(&[]);
    for value in ["older", CANARY] {
        write_secret(&cluster, "app/db", value);
    }
    cluster
}

fn write_secret(cluster: &Cluster, path: &str, value: &str) {
    let body = json!({ "data": { "password": value } });
    let (status, answer) = cluster.ask("POST", "", &format!("secret/data/{path}"), &body);
    assert_eq!(status, 200, "{answer}");
}

/// Adds a `backup:` section to the plan.
fn keep_in(cluster: &Cluster, stores: &Value, keep: &Value) {
    let file = cluster.environment.folder.join("plan.yaml");
    let text = std::fs::read_to_string(file).expect("the plan");
    let mut plan: Value = serde_json::from_str(&text).expect("JSON");
    plan["aws"] = json!({ "region": "us-east-1" });
    plan["backup"] = json!({ "stores": stores, "keep": keep });
    cluster.environment.write("plan.yaml", &plan.to_string());
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran:?}"))
}

fn snapshots(folder: &Path) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "snap")).collect()
}

fn bucket(cluster: &Cluster, name: &str) -> aws_sdk_s3::Client {
    let sandbox = &cluster.environment.sandbox;
    let client = aws_sdk_s3::Client::new(&config_with(sandbox, credentials(sandbox), "us-east-1"));
    block_on(client.create_bucket().bucket(name).send()).expect("made");
    client
}

fn keys(client: &aws_sdk_s3::Client, name: &str) -> Vec<String> {
    let listed = block_on(client.list_objects_v2().bucket(name).send()).expect("listed");
    listed.contents.unwrap_or_default().into_iter().filter_map(|one| one.key).collect()
}

#[test]
fn backup_is_proven_and_stored_in_every_place() {
    let cluster = cluster(&json!([{ "file": "backups" }, { "s3": "s3://gw-kept/vault" }]));
    // One store fails, and the other has the backup all the same.
    let ran = cluster.run(&["backup", "plan.yaml", "--format", "json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let report = json_of(&ran);
    assert_eq!((&report["state"], &report["signed"]), (&json!("proven"), &json!(true)), "{report:#}");
    assert!(report["stores"][0]["error"].is_null(), "{report:#}");
    assert!(report["stores"][1]["error"].as_str().expect("why").contains("NoSuchBucket"), "{report:#}");
    let client = bucket(&cluster, "gw-kept");
    for _ in 0..3 {
        // Names have seconds.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let ran = cluster.run(&["backup", "plan.yaml"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let folder = cluster.environment.folder.join("backups");
    assert_eq!(snapshots(&folder).len(), 2, "two stay: {:?}", files(&folder));
    assert_eq!(files(&folder).len(), 6, "each with its manifest and the plan's files");
    assert_eq!(keys(&client, "gw-kept").len(), 6);
    for file in files(&folder) {
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{file:?}");
        let bytes = std::fs::read(&file).expect("readable");
        assert!(!bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()), "{file:?}");
    }

    let ran = cluster.run(&["backup", "check", "--latest", "plan.yaml", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = json_of(&ran);
    assert_eq!((&report["state"], &report["manifest"]["vouching"]), (&json!("proven"), &json!("signed")));
    let previous = report["manifest"]["previous"]["sha256"].as_str().expect("a chain");
    // Names sort by time.
    let before =
        files(&folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "json")).min();
    assert_eq!(previous, sha256(&std::fs::read(before.expect("the first one")).expect("readable")));
    let secrets = report["contents"]["secrets"].as_array().expect("a list");
    let secret = secrets.iter().find(|one| one["path"] == "app/db").expect("listed");
    assert_eq!((&secret["current"], &secret["mount"]), (&json!(2), &json!("secret/")));
    assert_eq!(report["shares"][0]["verdict"], "good");
    let human = cluster.run(&["backup", "check", "--latest", "plan.yaml"]);
    assert!(human.stdout.contains("secret/app/db  version 2"), "{human:?}");
    assert!(!format!("{ran:?}{human:?}").contains(CANARY));

    let key = keys(&client, "gw-kept")
        .into_iter()
        .find(|key| key.strip_suffix(".snap").is_some())
        .expect("a snapshot");
    let ran = cluster.run(&["backup", "check", &format!("s3://gw-kept/{key}"), "plan.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_damage_is_named(&cluster, &snapshots(&folder)[0]);
}

/// What is wrong with a file is said, with exit code 1.
fn assert_damage_is_named(cluster: &Cluster, whole: &Path) {
    let bytes = std::fs::read(whole).expect("readable");
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let cut = bytes[..bytes.len() - 1].to_vec();
    let appended = [bytes.as_slice(), b"\n"].concat();
    for (name, bytes, kind) in
        [("flipped", flipped, "damaged"), ("cut", cut, "cut"), ("appended", appended, "appended")]
    {
        let name = format!("{name}.snap");
        std::fs::write(cluster.environment.folder.join(&name), bytes).expect("written");
        let ran = cluster.run(&["backup", "check", &name, "plan.yaml", "--format", "json"]);
        assert_eq!((ran.code, &json_of(&ran)["flaw"]["kind"]), (1, &json!(kind)), "{ran:?}");
    }
    // Another file under the name of a manifest.
    let (one, other) = (whole, &snapshots(whole.parent().expect("a folder"))[1]);
    std::fs::copy(other, one).expect("copied");
    let ran = cluster.run(&["backup", "check", &one.display().to_string(), "plan.yaml"]);
    assert!(ran.code == 1 && ran.stdout.contains("manifest beside it is of another file"), "{ran:?}");
    // Without a plan there is no key, and the file is whole.
    let ran = cluster.run(&["backup", "check", &other.display().to_string()]);
    assert!(ran.code == 3 && ran.stdout.contains("no key was at hand"), "{ran:?}");
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

#[test]
fn mistakes_in_the_section_are_named() {
    let cluster = Cluster::new("kept");
    cluster.declare(&json!({}));
    let rows = [
        (json!([]), json!({}), "there is no store"),
        (json!([{ "file": "../x" }]), json!({}), "leads out"),
        (json!([{ "file": "a" }, { "file": "a" }]), json!({}), "already in the list"),
        (json!([{ "s3": "bucket" }]), json!({}), "s3://BUCKET/PREFIX"),
        (json!([{ "file": "a" }]), json!({ "last": 0 }), "at least one backup stays"),
    ];
    for (stores, keep, message) in rows {
        keep_in(&cluster, &stores, &keep);
        let ran = cluster.run(&["validate", "plan.yaml"]);
        assert!(ran.code == 1 && ran.stderr.contains(message), "{message}: {ran:?}");
    }
    cluster.declare(&json!({}));
    let ran = cluster.run(&["backup", "plan.yaml"]);
    assert!(ran.code == 1 && ran.stderr.contains("does not say where backups are kept"), "{ran:?}");
}
