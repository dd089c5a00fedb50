//! Declared fields, read strictly.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::wording::{Wording, reworded};
use crate::error::FieldError;
use crate::suggest::closest;

/// Deserialises strictly and finds every mistake: removes the mistaken part and parses again, until
/// only consequential mistakes would follow.
pub(crate) fn parse<T: DeserializeOwned>(fields: Value) -> Result<T, Vec<FieldError>> {
    let mut rest = fields;
    let mut mistakes = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(rest.clone()) {
            Ok(value) if mistakes.is_empty() => return Ok(value),
            Ok(_) => return Err(mistakes),
            Err(error) => error,
        };
        let mistake = field_error(&error.path().to_string(), &error.inner().to_string());
        let is_new = !mistakes.contains(&mistake);
        let missing = error.inner().to_string().starts_with("missing field");
        // After a removal, a missing field may be the removed one.
        if is_new && (!missing || mistakes.is_empty()) {
            mistakes.push(mistake.clone());
        }
        if missing || !is_new || !remove(&mut rest, &mistake.path) {
            return Err(mistakes);
        }
    }
}

/// Converts serde's messages into ours: the location of an unknown field is the field itself, and
/// the nearest known name is suggested.
fn field_error(path: &str, message: &str) -> FieldError {
    let path = if path == "." { "" } else { path };
    let Some(rest) = message.strip_prefix("unknown field `") else {
        let Wording { message, help } = reworded(message);
        return help.into_iter().fold(FieldError::new(path, message), FieldError::help);
    };
    let mut names = rest.split('`').step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let path = match path.strip_suffix(name) {
        Some(parent) if parent.is_empty() || parent.ends_with('.') => path.to_owned(),
        _ if path.is_empty() => name.to_owned(),
        _ => format!("{path}.{name}"),
    };
    let mistake = FieldError::new(path, format!("unknown key `{name}`"));
    match closest(name, known.iter().copied()) {
        Some(candidate) => mistake.help(format!("did you mean `{candidate}`?")),
        None if known.is_empty() => mistake,
        None => mistake.help(format!("known keys are {}", known.join(", "))),
    }
}

/// Removes the value at a dotted path; returns false when it does not exist.
fn remove(value: &mut Value, path: &str) -> bool {
    let parts: Vec<&str> = path.split(['.', '[', ']']).filter(|part| !part.is_empty()).collect();
    let Some((last, parents)) = parts.split_last() else { return false };
    let mut node = value;
    for part in parents {
        let next = match node {
            Value::Object(fields) => fields.get_mut(*part),
            Value::Array(items) => part.parse().ok().and_then(|index: usize| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        node = next;
    }
    match node {
        Value::Object(fields) => fields.shift_remove(*last).is_some(),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => {
                items.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        #[expect(dead_code, reason = "only serde reads it")]
        versioning: bool,
        #[expect(dead_code, reason = "only serde reads it")]
        #[serde(default)]
        nested: Option<Nested>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nested {
        #[expect(dead_code, reason = "only serde reads it")]
        days: u32,
    }

    #[test]
    fn every_mistake_in_a_step_is_found() {
        let fields = serde_json::json!({
            "versionning": true, "versioning": "yes", "nested": { "days": 1, "dys": 2 },
        });
        let mistakes = parse::<Fields>(fields).expect_err("mistakes");
        let told: Vec<_> = mistakes.iter().map(|m| (m.path.as_str(), m.help.as_deref())).collect();
        assert!(told.contains(&("versionning", Some("did you mean `versioning`?"))), "{mistakes:?}");
        assert!(told.iter().any(|(path, _)| *path == "versioning"), "{mistakes:?}");
        assert!(told.contains(&("nested.dys", Some("did you mean `days`?"))), "{mistakes:?}");
    }
}
