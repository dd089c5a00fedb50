//! A rekey as a server reports it, and the next step for one that an earlier run has begun.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};

/// A rekey as the active node has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct State {
    pub(super) started: bool,
    pub(super) nonce: String,
    /// How many new shares there are to be.
    pub(super) n: u32,
    /// How many of them are to open the key.
    pub(super) t: u32,
    /// How many present shares are entered.
    pub(super) progress: u32,
    /// How many it takes.
    pub(super) required: u32,
    /// Set once all present shares are entered.
    pub(super) verification_nonce: String,
    pub(super) pgp_fingerprints: Option<Vec<String>>,
}

impl State {
    /// Reads an answer.
    ///
    /// # Errors
    /// `Unavailable` when it is another answer.
    pub(super) fn read(answer: Value) -> Result<Self> {
        serde_json::from_value(answer).map_err(|error| {
            Error::new(
                ErrorKind::Unavailable,
                "look at the rekey",
                format!("the answer is not Vault's: {error}"),
            )
            .advice("check that the address is Vault's and no proxy's")
        })
    }

    /// Whether every new share is encrypted for the key with this fingerprint.
    pub(super) fn is_for(&self, fingerprint: &str) -> bool {
        let all = self.pgp_fingerprints.as_deref().unwrap_or_default();
        !all.is_empty()
            && all.len() == self.n as usize
            && all.iter().all(|one| one.eq_ignore_ascii_case(fingerprint))
    }
}

/// What is known of a rekey that the journal has an open intent of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The server has one under way.
    pub(super) started: bool,
    /// It is encrypted for the key of the intent.
    pub(super) is_ours: bool,
    /// All present shares are in, and the new ones have to be verified.
    pub(super) awaits_verification: bool,
    /// Custody has the new shares.
    pub(super) escrowed: bool,
    /// They are those of the rekey that is under way.
    pub(super) is_same: bool,
}

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another person's: do not touch it.
    Foreign,
    /// The present shares stay in force whatever happens: cancel, and begin again.
    Cancel,
    /// What is under way is not what custody has the shares of: a trial that was cut off, perhaps after the new shares
    /// had come into force. Cancel it, and try which ones open the key.
    CancelAndTry,
    /// Enter the new shares.
    Verify,
    /// The server has none, and the new shares are in custody: try which ones open the key.
    Try,
    /// It was lost with the memory of the node, or was cancelled: begin again.
    Begin,
}

/// The next step. Nothing is in force before the verification ends, so that everything up to there can be cancelled.
pub(super) fn next(known: Known) -> Next {
    match known {
        Known { started: true, is_ours: false, .. } => Next::Foreign,
        Known { started: true, awaits_verification: true, escrowed: true, is_same: true, .. } => Next::Verify,
        Known { started: true, escrowed: true, .. } => Next::CancelAndTry,
        Known { started: true, .. } => Next::Cancel,
        Known { escrowed: true, .. } => Next::Try,
        Known { .. } => Next::Begin,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_interruption_has_one_next_step() {
        let known = |started, is_ours, awaits_verification, escrowed, is_same| {
            next(Known { started, is_ours, awaits_verification, escrowed, is_same })
        };
        assert_eq!(known(true, false, true, true, true), Next::Foreign);
        assert_eq!(known(true, true, false, false, false), Next::Cancel, "between two shares");
        assert_eq!(known(true, true, true, false, false), Next::Cancel, "the last answer is lost");
        assert_eq!(known(true, true, true, true, true), Next::Verify);
        assert_eq!(known(true, true, true, true, false), Next::CancelAndTry, "a trial that was cut off");
        assert_eq!(known(true, true, false, true, false), Next::CancelAndTry, "so is one between two shares");
        assert_eq!(known(false, false, false, true, false), Next::Try, "the end of the verification is lost");
        assert_eq!(known(false, false, false, false, false), Next::Begin, "the node has restarted");
    }

    #[test]
    fn rekey_is_ours_when_every_share_is_for_our_key() {
        let state = |prints: Value| {
            State::read(json!({ "started": true, "nonce": "x", "n": 2, "t": 2, "pgp_fingerprints": prints }))
                .expect("a state")
        };
        assert!(state(json!(["ab", "AB"])).is_for("ab"));
        for other in [json!(["ab", "cd"]), json!(["ab"]), json!([]), json!(null)] {
            assert!(!state(other.clone()).is_for("ab"), "{other}");
        }
        assert!(State::read(json!({ "started": "yes" })).is_err());
    }
}
