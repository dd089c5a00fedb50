//! What the caller allows a plan to use.
//!
//! A plan file may come from a stranger. It says what it wants; whether it gets that is decided by
//! the person or pipeline that runs the program, outside of the plan's folder: on the command line,
//! in the environment, or once and for all with `groundwork trust`, which remembers the answer in
//! the caller's own configuration folder (as `ssh` and `direnv` do).

mod grant;
mod store;

pub use grant::{Grant, InvalidGrant, Subject};
pub use store::Store;
pub(crate) use store::config_folder;

use crate::resource::{Error, ErrorKind, Result};

/// The environment variable with grants, separated by commas or whitespace.
pub const VARIABLE: &str = "GROUNDWORK_TRUST";

/// The grants that hold for one run of one plan.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    grants: Vec<Grant>,
}

impl Trust {
    /// These grants and no others.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self { grants: grants.into_iter().collect() }
    }

    /// The same, with further grants.
    #[must_use]
    pub fn with(mut self, grants: impl IntoIterator<Item = Grant>) -> Self {
        self.grants.extend(grants);
        self
    }

    /// The grants of the environment variable [`VARIABLE`].
    ///
    /// # Errors
    /// `Local` when one of them is not a grant.
    pub fn of_environment() -> Result<Self> {
        let text = std::env::var(VARIABLE).unwrap_or_default();
        let words = text.split(|one: char| one == ',' || one.is_whitespace()).filter(|word| !word.is_empty());
        let grants = words.map(str::parse).collect::<std::result::Result<Vec<Grant>, InvalidGrant>>();
        grants.map(Self::new).map_err(|error| Error::new(ErrorKind::Local, VARIABLE, error.to_string()))
    }

    /// Whether the caller has allowed this.
    pub fn allows(&self, wanted: &Grant) -> bool {
        self.grants.iter().any(|grant| grant.covers(wanted))
    }

    /// The allowed values of one subject.
    pub fn values(&self, subject: Subject) -> impl Iterator<Item = &str> {
        self.grants.iter().filter(move |grant| grant.subject == subject).map(|grant| grant.value.as_str())
    }

    /// Refuses what the caller has not allowed. `operation` is what was about to happen, `why` says
    /// why it takes a permission.
    ///
    /// # Errors
    /// `Denied`, with the flag that allows exactly this.
    pub fn require(&self, wanted: &Grant, operation: &str, why: &str) -> Result<()> {
        if self.allows(wanted) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Denied, operation, why).advice(format!(
            "if you trust it, use `--trust {wanted}` for this run, or `groundwork trust PLAN` to remember it"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_names_the_flag_that_allows_it() {
        let wanted: Grant = "vault=https://vault.example:8200".parse().expect("a grant");
        let error = Trust::default().require(&wanted, "send VAULT_TOKEN", "it belongs to another server");
        let advice = error.expect_err("nothing is allowed").advice.expect("advice");
        assert!(advice.contains("--trust vault=https://vault.example:8200"), "{advice}");
        assert!(Trust::new([wanted.clone()]).require(&wanted, "", "").is_ok());
    }
}
