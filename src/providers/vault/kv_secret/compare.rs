//! What is declared of a KV secret against what it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{KvSecretSpec, Latest, LiveKvSecret, METADATA_FIELDS, overlap};
use crate::resource::Diff;
use crate::secret::{Input, Secret, SecretSource};

/// Every field, piece of metadata and limit that differs. The fields of a deleted version cannot be
/// read, so they are compared once it is undeleted.
pub(super) fn diff(desired: &KvSecretSpec, live: &LiveKvSecret) -> Diff {
    let mut diff = Diff::none();
    match &live.latest {
        Latest::Deleted(when) => {
            let time: Option<Timestamp> = when.parse().ok();
            let when = time.map_or(when.clone(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
            let note = format!(
                "version {} was deleted at {when}; it is undeleted first, so that its values are kept",
                live.version
            );
            diff.push("deleted", json!(true), json!(false)).note(note);
        }
        Latest::Destroyed => diff_data(&mut diff, desired, live, |_| {
            Some(format!(
                "version {} was destroyed, and its value is lost: another one is made",
                live.version
            ))
        }),
        Latest::Readable => diff_data(&mut diff, desired, live, |name| {
            let empty = live.holds_nothing(name);
            empty.then(|| "the live value is empty, so that one is made".to_owned())
        }),
    }
    diff_metadata(&mut diff, desired, live);
    diff
}

/// Compares the fields; `why` says why a value is made for a field that exists, or existed.
fn diff_data(
    diff: &mut Diff,
    desired: &KvSecretSpec,
    live: &LiveKvSecret,
    why: impl Fn(&str) -> Option<String>,
) {
    diff.secrets("data", &desired.data, &kept(desired, live), desired.exact);
    overlap::compare(diff, desired, live);
    for change in &mut diff.changes {
        let name = change.path.strip_prefix("data.").unwrap_or_default();
        let is_made = |source: &SecretSource| source.is_generated() && source.unseen().is_none();
        if desired.data.get(name).is_some_and(is_made) {
            change.note = why(name);
        }
    }
    let is_compared = desired.data.values().any(|source| source.unseen().is_none());
    let is_gone = |name: &&String| desired.exact && is_compared && !desired.data.contains_key(*name);
    let nothing = live.nulls.iter().filter(is_gone);
    for name in nothing {
        diff.push(&format!("data.{name}"), Value::Null, Value::Null)
            .note("a field without a value is removed");
    }
}

/// The live values that may be kept: a value that is made once is none of `null`, an empty text and 0.
pub(super) fn kept(desired: &KvSecretSpec, live: &LiveKvSecret) -> BTreeMap<String, Secret> {
    let made_once = |name: &String| {
        desired.data.get(name).is_some_and(|source| matches!(source.input(), Input::Generate(_)))
    };
    let is_kept =
        |name: &String| !(overlap::is_declared(desired, name) || made_once(name) && live.holds_nothing(name));
    let values = live.data.iter().filter(|(name, _)| is_kept(name));
    values.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Live fields that `exact` removes.
pub(super) fn undeclared<'a>(
    desired: &'a KvSecretSpec,
    live: &'a LiveKvSecret,
) -> impl Iterator<Item = &'a String> {
    let names = live.data.keys().chain(&live.nulls);
    let is_declared = |name: &str| desired.data.contains_key(name) || overlap::is_declared(desired, name);
    names.filter(move |name| desired.exact && !is_declared(name))
}

fn diff_metadata(diff: &mut Diff, desired: &KvSecretSpec, live: &LiveKvSecret) {
    diff.entries("metadata", &live.metadata, &desired.metadata_texts());
    for (name, value) in &live.metadata {
        if desired.exact && !desired.metadata.contains_key(name) {
            diff.push(&format!("metadata.{name}"), json!(value), Value::Null);
        }
    }
    if let Some(versions) = desired.max_versions {
        diff.field("max_versions", &live.max_versions, &versions);
    }
    if let Some(after) = &desired.delete_version_after {
        diff.field("delete_version_after", &live.delete_version_after, after);
    }
    if let Some(required) = desired.cas_required {
        diff.field("cas_required", &live.cas_required, &required);
    }
}

/// Whether something differs that the metadata's own path writes.
pub(super) fn touches_metadata(diff: &Diff) -> bool {
    METADATA_FIELDS.iter().any(|path| diff.touches(path))
}
