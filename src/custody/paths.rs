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
    let nobody = settings.recipients.is_empty().then(|| {
        FieldError::new("recipients", "is empty, so that no key could open the secrets in custody")
            .help("add one, such as `- age: age1…`, whose key `age-keygen` makes")
    });
    let nowhere = settings.stores.is_empty().then(|| {
        FieldError::new("stores", "is empty, so that the secrets in custody would have no place")
            .help("add one, such as `- file: .groundwork/custody`; two in different places are better")
    });
    nobody.into_iter().chain(nowhere).chain(keys).chain(stores).collect()
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
