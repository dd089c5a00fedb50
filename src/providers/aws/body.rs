//! Objects of S3, read up to a limit. Others may write to a bucket, and what they put there must
//! not use up the memory.

use aws_sdk_s3::primitives::ByteStream;

use crate::confined_path::in_words;
use crate::error::{Error, ErrorKind, Result};

/// The whole body.
///
/// # Errors
/// `Rejected` when it is longer than `limit`; `Unavailable` when it breaks off.
pub async fn read(mut body: ByteStream, limit: u64, operation: &'static str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            Error::new(ErrorKind::Unavailable, operation, format!("the object broke off: {error}"))
        })?;
        if (bytes.len() + chunk.len()) as u64 > limit {
            let message = format!("the object is larger than {}", in_words(limit));
            return Err(Error::new(ErrorKind::Rejected, operation, message)
                .advice("look at who has written it; Groundwork does not make objects of this size"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn object_beyond_the_limit_is_refused() {
        let body = |length: usize| ByteStream::from(vec![0; length]);
        assert_eq!(read(body(10), 10, "s3:GetObject").await.expect("short enough").len(), 10);
        let error = read(body(11), 10, "s3:GetObject").await.expect_err("too long");
        assert!(
            error.kind == ErrorKind::Rejected && error.message.contains("larger than 10 bytes"),
            "{error}"
        );
    }
}
