//! Proof that declared things work: what a kind tries, what it finds, and how what it made goes away again.
//!
//! A kind states how it is proven, see [`Proof`]. To try it, it gets a [`Prover`].

mod age;
mod cleanup;
mod finding;
mod load;
mod prover;

pub use age::{ROTATION, days_in};
pub use cleanup::{Cleanup, Undo};
pub use finding::{Finding, Outcome};
pub use load::Load;
pub use prover::{Known, Proofs, Prover};

/// How the things of a kind are proven to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The kind does not say; a test of the registry refuses it.
    Unstated,
    /// Being as declared is the proof, for this reason.
    InSync(&'static str),
    /// It is used, in these words: `logs in with a secret-id of one use`.
    Tried(&'static str),
}
