//! Clients of services that not every plan uses, each created on first use.

use std::sync::{Arc, OnceLock};

use aws_config::SdkConfig;

use super::client::{Access, Services, service_client};
use super::intercept::{CountCalls, RefuseWrites, TraceCalls};
use crate::trace::Calls;

/// The shared configuration, and the clients created so far.
#[derive(Clone, Debug)]
pub struct Lazy {
    config: SdkConfig,
    calls: Arc<Calls>,
    access: Access,
    cloudwatch: OnceLock<aws_sdk_cloudwatch::Client>,
    logs: OnceLock<aws_sdk_cloudwatchlogs::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    ssm: OnceLock<aws_sdk_ssm::Client>,
}

impl Lazy {
    /// Starts without clients.
    pub(super) fn new(config: &SdkConfig, calls: &Arc<Calls>, access: Access) -> Self {
        Self {
            config: config.clone(),
            calls: calls.clone(),
            access,
            cloudwatch: OnceLock::new(),
            logs: OnceLock::new(),
            sns: OnceLock::new(),
            ssm: OnceLock::new(),
        }
    }
}

impl Services {
    /// CloudWatch: alarms and dashboards.
    pub fn cloudwatch(&self) -> &aws_sdk_cloudwatch::Client {
        let Lazy { config, calls, access, .. } = &self.lazy;
        self.lazy.cloudwatch.get_or_init(|| service_client!(aws_sdk_cloudwatch, config, calls, *access))
    }

    /// CloudWatch Logs.
    pub fn logs(&self) -> &aws_sdk_cloudwatchlogs::Client {
        let Lazy { config, calls, access, .. } = &self.lazy;
        self.lazy.logs.get_or_init(|| service_client!(aws_sdk_cloudwatchlogs, config, calls, *access))
    }

    /// Simple Notification Service.
    pub fn sns(&self) -> &aws_sdk_sns::Client {
        let Lazy { config, calls, access, .. } = &self.lazy;
        self.lazy.sns.get_or_init(|| service_client!(aws_sdk_sns, config, calls, *access))
    }

    /// Systems Manager, whose Parameter Store holds parameters.
    pub fn ssm(&self) -> &aws_sdk_ssm::Client {
        let Lazy { config, calls, access, .. } = &self.lazy;
        self.lazy.ssm.get_or_init(|| service_client!(aws_sdk_ssm, config, calls, *access))
    }
}
