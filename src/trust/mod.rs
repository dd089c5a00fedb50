//! The permissions that the caller gives a plan.
//!
//! A plan file may come from a stranger. It says what it wants; whether it gets that is decided by
//! the person or pipeline that runs the program, outside of the plan's folder: on the command line,
//! in the environment, or once and for all with `groundwork trust`, which remembers the answer in
//! the caller's own configuration folder (as `ssh` and `direnv` do).

mod grant;
mod origin;
mod store;
mod surroundings;
mod variable;

use std::fmt;

use jiff::Timestamp;

pub use grant::{Grant, InvalidGrant, Subject};
pub use origin::origin;
pub use store::Store;
pub(crate) use store::{CONFIG_DIR, config_folder, plan_id};
pub use surroundings::digest;
pub use variable::{Standing, is_variable, standing};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable with grants, separated by commas or whitespace.
pub const VARIABLE: &str = "GROUNDWORK_TRUST";

/// How the caller has said that something is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line.
    Flag,
    /// By this variable of the environment: [`VARIABLE`], or one that itself names a server or profile.
    Variable(&'static str),
    /// Once and for all, at this time.
    Remembered(Timestamp),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("the command line"),
            Self::Variable(name) => f.write_str(name),
            Self::Remembered(when) => write!(f, "you, {}", when.strftime("%Y-%m-%d")),
        }
    }
}

/// What the caller gives one run of one plan: grants, and the environment, of which the plan gets what the
/// grants say.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    grants: Vec<(Grant, Source)>,
    environment: Environment,
}

impl Trust {
    /// These grants and no others, in an empty environment.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self::default().with(grants)
    }

    /// The same, with further grants of the command line.
    #[must_use]
    pub fn with(self, grants: impl IntoIterator<Item = Grant>) -> Self {
        self.with_given(grants.into_iter().map(|grant| (grant, Source::Flag)))
    }

    /// The same, with further grants and how each was given.
    #[must_use]
    pub fn with_given(mut self, grants: impl IntoIterator<Item = (Grant, Source)>) -> Self {
        self.grants.extend(grants);
        self
    }

    /// The same grants in this environment, whatever it says of grants itself.
    #[must_use]
    pub fn in_environment(self, environment: Environment) -> Self {
        Self { environment, ..self }
    }

    /// The environment that the run is in.
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The grants of an environment, and the environment itself: those in [`VARIABLE`], and the servers, the authority and the
    /// profile that the variables of Vault and AWS name.
    ///
    /// # Errors
    /// `Local` when [`VARIABLE`] has something that is not a grant.
    pub fn of_environment(environment: &Environment) -> Result<Self> {
        let text = environment.text(VARIABLE).unwrap_or_default();
        let words = text.split(|one: char| one == ',' || one.is_whitespace()).filter(|word| !word.is_empty());
        let grants = words.map(str::parse).collect::<std::result::Result<Vec<Grant>, InvalidGrant>>();
        let grants = grants.map_err(|error| {
            Error::new(ErrorKind::Local, VARIABLE, error.to_string())
                .advice("correct the variable; `groundwork trust --help` shows its form")
        })?;
        let grants = grants.into_iter().map(|grant| (grant, Source::Variable(VARIABLE)));
        let given = Self::default().with_given(grants).with_given(surroundings::grants(environment));
        Ok(given.in_environment(environment.clone()))
    }

    /// Whether the caller has allowed this.
    pub fn allows(&self, wanted: &Grant) -> bool {
        self.allowed_by(wanted).is_some()
    }

    /// How the caller has allowed this; `None` when he has not. What is remembered was added last.
    pub fn allowed_by(&self, wanted: &Grant) -> Option<Source> {
        self.grants.iter().rfind(|(grant, _)| grant.covers(wanted)).map(|(_, source)| *source)
    }

    /// The allowed values of one subject.
    pub fn values(&self, subject: Subject) -> impl Iterator<Item = &str> {
        let of_subject = self.grants.iter().filter(move |(grant, _)| grant.subject == subject);
        of_subject.map(|(grant, _)| grant.value.as_str())
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
        Err(Error::new(ErrorKind::Denied, operation, why).advice(wanted.advice()))
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
