//! The systems that Groundwork talks to, one folder each; and [`Providers`], from which a run
//! has its clients.

pub mod aws;
pub mod file;
pub mod vault;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::plan::settings::{AwsSettings, VaultSettings};
use crate::resource::Calls;

/// What the clients of one run are made from, and the clients once they are made.
#[derive(Debug, Default)]
pub struct Providers {
    /// The plan's name, for ownership tags.
    pub plan: String,
    /// The plan's folder; relative paths start here.
    pub folder: PathBuf,
    /// The plan's `aws:` section.
    pub aws_settings: AwsSettings,
    /// The plan's `vault:` section.
    pub vault_settings: VaultSettings,
    /// Counts every request of the run.
    pub calls: Arc<Calls>,
    /// The AWS client, once a step has asked for it.
    pub aws: OnceCell<Arc<aws::AwsClient>>,
    /// The client of Vault, once something has asked for it.
    pub vault: OnceCell<Arc<vault::VaultClient>>,
}
