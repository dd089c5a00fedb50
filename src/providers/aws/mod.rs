//! Amazon Web Services: the client and the kinds `aws.*`.
//!
//! [`AwsClient`] has one set of service clients for reading, which refuses everything else, and one for
//! writing, which needs the permission to write. Types of the AWS SDK are used only in this folder.

#[cfg(test)]
mod access_key_tests;
mod accounts;
mod arn;
mod backup_place;
mod batch;
mod body;
pub mod bucket_object;
mod cache;
mod client;
#[cfg(feature = "aws-cloudwatch")]
pub mod cloudwatch;
mod connection;
pub(in crate::providers) mod constants;
pub mod control;
pub mod dynamodb_table;
mod error;
pub mod iam;
pub mod iam_access_key;
mod in_order;
mod intercept;
mod json;
mod json_text;
mod key_name;
mod key_service;
pub mod kms_key;
mod lazy;
mod least;
mod lock;
mod needs;
#[cfg(not(feature = "aws-sns"))]
mod no_sns;
mod own_needs;
pub mod policy;
mod preflight;
mod prove;
mod reach;
mod record;
pub(super) mod risk;
pub mod s3_bucket;
mod s3_client;
mod s3_object;
mod s3_store;
#[cfg(feature = "aws-secretsmanager")]
pub mod secret;
mod secret_value;
#[cfg(feature = "aws-secretsmanager")]
mod secrets_store;
pub mod settings;
#[cfg(feature = "aws-sns")]
pub mod sns;
#[cfg(feature = "aws-ssm")]
pub mod ssm_parameter;
mod states;
pub mod tags;

pub use arn::{iam_arn, is_account_id, partition, partition_of, regional_arn};
pub use bucket_object::BucketObject;
pub use client::{AwsClient, Identity, Services};
#[cfg(feature = "aws-cloudwatch")]
pub use cloudwatch::{CloudwatchAlarm, CloudwatchDashboard, CloudwatchLogGroup, LogMetricFilter};
pub use connection::Aws;
pub use dynamodb_table::DynamodbTable;
pub use error::Answer;
pub use iam::{
    IamAccountPasswordPolicy, IamGroup, IamInstanceProfile, IamOidcProvider, IamPolicy, IamRole, IamUser,
};
pub use iam_access_key::IamAccessKey;
pub use kms_key::KmsKey;
pub use lock::LockItem;
#[cfg(not(feature = "aws-sns"))]
pub use no_sns::publish;
pub use policy::Document;
pub use s3_bucket::S3Bucket;
pub use s3_object::S3Object;
pub use s3_store::S3Store;
#[cfg(feature = "aws-secretsmanager")]
pub use secret::AwsSecret;
#[cfg(feature = "aws-secretsmanager")]
pub use secrets_store::SecretsStore;
#[cfg(feature = "aws-sns")]
pub use sns::{SnsSubscription, SnsTopic, publish};
#[cfg(feature = "aws-ssm")]
pub use ssm_parameter::SsmParameter;

use crate::resource::erased::{Kind, kind};

/// The realm of things whose names are unique in an account, whatever the region: those of IAM, and those
/// that are global.
const ACCOUNT: &[&str] = &["account"];

/// Why Groundwork never overwrites a live value that it does not know.
const UNKNOWN_VALUE: &str = "Groundwork does not know the live value and does not overwrite it; set a value \
                             that a plan can declare by hand, or use a newer version of Groundwork";

/// The kinds, in the order in which `explain` lists them. A new kind needs one line here, and one in
/// [`OPTIONAL_KINDS`] if not every build has it.
#[rustfmt::skip]
const KINDS: &[&dyn Kind] = &[
    &kind::<KmsKey>(),
    &kind::<S3Bucket>(),
    &kind::<BucketObject>(),
    &kind::<DynamodbTable>(),
    &kind::<IamGroup>(),
    #[cfg(feature = "aws-secretsmanager")]
    &kind::<AwsSecret>(),
    #[cfg(feature = "aws-ssm")]
    &kind::<SsmParameter>(),
    #[cfg(feature = "aws-sns")]
    &kind::<SnsTopic>(),
    #[cfg(feature = "aws-sns")]
    &kind::<SnsSubscription>(),
    #[cfg(feature = "aws-cloudwatch")]
    &kind::<CloudwatchAlarm>(),
    #[cfg(feature = "aws-cloudwatch")]
    &kind::<CloudwatchDashboard>(),
    #[cfg(feature = "aws-cloudwatch")]
    &kind::<CloudwatchLogGroup>(),
    #[cfg(feature = "aws-cloudwatch")]
    &kind::<LogMetricFilter>(),
    &kind::<IamUser>(),
    &kind::<IamRole>(),
    &kind::<IamPolicy>(),
    &kind::<IamInstanceProfile>(),
    &kind::<IamOidcProvider>(),
    &kind::<IamAccountPasswordPolicy>(),
    &kind::<IamAccessKey>(),
];

/// The kinds whose SDK is large and which the quickstart does not use, each with the feature that has it.
const OPTIONAL_KINDS: &[(&str, &str)] = &[
    ("aws.secret", "aws-secretsmanager"),
    ("aws.ssm_parameter", "aws-ssm"),
    ("aws.sns_topic", "aws-sns"),
    ("aws.sns_subscription", "aws-sns"),
    ("aws.cloudwatch_alarm", "aws-cloudwatch"),
    ("aws.cloudwatch_dashboard", "aws-cloudwatch"),
    ("aws.cloudwatch_log_group", "aws-cloudwatch"),
    ("aws.log_metric_filter", "aws-cloudwatch"),
];
