//! Sends one request.

use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Method, Response, Url};
use serde_json::Value;

use super::super::error::Effect;
use super::KubernetesClient;
use crate::error::{Error, ErrorKind, Result, display_chain};
use crate::net::timeout::scaled_delay;
use crate::trace::{self, Answer, Call};

/// The longest response, for lists of thousands of objects.
const LONGEST: usize = 256 << 20;

/// How often a read is sent again that the server has no time for, and the wait before the first time.
const READ_TURNS: u32 = 5;
const READ_DELAY: Duration = Duration::from_millis(300);

/// A request below the server's address.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<Body>,
    pub(super) effect: Effect,
}

/// The body of a request; it may hold secrets.
pub(super) struct Body {
    pub(super) media: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Request<'_> {
    /// Its name in errors.
    pub(super) fn operation(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

impl KubernetesClient {
    /// Sends a request; once more with a new token if the server refuses the one that it has. Gives the
    /// status and the body.
    pub(super) async fn send(&self, request: Request<'_>) -> Result<(u16, Value)> {
        let body = request.body.as_ref().map(|body| (body.media, bytes::Bytes::from(body.bytes.clone())));
        let (mut status, mut told, mut used) = self.attempt(&request, body.clone()).await?;
        // The engine repeats writes. A server that is busy, or still opens the storage of a resource, says so.
        for turn in 1..=READ_TURNS {
            if status != 429 || request.effect == Effect::Write {
                break;
            }
            tokio::time::sleep(scaled_delay(READ_DELAY * turn)).await;
            (status, told, used) = self.attempt(&request, body.clone()).await?;
        }
        if status == 401 && self.credential.renew(used.as_ref()).await? {
            let (status, told, _) = self.attempt(&request, body).await?;
            return Ok((status, told));
        }
        Ok((status, told))
    }

    async fn attempt(
        &self,
        request: &Request<'_>,
        body: Option<(&'static str, bytes::Bytes)>,
    ) -> Result<(u16, Value, Option<reqwest::header::HeaderValue>)> {
        match request.effect {
            Effect::Read => self.calls.count_read(),
            Effect::Write => self.calls.count_write(),
        }
        let token = self.credential.header().await?;
        let method = Method::from_bytes(request.method.as_bytes()).unwrap_or(Method::GET);
        let url = url(&self.server, request).map_err(|failure| failure.error(request))?;
        let mut builder = self.http.request(method, url);
        if let Some(token) = &token {
            builder = builder.header(AUTHORIZATION, token.clone());
        }
        if let Some((media, bytes)) = body {
            builder = builder.header(CONTENT_TYPE, media).body(bytes);
        }
        let begun = Instant::now();
        let answer = async { read(builder.send().await?).await }.await;
        tell(request, &self.server, begun.elapsed(), answer.as_ref().map(|(status, _)| *status));
        let (status, bytes) = answer.map_err(|failure| failure.error(request))?;
        Ok((status, serde_json::from_slice(&bytes).unwrap_or_default(), token))
    }
}

fn url(server: &str, request: &Request<'_>) -> Result<Url, Failure> {
    let mut url = Url::parse(&format!("{server}/{}", request.path)).map_err(|_| Failure::Address)?;
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(request.query);
    }
    Ok(url)
}

/// Why there is no response.
enum Failure {
    Address,
    Transport(reqwest::Error),
    TooLong,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error.without_url())
    }
}

impl Failure {
    fn words(&self) -> String {
        match self {
            Self::Address => "this is not an address".to_owned(),
            Self::Transport(error) => {
                let mut chain: Vec<&(dyn std::error::Error + 'static)> = vec![error];
                while let Some(cause) = chain.last().and_then(|error| error.source()) {
                    chain.push(cause);
                }
                display_chain(chain.into_iter())
            }
            Self::TooLong => format!("the response is longer than {} MiB", LONGEST >> 20),
        }
    }

    fn error(&self, request: &Request<'_>) -> Error {
        let was_sent = match self {
            Self::Transport(error) => !error.is_connect() && !error.is_builder(),
            Self::TooLong => true,
            Self::Address => false,
        };
        let kind = match (request.effect, was_sent) {
            (Effect::Write, true) => ErrorKind::Unknown,
            _ => ErrorKind::Unavailable,
        };
        let error = Error::new(kind, request.operation(), self.words());
        match was_sent {
            true => error,
            false => {
                error.advice("is the API server reachable from here? `kubectl get --raw /readyz` asks it")
            }
        }
    }
}

async fn read(mut response: Response) -> Result<(u16, Vec<u8>), Failure> {
    let status = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > LONGEST {
            return Err(Failure::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, bytes))
}

fn tell(request: &Request<'_>, server: &str, took: Duration, answer: std::result::Result<u16, &Failure>) {
    if !trace::is_on() {
        return;
    }
    let answer = answer.map_or_else(|failure| Answer::None(failure.words()), Answer::Status);
    let address = trace::public(&format!("{server}/{}", request.path));
    let is_dry = request.query.iter().any(|(name, _)| *name == "dryRun");
    let operation = if is_dry { format!("{} (dry run)", request.method) } else { request.method.to_owned() };
    trace::tell(&Call { system: "kubernetes", operation, address, answer, took, request_id: None });
}
