//! The end of the root token is proven by using it: it must be refused, and the admin who replaces it must log in.

use serde_json::Value;

use super::super::client::Issued;
use super::super::custodian::{Admin, Custodian, Unlocked};
use super::{Vault, end, hold};
use crate::proof::Prover;

/// Tries the admin's credential and the root token that custody has.
pub(in crate::providers::vault) async fn prove(prover: &Prover<'_, Custodian>) {
    let tried = "the admin in custody logs in";
    let which = prover.initialisation_to_use().await;
    let Some(Some(which)) = prover.ask(tried, "custody knows this cluster", which) else { return };
    let vault: Vault<'_> = prover.with(&*prover.client().vault);
    let admin = Admin::read(&prover.custody, &which).await;
    match prover.ask(tried, "the credential opens", admin) {
        Some(Some(admin)) => admin_logs_in(&vault, &admin, tried).await,
        Some(None) => prover.failed(
            tried,
            "custody has the admin's credential",
            "it has none",
            "restore a store of custody (`groundwork custody check PLAN --repair`)",
        ),
        None => {}
    }
    let tried = "the root token is refused";
    let unlocked = Unlocked::read(&prover.custody, &which).await;
    let Some(Some(unlocked)) = prover.ask(tried, "custody opens", unlocked) else { return };
    let Some(root) = prover.ask(tried, "the token opens", unlocked.root_token()) else { return };
    let answer = vault.bearing(root, Value::Null).try_read("GET", "auth/token/lookup-self").await;
    match prover.ask(tried, "an answer", answer) {
        Some(403) => prover.proven(tried),
        Some(status) => prover.failed(
            tried,
            "the server answers 403",
            format!("the server answers {status}"),
            "a restore may have brought it back: revoke it by hand (`bao token revoke -self` with it)",
        ),
        None => {}
    }
}

async fn admin_logs_in(vault: &Vault<'_>, admin: &Admin, tried: &str) {
    let token = match admin.login(vault.client()).await {
        Ok(token) => token,
        Err(error) => {
            let advice = "make the admin another secret-id while somebody still has a token that may; without one, \
                          only the key shares lead back in (`sys/generate-root-token`)";
            return vault.failed(tried, "the login is accepted", error.to_string(), advice);
        }
    };
    let issued = Issued { token, about: Value::Null };
    let (bearer, undo) = hold(vault, "the admin's token", issued);
    let found = bearer.try_read("GET", "auth/token/lookup-self").await;
    match vault.ask(tried, "its token works", found) {
        Some(200) => vault.proven(tried),
        Some(status) => {
            let advice = "the policy `default` lets a token look itself up: give it back to the admin's role";
            vault.failed(tried, "its token works", format!("the server answers {status}"), advice);
        }
        None => {}
    }
    end(undo).await;
}
