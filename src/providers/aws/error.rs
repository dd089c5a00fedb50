//! Converts the SDK's errors into [`Error`], in one place.
//!
//! Error codes: <https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html> and the `Errors`
//! section of each operation's page.

use std::error::Error as StdError;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::intercept::{Refused, request_id};
use crate::error::{Error, ErrorKind, Result, display_chain};

/// Of two writers of one key, S3 refuses one: at once, or while both are under way.
pub fn taken(mut error: Error) -> Error {
    if error.is("PreconditionFailed") {
        error.kind = ErrorKind::Conflict;
    }
    error
}

/// Converts the result of an SDK call. `operation` is `service:Operation`.
pub trait Answer<T> {
    /// Converts an SDK failure into an [`Error`].
    fn at(self, operation: &str) -> Result<T>;
    /// Converts a failure with one of these error codes into `None`.
    fn found(self, operation: &str, not_found: &[&str]) -> Result<Option<T>>;
    /// As [`Answer::at`] for a request that must not be retried blindly: if it may have taken effect,
    /// the error says so.
    fn at_once(self, operation: &str) -> Result<T>;
}

impl<T, E> Answer<T> for Result<T, SdkError<E, HttpResponse>>
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    fn at(self, operation: &str) -> Result<T> {
        self.map_err(|error| convert(operation, &error, ErrorKind::Unavailable))
    }

    fn found(self, operation: &str, not_found: &[&str]) -> Result<Option<T>> {
        match self {
            Err(SdkError::ServiceError(e))
                if e.err().code().is_some_and(|code| not_found.contains(&code)) =>
            {
                Ok(None)
            }
            other => other.at(operation).map(Some),
        }
    }

    fn at_once(self, operation: &str) -> Result<T> {
        self.map_err(|error| convert(operation, &error, ErrorKind::Unknown))
    }
}

/// `lost` is the error kind of a missing or broken response.
fn convert<E>(operation: &str, error: &SdkError<E, HttpResponse>, lost: ErrorKind) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let raw = answer.raw();
            let request_id = request_id(raw);
            let said = answer.err().meta();
            if said.code().is_none() && raw.status().is_success() {
                return unreadable(operation, answer.err(), lost);
            }
            refused(operation, said, raw.status().as_u16(), request_id, lost)
        }
        other => unanswered(operation, other, lost),
    }
}

fn refused(
    operation: &str,
    said: &ErrorMetadata,
    status: u16,
    request_id: Option<&str>,
    lost: ErrorKind,
) -> Error {
    let code = said.code().unwrap_or_default();
    let message = said.message().unwrap_or("the service gave no explanation");
    let (kind, advice) = classify(operation, code, message, status, lost);
    let shown = if code.is_empty() { format!("HTTP {status}") } else { code.to_owned() };
    let error = Error::new(kind, operation, format!("{message} ({shown})"));
    with_advice(error.code(said.code()).request(request_id), advice)
}

/// The service reported success in a form that the SDK cannot parse.
fn unreadable(operation: &str, error: &(dyn StdError + 'static), lost: ErrorKind) -> Error {
    let text = display_chain(chain(error));
    Error::new(lost, operation, format!("the response cannot be read: {text}"))
        .advice("the endpoint is not AWS, or a proxy changes its responses; check AWS_ENDPOINT_URL")
}

fn unanswered(operation: &str, error: &(dyn StdError + 'static), lost: ErrorKind) -> Error {
    if let Some(refused) = chain(error).find_map(|cause| cause.downcast_ref::<Refused>()) {
        return Error::new(ErrorKind::Rejected, operation, refused.to_string());
    }
    if let Some(missing) = chain(error).find_map(|cause| cause.downcast_ref::<CredentialsError>()) {
        return no_credentials(operation, missing);
    }
    let text = display_chain(chain(error));
    if chain(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(never_sent) {
        return Error::new(ErrorKind::Unavailable, operation, format!("AWS cannot be reached: {text}"))
            .advice("check the network, the region, and AWS_ENDPOINT_URL if it is set");
    }
    let error = Error::new(lost, operation, text);
    if lost == ErrorKind::Unknown {
        return error.advice("the request may have taken effect; run `groundwork plan` to see what is live");
    }
    error
}

/// An error and its sources, down to the first cause.
fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Whether connecting failed, so that the request cannot have arrived.
fn never_sent(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable)
}

fn no_credentials(operation: &str, missing: &CredentialsError) -> Error {
    let cause = missing.source().map(|source| format!(": {source}")).unwrap_or_default();
    Error::new(ErrorKind::Unauthenticated, operation, format!("no usable AWS credentials; {missing}{cause}"))
        .advice(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or run `aws sso login`; \
             on AWS, attach a role to the machine",
        )
}

fn with_advice(error: Error, advice: Option<&str>) -> Error {
    match advice {
        Some(advice) => error.advice(advice),
        None => error,
    }
}

/// The meaning of an error code, and what to do.
fn classify(
    operation: &str,
    code: &str,
    message: &str,
    status: u16,
    lost: ErrorKind,
) -> (ErrorKind, Option<&'static str>) {
    if is_throttling(operation, code) {
        return (ErrorKind::Throttled, Some("AWS limits the rate of this call; lower --parallelism"));
    }
    if is_eventual(operation, code, message) {
        return (ErrorKind::Eventual, Some("a recent change is not visible everywhere yet; run again"));
    }
    if let Some((kind, advice)) = known(code) {
        return (kind, Some(advice));
    }
    match code {
        _ if status >= 500 => (lost, None),
        _ if is_denial(code) || status == 403 => (ErrorKind::Denied, Some(advice_on_denial(message))),
        _ => (ErrorKind::Rejected, None),
    }
}

/// What to do about a denial, by what AWS says denies it:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html>.
fn advice_on_denial(message: &str) -> &'static str {
    let says = |words: &str| message.contains(words);
    match () {
        () if says("BlockPublicPolicy") || says("public policies are blocked") => {
            "the bucket or the account blocks public policies: name principals in the policy, or add a condition that \
             limits who they are; the caller's permissions are not the reason"
        }
        () if says("service control policy") || says("resource control policy") => {
            "a policy of the organisation denies it: ask those who manage the organisation"
        }
        () if says("permissions boundary") => {
            "the caller's permissions boundary does not allow it: extend the boundary"
        }
        () if says("session policy") => "the session policy of the assumed role does not allow it",
        () if says("VPC endpoint policy") => "the policy of the VPC endpoint does not allow it",
        () if says("explicit deny") => {
            "a policy denies it explicitly, which no permission outweighs: find the statement and change it"
        }
        () => "give the caller this permission in IAM; it is named like the operation above",
    }
}

/// Codes with the same meaning in every service.
fn known(code: &str) -> Option<(ErrorKind, &'static str)> {
    use ErrorKind::{Conflict, Denied, Rejected};
    Some(match code {
        "EntityAlreadyExists"
        | "BucketAlreadyOwnedByYou"
        | "AlreadyExistsException"
        | "ResourceAlreadyExistsException"
        | "ResourceExistsException"
        | "ParameterAlreadyExists" => {
            (Conflict, "it was created in the meantime; run `groundwork plan` again")
        }
        "BucketAlreadyExists" => (
            Conflict,
            "bucket names are shared by all accounts and another account owns this one; choose another name",
        ),
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            (Denied, "the session has expired; log in again, e.g. `aws sso login`")
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "InvalidAccessKeyId" => (
            Denied,
            "AWS does not know this access key; check AWS_ACCESS_KEY_ID, AWS_PROFILE and the partition",
        ),
        "SignatureDoesNotMatch" => {
            (Denied, "the secret key is wrong, or this machine's clock is; check both")
        }
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            (Rejected, "the bucket is in another region; write it into the step's `region`")
        }
        "KMSInvalidStateException" => {
            (Rejected, "the KMS key is disabled or about to be deleted; check its key state")
        }
        _ => return None,
    })
}

fn is_denial(code: &str) -> bool {
    matches!(code, "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AllAccessDisabled")
}

fn is_throttling(operation: &str, code: &str) -> bool {
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown"
        | "ProvisionedThroughputExceededException" => true,
        // Too many tables are changing at once; in other services the same code reports a quota.
        "LimitExceededException" => operation.starts_with("dynamodb:"),
        _ => false,
    }
}

/// Errors of eventual consistency: a resource that was just created is "not found", or a new principal
/// is "invalid" in a policy, until AWS has propagated it.
fn is_eventual(operation: &str, code: &str, message: &str) -> bool {
    match code {
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" | "MalformedPolicy" => {
            message.to_ascii_lowercase().contains("invalid principal")
        }
        "OperationAborted"
        | "OperationAbortedException"
        | "ConcurrentModification"
        | "ConcurrentModificationException"
        | "EntityTemporarilyUnmodifiable"
        | "NoSuchEntity"
        | "NoSuchBucket" => true,
        "NotFoundException" => operation.starts_with("kms:"),
        "ResourceNotFoundException" | "ResourceInUseException" => operation.starts_with("dynamodb:"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Conflict, Denied, Eventual, Rejected, Throttled, Unavailable, Unknown};

    fn kind(operation: &str, code: &str, message: &str, status: u16) -> ErrorKind {
        classify(operation, code, message, status, Unavailable).0
    }

    #[test]
    fn denial_is_explained_by_what_denies_it() {
        let user =
            "User: arn:aws:iam::1:user/a is not authorized to perform: s3:PutBucketPolicy on resource: \"x\"";
        let rows = [
            (
                "because public policies are blocked by the BlockPublicPolicy block public access setting.",
                "blocks public",
            ),
            ("with an explicit deny in a service control policy", "organisation"),
            ("because no permissions boundary allows the action", "boundary"),
            ("with an explicit deny in an identity-based policy", "denies it explicitly"),
            ("because no identity-based policy allows the s3:PutBucketPolicy action", "in IAM"),
        ];
        for (why, words) in rows {
            let (_, advice) =
                classify("s3:PutBucketPolicy", "AccessDenied", &format!("{user} {why}"), 403, Unavailable);
            assert!(advice.is_some_and(|advice| advice.contains(words)), "{why}: {advice:?}");
        }
    }

    #[test]
    fn error_codes_are_classified() {
        assert_eq!(kind("iam:CreateUser", "EntityAlreadyExists", "", 409), Conflict);
        assert_eq!(kind("iam:CreateUser", "AccessDenied", "", 403), Denied);
        assert_eq!(kind("s3:HeadBucket", "", "", 403), Denied);
        assert_eq!(kind("s3:PutBucketPolicy", "OperationAborted", "", 409), Eventual);
        assert_eq!(kind("iam:CreateUser", "LimitExceeded", "", 409), Rejected);
        assert_eq!(kind("kms:CreateKey", "LimitExceededException", "", 400), Rejected);
        assert_eq!(kind("dynamodb:CreateTable", "LimitExceededException", "", 400), Throttled);
        assert_eq!(kind("iam:GetUser", "ServiceFailure", "", 500), Unavailable);
    }

    #[test]
    fn error_kind_uses_service_code_not_text() {
        let said = ErrorMetadata::builder()
            .code("DeleteConflict")
            .message("NoSuchEntity is part of this text")
            .build();
        let error = refused("iam:DeleteUser", &said, 409, None, Unavailable);
        assert!(error.is("DeleteConflict") && !error.is("NoSuchEntity"), "{error}");
        assert!(error.message.ends_with("(DeleteConflict)"), "{error}");
        assert!(
            !refused("s3:HeadBucket", &ErrorMetadata::default(), 404, None, Unavailable).is(""),
            "no code"
        );
    }

    #[test]
    fn malformed_policy_is_eventual_only_for_principals() {
        let message = "Policy contains a statement with one or more invalid principals.";
        assert_eq!(kind("kms:PutKeyPolicy", "MalformedPolicyDocumentException", message, 400), Eventual);
        let message = "Invalid principal in policy: \"AWS\":\"arn:aws:iam::1:role/x\"";
        assert_eq!(kind("iam:CreateRole", "MalformedPolicyDocument", message, 400), Eventual);
        assert_eq!(kind("iam:CreateRole", "MalformedPolicyDocument", "Syntax error", 400), Rejected);
    }

    #[test]
    fn unreadable_response_to_once_only_request_is_unknown() {
        assert_eq!(classify("iam:CreateAccessKey", "ServiceFailure", "", 500, Unknown).0, Unknown);
        let timeout: SdkError<aws_sdk_iam::Error, HttpResponse> = SdkError::timeout_error("late");
        assert_eq!(unanswered("iam:CreateAccessKey", &timeout, Unknown).kind, Unknown);
        assert_eq!(unanswered("iam:GetUser", &timeout, Unavailable).kind, Unavailable);
    }

    #[test]
    fn refused_connection_means_no_effect() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(unanswered("iam:CreateAccessKey", &refused, Unknown).kind, Unavailable);
    }
}
