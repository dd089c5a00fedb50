//! Files that earlier versions of the program wrote, as `tests/compat` keeps them.

use groundwork::journal::{Chain, Entry, Things};
use groundwork::providers::PROVIDERS;
use groundwork::saved::Saved;
use serde_json::{Value, json};

const JOURNAL: &[u8] = include_bytes!("../compat/a66bfc0.journal.jsonl");
const CHANGESET: &[u8] = include_bytes!("../compat/a66bfc0.changes.json");

#[test]
fn journal_of_an_earlier_version_is_read() {
    let chain = Chain::parse(JOURNAL).expect("every line follows from the lines before it");
    assert_eq!(chain.records.len(), 43);
    assert!(chain.signer().is_none(), "a person adopts it once");
    assert!(matches!(chain.records.last().map(|record| &record.entry), Some(Entry::RunFinished)));
    let things = Things::of(&chain.records);
    let targets: Vec<&str> = things.iter().map(|thing| thing.target.as_str()).collect();
    assert_eq!(targets.len(), 17, "{targets:?}");
    for target in ["aws.kms_key alias/quickstart-custody", "vault.init the cluster", "vault.policy app-read"]
    {
        let thing = things.iter().find(|thing| thing.target == target);
        let thing = thing.unwrap_or_else(|| panic!("{target} is not known: {targets:?}"));
        assert!(!thing.address.is_null(), "{target} can be found again");
    }
}

#[test]
fn saved_changeset_of_an_earlier_version_is_read() {
    let saved = Saved::parse(CHANGESET).expect("its digest is right");
    assert_eq!(saved.content.plan.name, "quickstart");
    let writing = saved.content.steps.iter().filter(|step| step.change["action"] == "update");
    assert_eq!((saved.content.steps.len(), writing.count()), (18, 3));
    assert_eq!(saved.text(), CHANGESET, "written again it is the same to the byte");
}

/// Earlier versions wrote into some addresses how to look at the thing.
#[test]
fn address_of_an_earlier_version_is_recalled() {
    let chain = Chain::parse(JOURNAL).expect("every line follows from the lines before it");
    let recalled = |kind: &str, address: &Value| {
        let kind = PROVIDERS.find(kind).expect("a kind");
        kind.recall(address).unwrap_or_else(|| panic!("{} {address}", kind.name()))
    };
    let things = Things::of(&chain.records);
    for thing in things.iter() {
        let recalled = recalled(thing.kind(), &thing.address);
        assert_eq!(format!("{} {}", thing.kind(), recalled.id()), thing.target);
    }
    let bucket = json!({ "id": { "name": "logs", "region": null, "with_replication": true } });
    assert_eq!(recalled("aws.s3_bucket", &bucket).id(), "logs");
    let secret = json!({ "id": { "mount": "secret", "path": "app", "limits": true } });
    assert_eq!(recalled("vault.kv_secret", &secret).id(), "secret/app");

    let declared = json!({ "mount": "secret", "path": "app", "data": { "key": "value" }, "max_versions": 3 });
    let Ok(instance) = PROVIDERS.find("vault.kv_secret").expect("a kind").declare(declared) else {
        panic!("a declaration")
    };
    assert_eq!(instance.address(), json!({ "id": { "mount": "secret", "path": "app" } }));
}
