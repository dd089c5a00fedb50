//! What is taken over was written by others, and may hold their secrets.

use std::fs;

use serde_json::json;

use crate::aws;
use crate::canary::{leaking_files, leaks};
use crate::support::{TestEnvironment, block_on, step};

/// A server's configuration as it is found on a machine, with a secret in every place that has one.
const CONFIG: &str = r#"
ui = true
api_addr = "https://old.example.net:8200"
storage "postgresql" {
  connection_url = "postgres://vault:canary-in-a-url-0001@db.example.net/vault"
}
storage "raft" {
  path = "/data"
  retry_join {
    auto_join = "provider=aws region=eu-west-1 secret_access_key=canary-in-a-pair-0002"
  }
}
seal "awskms" {
  region     = "us-east-1"
  access_key = "canary-as-access-key-0003"
  secret_key = "canary-as-secret-key-0004"
}
seal "transit" {
  address = "https://other.example.net:8200"
  token   = "canary-as-a-token-0005"
}
telemetry {
  circonus_api_token = "canary-in-telemetry-0006"
}
initialize "users" {
  request "add" {
    data = { password = "canary-in-a-request-0007" }
  }
}
"#;

/// The same for text of any other kind.
const TEXT: &str = "\
region: us-east-1
database:
  password: canary-in-yaml-0008
  url: 'app:canary-in-a-dsn-0009@tcp(db:3306)/app'
API_TOKEN=canary-in-an-environment-0010
{\"clientSecret\": \"canary-in-json-0011\"}
private: |
  -----BEGIN PRIVATE KEY-----
  canary-in-a-key-0012
  -----END PRIVATE KEY-----
random q7Xc2Vb9Nm4Kp1Zt8Ls5
";

fn canaries() -> Vec<(String, Vec<u8>)> {
    let words =
        [CONFIG, TEXT].into_iter().flat_map(|text| text.split(|c: char| !(c.is_alphanumeric() || c == '-')));
    let all = words.filter(|word| word.starts_with("canary-") || word.starts_with("q7Xc"));
    let all: Vec<_> = all.map(|word| (word.to_owned(), word.as_bytes().to_vec())).collect();
    assert_eq!(all.len(), 13, "{all:?}");
    all
}

fn plan() -> serde_json::Value {
    json!({
        "version": 1, "name": "adoption", "aws": { "region": "us-east-1" },
        "steps": {
            "node": { "kind": "vault.server_config", "path": "rendered/vault.hcl", "adopt": true,
                "api_addr": "https://new.example.net:8200", "cluster_addr": "https://new.example.net:8201",
                "raft": { "path": "/data", "node_id": "one" },
                "listeners": [{ "address": "0.0.0.0:8200", "tls_disable": true }],
                "seal": { "awskms": { "region": "us-east-1", "kms_key_id": "alias/unseal" } } },
            "file": { "kind": "file.template", "path": "rendered/app.yaml", "content": "region: us-west-2\n",
                "adopt": true },
            "object": { "kind": "aws.s3_object", "bucket": "adoption", "key": "app.yaml", "adopt": true,
                "content": "region: us-west-2\n" },
            "parameter": { "kind": "aws.ssm_parameter", "name": "/adoption/app", "type": "string",
                "value": "region: us-west-2\n", "adopt": true },
        },
    })
}

#[test]
fn adoption_never_shows_existing_content() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan().to_string());
    environment.write("rendered/vault.hcl", CONFIG);
    environment.write("rendered/app.yaml", TEXT);
    block_on(aws::s3(&environment).create_bucket().bucket("adoption").send()).expect("a bucket");
    aws::put_object(&environment, "adoption", "app.yaml", TEXT);
    aws::put_parameter(&environment, "/adoption/app", TEXT, false);

    let canaries = canaries();
    let keep = |arguments: &[&str]| {
        let ran = environment.run(arguments);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        let found = leaks(text.as_bytes(), &canaries);
        assert!(found.is_empty(), "{arguments:?} shows {found:?}");
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        text
    };
    let mut shown = Vec::new();
    for format in ["human", "json", "markdown", "html"] {
        shown.push(keep(&["plan", "plan.yaml", "--format", format]));
        shown.push(keep(&["plan", "plan.yaml", "--format", format, "--full"]));
    }
    keep(&["plan", "plan.yaml", "--out", "saved.json", "--verbose"]);
    let live = ["rendered/vault.hcl", "rendered/app.yaml"].map(|file| environment.folder.join(file));
    let mut leaking = leaking_files(&environment.folder, &canaries);
    leaking.retain(|line| !live.iter().any(|file| line.starts_with(&*file.to_string_lossy())));
    assert!(leaking.is_empty(), "{leaking:#?}");

    let changeset = environment.plan("plan.yaml");
    for id in ["node", "file", "object", "parameter"] {
        assert_eq!(step(&changeset, id)["action"], "adopt", "{id}: {changeset:#}");
        let reason = step(&changeset, id)["reason"].to_string();
        assert!(reason.contains("what is in it was not compared"), "{id}: {changeset:#}");
    }
    // What is declared is there to be reviewed, and nothing of what others have put there.
    assert!(shown.iter().all(|text| text.contains("us-west-2")), "{shown:?}");
    for live in ["old.example.net", "provider=aws", "db.example.net", "API_TOKEN", "(masked)"] {
        assert!(!shown.iter().any(|text| text.contains(live)), "{live} is shown");
    }
    keep(&["apply", "saved.json", "--yes", "--verbose"]);
    keep(&["journal", "plan.yaml"]);
    let leaking = leaking_files(&environment.folder, &canaries);
    assert!(leaking.is_empty(), "{leaking:#?}");
    assert_eq!(fs::read_to_string(&live[1]).expect("written"), "region: us-west-2\n");
}
