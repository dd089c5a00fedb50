//! Requests with another token than the run's, and logins that proofs make.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::error::{status, translate};
use super::super::request::{self, Effect, Request};
use super::VaultClient;
use super::calls::data;
use super::connection::{client_with_identity, parse_address};
use super::token::header_text;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// How many paths one question about capabilities has. The server takes fewer than a thousand texts in a request.
const PATHS_AT_ONCE: usize = 900;

/// The answer to a login, or to the creation of a token.
pub(in crate::providers::vault) struct Issued {
    /// The token.
    pub token: Secret,
    /// The answer without the token: `accessor`, `lease_duration`, `token_policies` and more.
    pub about: Value,
}

/// A client that holds another token than the run's.
pub(in crate::providers::vault) struct Bearer {
    client: VaultClient,
    token: Secret,
    /// Its accessor, where it is known, by which the run can end it.
    accessor: Value,
}

impl VaultClient {
    /// The same client, for a task that outlives a borrow of this one.
    pub(in crate::providers::vault) fn another(&self) -> Self {
        Self::within(Arc::clone(&self.cluster), self.namespace.clone())
    }

    /// A client with this token, in the same namespace.
    pub(in crate::providers::vault) fn bearing(&self, token: Secret, accessor: Value) -> Bearer {
        Bearer { client: self.another(), token, accessor }
    }

    /// Logs in; `body` is what the method takes.
    ///
    /// # Errors
    /// `Denied` when the server refuses the credential.
    pub(in crate::providers::vault) async fn log_in(&self, path: &str, body: &Value) -> Result<Issued> {
        let request = Request::new("POST", path, Effect::Login).checked()?;
        let api = self.api_for(self.cluster.active().await?, String::new())?;
        request.count(&self.cluster.calls);
        let answer = request::send(&api.http, &api.middle, &request, Some(body)).await;
        issued(&request, answer.map_err(|error| translate(&request, &error))?)
    }

    /// Logs in by a certificate and its key, in PEM, which TLS proves.
    ///
    /// # Errors
    /// `Local` when these cannot be used; `Denied` when the server refuses them.
    pub(in crate::providers::vault) async fn log_in_by_certificate(
        &self,
        path: &str,
        body: &Value,
        pem: &Secret,
    ) -> Result<Issued> {
        let request = Request::new("POST", path, Effect::Login).checked()?;
        let active = self.cluster.active().await?;
        let ca = self.cluster.ca.as_deref();
        let client = client_with_identity(&active, ca, self.environment(), pem.expose_bytes())?;
        let http = rustify::Client::new(active.as_str(), client);
        let api = self.api_for(active, String::new())?;
        request.count(&self.cluster.calls);
        let answer = request::send(&http, &api.middle, &request, Some(body)).await;
        issued(&request, answer.map_err(|error| translate(&request, &error))?)
    }

    /// Has the run's token make another one, which ends with it at the latest. It counts as a login.
    ///
    /// # Errors
    /// `Denied` when the run may not make tokens, or not this one.
    pub(in crate::providers::vault) async fn issue_token(&self, path: &str, body: &Value) -> Result<Issued> {
        let request = Request::new("POST", path, Effect::Login).checked()?;
        let answer = self.send_once(&request, Some(body)).await?;
        issued(&request, answer.map_err(|error| translate(&request, &error))?)
    }

    /// Reads `path` from the node at `address`, which answers for itself even if it is not the active one;
    /// `None` when there is nothing.
    pub(in crate::providers::vault) async fn get_from(
        &self,
        address: &str,
        method: &'static str,
        path: &str,
    ) -> Result<Option<Value>> {
        let request = Request::new(method, path, Effect::Read).checked()?;
        let node = parse_address(address, self.environment())?;
        let api = self.api_for(node, header_text(&self.token().await?)?.to_owned())?;
        request.count(&self.cluster.calls);
        match request::send(&api.http, &api.middle, &request, None).await {
            Ok(answer) => Ok(Some(data(answer))),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(translate(&request, &error)),
        }
    }
}

/// The token of an answer.
fn issued(request: &Request, mut answer: Value) -> Result<Issued> {
    let mut about = answer["auth"].take();
    let token = about.as_object_mut().and_then(|fields| fields.remove("client_token"));
    match token {
        Some(Value::String(token)) => Ok(Issued { token: Secret::from(token), about }),
        _ => Err(Error::new(ErrorKind::Rejected, request.to_string(), "the answer has no token")),
    }
}

impl Bearer {
    /// The status of a read; the content is dropped.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(in crate::providers::vault) async fn try_read(
        &self,
        method: &'static str,
        path: &str,
    ) -> Result<u16> {
        let request = Request::new(method, path, Effect::Read).checked()?;
        match self.send(&request, None).await? {
            Ok(_) => Ok(200),
            Err(error) => status(&error).ok_or_else(|| translate(&request, &error)),
        }
    }

    /// Asks with GET, or with POST and a body, what changes nothing.
    ///
    /// # Errors
    /// As the server answers.
    pub(in crate::providers::vault) async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let request = Request::new(method, path, Effect::Read).checked()?;
        let answer = self.send(&request, body).await?;
        answer.map(data).map_err(|error| translate(&request, &error))
    }

    /// Has this token make another one.
    ///
    /// # Errors
    /// As the server answers.
    pub(in crate::providers::vault) async fn issue(&self, path: &str, body: &Value) -> Result<Issued> {
        let request = Request::new("POST", path, Effect::Login).checked()?;
        let answer = self.send(&request, Some(body)).await?;
        issued(&request, answer.map_err(|error| translate(&request, &error))?)
    }

    /// As long as the token may be renewed at once.
    ///
    /// # Errors
    /// As the server answers.
    pub(in crate::providers::vault) async fn renew(&self, increment: &str) -> Result<Option<u64>> {
        let request = Request::new("POST", "auth/token/renew-self", Effect::Login);
        let answer = self.send(&request, Some(&json!({ "increment": increment }))).await?;
        let answer = answer.map_err(|error| translate(&request, &error))?;
        Ok(answer["auth"]["lease_duration"].as_u64())
    }

    /// The token's capabilities on each of these paths, sorted.
    ///
    /// # Errors
    /// `Denied` when the token may not ask.
    pub(in crate::providers::vault) async fn capabilities(
        &self,
        paths: &[String],
    ) -> Result<Vec<Vec<String>>> {
        let mut all = Vec::with_capacity(paths.len());
        for some in paths.chunks(PATHS_AT_ONCE) {
            let found = self.ask("sys/capabilities-self", Some(&json!({ "paths": some }))).await?;
            all.extend(some.iter().map(|path| {
                let listed = found[path].as_array().into_iter().flatten();
                let mut names: Vec<String> = listed.filter_map(Value::as_str).map(str::to_owned).collect();
                names.sort();
                names
            }));
        }
        Ok(all)
    }

    /// Ends the token, and everything that it holds. One that has ended already counts as ended. A token that may
    /// not end itself is ended by the run's own.
    ///
    /// # Errors
    /// When the server does not confirm it.
    pub(in crate::providers::vault) async fn end(&self) -> Result<()> {
        match self.client.log_out(&self.token).await {
            Err(error) if error.kind == ErrorKind::Denied => self.end_by_accessor().await,
            ended => ended,
        }
    }

    async fn end_by_accessor(&self) -> Result<()> {
        if self.accessor.as_str().is_none_or(str::is_empty) {
            return Ok(());
        }
        let request = Request::new("POST", "auth/token/revoke-accessor", Effect::Login);
        let body = json!({ "accessor": self.accessor });
        match self.client.send_once(&request, Some(&body)).await? {
            Err(error) => match translate(&request, &error) {
                // The token has ended.
                error if error.message.contains("invalid accessor") => Ok(()),
                error => Err(error),
            },
            Ok(_) => Ok(()),
        }
    }

    async fn send(
        &self,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<std::result::Result<Value, vaultrs::error::ClientError>> {
        let active = self.client.cluster.active().await?;
        let api = self.client.api_for(active, header_text(&self.token)?.to_owned())?;
        request.count(&self.client.cluster.calls);
        Ok(request::send(&api.http, &api.middle, request, body).await)
    }
}
