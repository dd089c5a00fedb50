//! The client that reads responses up to a limit. A server that never stops sending must not use up
//! the memory; how long it may take is limited by the time of a request.

use async_trait::async_trait;
use rustify::client::Client;
use rustify::errors::ClientError;

/// The longest body, in bytes. Vault takes requests of up to 32 MiB.
pub(super) const LONGEST: usize = 32 << 20;

/// rustify's client, with bodies up to [`LONGEST`].
pub(super) struct Bounded<'a>(pub(super) &'a rustify::Client);

#[async_trait]
impl Client for Bounded<'_> {
    fn base(&self) -> &str {
        self.0.base()
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, ClientError> {
        let request = reqwest::Request::try_from(request)
            .map_err(|source| ClientError::ReqwestBuildError { source })?;
        let (url, method) = (request.url().to_string(), request.method().to_string());
        let sent = self.0.http.execute(request).await;
        let mut answer =
            sent.map_err(|error| ClientError::RequestError { source: error.into(), url, method })?;
        let mut response = http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let broken = |error: reqwest::Error| ClientError::ResponseError { source: error.into() };
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(broken)? {
            if body.len() + chunk.len() > LONGEST {
                let message = format!("the response is larger than {} MiB", LONGEST >> 20);
                return Err(ClientError::ResponseError { source: std::io::Error::other(message).into() });
            }
            body.extend_from_slice(&chunk);
        }
        response.body(body).map_err(|error| ClientError::ResponseError { source: error.into() })
    }
}
