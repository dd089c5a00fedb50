//! The variables of the process. They are read once, by `cli`, and handed on: nothing else asks the process,
//! so that a test can give a run an environment of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Environment variables, as they were when they were read. Copies share them.
#[derive(Clone, Default)]
pub struct Environment(Arc<BTreeMap<OsString, OsString>>);

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        Self(Arc::new(std::env::vars_os().collect()))
    }

    /// An environment with these variables and no others.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(variables: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(Arc::new(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect()))
    }

    /// The value of a variable, which may be empty.
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// The value of a variable that is text and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.to_str().filter(|text| !text.is_empty())
    }

    /// The path in a variable that is not empty.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

/// Shows no value: some are credentials.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_variable_counts_as_unset_where_text_or_a_path_is_wanted() {
        let environment = Environment::new([("EMPTY", ""), ("HOME", "/home/a")]);
        assert_eq!(environment.value("EMPTY"), Some(OsStr::new("")));
        assert_eq!((environment.text("EMPTY"), environment.path("EMPTY")), (None, None));
        assert_eq!(environment.path("HOME"), Some(PathBuf::from("/home/a")));
        assert_eq!(environment.value("ABSENT"), None);
    }

    #[test]
    fn debug_shows_no_value() {
        let shown = format!("{:?}", Environment::new([("VAULT_TOKEN", "hvs.secret")]));
        assert!(shown.contains("VAULT_TOKEN") && !shown.contains("hvs"), "{shown}");
    }
}
