//! Snapshots of raft storage, taken from the node that leads.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use super::super::error::{explain, from_status, messages, translate};
use super::super::node::NodeClient;
use super::super::request::{self, Effect, Request};
use super::VaultClient;
use super::calls::data;
use super::connection::{REQUEST_TIMEOUT, admit, parse_address};
use super::token::header_text;
use crate::backup::FromStart;
use crate::error::{Error, ErrorKind, Result};
use crate::net::timeout::at_most;
use crate::permit::Permit;
use crate::secret::Secret;
use crate::trace::Answer;

const SNAPSHOT: &str = "sys/storage/raft/snapshot";
/// How much of a file is sent at once.
const PIECE: usize = 64 << 10;
/// How long a whole transfer may take; a pause in it may last no longer than a request.
const TRANSFER: Duration = Duration::from_hours(6);

impl VaultClient {
    /// The node that leads. Each node is asked about itself, because a standby takes a snapshot of what it
    /// has, and answers a restore with success without restoring anything.
    ///
    /// # Errors
    /// `Unavailable` when no node leads, or the one that does is not one of the plan's; as
    /// [`VaultClient::ready`].
    pub async fn leading_node(&self) -> Result<NodeClient> {
        self.ready().await?;
        let nodes = self.nodes();
        let answers = join_all(nodes.iter().map(NodeClient::leader)).await;
        let leads = answers.iter().position(|answer| answer.as_ref().is_ok_and(|leader| leader.is_self));
        let mut nodes = nodes;
        if let Some(index) = leads {
            return Ok(nodes.swap_remove(index));
        }
        let named = answers.iter().flatten().map(|leader| leader.leader_address.as_str());
        let Some(address) = named.into_iter().find(|address| !address.is_empty()) else {
            return Err(Error::new(ErrorKind::Unavailable, "find the leader", "no node leads now")
                .advice("wait for the election to end, and run again"));
        };
        admit(&parse_address(address, self.environment())?, &self.cluster.trust)?;
        let node = self.node(address)?;
        if node.leader().await?.is_self {
            return Ok(node);
        }
        let message = format!("{address} is said to lead, and says that it does not");
        Err(Error::new(ErrorKind::Unavailable, "find the leader", message)
            .advice("list every node's own address under `vault.nodes`"))
    }

    /// Writes a snapshot of the leading node into `file`, piece by piece, without a check.
    ///
    /// # Errors
    /// When the server refuses, or the transfer stops.
    pub async fn take_snapshot(&self, node: &NodeClient, file: &mut File) -> Result<()> {
        let request = Request::new("GET", SNAPSHOT, Effect::Read);
        request.count(&self.cluster.calls);
        let broken = |why: String| {
            Error::new(ErrorKind::Unavailable, request.to_string(), format!("{}: {why}", node.address()))
        };
        let (sent, started) = (self.cluster.http.get(url(node, SNAPSHOT)).timeout(TRANSFER), Instant::now());
        let sent = sent.header("X-Vault-Token", token_header(&self.token().await?)?).send().await;
        request.trace(node.address(), started, (told(&sent), None));
        let mut answer = sent.map_err(|error| broken(explain(&error)))?;
        let is_snapshot = answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/gzip");
        if answer.status().as_u16() != 200 || !is_snapshot {
            return Err(refused(&request, answer).await);
        }
        loop {
            let chunk = tokio::time::timeout(at_most(REQUEST_TIMEOUT), answer.chunk()).await;
            let chunk = chunk.map_err(|_| broken("the snapshot stopped arriving".to_owned()))?;
            match chunk.map_err(|error| broken(format!("the snapshot broke off: {}", explain(&error))))? {
                Some(chunk) => file.write_all(&chunk).map_err(|error| {
                    Error::new(ErrorKind::Local, "write the snapshot", error.to_string())
                        .advice("make room on the disk of the temporary folder (TMPDIR)")
                })?,
                None => return Ok(()),
            }
        }
    }

    /// Restores a snapshot into the node that leads. The server answers before it restores: only what it does
    /// afterwards is a proof. `anyway` leaves out the server's own check that the present key shares open it.
    ///
    /// # Errors
    /// When the server refuses; `Unknown` when its answer is lost.
    pub async fn restore_snapshot(
        &self,
        _: &Permit,
        node: &NodeClient,
        file: &File,
        anyway: bool,
    ) -> Result<()> {
        let path = if anyway { "sys/storage/raft/snapshot-force" } else { SNAPSHOT };
        let request = Request::new("POST", path, Effect::Write);
        let file = FromStart::of(file)?;
        request.count(&self.cluster.calls);
        let (sent, started) = (self.cluster.http.post(url(node, path)).timeout(TRANSFER), Instant::now());
        let sent = sent.header("X-Vault-Token", token_header(&self.token().await?)?);
        let sent = sent.body(pieces(file)).send().await;
        request.trace(node.address(), started, (told(&sent), None));
        let answer = sent.map_err(|error| {
            let kind = if error.is_connect() { ErrorKind::Unavailable } else { ErrorKind::Unknown };
            let message = format!("{}: {}", node.address(), explain(&error));
            Error::new(kind, request.to_string(), message)
        })?;
        match answer.status().as_u16() {
            200 | 204 => Ok(()),
            _ => Err(refused(&request, answer).await),
        }
    }

    /// Seals one node, which forgets what it has in memory. A standby takes it, and the cluster goes on.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn seal_node(&self, _: &Permit, node: &NodeClient) -> Result<()> {
        let request = Request::new("PUT", "sys/seal", Effect::Write);
        self.ask_node(node, &request).await.map(drop)
    }

    /// Reads `path` from this node, as it has it in memory.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn read_from(&self, node: &NodeClient, path: &str) -> Result<Value> {
        let request = Request::new("GET", path, Effect::Read);
        self.ask_node(node, &request).await
    }

    /// Lists `path` on this node, as it has it in memory.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn list_from(&self, node: &NodeClient, path: &str) -> Result<Value> {
        let request = Request::new("LIST", path, Effect::Read);
        self.ask_node(node, &request).await
    }

    async fn ask_node(&self, node: &NodeClient, request: &Request) -> Result<Value> {
        let address = parse_address(node.address(), self.environment())?;
        let api = self.api_for(address, header_text(&self.token().await?)?.to_owned())?;
        request.count(&self.cluster.calls);
        let answer = request::send(&api.http, &api.middle, request, None).await;
        answer.map(data).map_err(|error| translate(request, &error))
    }
}

fn told(sent: &reqwest::Result<reqwest::Response>) -> Answer {
    match sent {
        Ok(answer) => Answer::Status(answer.status().as_u16()),
        Err(error) => Answer::None(explain(error)),
    }
}

/// A file in pieces.
fn pieces(file: FromStart) -> reqwest::Body {
    let pieces = futures::stream::unfold(Some(file), |file: Option<FromStart>| async move {
        let mut file = file?;
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Frame::data(Bytes::from(piece))), Some(file)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    reqwest::Body::wrap(StreamBody::new(Box::pin(pieces)))
}

fn url(node: &NodeClient, path: &str) -> String {
    format!("{}/v1/{path}", node.address())
}

fn token_header(token: &Secret) -> Result<HeaderValue> {
    let unusable = |_| Error::new(ErrorKind::Local, "log in to Vault", "the token cannot be sent");
    let mut value = HeaderValue::from_str(header_text(token)?).map_err(unusable)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The error for an answer that is not a snapshot. Only a short one is read.
async fn refused(request: &Request, mut answer: reqwest::Response) -> Error {
    let (status, mut body) = (answer.status().as_u16(), Vec::new());
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > 1 << 16 {
            break;
        }
    }
    match status {
        200 => Error::new(ErrorKind::Unavailable, request.to_string(), "the answer is not a snapshot")
            .advice("check that the address is Vault's and no proxy's, and that its storage is raft"),
        _ => from_status(request, status, messages(&String::from_utf8_lossy(&body))),
    }
}
