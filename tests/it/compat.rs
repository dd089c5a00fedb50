//! Files that earlier versions of the program wrote, as `tests/compat` keeps them.

use groundwork::journal::{Chain, Entry, Things};
use groundwork::saved::Saved;

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
