//! Interceptors: count every request, and keep the reading clients from writing.

use std::sync::Arc;
use std::time::Instant;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
    FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use crate::trace::{self, Answer, Call, Calls};

/// Prefixes of operations that change nothing, in the services used here.
const READING: [&str; 6] = ["Get", "List", "Describe", "Head", "Simulate", "BatchGet"];
/// Operations of KMS that use a key and change nothing.
const USING: [&str; 2] = ["Encrypt", "Decrypt"];

/// Whether an operation is known to be read-only.
pub fn is_reading(operation: &str) -> bool {
    READING.iter().any(|prefix| operation.starts_with(prefix)) || USING.contains(&operation)
}

/// Counts each attempt, retries included.
#[derive(Debug)]
pub struct CountCalls(pub Arc<Calls>);

#[dyn_dispatch_hint]
impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match operation(cfg) {
            Some(name) if is_reading(name) => self.0.count_read(),
            _ => self.0.count_write(),
        }
        Ok(())
    }
}

/// Logs each attempt when it ends.
#[derive(Debug)]
pub struct TraceCalls;

/// When an attempt began.
#[derive(Debug)]
struct Started(Instant);

impl Storable for Started {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for TraceCalls {
    fn name(&self) -> &'static str {
        "TraceCalls"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        cfg.interceptor_state().store_put(Started(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !trace::is_on() {
            return Ok(());
        }
        let metadata = cfg.load::<Metadata>();
        let name = |part: fn(&Metadata) -> &str| metadata.map(part).unwrap_or_default();
        let answer = match (context.response(), context.output_or_error()) {
            (Some(answer), _) => Answer::Status(answer.status().as_u16()),
            (None, Some(Err(error))) => Answer::None(first_cause(error)),
            (None, _) => Answer::None("no response".to_owned()),
        };
        trace::tell(&Call {
            system: "aws",
            operation: format!("{}:{}", name(Metadata::service).to_lowercase(), name(Metadata::name)),
            address: trace::public(context.request().map(|request| request.uri()).unwrap_or_default()),
            answer,
            took: cfg.load::<Started>().map(|started| started.0.elapsed()).unwrap_or_default(),
            request_id: context.response().and_then(request_id),
        });
        Ok(())
    }
}

fn first_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(ToString::to_string).unwrap_or_default()
}

/// AWS's id of the request.
pub(super) fn request_id(answer: &HttpResponse) -> Option<&str> {
    ["x-amzn-requestid", "x-amz-request-id"].iter().find_map(|name| answer.headers().get(*name))
}

/// Refuses every operation that is not known to be read-only, before anything is sent.
#[derive(Debug)]
pub struct RefuseWrites;

#[dyn_dispatch_hint]
impl Intercept for RefuseWrites {
    fn name(&self) -> &'static str {
        "RefuseWrites"
    }

    /// The earliest hook in which the SDK exposes the operation's name.
    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        cfg: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        match operation(cfg) {
            Some(name) if is_reading(name) => Ok(()),
            name => Err(Refused(name.unwrap_or("an unnamed operation").to_owned()).into()),
        }
    }
}

/// The reading clients were asked to write, which is a bug in Groundwork.
#[derive(Debug, thiserror::Error)]
#[error("{0} may write and was called without permission to write; this is a bug in Groundwork")]
pub struct Refused(String);

fn operation(cfg: &ConfigBag) -> Option<&str> {
    cfg.load::<Metadata>().map(Metadata::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_operations_count_as_reads() {
        let reads = [
            "GetBucketPolicy",
            "ListAliases",
            "DescribeTable",
            "HeadBucket",
            "Decrypt",
            "BatchGetSecretValue",
        ];
        assert!(reads.iter().all(|name| is_reading(name)));
        let writes = ["PutBucketPolicy", "CreateKey", "TagResource", "DeleteUser", "GenerateDataKey"];
        assert!(!writes.iter().any(|name| is_reading(name)));
    }
}
