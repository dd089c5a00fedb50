//! Interceptors: every request is counted, and the reading clients cannot write.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use crate::resource::Calls;

/// Prefixes of operations that change nothing, in the services used here.
const READING: [&str; 6] = ["Get", "List", "Describe", "Head", "Simulate", "BatchGet"];
/// Operations of KMS that use a key and change nothing.
const USING: [&str; 2] = ["Encrypt", "Decrypt"];

/// Whether an operation of AWS is known to change nothing.
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

/// Refuses, before anything is sent, every operation that is not known to be reading.
#[derive(Debug)]
pub struct RefuseWrites;

#[dyn_dispatch_hint]
impl Intercept for RefuseWrites {
    fn name(&self) -> &'static str {
        "RefuseWrites"
    }

    /// The earliest moment at which the SDK has told which operation it is.
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

/// A write was attempted through the reading clients: a defect of Groundwork.
#[derive(Debug, thiserror::Error)]
#[error("{0} may write and was called without the permission to write; this is a defect of Groundwork")]
pub struct Refused(String);

fn operation(cfg: &ConfigBag) -> Option<&str> {
    cfg.load::<Metadata>().map(Metadata::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_reads_are_reading() {
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
