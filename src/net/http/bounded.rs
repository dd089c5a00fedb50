//! A limit on the responses of AWS, or of whatever answers at its endpoint: an endless one must not use
//! up the memory.

use std::error::Error as StdError;

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use crate::confined_path::{JOURNAL, in_words};

/// The longest response of a control plane. The longest known, of one page of all of IAM, has a few MiB.
const RESPONSE: u64 = 32 << 20;
/// How the SDK marks requests for an object's content. Who reads it has a limit of its own, and this is the
/// largest of these.
const OBJECT: (&str, u64) = ("x-id=GetObject&", JOURNAL);

/// A response was longer than allowed.
#[derive(Debug, thiserror::Error)]
#[error("the response is larger than {}", in_words(*.0))]
struct TooLong(u64);

/// The same connector, whose responses have a limit.
pub(super) fn connector(inner: SharedHttpConnector) -> SharedHttpConnector {
    SharedHttpConnector::new(Bounded(inner))
}

#[derive(Debug)]
struct Bounded(SharedHttpConnector);

impl HttpConnector for Bounded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let limit = limit_of(request.uri());
        let answer = self.0.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| bounded(body, limit)))
        })
    }
}

fn limit_of(uri: &str) -> u64 {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    if format!("{query}&").contains(OBJECT.0) { OBJECT.1 } else { RESPONSE }
}

fn bounded(body: SdkBody, limit: u64) -> SdkBody {
    let longest = usize::try_from(limit).unwrap_or(usize::MAX);
    SdkBody::from_body_1_x(Limited::new(body, longest).map_err(move |error| told(error, limit)))
}

fn told(error: Box<dyn StdError + Send + Sync>, limit: u64) -> Box<dyn StdError + Send + Sync> {
    if error.is::<LengthLimitError>() { TooLong(limit).into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn body_beyond_the_limit_is_refused() {
        let body = || bounded(SdkBody::from(vec![0; 11]), 10);
        let error = body().collect().await.expect_err("too long");
        assert_eq!(error.to_string(), "the response is larger than 10 bytes");
        let whole = bounded(SdkBody::from(vec![0; 10]), 10).collect().await.expect("short enough");
        assert_eq!(whole.to_bytes().len(), 10);
    }

    #[test]
    fn only_object_content_may_exceed_response_limit() {
        assert_eq!(limit_of("https://b.s3.amazonaws.com/key?x-id=GetObject"), JOURNAL);
        assert_eq!(limit_of("https://b.s3.amazonaws.com/key?versionId=1&x-id=GetObject"), JOURNAL);
        for other in
            ["https://b.s3.amazonaws.com/x-id=GetObject", "https://b/k?x-id=GetObjectAcl", "https://iam/"]
        {
            assert_eq!(limit_of(other), RESPONSE, "{other}");
        }
    }
}
