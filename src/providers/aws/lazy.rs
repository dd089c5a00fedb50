//! Clients of services that not every plan uses and not every build has, each created on first use.

use std::sync::{Arc, OnceLock};

use aws_config::SdkConfig;

use super::client::{Access, Services, service_client};
use super::intercept::{CountCalls, RefuseWrites, TraceCalls};
use crate::trace::Calls;

/// Defines [`Lazy`] and the methods that return its clients: feature, method, crate of the SDK.
macro_rules! lazy {
    ($($(#[$about:meta])* $feature:literal $name:ident: $service:ident;)*) => {
        /// The shared configuration, and the clients created so far.
        #[derive(Clone, Debug)]
        pub struct Lazy {
            config: SdkConfig,
            calls: Arc<Calls>,
            access: Access,
            $(#[cfg(feature = $feature)] $name: OnceLock<$service::Client>,)*
        }

        impl Lazy {
            /// Starts without clients.
            pub(super) fn new(config: &SdkConfig, calls: &Arc<Calls>, access: Access) -> Self {
                Self {
                    config: config.clone(),
                    calls: calls.clone(),
                    access,
                    $(#[cfg(feature = $feature)] $name: OnceLock::new(),)*
                }
            }
        }

        impl Services {
            $(
                $(#[$about])*
                #[cfg(feature = $feature)]
                pub fn $name(&self) -> &$service::Client {
                    let Lazy { config, calls, access, .. } = &self.lazy;
                    self.lazy.$name.get_or_init(|| service_client!($service, config, calls, *access))
                }
            )*
        }
    };
}

lazy! {
    /// CloudWatch: alarms and dashboards.
    "aws-cloudwatch" cloudwatch: aws_sdk_cloudwatch;
    /// CloudWatch Logs.
    "aws-cloudwatch" logs: aws_sdk_cloudwatchlogs;
    /// Secrets Manager.
    "aws-secretsmanager" secretsmanager: aws_sdk_secretsmanager;
    /// Simple Notification Service.
    "aws-sns" sns: aws_sdk_sns;
    /// Systems Manager, whose Parameter Store holds parameters.
    "aws-ssm" ssm: aws_sdk_ssm;
}
