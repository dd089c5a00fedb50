//! Decides whether a journal is believed: who signed it, and whether lines are missing.

use super::Chain;
use crate::error::{Error, ErrorKind};
use crate::signing::{Authority, Signer};

/// Whether a journal is to be believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belief {
    /// There are no lines, and this machine has never seen any.
    Empty,
    /// There are no lines, but this machine has seen this many.
    Lost(u64),
    /// A key that the caller trusts has signed all of it.
    Ours,
    /// No run acts on its entries.
    Doubted(Doubt),
}

/// Why a journal is not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No line is signed: an older version of the program has written it, or a stranger.
    Unsigned,
    /// It is signed with a key that the caller does not trust.
    Stranger(Signer),
    /// Lines without a signature follow a signed one.
    Continued,
    /// The signature does not match the lines.
    Forged,
    /// This machine has seen more lines, or a different line in the place of one.
    RolledBack {
        /// How many lines this machine has seen.
        seen: u64,
    },
}

impl Belief {
    /// Judges a journal. Verifies only the last signature, because that covers all lines.
    pub fn of(chain: &Chain, authority: &Authority) -> Self {
        let seen = authority.seen().journal;
        if chain.records.is_empty() {
            return seen.map_or(Self::Empty, |seen| Self::Lost(seen.seq));
        }
        let doubt = match chain.signer() {
            None if chain.was_signed() => Doubt::Continued,
            None => Doubt::Unsigned,
            Some(_) if !chain.is_proven(authority.plan()) => Doubt::Forged,
            Some(signer) if !authority.trusts(&signer) => Doubt::Stranger(signer),
            Some(_) => match seen {
                Some(seen) if chain.hash_of(seen.seq).map(hex::encode) != Some(seen.hash.clone()) => {
                    Doubt::RolledBack { seen: seen.seq }
                }
                _ => return Self::Ours,
            },
        };
        Self::Doubted(doubt)
    }
}

impl Doubt {
    /// The refusal to act on the journal at `place`, which has so many lines, with what to do.
    pub fn refusal(&self, place: &str, lines: usize, authority: &Authority) -> Error {
        let refused = |what: String| Error::new(ErrorKind::Denied, "journal", format!("{place} {what}"));
        match self {
            Self::Stranger(signer) => authority.unknown(&format!("the journal {place}"), signer),
            Self::Unsigned => refused("is not signed: an older version of Groundwork or a stranger wrote it".into())
                .advice(format!("{LOOK}; until then nothing in it counts as this plan's")),
            Self::Continued => refused("goes on without signatures after a signed line".into()).advice(format!(
                "a stranger or an older version of Groundwork has added to it: restore it from its copy, or if \
                 you know all of it, {LOOK}"
            )),
            Self::Forged => refused("has a signature that its signer did not make for this plan".into()).advice(
                format!("it was changed since: restore it from its copy; if you know all of it, {LOOK}"),
            ),
            Self::RolledBack { seen } => refused(format!(
                "has {lines} lines and not those that this machine has seen, which were {seen}"
            ))
            .advice(format!(
                "an older or another journal was put in its place: restore it from its copy; if you know \
                 that this one is right, {LOOK}"
            )),
        }
    }
}

const LOOK: &str =
    "look at it with `groundwork journal PLAN` and vouch for it with `groundwork journal PLAN --adopt`";
