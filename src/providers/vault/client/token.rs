//! The token of a run: where it comes from, whether the server knows it, logging in and out.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::super::error::{status, translate};
use super::super::request::{self, Effect, Request};
use super::super::session::{EnvToken, HomeToken, TokenSource};
use super::VaultClient;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
use crate::trace::Answer;

impl VaultClient {
    /// Adds a place that may have a token: asked after `VAULT_TOKEN` and the places added before,
    /// and before `~/.vault-token`.
    pub fn add_source(&self, source: Arc<dyn TokenSource>) {
        self.cluster.sources.write().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// Uses `token` from now on.
    pub async fn set_token(&self, token: Secret) {
        self.cluster.use_token(Some(token)).await;
    }

    /// Forgets the token; the sources are asked again when one is needed.
    pub async fn clear_token(&self) {
        self.cluster.use_token(None).await;
    }

    /// Logs in through the AppRole method at `mount`; gives the token without using it.
    ///
    /// # Errors
    /// `Denied` when the server refuses the role-id or secret-id.
    pub async fn login_approle(&self, mount: &str, role_id: &Secret, secret_id: &Secret) -> Result<Secret> {
        let request = Request::new("POST", format!("auth/{mount}/login"), Effect::Login).checked()?;
        let api = self.api_for(self.cluster.active().await?, String::new())?;
        let (role_id, secret_id) = (text(role_id, "the role-id")?, text(secret_id, "the secret-id")?);
        request.count(&self.cluster.calls);
        let started = Instant::now();
        let login = vaultrs::auth::approle::login(&api, mount, role_id, secret_id).await;
        let told = login.as_ref().map_or_else(|error| request::failure(error, 0), |_| Answer::Status(200));
        request.trace(&api.http.base, started, (told, None));
        login.map(|auth| Secret::from(auth.client_token)).map_err(|error| translate(&request, &error))
    }

    /// Ends a token that [`VaultClient::login_approle`] gave.
    ///
    /// # Errors
    /// When the server does not confirm it.
    pub async fn log_out(&self, token: &Secret) -> Result<()> {
        let request = Request::new("POST", "auth/token/revoke-self", Effect::Login);
        let api = self.api_for(self.cluster.active().await?, header_text(token)?.to_owned())?;
        request.count(&self.cluster.calls);
        let ended = request::send(&api.http, &api.middle, &request, None).await;
        ended.map(drop).map_err(|error| translate(&request, &error))
    }

    pub(super) async fn token(&self) -> Result<Secret> {
        let mut kept = self.cluster.token.lock().await;
        if kept.is_none() {
            *kept = self.ask_sources().await?;
        }
        kept.clone().ok_or_else(|| self.no_token())
    }

    async fn ask_sources(&self) -> Result<Option<Secret>> {
        // They log in where the plan's own things are, whichever namespace is asked about.
        let home = self.home();
        for source in self.all_sources() {
            if let Some(token) = source.token(&home).await? {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    fn all_sources(&self) -> Vec<Arc<dyn TokenSource>> {
        let added = self.cluster.sources.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut sources: Vec<Arc<dyn TokenSource>> = vec![Arc::new(EnvToken)];
        sources.extend(added);
        sources.push(Arc::new(HomeToken));
        sources
    }

    fn no_token(&self) -> Error {
        let places: Vec<String> = self.all_sources().iter().map(|source| source.describe()).collect();
        let message = format!("there is no token for {}; asked {}", self.address(), places.join(", "));
        Error::new(ErrorKind::Unauthenticated, "log in to Vault", message)
            .advice("set VAULT_TOKEN, run `bao login` or `vault login`, or declare `vault.auth` in the plan")
    }

    /// Asks, once for each token, whether it is one of the server's.
    pub(super) async fn knows_token(&self) -> bool {
        let mut known = self.cluster.token_known.lock().await;
        if let Some(known) = *known {
            return known;
        }
        let request = Request::new("GET", "auth/token/lookup-self", Effect::Read);
        let answer = self.home().send_once(&request, None).await;
        let refused = matches!(&answer, Ok(Err(error)) if status(error) == Some(403));
        *known.insert(!refused)
    }
}

fn text<'a>(secret: &'a Secret, what: &str) -> Result<&'a str> {
    secret
        .expose_str()
        .ok_or_else(|| Error::new(ErrorKind::Local, "log in to Vault", format!("{what} is not text")))
}

/// The token, if it can stand in an HTTP header.
pub(super) fn header_text(token: &Secret) -> Result<&str> {
    let usable = |text: &&str| text.bytes().all(|byte| byte.is_ascii_graphic());
    token.expose_str().filter(usable).ok_or_else(|| {
        Error::new(ErrorKind::Local, "log in to Vault", "the token has characters that no token has")
            .advice("check VAULT_TOKEN and ~/.vault-token for line breaks and spaces")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_checked_before_use() {
        assert!(header_text(&Secret::from("hvs.x".to_owned())).is_ok());
        let error = header_text(&Secret::from("hvs.x\n".to_owned())).expect_err("a line break");
        assert!(!format!("{error:?}").contains("hvs.x"));
    }
}
