//! No secret leaves custody and the places that it is delivered to.

use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::aws;
use crate::notations::notations;
use crate::support::{Quickstart, Ran, TestEnvironment, files, paths, step, text_of};

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// The names of the secrets that are found in `text`.
pub fn leaks<'a>(text: &[u8], secrets: &'a [(String, Vec<u8>)]) -> Vec<&'a str> {
    secrets
        .iter()
        .filter(|(_, secret)| notations(secret).iter().any(|form| contains(text, form)))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// Every file below `folder`, save custody's, in which a secret is found.
pub fn leaking_files(folder: &Path, secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    files(folder)
        .into_iter()
        .filter(|file| !file.components().any(|part| part.as_os_str() == "custody"))
        .filter_map(|file| {
            let found = leaks(&std::fs::read(&file).unwrap_or_default(), secrets);
            (!found.is_empty()).then(|| format!("{}: {}", file.display(), found.join(", ")))
        })
        .collect()
}

#[test]
fn planted_leak_is_found_in_every_form() {
    let secret = b"correct-horse\nbattery/staple+?".to_vec();
    let secrets = [("planted".to_owned(), secret.clone())];
    for form in notations(&secret) {
        let text = [b"before ".as_slice(), &form, b" after"].concat();
        assert_eq!(leaks(&text, &secrets), ["planted"], "{}", String::from_utf8_lossy(&form));
    }
    assert!(leaks(b"nothing to see", &secrets).is_empty());
}

#[test]
fn secrets_never_appear_outside_custody() {
    let quickstart = Quickstart::new();
    // A secret that comes from outside, through the environment and through a file.
    quickstart
        .environment
        .write("signing.key", "-----BEGIN KEY-----\nfrom-a-file-0123456789abcdef\n-----END KEY-----\n");
    quickstart.edit(
        "      key: { generate: { bytes: base64, length: 32 } }\n",
        "      key: { generate: { bytes: base64, length: 32 } }\n      outside: { env: CANARY }\n      signing: { file: signing.key }\n",
    );
    let canary = "canary-from-the-environment-9f8e7d6c";
    quickstart.environment.allow("quickstart.yaml", &["--env", "CANARY"]);
    let mut texts = Vec::new();
    let mut keep = |arguments: &[&str]| {
        let mut command = quickstart.environment.command(arguments);
        let output = command.env("CANARY", canary).output().expect("the program runs");
        texts.push((arguments.join(" "), [output.stdout, output.stderr].concat()));
    };
    keep(&["validate", "quickstart.yaml"]);
    keep(&["plan", "quickstart.yaml"]);
    let formats = ["human", "json", "markdown", "html"];
    for format in formats {
        keep(&["plan", "quickstart.yaml", "--format", format]);
    }
    keep(&["plan", "quickstart.yaml", "--out", "first.json"]);
    keep(&["apply", "first.json", "--yes", "--verbose"]);
    keep(&["apply", "quickstart.yaml", "--yes", "--format", "json", "--verbose"]);
    keep(&["plan", "quickstart.yaml", "--all"]);
    for format in ["human", "json", "prometheus"] {
        keep(&["status", "quickstart.yaml", "--format", format, "--verbose"]);
    }
    // Drift of a secret, and a refused write, whose message could quote what was sent.
    quickstart.vault(
        "PATCH",
        "secret/data/app/session",
        &serde_json::json!({ "data": { "outside": "changed" } }),
    );
    for format in formats {
        keep(&["plan", "quickstart.yaml", "--format", format]);
    }
    keep(&["plan", "quickstart.yaml", "--out", "drift.json"]);
    quickstart.vault("POST", "secret/config", &serde_json::json!({ "max_versions": 1 }));
    keep(&["apply", "quickstart.yaml", "--yes", "--verbose"]);

    let mut secrets = quickstart.secrets();
    secrets.push(("env CANARY".to_owned(), canary.into()));
    secrets.push(("file signing.key".to_owned(), b"from-a-file-0123456789abcdef".to_vec()));
    for expected in ["share 1", "root token", "admin secret-id", "access key", "password", "session key"] {
        assert!(secrets.iter().any(|(name, _)| name.contains(expected)), "no {expected}");
    }
    let told = |what: &str| texts.iter().filter(|(_, text)| contains(text, what.as_bytes())).count();
    assert!(told("sensitive, new: env CANARY") >= 3, "each format says where a secret comes from");
    assert!(told("sensitive, changed: env CANARY") >= 3, "and that it changes");
    for (command, text) in &texts {
        assert!(leaks(text, &secrets).is_empty(), "{command} prints {:?}", leaks(text, &secrets));
    }
    let traced =
        &texts.iter().find(|(command, _)| command == "apply first.json --yes --verbose").expect("ran").1;
    for call in ["vault POST", "/v1/sys/init", "aws kms:CreateKey", "/v1/auth/approle/login", "  200  "] {
        assert!(contains(traced, call.as_bytes()), "{call} is not told: {}", String::from_utf8_lossy(traced));
    }
    // Nor can a guess be checked against a saved changeset.
    for file in ["first.json", "drift.json"] {
        let saved = std::fs::read(quickstart.environment.folder.join(file)).expect("saved");
        assert!(contains(&saved, b"data.outside"), "{file} is about secrets");
        for (name, secret) in &secrets {
            for form in notations(secret) {
                let digest = hex::encode(Sha256::digest(&form));
                assert!(!contains(&saved, &digest.as_bytes()[..16]), "{file} has a hash of {name}");
            }
        }
    }
    let mut leaking = leaking_files(&quickstart.environment.folder, &secrets);
    leaking.retain(|line| !line.contains("signing.key:"));
    assert!(leaking.is_empty(), "{leaking:#?}");
}

#[test]
fn secrets_in_aws_stores_are_never_shown() {
    let environment = TestEnvironment::new();
    environment.write("stores.yaml", STORES);
    environment
        .write("signing.key", "-----BEGIN KEY-----\nfrom-a-file-0123456789abcdef\n-----END KEY-----\n");
    let canary = "canary-from-the-environment-9f8e7d6c";
    environment.allow("stores.yaml", &["--env", "CANARY"]);
    let mut texts = Vec::new();
    let mut keep = |arguments: &[&str], code: i32| {
        let ran = Ran::of(environment.command(arguments).env("CANARY", canary).output().expect("it runs"));
        assert_eq!(ran.code, code, "{ran:?}");
        texts.push((arguments.join(" "), [ran.stdout, ran.stderr].concat().into_bytes()));
    };
    keep(&["plan", "stores.yaml"], 0);
    keep(&["apply", "stores.yaml", "--yes"], 0);
    let document: Value = serde_json::from_str(&aws::secret(&environment, "stores/app")).expect("JSON");
    let parameter = aws::parameter(&environment, "/stores/key");
    assert_eq!((text_of(&document["outside"]), parameter.len()), (canary, 32));
    // Drift: by hand, of one field; the notation differs as well.
    let mut changed = document.clone();
    changed["outside"] = "changed-by-hand-0123456789".into();
    aws::put_secret(&environment, "stores/app", &format!("{changed:#}"));
    let ran = Ran::of(
        environment
            .command(&["plan", "stores.yaml", "--format", "json"])
            .env("CANARY", canary)
            .output()
            .expect("it runs"),
    );
    let changeset: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    assert_eq!(paths(step(&changeset, "app")), ["data.outside"]);
    keep(&["apply", "stores.yaml", "--yes", "--format", "json"], 0);
    assert_eq!(
        serde_json::from_str::<Value>(&aws::secret(&environment, "stores/app")).expect("JSON"),
        document,
        "what was generated stays"
    );
    keep(&["plan", "stores.yaml", "--all"], 0);
    texts.push(("plan --format json".to_owned(), [ran.stdout, ran.stderr].concat().into_bytes()));

    let mut secrets: Vec<(String, Vec<u8>)> =
        ["password", "outside", "pem"].map(|name| (name.to_owned(), text_of(&document[name]).into())).into();
    secrets.push(("parameter".to_owned(), parameter.into()));
    secrets.push(("by hand".to_owned(), text_of(&changed["outside"]).into()));
    for (command, text) in &texts {
        assert!(leaks(text, &secrets).is_empty(), "{command} prints {:?}", leaks(text, &secrets));
    }
    let mut leaking = leaking_files(&environment.folder, &secrets);
    leaking.retain(|line| !line.contains("signing.key:"));
    assert!(leaking.is_empty(), "{leaking:#?}");
}

const STORES: &str = r#"
version: 1
name: stores
aws: { region: us-east-1 }
steps:
  app:
    kind: aws.secret
    name: stores/app
    data:
      password: { generate: { length: 40 } }
      outside: { env: CANARY }
      pem: { file: signing.key }
      uri: { template: "db://{{ data.password }}@host" }
  key:
    kind: aws.ssm_parameter
    name: /stores/key
    type: secure_string
    value: { generate: {} }
"#;
