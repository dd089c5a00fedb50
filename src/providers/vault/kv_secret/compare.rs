//! What is declared of a KV secret against what it is.

use serde_json::{Value, json};

use super::{KvSecretSpec, LiveKvSecret};
use crate::resource::Diff;

/// Every field, piece of metadata and limit that differs.
pub(super) fn diff(desired: &KvSecretSpec, live: &LiveKvSecret) -> Diff {
    let mut diff = Diff::none();
    diff.secrets("data", &desired.data, &live.data, desired.exact);
    diff_metadata(&mut diff, desired, live);
    diff
}

/// Live fields that `exact` removes.
pub(super) fn undeclared<'a>(
    desired: &'a KvSecretSpec,
    live: &'a LiveKvSecret,
) -> impl Iterator<Item = &'a String> {
    live.data.keys().filter(|name| desired.exact && !desired.data.contains_key(*name))
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
    ["metadata", "max_versions", "delete_version_after", "cas_required"].iter().any(|path| diff.touches(path))
}
