//! Proves the thing of one step.

use super::super::{Provided, Resource};
use crate::place::Place;
use crate::proof::{Proofs, Prover};
use crate::run::Run;

/// Has the kind prove its thing, through the client of this place.
pub(super) async fn prove<R: Resource>(
    run: &Run,
    place: &Place,
    (desired, observed): (&R::Desired, &R::Observed),
    proofs: &Proofs,
    step: &str,
) {
    match R::Client::provide(run, place).await {
        Ok(client) => R::prove(&Prover::new(&*client, proofs, step), desired, observed).await,
        Err(error) => Prover::new(run, proofs, step).refused("connects", "a connection", &error),
    }
}
