//! The keys that this run has created.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// By alias, the keys that this run has created or found unnamed. KMS's lists lag behind, so another
/// attempt at a step cannot rely on them to find its own key.
#[derive(Debug, Default)]
pub struct MadeKeys(Mutex<BTreeMap<String, Made>>);

#[derive(Debug)]
struct Made {
    key_id: String,
    named: bool,
}

impl MadeKeys {
    /// Notes that this key is to get the alias.
    pub(super) fn made(&self, alias: &str, key_id: &str) {
        self.all().insert(alias.to_owned(), Made { key_id: key_id.to_owned(), named: false });
    }

    /// Notes that the key of this alias has got it.
    pub(super) fn name(&self, alias: &str) {
        if let Some(made) = self.all().get_mut(alias) {
            made.named = true;
        }
    }

    /// The key that is to get, or has got, the alias.
    pub(super) fn get(&self, alias: &str) -> Option<String> {
        self.all().get(alias).map(|made| made.key_id.clone())
    }

    /// Whether this run has given the alias to its key.
    pub(super) fn is_named(&self, alias: &str) -> bool {
        self.all().get(alias).is_some_and(|made| made.named)
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Made>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
