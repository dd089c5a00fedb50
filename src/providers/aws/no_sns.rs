//! A build without the client of SNS.

use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::run::Run;

/// Publishes nothing.
///
/// # Errors
/// Always.
pub async fn publish(_: &Run, _: &Permit, topic: &str, _: (&str, &str)) -> Result<()> {
    let message = format!("this build cannot publish to {topic}");
    Err(Error::new(ErrorKind::Rejected, "sns:Publish", message)
        .advice("build it with `--features aws-sns`, or use `--notify PROGRAM`"))
}
