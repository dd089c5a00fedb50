//! One request to Vault: its description, its counting and its sending.

use std::fmt;
use std::time::Instant;

use rustify::endpoint::MiddleWare;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError as HttpError;
use rustify::{Client as HttpClient, Endpoint};
use serde_json::Value;
use vaultrs::api::EndpointMiddleware;
use vaultrs::error::ClientError;

use super::bounded::Bounded;
use crate::error::{Error, ErrorKind, Result};
use crate::trace::{self, Answer, Calls};

/// The possible effect of a request, for the counts and for the meaning of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It does not change anything.
    Read,
    /// It may change something.
    Write,
    /// It issues a token.
    Login,
}

/// The description of a request, for counts and errors.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) effect: Effect,
}

impl Request {
    pub(super) fn new(method: &'static str, path: impl Into<String>, effect: Effect) -> Self {
        Self { method, path: path.into(), effect }
    }

    /// Refuses a path that an HTTP library would normalise to another one.
    pub(super) fn checked(self) -> Result<Self> {
        match self.path.split('/').find(|segment| matches!(*segment, "" | "." | "..")) {
            None => Ok(self),
            Some(segment) => Err(Error::new(
                ErrorKind::Rejected,
                self.to_string(),
                format!("the path has a segment `{segment}`, which Vault cannot address"),
            )
            .advice("write names and paths without leading, trailing or double slashes and without `..`")),
        }
    }

    /// The capability in a Vault policy that allows the request.
    pub(super) fn capability(&self) -> &'static str {
        match self.method {
            "GET" => "read",
            "LIST" => "list",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "update",
        }
    }

    /// Traces the request's result at the server with this address.
    pub(super) fn trace(
        &self,
        address: &str,
        started: Instant,
        (answer, request_id): (Answer, Option<&str>),
    ) {
        trace::tell(&trace::Call {
            system: "vault",
            operation: self.method.to_owned(),
            address: trace::public(&format!("{}/v1/{}", address.trim_end_matches('/'), self.path)),
            answer,
            took: started.elapsed(),
            request_id,
        });
    }

    pub(super) fn count(&self, calls: &Calls) {
        match self.effect {
            Effect::Read => calls.count_read(),
            Effect::Write => calls.count_write(),
            Effect::Login => calls.count_login(),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// An endpoint for requests that vaultrs lacks or whose responses it truncates: PATCH, tuning,
/// audit devices, seal status, capabilities, and reads whose whole response is compared.
struct Call<'a> {
    request: &'a Request,
    body: Option<&'a Value>,
}

impl Endpoint for Call<'_> {
    type Response = Value;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.request.path.clone()
    }

    fn method(&self) -> RequestMethod {
        match self.request.method {
            "LIST" => RequestMethod::LIST,
            "PATCH" => RequestMethod::PATCH,
            "POST" => RequestMethod::POST,
            "PUT" => RequestMethod::PUT,
            "DELETE" => RequestMethod::DELETE,
            _ => RequestMethod::GET,
        }
    }

    fn body(&self) -> Result<Option<Vec<u8>>, HttpError> {
        Ok(self.body.map(|body| body.to_string().into_bytes()))
    }
}

/// vaultrs' middleware, which adds the token, and the content type that Vault requires for a PATCH.
struct Headers<'a>(&'a EndpointMiddleware);

impl MiddleWare for Headers<'_> {
    fn request<E: Endpoint>(
        &self,
        endpoint: &E,
        request: &mut http::Request<Vec<u8>>,
    ) -> Result<(), HttpError> {
        self.0.request(endpoint, request)?;
        if matches!(endpoint.method(), RequestMethod::PATCH) {
            let merge_patch = http::HeaderValue::from_static("application/merge-patch+json");
            request.headers_mut().insert(http::header::CONTENT_TYPE, merge_patch);
        }
        Ok(())
    }

    fn response<E: Endpoint>(&self, _: &E, _: &mut http::Response<Vec<u8>>) -> Result<(), HttpError> {
        Ok(())
    }
}

/// Sends a request; returns the response's body, `null` when it is empty.
pub(super) async fn send(
    http: &HttpClient,
    middle: &EndpointMiddleware,
    request: &Request,
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let headers = Headers(middle);
    let started = Instant::now();
    let answer = Call { request, body }.with_middleware(&headers).exec(&Bounded(http)).await;
    let status = answer.as_ref().map(|answer| answer.response.status().as_u16()).unwrap_or_default();
    let answer =
        answer.map_err(ClientError::from).and_then(|answer| match answer.response.body().as_slice() {
            [] => Ok(Value::Null),
            body => serde_json::from_slice(body).map_err(|source| ClientError::JsonParseError { source }),
        });
    let told = match &answer {
        Ok(answer) => (Answer::Status(status), answer.get("request_id").and_then(Value::as_str)),
        Err(error) => (failure(error, status), None),
    };
    request.trace(&http.base, started, told);
    answer
}

/// The response of a failed request; `status` is the status of a response that was not JSON.
pub(super) fn failure(error: &ClientError, status: u16) -> Answer {
    match super::error::status(error) {
        Some(status) => Answer::Status(status),
        None if status != 0 => Answer::Status(status),
        None => Answer::None(super::error::explain(error)),
    }
}

/// The JSON body of an error response; Vault puts a soft-deleted secret's metadata into a 404.
pub(super) fn error_body(error: &ClientError) -> Option<Value> {
    match error {
        ClientError::RestClientError {
            source: HttpError::ServerResponseError { content: Some(content), .. },
        } => serde_json::from_str(content).ok(),
        _ => None,
    }
}
