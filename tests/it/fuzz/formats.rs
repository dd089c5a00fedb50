//! What the program itself has written, and others may have changed since: journals, what lies in custody,
//! saved changesets; and documents that AWS returns.

use groundwork::custody::envelope::SealingKey;
use groundwork::custody::{Envelope, Keyring, Recipient};
use groundwork::journal::{Chain, GENESIS, Things};
use groundwork::providers::aws::policy::{self, Document, PolicyType};
use groundwork::resource::Diff;
use groundwork::saved::Saved;
use groundwork::secret::Secret;
use serde_json::{Value, json};

use super::campaign;

const JSON: [&str; 14] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "null",
    "1e999",
    "-1",
    "\\u0000",
    "\\ud800",
    ",\"hash\":\"",
    "\"entry\":",
    "\"seq\":",
    "\n",
];
const CHANGESET: [&str; 2] = ["\"content\":", "groundwork_changeset"];

/// Lines in the form of a journal, each with the hash that follows from those before it, as somebody
/// makes them who writes a journal by hand.
pub fn chained(lines: &[u8]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let (mut hash, mut text) = (GENESIS, Vec::new());
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line = line.strip_suffix(b"}").unwrap_or(line);
        hash = Sha256::new().chain_update(hash).chain_update(line).finalize().into();
        text.extend_from_slice(line);
        text.extend(format!(",\"hash\":\"{}\"}}\n", hex::encode(hash)).bytes());
    }
    text
}

fn merged(mut one: Value, other: &Value) -> Value {
    one.as_object_mut().expect("a map").extend(other.as_object().expect("a map").clone());
    one
}

#[test]
fn fuzzed_journals_never_cause_a_panic() {
    let who = json!({ "run": "r", "who": "ann@host", "pid": 1, "plan": "sha256:00", "time": "2026-11-22T06:00:00Z" });
    let thing = json!({ "step": "role", "target": "aws.iam_role gw", "address": { "name": "gw" }, "protect": false,
                        "retain": true, "needs": ["aws.iam_policy gw"], "account": "000000000000" });
    let entries = [
        json!({ "entry": "run_started" }),
        merged(json!({ "entry": "making" }), &thing),
        merged(json!({ "entry": "owned" }), &thing),
        json!({ "entry": "intent", "step": "key", "operation": "iam:CreateAccessKey", "target": "app", "detail": ["a"] }),
        json!({ "entry": "escrowed", "operation": "iam:CreateAccessKey", "target": "app", "object": "x/1" }),
        json!({ "entry": "outcome", "operation": "iam:CreateAccessKey", "target": "app", "result": "failed", "message": "m" }),
        json!({ "entry": "run_finished" }),
    ];
    let lines: Vec<String> = entries
        .into_iter()
        .enumerate()
        .map(|(index, entry)| merged(merged(json!({ "seq": index + 1 }), &who), &entry).to_string())
        .collect();
    let lines = lines.join("\n").into_bytes();
    let whole = Chain::parse(&chained(&lines)).expect("a journal");
    assert_eq!(whole.records.len(), 7);

    campaign("journals", 1_500, &[lines], &JSON, |case| {
        // As it is, and with hashes that fit.
        for text in [case.to_vec(), chained(case)] {
            match Chain::parse(&text) {
                Ok(chain) => {
                    let things = Things::of(&chain.records);
                    assert!(things.leaving().count() <= chain.records.len());
                }
                Err(damaged) => drop(damaged.to_string()),
            }
        }
    });
}

#[test]
fn fuzzed_envelope_opens_only_if_unchanged() {
    let identity = age::x25519::Identity::generate();
    let recipients = [Recipient::Age(identity.to_public())];
    let keyring = Keyring { identities: vec![identity], ..Keyring::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (name, secret) = ("vault/init", Secret::from("correct horse".to_owned()));
    let (key, _) = runtime.block_on(SealingKey::wrap(name, &recipients));
    let envelope = key.seal(name, 1, &secret).expect("sealed");
    let corpus =
        [serde_json::to_vec(&envelope).expect("JSON"), serde_json::to_vec_pretty(&envelope).expect("JSON")];
    campaign("envelopes", 1_500, &corpus, &JSON, |case| {
        let Ok(read) = serde_json::from_slice::<Envelope>(case) else { return };
        if let Ok(opened) = runtime.block_on(read.open(name, 1, &keyring)) {
            // Only what means the same opens, and it gives what was sealed.
            let same = opened.expose_bytes() == secret.expose_bytes();
            assert!(read == envelope && same, "{}", case.escape_ascii());
        }
    });
}

#[test]
fn fuzzed_policy_document_equals_its_reparse() {
    let corpus: Vec<Vec<u8>> = [
        r#"{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":["s3:Get*"],"Resource":"*",
            "Condition":{"StringEquals":{"aws:PrincipalTag/a":["x","y"]}},"Principal":{"AWS":"000000000000"}}]}"#,
        r#"{"Statement":{"Effect":"Deny","NotAction":"iam:*","NotResource":["arn:aws:s3:::b/*"]},"Id":"x"}"#,
        "%7B%22Statement%22%3A%5B%5D%7D",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    campaign("documents", 1_500, &corpus, &JSON, |case| {
        let text = String::from_utf8_lossy(case);
        for read in [Document::parse("read", &text), Document::parse_encoded("read", &text)] {
            let Ok(document) = read else { continue };
            document.check("policy", PolicyType::Resource);
            let again = Document::parse("read", &document.text()).expect("what is written can be read");
            let mut diff = Diff::none();
            policy::compare(&mut diff, "policy", Some(&document), &again);
            assert!(diff.changes.is_empty(), "it differs from itself: {text}");
        }
    });
}

#[test]
fn fuzzed_changesets_are_never_accepted() {
    let whole = json!({
        "groundwork_changeset": 1, "created_at": "2026-11-22T06:00:00Z", "digest": "sha256:00", "seal": "sha256:00",
        "content": {
            "tool": "0.1.0",
            "plan": { "path": "plans/x.yaml", "name": "x", "digest": "sha256:00", "files": {}, "vars": [["a", 1]] },
            "identities": { "aws": { "account_id": "000000000000", "region": "us-east-1" }, "vault": null },
            "steps": [],
        },
    });
    let corpus = vec![serde_json::to_vec_pretty(&whole).expect("JSON")];
    campaign("changesets", 1_500, &corpus, &[&JSON[..], &CHANGESET].concat(), |case| {
        // Nobody has its seal, so that none is ever taken.
        assert!(Saved::parse(case).is_err(), "a forged changeset is taken");
        let deep = [case, b"[".repeat(10_000).as_slice()].concat();
        assert!(Saved::parse(&deep).is_err());
    });
}
