//! Paths that a plan's `custody:` section names.

use std::path::Path;

use crate::confined_path;
use crate::error::FieldError;
use crate::plan::settings::{CustodySettings, RecipientSettings, StoreSettings};
use crate::template::unknown::is_unknown;

/// Paths that lead out of the plan's folder, or to files that the plan must not read. A store may have
/// an absolute path; the first use checks whether the caller allows it.
pub fn check(settings: &CustodySettings) -> Vec<FieldError> {
    let keys = settings.recipients.iter().enumerate().filter_map(|(index, recipient)| match recipient {
        RecipientSettings::Pgp(path) => mistake(
            &format!("recipients[{index}].pgp"),
            path,
            confined_path::mistake,
            "copy the key into the plan's folder",
        ),
        _ => None,
    });
    let stores = settings.stores.iter().enumerate().filter_map(|(index, store)| match store {
        StoreSettings::File(path) if path.is_absolute() => None,
        StoreSettings::File(path) => mistake(
            &format!("stores[{index}].file"),
            path,
            confined_path::mistake_of_store,
            "for a place elsewhere, write its absolute path and allow it with `--trust store=PATH`",
        ),
        _ => None,
    });
    keys.chain(stores).collect()
}

fn mistake(
    field: &str,
    path: &Path,
    judge: fn(&str) -> Option<&'static str>,
    help: &str,
) -> Option<FieldError> {
    let text = path.to_str().unwrap_or("\\").trim_end_matches('/');
    judge(text).filter(|_| !is_unknown(text)).map(|why| FieldError::new(field, why).help(help))
}
