//! Files on this machine.

mod template;

use std::path::PathBuf;
use std::sync::Arc;

pub use template::Template;

use crate::error::Result;
use crate::providers::Providers;
use crate::resource::Provided;

/// Reads and writes files inside the plan's folder.
#[derive(Clone, Debug)]
pub struct Files {
    /// The plan's folder.
    pub folder: PathBuf,
}

impl Provided for Files {
    async fn provide(providers: &Providers) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { folder: providers.folder.clone() }))
    }
}
