//! Paths that a plan's `custody:` section names.

use std::path::Path;

use crate::beneath;
use crate::plan::settings::{CustodySettings, RecipientSettings, StoreSettings};
use crate::resolve::unknown::is_unknown;
use crate::resource::FieldError;

/// Paths that lead out of the plan's folder. A store on another disk is a link to it.
pub fn check(settings: &CustodySettings) -> Vec<FieldError> {
    let keys = settings.recipients.iter().enumerate().filter_map(|(index, recipient)| match recipient {
        RecipientSettings::Pgp(path) => mistake(&format!("recipients[{index}].pgp"), path),
        _ => None,
    });
    let stores = settings.stores.iter().enumerate().filter_map(|(index, store)| match store {
        StoreSettings::File(path) => mistake(&format!("stores[{index}].file"), path),
        _ => None,
    });
    keys.chain(stores).collect()
}

fn mistake(field: &str, path: &Path) -> Option<FieldError> {
    let text = path.to_str().unwrap_or("\\").trim_end_matches('/');
    match beneath::mistake(text) {
        Some(why) if !is_unknown(text) => Some(
            FieldError::new(field, why)
                .help("for a place elsewhere, put a link to it into the plan's folder"),
        ),
        _ => None,
    }
}
