//! Amazon Web Services: the client and the kinds `aws.*`.
//!
//! [`AwsClient`] has one set of service clients for reading, which refuses everything else, and
//! one for writing, which needs the permission to write. No type of the AWS SDK is used outside
//! of this folder.

mod cache;
mod client;
mod error;
mod intercept;
mod key_service;
mod scope;
pub mod tags;

pub use client::{AwsClient, Identity, Services};
pub use error::Answer;
pub use scope::{iam_arn, partition_of, regional_arn};
