//! The requests of a client, to the active node with the token.

use std::sync::Arc;

use reqwest::Url;
use serde_json::{Value, json};
use vaultrs::api::EndpointMiddleware;
use vaultrs::client::{VaultClient as Api, VaultClientSettings};
use vaultrs::error::ClientError;

use super::super::cache::Listing;
use super::super::error::{status, translate};
use super::super::request::{self, Effect, Request, error_body};
use super::VaultClient;
use super::connection::admit;
use super::token::header_text;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;

impl VaultClient {
    /// Reads `path`: the `data` of the answer; `None` when there is nothing.
    pub async fn get(&self, path: &str) -> Result<Option<Value>> {
        let request = Request::new("GET", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.ok().map(data))
    }

    /// Reads `path`, also when the server says 404: then `Err` holds what it answered. A soft-deleted
    /// KV secret has its metadata there.
    pub(in crate::providers::vault) async fn get_or_remains(
        &self,
        path: &str,
    ) -> Result<Result<Value, Value>> {
        let request = Request::new("GET", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.map(data).map_err(data))
    }

    /// Reads a secret of KV 2. One whose newest version was deleted still has its metadata; `None` when there is
    /// nothing at all.
    pub async fn get_or_version(&self, path: &str) -> Result<Option<Value>> {
        let found = self.get_or_remains(path).await?;
        let remains = |remains: Value| Some(remains).filter(|one| one["metadata"]["version"].is_u64());
        Ok(found.map_or_else(remains, Some))
    }

    /// The `data` of a LIST of `path`; `None` when there is nothing.
    pub async fn list(&self, path: &str) -> Result<Option<Value>> {
        let request = Request::new("LIST", path, Effect::Read).checked()?;
        Ok(self.read(&request, None).await?.ok().map(data))
    }

    /// Asks with POST what changes nothing; `None` when there is nothing.
    pub(in crate::providers::vault) async fn ask(&self, path: &str, body: &Value) -> Result<Option<Value>> {
        let request = Request::new("POST", path, Effect::Read).checked()?;
        Ok(self.read(&request, Some(body)).await?.ok().map(data))
    }

    /// The token's capabilities by path.
    pub async fn capabilities(&self, paths: &[String]) -> Result<Listing> {
        let request = Request::new("POST", "sys/capabilities-self", Effect::Read);
        let answer = self.read(&request, Some(&json!({ "paths": paths }))).await?.unwrap_or_default();
        Ok(into_listing(data(answer)))
    }

    /// The server's record of the token, without the token itself.
    pub async fn lookup_self(&self) -> Result<Value> {
        let mut found = self.get("auth/token/lookup-self").await?.unwrap_or_default();
        if let Value::Object(fields) = &mut found {
            fields.remove("id");
        }
        Ok(found)
    }

    /// Writes with POST; gives the `data` of the answer, or `null`.
    pub async fn post(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "POST", path, Some(body)).await
    }

    /// Writes with POST and lets the server keep the answer under a token that is good for `seconds`;
    /// gives the `wrap_info`.
    pub(in crate::providers::vault) async fn post_wrapped(
        &self,
        _: &Permit,
        path: &str,
        body: &Value,
        seconds: u64,
    ) -> Result<Value> {
        let request = Request::new("POST", path, Effect::Write).checked()?;
        let api = self.api().await?;
        let middle = EndpointMiddleware { wrap: Some(format!("{seconds}s")), ..self.middleware(&api) };
        request.count(&self.cluster.calls);
        let answer = request::send(&api.http, &middle, &request, Some(body)).await;
        let mut answer = answer.map_err(|error| translate(&request, &error))?;
        Ok(answer["wrap_info"].take())
    }

    fn middleware(&self, api: &Api) -> EndpointMiddleware {
        EndpointMiddleware {
            token: api.middle.token.clone(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.namespace.clone(),
        }
    }

    /// Writes with PUT; gives the `data` of the answer, or `null`.
    pub async fn put(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "PUT", path, Some(body)).await
    }

    /// Changes parts of a thing, as a JSON merge patch (RFC 7396).
    pub async fn patch(&self, permit: &Permit, path: &str, body: &Value) -> Result<Value> {
        self.write(permit, "PATCH", path, Some(body)).await
    }

    /// Deletes `path`. A path that is gone already counts as success.
    pub async fn delete(&self, permit: &Permit, path: &str) -> Result<()> {
        self.write(permit, "DELETE", path, None).await.map(drop)
    }

    /// Sends a request that changes nothing. Gives the whole answer, or in `Err` that of a 404.
    pub(in crate::providers::vault) async fn read(
        &self,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<Result<Value, Value>> {
        match self.send(request, body).await? {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) if status(&error) == Some(404) => Ok(Err(error_body(&error).unwrap_or_default())),
            Err(error) => Err(self.explain_refusal(translate(request, &error)).await),
        }
    }

    /// A server says the same of a token that may not do something and of one that it does not know.
    async fn explain_refusal(&self, error: Error) -> Error {
        if error.kind != ErrorKind::Denied || self.knows_token().await {
            return error;
        }
        error.advice(
            "the token has expired, was revoked, or belongs to another cluster (it may not even look itself \
             up): log in again, or set VAULT_TOKEN",
        )
    }

    async fn write(
        &self,
        _: &Permit,
        method: &'static str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let request = Request::new(method, path, Effect::Write).checked()?;
        let answer = self.send(&request, body).await?;
        self.forget_written(path).await;
        match answer {
            Err(error) if method == "DELETE" && status(&error) == Some(404) => Ok(Value::Null),
            answer => answer.map(data).map_err(|error| translate(&request, &error)),
        }
    }

    /// Sends a request to the active node. A node that is no longer the active one has done nothing,
    /// so the new one, if there is any other, gets the same request.
    async fn send(&self, request: &Request, body: Option<&Value>) -> Result<Result<Value, ClientError>> {
        match self.send_once(request, body).await? {
            Err(error) if self.cluster.nodes.len() > 1 && may_have_moved(&error) => {
                self.cluster.forget_active().await;
                match status(&error) {
                    Some(307) => self.send_once(request, body).await,
                    _ => Ok(Err(error)),
                }
            }
            answer => Ok(answer),
        }
    }

    pub(super) async fn send_once(
        &self,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<Result<Value, ClientError>> {
        let api = self.api().await?;
        request.count(&self.cluster.calls);
        Ok(request::send(&api.http, &api.middle, request, body).await)
    }

    /// Forgets what a write to `path` may have made untrue.
    async fn forget_written(&self, path: &str) {
        match path {
            // With a namespace, everything in it comes or goes.
            path if path.starts_with("sys/namespaces/") => self.cluster.forget_listings().await,
            path if path.starts_with("sys/plugins/") => self.cluster.plugins.forget().await,
            path => self.listings.written(path).await,
        }
    }

    /// vaultrs' client, with the active node's address, the namespace and the token.
    async fn api(&self) -> Result<Arc<Api>> {
        let mut kept = self.cluster.apis.lock().await;
        if let Some(api) = kept.get(&self.namespace) {
            return Ok(Arc::clone(api));
        }
        let active = self.cluster.active().await?;
        let token = self.token().await?;
        let api = Arc::new(self.api_for(active, header_text(&token)?.to_owned())?);
        kept.insert(self.namespace.clone(), Arc::clone(&api));
        Ok(api)
    }

    /// Every token, and everything that a login takes, is sent by what this gives.
    pub(super) fn api_for(&self, active: Url, token: String) -> Result<Api> {
        admit(&active, &self.cluster.trust)?;
        let middle = EndpointMiddleware {
            token: token.clone(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: self.namespace.clone(),
        };
        let http = rustify::Client::new(active.as_str(), self.cluster.http.clone());
        let settings = VaultClientSettings {
            address: active,
            ca_certs: Vec::new(),
            identity: None,
            timeout: None,
            token,
            verify: true,
            version: 1,
            wrapping: false,
            namespace: self.namespace.clone(),
            proxy: None,
        };
        Ok(Api { http, middle, settings })
    }
}

/// Whether the next request should look for the active node again.
fn may_have_moved(error: &ClientError) -> bool {
    status(error).is_none_or(|status| status == 307 || status >= 500)
}

/// The `data` of an answer that has it, else the answer.
pub(in crate::providers::vault) fn data(mut answer: Value) -> Value {
    answer.get_mut("data").map(Value::take).unwrap_or(answer)
}

/// The fields of a map; none of anything else.
pub(in crate::providers::vault) fn into_listing(data: Value) -> Listing {
    match data {
        Value::Object(fields) => fields,
        _ => Listing::new(),
    }
}
