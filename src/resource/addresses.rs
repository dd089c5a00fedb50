//! Finds passwords in the addresses that a plan declares, in any field of any kind.

use serde_json::Value;

use super::constants::each_text;
use crate::error::FieldError;
use crate::secret::connection;

/// The single-line texts in which an address contains a password, with their paths. Longer texts
/// are documents, which a lint rule checks.
pub(super) fn with_passwords(fields: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    each_text(fields, &mut |path, name, text| {
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
