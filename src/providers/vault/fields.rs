//! Compares and writes things field by field, by the names that the plan and Vault share.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};
use crate::resource::Diff;

/// A field that cannot be changed after creation, and the reason.
pub(super) type Fixed = (&'static str, &'static str);

/// The fields of a thing.
pub(super) fn fields(thing: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(thing) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// Compares every field that the declared thing has; absent fields are not managed.
pub(super) fn compare<T: Serialize>(live: &T, declared: &T, fixed: &[Fixed]) -> Diff {
    let live = fields(live);
    let mut diff = Diff::none();
    for (name, after) in fields(declared) {
        let before = live.get(&name).unwrap_or(&Value::Null);
        if is_nothing(before) && is_nothing(&after) {
            continue;
        }
        match fixed.iter().find(|(field, _)| *field == name) {
            Some((_, why)) => diff.immutable(&name, before, &after, why),
            None => diff.field(&name, before, &after),
        };
    }
    diff
}

/// Whether a value is neither a list nor a map, or is empty; the server reports these as `null`.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// The declared fields that differ, as a request's body.
pub(super) fn changed<T: Serialize>(declared: &T, diff: &Diff) -> Map<String, Value> {
    fields(declared).into_iter().filter(|(name, _)| diff.touches(name)).collect()
}

/// Parses a thing from the server's response: the fields in `names` that are present and not null,
/// and `own`.
///
/// # Errors
/// When the server's fields have unexpected types.
pub(super) fn parse<T: DeserializeOwned>(
    told: &Value,
    names: &[&str],
    own: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<T> {
    let found = names.iter().filter_map(|name| Some(((*name).to_owned(), told.get(*name)?.clone())));
    let known: Map<String, Value> = found.filter(|(_, value)| !value.is_null()).collect();
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let all: Map<String, Value> = known.into_iter().chain(own).collect();
    serde_path_to_error::deserialize(Value::Object(all)).map_err(|error| {
        let message =
            format!("the server's response is not understood at `{}`: {}", error.path(), error.inner());
        Error::new(ErrorKind::Rejected, "read from Vault", message)
            .advice("the server may be newer than this program supports; report it")
    })
}
