//! Single nodes of a cluster, without a token: their state, initialising and unsealing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Url;
use reqwest::tls::TlsInfo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vaultrs::api::EndpointMiddleware;

use super::bounded::LONGEST;
use super::certificate::public_key;
use super::client::REQUEST_TIMEOUT;
use super::error::{explain, from_status, messages, translate};
use super::pki_ca::expiry;
use super::request::{self, Effect, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::of_once_only;
use crate::permit::Permit;
use crate::secret::Secret;
use crate::trace::{Answer, Calls};
use crate::trust::digest;

/// How long initialising may take: seconds on a quiet server, longer with many PGP keys and a slow
/// disk. Giving up early would lose the key shares for good.
pub(super) fn init_timeout() -> Duration {
    of_once_only(3 * REQUEST_TIMEOUT)
}

/// One node. Nothing here is ever retried.
pub struct NodeClient {
    http: reqwest::Client,
    address: Url,
    ca: Option<Arc<str>>,
    calls: Arc<Calls>,
    may_migrate: bool,
}

/// Whether a node is initialised and sealed (`GET sys/seal-status`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SealStatus {
    /// The seal's type, `shamir` or an auto-unseal such as `awskms`.
    #[serde(rename = "type", default)]
    pub seal: String,
    /// Whether the cluster has been initialised.
    pub initialized: bool,
    /// Whether the node is sealed.
    pub sealed: bool,
    /// How many shares open it.
    #[serde(rename = "t", default)]
    pub threshold: u32,
    /// How many shares there are.
    #[serde(rename = "n", default)]
    pub shares: u32,
    /// How many shares have been entered so far.
    #[serde(default)]
    pub progress: u32,
    /// Whether the shares are recovery keys, that is, whether the node unseals itself.
    #[serde(default)]
    pub recovery_seal: bool,
    /// Whether the server was started with another seal than its data has, and waits for shares to move to it.
    #[serde(default)]
    pub migration: bool,
    /// The server's version, e.g. `2.7.2`.
    #[serde(default)]
    pub version: String,
    /// The cluster's name, once unsealed.
    #[serde(default)]
    pub cluster_name: Option<String>,
    /// The cluster's id, once unsealed.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// The storage, `raft` for instance.
    #[serde(default)]
    pub storage_type: Option<String>,
}

/// A node's state by the status of `GET sys/health`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves requests (200).
    Active,
    /// It waits to take over (429, 472, 473).
    Standby,
    /// It is sealed (503).
    Sealed,
    /// The cluster is not initialised (501).
    Uninitialised,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Standby => "on standby",
            Self::Sealed => "sealed",
            Self::Uninitialised => "not initialised",
        })
    }
}

/// The cluster's leader (`GET sys/leader`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Leader {
    /// Whether the storage knows more than one node.
    pub ha_enabled: bool,
    /// Whether this node leads.
    pub is_self: bool,
    /// The leader's address; empty while there is none.
    #[serde(default)]
    pub leader_address: String,
    /// Since when this node leads; another time after a restore.
    #[serde(default)]
    pub active_time: Option<String>,
    /// How far the cluster's log has come; 0 where the server does not say.
    #[serde(default)]
    pub raft_committed_index: u64,
    /// How far it has applied the log itself; 0 where the server does not say.
    #[serde(default)]
    pub raft_applied_index: u64,
}

impl fmt::Debug for NodeClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeClient").field("address", &self.address.as_str()).finish_non_exhaustive()
    }
}

impl NodeClient {
    /// `ca` are the certificates of the cluster's own authority, in PEM.
    pub(super) fn new(http: reqwest::Client, address: Url, ca: Option<Arc<str>>, calls: Arc<Calls>) -> Self {
        Self { http, address, ca, calls, may_migrate: false }
    }

    /// The same node, which this run may or may not move to another seal.
    #[must_use]
    pub(super) fn migrating(self, may_migrate: bool) -> Self {
        Self { may_migrate, ..self }
    }

    /// The node's address, without a trailing slash.
    pub fn address(&self) -> &str {
        self.address.as_str().trim_end_matches('/')
    }

    /// Whether it is initialised and sealed.
    pub async fn seal_status(&self) -> Result<SealStatus> {
        self.send(&Request::new("GET", "sys/seal-status", Effect::Read), None).await
    }

    /// Whether it is active, standby, sealed or uninitialised.
    pub async fn health(&self) -> Result<Health> {
        let request = Request::new("GET", "sys/health", Effect::Read);
        let status = self.get(&request, "sys/health").await?.status().as_u16();
        match status {
            200 => Ok(Health::Active),
            429 | 472 | 473 => Ok(Health::Standby),
            503 => Ok(Health::Sealed),
            501 => Ok(Health::Uninitialised),
            _ => Err(from_status(&request, status, Vec::new())),
        }
    }

    /// The identity that TLS proves: the cluster's own authority if it vouches for the node, else the
    /// node's public key. `None` without TLS.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be asked, or shows no certificate.
    pub async fn identity(&self) -> Result<Option<String>> {
        if self.address.scheme() != "https" {
            return Ok(None);
        }
        match &self.ca {
            Some(ca) => Ok(Some(format!("ca sha256:{}", digest(ca.as_bytes())))),
            None => self.public_key().await,
        }
    }

    /// The node's public key in TLS, which no other server proves; `None` without TLS.
    ///
    /// # Errors
    /// As [`NodeClient::identity`].
    pub(super) async fn public_key(&self) -> Result<Option<String>> {
        let key = self.of_certificate(|certificate| public_key(certificate).map(digest)).await?;
        Ok(key.map(|key| format!("key sha256:{key}")))
    }

    /// When the node's certificate in TLS ends, in seconds since 1970; `None` without TLS.
    ///
    /// # Errors
    /// As [`NodeClient::identity`].
    pub(super) async fn certificate_expiry(&self) -> Result<Option<i64>> {
        self.of_certificate(expiry).await
    }

    /// What `read` finds in the node's certificate in TLS; `None` without TLS.
    async fn of_certificate<T>(&self, read: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>> {
        if self.address.scheme() != "https" {
            return Ok(None);
        }
        let request = Request::new("GET", "sys/seal-status", Effect::Read);
        let answer = self.get(&request, "sys/seal-status").await?;
        let certificate = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        let found = certificate.and_then(read).ok_or_else(|| {
            let message = format!("{} shows no certificate", self.address());
            Error::new(ErrorKind::Unavailable, request.to_string(), message)
        })?;
        Ok(Some(found))
    }

    /// The response to a request that reads, whatever its status and its body.
    async fn get(&self, request: &Request, path: &str) -> Result<reqwest::Response> {
        request.count(&self.calls);
        let started = Instant::now();
        let answer = self.http.get(self.url(path)).send().await;
        request.trace(self.address(), started, (told(&answer), None));
        answer.map_err(|error| self.unavailable(request, &error))
    }

    /// The cluster's leader, as this node sees it.
    pub async fn leader(&self) -> Result<Leader> {
        self.send(&Request::new("GET", "sys/leader", Effect::Read), None).await
    }

    /// Initialises the cluster. Gives the raw answer, to be stored before anything is made of it;
    /// it is what arrived, which may be less than what was sent.
    ///
    /// # Errors
    /// `Rejected` when the server refused, `Unavailable` when it was not reached: nothing was done.
    /// `Unknown` when the outcome is open; then the shares may exist and be lost.
    pub async fn init(&self, _: &Permit, body: &Value) -> Result<Secret> {
        let request = Request::new("POST", "sys/init", Effect::Write);
        request.count(&self.calls);
        let started = Instant::now();
        let sent = self.http.post(self.url("sys/init")).timeout(init_timeout()).body(body.to_string()).send();
        let sent = sent.await;
        request.trace(self.address(), started, (told(&sent), None));
        let answer = sent.map_err(|error| self.init_lost(&request, &error))?;
        let status = answer.status().as_u16();
        let arrived = arrived(answer).await;
        match status {
            200 if !arrived.is_empty() => Ok(Secret::new(arrived)),
            400..=499 => Err(refused(&request, status, &arrived)),
            // An intermediary's redirect has not reached the server's own handler.
            300..=399 => Err(from_status(&request, status, Vec::new())),
            _ => Err(Error::new(
                ErrorKind::Unknown,
                request.to_string(),
                format!("the server answered {status} with {} bytes", arrived.len()),
            )),
        }
    }

    /// Has this node join the cluster that `leader`, an address, belongs to. For raft storage whose
    /// configuration does not name the other nodes (`retry_join`). It trusts the leader's certificate
    /// by the same authority as we do.
    pub async fn join(&self, _: &Permit, leader: &str) -> Result<()> {
        let request = Request::new("POST", "sys/storage/raft/join", Effect::Write);
        let mut body = json!({ "leader_api_addr": leader });
        if let Some(ca) = &self.ca {
            body["leader_ca_cert"] = json!(ca.as_ref());
        }
        self.send::<Value>(&request, Some(&body)).await.map(drop)
    }

    /// Enters one share, hexadecimal or base64. Entering the same share again changes nothing; a
    /// wrong share resets the count.
    pub async fn unseal(&self, _: &Permit, share: &Secret) -> Result<SealStatus> {
        self.enter(share, false).await
    }

    /// Enters one share into a server that waits to move its data to another seal, and agrees to that.
    pub async fn migrate(&self, _: &Permit, share: &Secret) -> Result<SealStatus> {
        self.enter(share, true).await
    }

    async fn enter(&self, share: &Secret, migrates: bool) -> Result<SealStatus> {
        let request = Request::new("POST", "sys/unseal", Effect::Write);
        let share = share.expose_str().ok_or_else(|| {
            Error::new(ErrorKind::Local, request.to_string(), "the share is not text")
                .advice("a share is written in hexadecimal or base64")
        })?;
        let mut body = json!({ "key": share.trim() });
        if migrates {
            body["migrate"] = json!(true);
        }
        self.send(&request, Some(&body)).await
    }

    /// Whether this run may move the data of a server to another seal.
    pub(super) fn may_migrate(&self) -> bool {
        self.may_migrate
    }

    /// Resets the count of entered shares.
    pub async fn reset_unseal(&self, _: &Permit) -> Result<SealStatus> {
        let request = Request::new("POST", "sys/unseal", Effect::Write);
        self.send(&request, Some(&json!({ "reset": true }))).await
    }

    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        request: &Request,
        body: Option<&Value>,
    ) -> Result<T> {
        let middle = EndpointMiddleware {
            token: String::new(),
            version: "v1".to_owned(),
            wrap: None,
            namespace: None,
        };
        let http = rustify::Client::new(self.address.as_str(), self.http.clone());
        request.count(&self.calls);
        let answer = request::send(&http, &middle, request, body).await;
        let answer = answer.map_err(|error| translate(request, &error))?;
        serde_json::from_value(answer).map_err(|error| {
            let message = format!("{} did not answer like Vault: {error}", self.address());
            Error::new(ErrorKind::Unavailable, request.to_string(), message)
                .advice("check that the address is Vault's and no proxy's")
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}/v1/{path}", self.address())
    }

    fn unavailable(&self, request: &Request, error: &reqwest::Error) -> Error {
        let message = format!("{}: {}", self.address(), explain(error));
        Error::new(ErrorKind::Unavailable, request.to_string(), message)
    }

    /// Only a connection that was never made is sure to have done nothing.
    fn init_lost(&self, request: &Request, error: &reqwest::Error) -> Error {
        if error.is_connect() || error.is_builder() {
            return self.unavailable(request, error);
        }
        let message = format!("{}: the answer was lost: {}", self.address(), explain(error));
        Error::new(ErrorKind::Unknown, request.to_string(), message)
    }
}

fn told(answer: &reqwest::Result<reqwest::Response>) -> Answer {
    match answer {
        Ok(answer) => Answer::Status(answer.status().as_u16()),
        Err(error) => Answer::None(explain(error)),
    }
}

/// The server's refusal to initialise. A server that stopped in the middle of an initialisation has made
/// its storage and no shares, and refuses every further attempt.
fn refused(request: &Request, status: u16, body: &[u8]) -> Error {
    let error = from_status(request, status, messages(&String::from_utf8_lossy(body)));
    if !error.message.contains("already has state") {
        return error;
    }
    error.advice(
        "an initialisation was cut off inside the server, which now holds half a cluster that has no key \
         shares and has never held a secret: stop the servers, empty their storage, start them, and run again",
    )
}

/// The body, or as much of it as arrived and could be one.
async fn arrived(mut answer: reqwest::Response) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LONGEST {
            break;
        }
    }
    bytes
}
