//! The means of a kind to prove its thing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use super::{Cleanup, Finding, Undo};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::place::Place;
use crate::secret::Secret;

/// A step of the plan, as proofs of other steps see it.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static str,
    /// Where its thing is.
    pub place: Place,
    /// The declared fields with their defaults; of a secret only its source.
    pub fields: Value,
    /// The outputs, if the thing exists.
    pub outputs: Option<Map<String, Value>>,
}

/// The things that all proofs of one run share.
pub struct Proofs {
    permit: Arc<Permit>,
    plan: Vec<Known>,
    credentials: BTreeMap<String, Secret>,
    findings: Mutex<Vec<Finding>>,
    cleanup: Cleanup,
}

impl Proofs {
    /// For these steps. `credentials` are those that the caller gives, by step.
    pub fn new(permit: Permit, plan: Vec<Known>, credentials: BTreeMap<String, Secret>) -> Self {
        Self {
            permit: Arc::new(permit),
            plan,
            credentials,
            findings: Mutex::default(),
            cleanup: Cleanup::default(),
        }
    }

    /// Adds a finding.
    pub fn add(&self, finding: Finding) {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(finding);
    }

    /// Takes the findings out.
    pub fn take_findings(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.findings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The things that were made and not removed yet.
    pub fn cleanup(&self) -> &Cleanup {
        &self.cleanup
    }
}

/// A client together with the permission to prove a step's thing through it. A proof may write only what goes
/// away again: whatever it makes ends by itself within minutes, and is registered with [`Prover::undo`].
#[derive(Clone, Copy)]
pub struct Prover<'a, C> {
    client: &'a C,
    proofs: &'a Proofs,
    step: &'a str,
}

impl<'a, C> Prover<'a, C> {
    /// Combines a client with the permission, for the step with id `step`.
    pub fn new(client: &'a C, proofs: &'a Proofs, step: &'a str) -> Self {
        Self { client, proofs, step }
    }

    /// The same with another client.
    pub fn with<'b, D>(&self, client: &'b D) -> Prover<'b, D>
    where
        'a: 'b,
    {
        Prover { client, proofs: self.proofs, step: self.step }
    }

    /// The same for findings about another step, which is at fault for what this one shows.
    #[must_use]
    pub fn about(&self, step: &'a str) -> Self {
        Self { client: self.client, proofs: self.proofs, step }
    }

    /// The client, for longer than a borrow of this.
    pub fn client(&self) -> &'a C {
        self.client
    }

    /// The permission, to pass to the client's writing methods.
    pub fn permit(&self) -> &'a Permit {
        &self.proofs.permit
    }

    /// The same, for what removes a thing later.
    pub fn lasting_permit(&self) -> Arc<Permit> {
        Arc::clone(&self.proofs.permit)
    }

    /// The id of the step.
    pub fn step(&self) -> &'a str {
        self.step
    }

    /// The steps of the plan.
    pub fn plan(&self) -> &'a [Known] {
        &self.proofs.plan
    }

    /// The steps of this kind.
    pub fn steps_of(&self, kind: &'static str) -> impl Iterator<Item = &'a Known> + use<'a, C> {
        self.proofs.plan.iter().filter(move |step| step.kind == kind)
    }

    /// The credential that the caller gives for this step, or for all instances of the repeated step that it is of.
    pub fn credential(&self) -> Option<&'a Secret> {
        let repeated = self.step.split('[').next().unwrap_or_default();
        let given = &self.proofs.credentials;
        given.get(self.step).or_else(|| given.get(repeated))
    }

    /// Says that this was proven.
    pub fn proven(&self, tried: impl Into<String>) {
        self.proofs.add(Finding::proven(self.step, tried));
    }

    /// Says that this is not as declared.
    pub fn failed(
        &self,
        tried: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.proofs.add(Finding::failed(self.step, tried, expected, seen, advice));
    }

    /// Says that this could not be tried, and what it needs.
    pub fn untried(&self, tried: impl Into<String>, needs: impl Into<String>) {
        self.proofs.add(Finding::untried(self.step, tried, needs));
    }

    /// Says whether what was seen is what was expected. Returns whether it is.
    pub fn compare<T: PartialEq + Display>(&self, tried: &str, expected: &T, seen: &T, advice: &str) -> bool {
        let is_same = expected == seen;
        match is_same {
            true => self.proven(tried),
            false => self.failed(tried, expected.to_string(), seen.to_string(), advice),
        }
        is_same
    }

    /// The value of a request; says why there is none. A right that this run lacks, and anything that is wrong
    /// with this machine, leave a trial untried.
    pub fn ask<T>(&self, tried: &str, expected: &str, answer: Result<T>) -> Option<T> {
        answer.map_err(|error| self.refused(tried, expected, &error)).ok()
    }

    /// Says that a request failed, as [`Prover::ask`].
    pub fn refused(&self, tried: &str, expected: &str, error: &Error) {
        let advice = error.advice.clone().unwrap_or_else(|| "see the message of the server".to_owned());
        match error.kind {
            ErrorKind::Denied | ErrorKind::Local | ErrorKind::Unauthenticated => {
                self.untried(tried, format!("{error}; {advice}"));
            }
            _ => self.failed(tried, expected, error.to_string(), advice),
        }
    }

    /// Registers something that was made, or may have been: `remove` is called at the end even when the proof
    /// fails or a signal ends it, unless [`Undo::now`] has succeeded before. A thing that is gone already must
    /// count as removed.
    pub fn undo<F>(&self, what: impl Into<String>, remove: impl Fn() -> F + Send + Sync + 'static) -> Undo<'a>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.proofs.cleanup.register(self.step, what.into(), remove)
    }
}

impl<C> Deref for Prover<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_of_a_repeated_step_serves_its_instances() {
        let secret = |text: &str| Secret::from(text.to_owned());
        let given = [("role".to_owned(), secret("all")), ("role[b]".to_owned(), secret("b"))];
        let proofs = Proofs::new(Permit::mint(), Vec::new(), given.into());
        let credential = |step| Prover::new(&(), &proofs, step).credential().and_then(Secret::expose_str);
        assert_eq!(credential("role"), Some("all"));
        assert_eq!(credential("role[a]"), Some("all"));
        assert_eq!(credential("role[b]"), Some("b"));
        assert_eq!(credential("roles"), None);
    }
}
