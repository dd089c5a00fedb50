//! How a client of S3 is made.

use std::sync::Arc;

use aws_config::{Region, SdkConfig};

use super::client::{Access, service_client};
use super::intercept::{CountCalls, RefuseWrites, TraceCalls};
use crate::trace::Calls;

/// A client of S3 with a further setting.
pub(super) fn make(
    config: &SdkConfig,
    calls: &Arc<Calls>,
    access: Access,
    adapt: fn(aws_sdk_s3::config::Builder) -> aws_sdk_s3::config::Builder,
) -> aws_sdk_s3::Client {
    service_client!(aws_sdk_s3, config, calls, access, |builder: aws_sdk_s3::config::Builder| {
        adapt(builder.force_path_style(config.endpoint_url().is_some_and(needs_path_style)))
    })
}

/// The same client in another region.
pub(super) fn elsewhere(s3: &aws_sdk_s3::Client, region: &str) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(s3.config().to_builder().region(Region::new(region.to_owned())).build())
}

/// The same client at another endpoint.
pub(super) fn at(s3: &aws_sdk_s3::Client, endpoint: String) -> aws_sdk_s3::Client {
    aws_sdk_s3::Client::from_conf(s3.config().to_builder().endpoint_url(endpoint).build())
}

/// Whether an endpoint of the user's own cannot serve a bucket as a host name: anything but
/// Amazon's own domains (an emulator, a store that speaks S3).
fn needs_path_style(endpoint: &str) -> bool {
    let host = endpoint.split("://").last().unwrap_or(endpoint).split(['/', ':']).next().unwrap_or_default();
    !(host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_amazon_uses_virtual_hosted_buckets() {
        assert!(needs_path_style("http://127.0.0.1:4566") && needs_path_style("http://localhost:4566/"));
        assert!(needs_path_style("https://minio.example.net"));
        assert!(!needs_path_style("https://s3.eu-west-1.amazonaws.com"));
    }
}
