//! The life of a secret-id that is delivered: made, lost, found lost, replaced.

use std::process::Command;

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::support::{Ran, TestEnvironment, block_on, paths, step, summary, text_of};

const FILE: &str = "secrets/runner.json";
const WRAPPED: &str = "secrets/wrapped.json";
const MANIFEST: &str = "secrets/runner.yaml";

fn plan() -> String {
    let custody = json!({ "recipients": [{ "kms": "{{ key.arn }}" }], "stores": [{ "file": "custody" }] });
    let steps = json!({
        "cluster": { "kind": "vault.init", "shares": 1, "threshold": 1 },
        "key": { "kind": "aws.kms_key", "alias": "alias/secret-id" },
        "machines": { "kind": "vault.auth_method", "type": "approle" },
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv" },
        "role": { "kind": "vault.approle_role", "name": "runner" },
        "to_file": {
            "kind": "vault.approle_secret_id", "role": "runner", "name": "file", "deliver": { "file": FILE },
        },
        "wrapped": {
            "kind": "vault.approle_secret_id", "role": "runner", "name": "kv", "wrap_ttl": "10m",
            "deliver": { "vault_kv": { "mount": "secret", "path": "runner" } },
        },
        "pods": {
            "kind": "vault.approle_secret_id", "role": "runner", "name": "pods",
            "deliver": { "kubernetes_manifest": { "file": MANIFEST, "name": "runner", "namespace": "ci" } },
        },
        "wrapped_file": {
            "kind": "vault.approle_secret_id", "role": "runner", "name": "wrapped", "wrap_ttl": "10m",
            "deliver": { "file": WRAPPED },
        },
    });
    json!({ "version": 1, "name": "secret-id", "custody": custody, "steps": steps }).to_string()
}

fn delivered(environment: &TestEnvironment) -> Value {
    let text = std::fs::read(environment.folder.join(FILE)).expect("delivered");
    serde_json::from_slice(&text).expect("JSON")
}

/// The status of a login with what was delivered.
async fn login(environment: &TestEnvironment, credential: &Value) -> u16 {
    let url = format!("{}/v1/auth/approle/login", environment.sandbox.vault_addrs()[0]);
    let body = json!({ "role_id": credential["role_id"], "secret_id": credential["secret_id"] });
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.expect("an answer");
    answer.status().as_u16()
}

#[test]
fn lost_secret_id_is_replaced_and_revoked() {
    let environment = TestEnvironment::new();
    environment.write("secret-id.yaml", &plan());
    let first_run = environment.run(&["apply", "secret-id.yaml", "--yes"]);
    assert_eq!(first_run.code, 0, "{first_run:?}");
    let first = delivered(&environment);
    assert_eq!(block_on(login(&environment, &first)), 200);
    assert_eq!(summary(&environment.apply("secret-id.yaml"))["api_calls"]["write"], 0);

    // The file is gone: nobody can have this one, so it is ended and another one is made.
    std::fs::remove_file(environment.folder.join(FILE)).expect("removed");
    let changeset = environment.plan("secret-id.yaml");
    let accessor = text_of(&first["secret_id_accessor"]);
    assert_eq!(
        paths(step(&changeset, "to_file")),
        ["secret_id".to_owned(), format!("secret_ids[{accessor}]")]
    );
    assert_eq!(step(&changeset, "wrapped")["action"], "none");
    let second_run = environment.run(&["apply", "secret-id.yaml", "--yes"]);
    assert_eq!(second_run.code, 0, "{second_run:?}");
    let second = delivered(&environment);
    assert_ne!(first["secret_id"], second["secret_id"]);
    assert_eq!(block_on(login(&environment, &second)), 200);
    assert_eq!(block_on(login(&environment, &first)), 400, "the one that was lost still works");

    let said = [&first_run, &second_run].map(|ran| format!("{}{}", ran.stdout, ran.stderr)).concat();
    let secret = |run: &str, credential: &Value| {
        (format!("{run} secret-id"), text_of(&credential["secret_id"]).as_bytes().to_vec())
    };
    let secrets = [secret("first", &first), secret("second", &second)];
    assert!(leaks(said.as_bytes(), &secrets).is_empty(), "a secret-id is printed");
    let own = environment.folder.join(FILE).display().to_string();
    let elsewhere: Vec<String> = leaking_files(&environment.folder, &secrets)
        .into_iter()
        .filter(|found| !found.starts_with(&own))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn secret_id_that_another_checkout_uses_is_not_ended() {
    let environment = TestEnvironment::new();
    environment.write("secret-id.yaml", &plan());
    environment.apply("secret-id.yaml");
    let first = delivered(&environment);
    // Another folder with the same plan, journal and custody, which is what a machine of a colleague has.
    let clone = environment.folder.with_file_name("clone");
    let copied = Command::new("cp").arg("-r").arg(&environment.folder).arg(&clone).status();
    assert!(copied.expect("cp runs").success());
    std::fs::remove_dir_all(clone.join("secrets")).expect("files that no repository keeps");
    let run = |arguments: &[&str]| {
        Ran::of(environment.command(arguments).current_dir(&clone).output().expect("it runs"))
    };

    let ran = run(&["apply", "secret-id.yaml", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let planned = run(&["plan", "secret-id.yaml", "--format", "json"]);
    let changeset: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    for (id, action) in [("to_file", "blocked"), ("wrapped_file", "blocked"), ("wrapped", "none")] {
        assert_eq!(step(&changeset, id)["action"], action, "{id}: {changeset:#}");
    }
    let reason = text_of(&step(&changeset, "to_file")["reason"]);
    assert!(reason.contains("`--replace`"), "{reason}");
    assert_eq!(block_on(login(&environment, &first)), 200, "the one in use was ended");

    let ran = run(&["apply", "secret-id.yaml", "--yes", "--replace", "to_file"]);
    assert_eq!(block_on(login(&environment, &first)), 400, "{ran:?}");
    let second = serde_json::from_slice(&std::fs::read(clone.join(FILE)).expect("delivered")).expect("JSON");
    assert_eq!(block_on(login(&environment, &second)), 200);

    // A secret-id that is removed takes its file along, unless that has another one by now.
    let stranger = json!({ "secret_id_accessor": "of another plan" }).to_string();
    std::fs::write(clone.join(WRAPPED), &stranger).expect("written");
    let ran = run(&["destroy", "secret-id.yaml", "--yes"]);
    assert!(!clone.join(FILE).exists() && !clone.join(MANIFEST).exists(), "{ran:?}");
    assert!(environment.folder.join(FILE).exists(), "the other checkout's");
    assert_eq!(std::fs::read_to_string(clone.join(WRAPPED)).expect("it stays"), stranger);
}

/// The values of a Kubernetes Secret in the delivered manifest.
fn from_manifest(environment: &TestEnvironment) -> Value {
    let text = std::fs::read_to_string(environment.folder.join(MANIFEST)).expect("delivered");
    let manifest: Value = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!((&manifest["kind"], &manifest["metadata"]["namespace"]), (&json!("Secret"), &json!("ci")));
    let decode = |value: &Value| {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text_of(value));
        json!(String::from_utf8(bytes.expect("base64")).expect("text"))
    };
    let data = manifest["data"].as_object().expect("data");
    Value::Object(data.iter().map(|(name, value)| (name.clone(), decode(value))).collect())
}

/// What a wrapping token gives, once.
async fn unwrap(environment: &TestEnvironment, token: &str) -> (u16, Value) {
    let url = format!("{}/v1/sys/wrapping/unwrap", environment.sandbox.vault_addrs()[0]);
    let answer =
        reqwest::Client::new().post(url).header("X-Vault-Token", token).send().await.expect("an answer");
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

#[test]
fn secret_id_is_delivered_as_manifest_or_wrapped() {
    let environment = TestEnvironment::new();
    environment.write("secret-id.yaml", &plan());
    environment.apply("secret-id.yaml");
    let delivered = from_manifest(&environment);
    assert_eq!(block_on(login(&environment, &delivered)), 200);

    let text = std::fs::read(environment.folder.join(WRAPPED)).expect("delivered");
    let wrapped: Value = serde_json::from_slice(&text).expect("JSON");
    assert!(wrapped.get("secret_id").is_none(), "the secret-id itself is not delivered");
    let (status, given) = block_on(unwrap(&environment, text_of(&wrapped["wrapping_token"])));
    assert_eq!(status, 200, "{given}");
    let credential = json!({ "role_id": wrapped["role_id"], "secret_id": given["data"]["secret_id"] });
    assert_eq!(block_on(login(&environment, &credential)), 200);
    let (again, _) = block_on(unwrap(&environment, text_of(&wrapped["wrapping_token"])));
    assert_eq!(again, 400, "a wrapping token gives what it holds once");

    // One that is too old is replaced wherever it was delivered to, and ended.
    let old = plan().replace("\"name\":\"pods\",", "\"name\":\"pods\",\"rotate_after\":\"1s\",");
    assert_ne!(old, plan());
    environment.write("secret-id.yaml", &old);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let changeset = environment.plan("secret-id.yaml");
    assert!(paths(step(&changeset, "pods")).contains(&"secret_id"), "{changeset:#}");
    // It is a second old again before the run has looked once more: what counts is that it was replaced.
    environment.run(&["apply", "secret-id.yaml", "--yes"]);
    let rotated = from_manifest(&environment);
    assert_ne!(rotated["secret_id"], delivered["secret_id"]);
    assert_eq!(block_on(login(&environment, &rotated)), 200);
    assert_eq!(block_on(login(&environment, &delivered)), 400);
}

/// A token that may do everything but patch, from a role of the plan.
async fn limited_token(environment: &TestEnvironment) -> String {
    let text = std::fs::read(environment.folder.join(FILE)).expect("delivered");
    let credential: Value = serde_json::from_slice(&text).expect("JSON");
    let url = format!("{}/v1/auth/approle/login", environment.sandbox.vault_addrs()[0]);
    let body = json!({ "role_id": credential["role_id"], "secret_id": credential["secret_id"] });
    let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
    text_of(&answer["auth"]["client_token"]).to_owned()
}

async fn issued(environment: &TestEnvironment, token: &str) -> usize {
    let url =
        format!("{}/v1/auth/approle/role/runner/secret-id?list=true", environment.sandbox.vault_addrs()[0]);
    let answer =
        reqwest::Client::new().get(url).header("X-Vault-Token", token).send().await.expect("an answer");
    let answer: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
    answer["data"]["keys"].as_array().map_or(0, Vec::len)
}

#[test]
fn secret_id_is_not_created_for_unwritable_destination() {
    let environment = TestEnvironment::new();
    let mut plan: Value = serde_json::from_str(&plan()).expect("JSON");
    let all = json!(["create", "read", "update", "delete", "list", "sudo"]);
    plan["steps"]["limited"] = json!({ "kind": "vault.policy", "name": "limited", "rules": { "*": all } });
    plan["steps"]["role"]["token_policies"] = json!(["limited"]);
    environment.write("secret-id.yaml", &plan.to_string());
    let ran = environment.run(&["apply", "secret-id.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let token = block_on(limited_token(&environment));
    let before = block_on(issued(&environment, &token));
    // The path holds another delivery, so this one would be a patch; a file stands where a folder
    // should be; there is no such mount.
    environment.write("in-the-way", "a file");
    let places = [
        (json!({ "vault_kv": { "mount": "secret", "path": "runner" } }), "lacks the capability `patch`"),
        (json!({ "file": "in-the-way/id.json" }), "prove in-the-way/id.json"),
        (json!({ "vault_kv": { "mount": "nowhere", "path": "runner" } }), "nowhere"),
    ];
    for (place, why) in places {
        let step =
            json!({ "kind": "vault.approle_secret_id", "role": "runner", "name": "new", "deliver": place });
        let other = json!({ "version": 1, "name": "other", "steps": { "new": step } });
        environment.write("other.yaml", &other.to_string());
        for _ in 0..2 {
            let mut command = environment.command(&["apply", "other.yaml", "--yes"]);
            let ran = Ran::of(command.env("VAULT_TOKEN", &token).output().expect("the program starts"));
            assert!(ran.code != 0 && format!("{}{}", ran.stdout, ran.stderr).contains(why), "{why}: {ran:?}");
        }
        assert_eq!(block_on(issued(&environment, &token)), before, "{why}: another secret-id is valid");
    }
}
