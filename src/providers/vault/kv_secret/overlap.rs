//! The values before a rotation, in fields of their own.

use std::collections::BTreeMap;

use super::{KvSecretSpec, LiveKvSecret};
use crate::error::FieldError;
use crate::resource::Diff;
use crate::secret::{Secret, SecretChange};

/// Mistakes in `overlap`.
pub(super) fn check(desired: &KvSecretSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (field, before) in &desired.overlap {
        let path = format!("overlap.{field}");
        if !desired.data.get(field).is_some_and(crate::secret::SecretSource::is_generated) {
            errors.push(FieldError::new(path.clone(), "is not a generated field of `data`"));
        }
        if desired.data.contains_key(before) {
            errors.push(FieldError::new(path.clone(), format!("`{before}` is a field of `data` already")));
        }
        if desired.overlap.iter().any(|(other, to)| other < field && to == before) {
            errors.push(FieldError::new(path, format!("`{before}` keeps another field already")));
        }
    }
    errors
}

/// The values that a rotation is about to replace, by the fields that keep them.
pub(super) fn kept(desired: &KvSecretSpec, live: &LiveKvSecret) -> BTreeMap<String, Secret> {
    let is_made = |field: &String| desired.data.get(field).is_some_and(|source| source.is_renewed());
    let fields = desired.overlap.iter().filter(|(field, _)| desired.keeps && is_made(field));
    fields.filter_map(|(field, before)| Some((before.clone(), live.data.get(field)?.clone()))).collect()
}

/// Shows which fields get a value from before.
pub(super) fn compare(diff: &mut Diff, desired: &KvSecretSpec, live: &LiveKvSecret) {
    for (field, before) in &desired.overlap {
        if kept(desired, live).contains_key(before) {
            let change =
                if live.data.contains_key(before) { SecretChange::Changed } else { SecretChange::New };
            diff.secret(&format!("data.{before}"), change, Some(format!("the value of `{field}` until now")));
        }
    }
}

/// Whether the field keeps a value from before: then the plan declares it, although not under `data`.
pub(super) fn is_declared(desired: &KvSecretSpec, field: &str) -> bool {
    desired.overlap.values().any(|before| before == field)
}
