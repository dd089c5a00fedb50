//! Finds passwords in the addresses that a plan declares, in any field of any kind.

use serde_json::Value;

use crate::error::FieldError;
use crate::secret::{SECRET_KEY, connection};

/// The single-line texts in which an address contains a password, with their paths. Longer texts
/// are documents, which a lint rule checks.
pub(super) fn with_passwords(fields: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    each_text("", "", fields, &mut |path, name, text| {
        let passwords = match connection::is_address_field(name) {
            true => connection::passwords_of(text),
            false => connection::passwords(text),
        };
        if !passwords.is_empty() && !text.trim_end().contains('\n') {
            found.push((path.to_owned(), text.to_owned()));
        }
    });
    found
}

/// Fields are shown, kept in journals, and returned by servers, often in part.
pub(super) fn mistake(path: String) -> FieldError {
    FieldError::new(path, "holds a password, but this field is not secret")
        .help("remove the password; give it in a field that accepts a source such as `{ env: NAME }`")
        .secret()
}

/// Visits each text below a value, with its path and the name of the closest field, except secrets.
fn each_text(path: &str, name: &str, value: &Value, visit: &mut dyn FnMut(&str, &str, &str)) {
    match value {
        Value::String(text) => visit(path, name, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                each_text(&format!("{path}[{index}]"), name, item, visit);
            }
        }
        Value::Object(fields) if !fields.contains_key(SECRET_KEY) => {
            for (key, item) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                each_text(&path, key, item, visit);
            }
        }
        _ => {}
    }
}
