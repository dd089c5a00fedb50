//! The trials of Vault's kinds, which prove that their things work.
//!
//! Everything that is made here ends within [`LIFETIME`], and is removed as soon as it has served.

pub(super) mod approle;
pub(super) mod audit;
pub(super) mod cluster;
pub(super) mod engines;
pub(super) mod given;
pub(super) mod load;
mod paths;
pub(super) mod policy;
pub(super) mod root_token;
pub(super) mod secret;
pub(super) mod ssh;
mod token;
pub(super) mod token_role;

use serde_json::{Value, json};

use super::VaultClient;
pub(super) use token::needs as token_needs;

use super::client::{Bearer, Issued};
use super::permissions;
use crate::place::Place;
use crate::proof::{Known, Prover, Undo};
use crate::run::Permission;

/// How long what a proof makes is good for, in seconds.
const LIFETIME: u64 = 60;

/// Where the run makes tokens.
const CREATE: &str = "auth/token/create";

/// A prover of a kind of Vault.
type Vault<'a> = Prover<'a, VaultClient>;

/// The place of the prover's own step; the plan's own for a section.
fn place<C>(prover: &Prover<'_, C>) -> Place {
    let step = prover.plan().iter().find(|known| known.id == prover.step());
    step.map_or(Place::OWN, |step| step.place.clone())
}

/// The steps of a kind that are in the same place as the prover's own.
fn beside<'a, C>(prover: &Prover<'a, C>, kind: &'static str) -> impl Iterator<Item = &'a Known> + use<'a, C> {
    let place = place(prover);
    prover.steps_of(kind).filter(move |step| step.place == place)
}

/// A client with a token that a proof has got, and the registration of its end.
fn hold<'a>(prover: &Vault<'a>, what: &str, issued: Issued) -> (Bearer, Undo<'a>) {
    let (token, accessor) = (issued.token, issued.about["accessor"].clone());
    let (bearer, client) = (prover.bearing(token.clone(), accessor.clone()), prover.another());
    let undo = prover.undo(what, move || {
        let bearer = client.bearing(token.clone(), accessor.clone());
        async move { bearer.end().await }
    });
    (bearer, undo)
}

/// The permissions to make a token with other policies than the run's own.
fn minting() -> [Permission; 2] {
    [permissions::write(CREATE), permissions::sudo(CREATE)]
}

/// A token with only these policies, for a minute, made by the run's own. Its leases end with it.
async fn minted<'a>(prover: &Vault<'a>, tried: &str, policies: &[&str]) -> Option<(Bearer, Undo<'a>)> {
    let mut body =
        json!({ "ttl": format!("{LIFETIME}s"), "renewable": false, "display_name": "groundwork-verify" });
    if !policies.is_empty() {
        body["policies"] = json!(policies);
    }
    match prover.issue_token(CREATE, &body).await {
        Ok(issued) => Some(hold(prover, "a token for a minute", issued)),
        Err(error) => {
            let needs = "`update` and `sudo` on `auth/token/create` in a policy of the run's own token";
            prover.untried(tried, format!("{needs}: {error}"));
            None
        }
    }
}

/// Removes something that a proof made. A failure is tried again, and reported, at the end.
async fn end(undo: Undo<'_>) {
    let _ = undo.now().await;
}

/// Ends a token. The server has no request that ends one of type batch: that one ends with its TTL.
async fn end_token(undo: Undo<'_>, about: &Value) {
    match about["token_type"] == "batch" {
        true => undo.is_gone(),
        false => end(undo).await,
    }
}
