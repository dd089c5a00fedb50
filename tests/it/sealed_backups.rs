//! Backups of servers that unseal themselves, and backups that are too large for one request.

use std::sync::Arc;

use groundwork::sandbox::{OpenBao, Seal, Settings, VaultServer};
use rand::RngCore;
use serde_json::{Value, json};

use crate::aws::{config_with, credentials};
use crate::relay::Relay;
use crate::support::{Cluster, Ran, block_on};

fn cluster(name: &'static str, settings: Settings, stores: &Value) -> Cluster {
    let cluster = Cluster::with(name, settings);
    cluster.declare(&json!({
        "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
    }));
    cluster.edit(|plan| {
        plan["aws"] = json!({ "region": "us-east-1" });
        plan["backup"] = json!({ "stores": stores });
        plan["recovery"] = json!({ "canaries": [{ "path": "secret/app/0", "field": "v" }] });
    });
    cluster.apply(&[]);
    cluster
}

fn write_secret(cluster: &Cluster, number: usize, value: &str) {
    let body = json!({ "data": { "v": value } });
    let write = || cluster.ask("POST", "", &format!("secret/data/app/{number}"), &body);
    let (mut status, mut answer) = write();
    // For a moment, a new engine is not ready.
    for _ in 0..50 {
        if !answer.to_string().contains("Upgrading from non-versioned") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        (status, answer) = write();
    }
    assert_eq!(status, 200, "{answer}");
}

fn json_of(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no JSON: {error}\n{ran:?}"))
}

fn verdicts(report: &Value) -> Vec<&str> {
    report["shares"].as_array().into_iter().flatten().filter_map(|one| one["verdict"].as_str()).collect()
}

#[test]
fn backup_of_a_server_sealed_by_kms_is_proven_by_decrypting() {
    let settings = Settings {
        vault: VaultServer::Pinned(OpenBao::WithKmsSeal),
        seal: Seal::AwsKms { key: "alias/vault-unseal".to_owned() },
        ..Settings::default()
    };
    let cluster = cluster("bykms", settings, &json!([{ "file": "backups" }]));
    write_secret(&cluster, 0, "canary-of-the-kms-seal");
    let ran = cluster.run(&["backup", "plan.yaml"]);
    assert!(ran.code == 0 && ran.stdout.contains("opened with the KMS key arn:aws:kms:"), "{ran:?}");

    let relay = Arc::new(Relay::default());
    let mut command = cluster.command(&["backup", "check", "--latest", "plan.yaml", "--format", "json"]);
    command.env("AWS_ENDPOINT_URL", relay.start(&cluster.environment.sandbox.aws_url()));
    let ran = Ran::of(command.output().expect("the program starts"));
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["state"]), (0, &json!("proven")), "{ran:?}");
    assert_eq!(verdicts(&report), ["good"; 3], "the recovery shares are judged too: {report:#}");
    let asked = relay.take();
    let is_decrypt = |line: &&String| line.contains("TrentService.Decrypt");
    // The root key, the checksums and the recovery key were each encrypted with a key of their own.
    assert!((1..=3).contains(&asked.iter().filter(is_decrypt).count()), "{asked:?}");
    assert!(asked.iter().all(|line| is_decrypt(&line) || line.contains("GetCallerIdentity")), "{asked:?}");

    // A drill stands in for KMS before its server: of the real one it wants the key of the backup decrypted.
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = cluster.command(&["drill", "plan.yaml", "--vault", "2.6.2", "--format", "json"]);
    command.env("AWS_ENDPOINT_URL", relay.start(&cluster.environment.sandbox.aws_url()));
    command.env("TMPDIR", temporary.path());
    let ran = Ran::of(command.output().expect("the program starts"));
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (0, &json!("passed")), "{report:#}");
    let asked = relay.take();
    assert!(asked.iter().all(|line| is_decrypt(&line) || line.contains("GetCallerIdentity")), "{asked:?}");
    assert!(crate::support::files(temporary.path()).is_empty());
    // The newer server has no such seal.
    let ran = cluster.run(&["drill", "plan.yaml", "--format", "json"]);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (1, &json!("failed")), "{report:#}");
    assert!(report["findings"].to_string().contains("2.6.2 for the awskms seal"), "{report:#}");
}

#[test]
fn backup_of_a_server_with_a_static_seal_is_proven_and_recovered_with_its_key() {
    let settings = Settings { seal: Seal::Static, ..Settings::default() };
    let cluster = cluster("bykey", settings, &json!([{ "file": "backups" }]));
    write_secret(&cluster, 0, "canary-of-the-static-seal");
    let ran = cluster.run(&["backup", "plan.yaml"]);
    assert!(ran.code == 3 && ran.stdout.contains("no key was at hand"), "{ran:?}");
    let key = cluster.environment.sandbox.dir().join("config/seal-key").display().to_string();
    let check = |key: &str| {
        cluster.run(&["backup", "check", "--latest", "plan.yaml", "--format", "json", "--seal-key", key])
    };
    let ran = check(&key);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["state"]), (0, &json!("proven")), "{report:#}");
    assert_eq!(verdicts(&report), ["good"; 3], "{report:#}");
    let other = cluster.environment.write("other-key", &"ab".repeat(32));
    let ran = check(&other.display().to_string());
    assert_eq!((ran.code, &json_of(&ran)["state"]), (1, &json!("locked")), "{ran:?}");

    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = cluster.command(&["drill", "plan.yaml", "--seal-key", &key, "--format", "json"]);
    command.env("TMPDIR", temporary.path());
    let ran = Ran::of(command.output().expect("the program starts"));
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["verdict"]), (0, &json!("passed")), "{report:#}");
    assert!(crate::support::files(temporary.path()).is_empty());

    write_secret(&cluster, 0, "later");
    let words = ["restore", "plan.yaml", "--latest", "--confirm", "bykey"];
    let refused = cluster.run(&words);
    assert!(refused.code == 1 && refused.stderr.contains("--seal-key"), "{refused:?}");
    let ran = cluster.run(&[&words[..], &["--seal-key", &key]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let (_, answer) = cluster.ask("GET", "", "secret/data/app/0", &Value::Null);
    assert_eq!(answer["data"]["data"]["v"], "canary-of-the-static-seal");
    assert!(!format!("{ran:?}").contains("canary-of-the-static-seal"));
}

/// More than one part, of which the last is short.
#[test]
fn large_backup_is_sent_in_parts_and_fetched_in_ranges() {
    let cluster = cluster("large", Settings::default(), &json!([{ "s3": "s3://gw-large/vault" }]));
    let sandbox = &cluster.environment.sandbox;
    let client = aws_sdk_s3::Client::new(&config_with(sandbox, credentials(sandbox), "us-east-1"));
    block_on(client.create_bucket().bucket("gw-large").send()).expect("made");
    let mut random = vec![0; 450_000];
    for number in 0..22 {
        rand::rng().fill_bytes(&mut random);
        write_secret(&cluster, number, &hex::encode(&random));
    }
    let ran = cluster.run(&["backup", "plan.yaml", "--format", "json"]);
    let report = json_of(&ran);
    assert_eq!((ran.code, &report["state"]), (0, &json!("proven")), "{ran:?}");
    assert!(report["bytes"].as_u64().is_some_and(|bytes| bytes > 16 << 20), "{report:#}");
    let key = format!("vault/{}", report["backup"].as_str().expect("a name"));
    let kept = block_on(client.head_object().bucket("gw-large").key(key).send()).expect("there");
    assert!(kept.e_tag.as_deref().is_some_and(|tag| tag.contains("-2")), "two parts: {:?}", kept.e_tag);
    let ran = cluster.run(&["backup", "check", "--latest", "plan.yaml", "--format", "json"]);
    let checked = json_of(&ran);
    assert_eq!((ran.code, &checked["state"]), (0, &json!("proven")), "{ran:?}");
    assert_eq!(checked["contents"]["secrets"].as_array().map(Vec::len), Some(22));
    assert_eq!(checked["snapshot"]["sha256"], report["sha256"]);
}
