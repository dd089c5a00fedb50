//! Files on this machine.

mod documents;
mod template;
mod yaml;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

pub use documents::{Documents, YamlFile};
pub use template::Template;
pub use yaml::to_text as to_yaml;

use crate::confined_path;
use crate::destination::Destinations;
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::place::{Place, Realm};
use crate::provider::Provider;
use crate::resource::Provided;
use crate::resource::erased::{Kind, kind};
use crate::run::{Connection, Run};

/// Reads and writes files inside the plan's folder.
#[derive(Clone, Debug)]
pub struct Files {
    /// The plan's folder.
    pub folder: PathBuf,
}

impl Files {
    /// Refuses a creation when the file exists by now: a write would replace what somebody else has put
    /// there.
    ///
    /// # Errors
    /// When it exists, or cannot be read.
    pub fn refuse_existing(&self, path: &str) -> Result<()> {
        let live = confined_path::read_output(&self.folder, path)
            .map_err(|error| Error::new(ErrorKind::Local, format!("read {path}"), error.to_string()))?;
        if live.is_some() { Err(Error::made_meanwhile(format!("write {path}"))) } else { Ok(()) }
    }

    /// Removes a file; one that is gone is fine.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, _: &Permit, path: &str) -> Result<()> {
        confined_path::remove(&self.folder, path)
            .map_err(|error| Error::new(ErrorKind::Local, format!("remove {path}"), error.to_string()))
    }
}

impl Provided for Files {
    const PROVIDER: &'static str = "file";

    async fn provide(run: &Run, _: &Place) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { folder: run.folder.clone() }))
    }
}

/// Files in a plan.
#[derive(Debug)]
pub struct File;

impl Provider for File {
    const NAME: &'static str = "file";
    const TITLE: &'static str = "Files";
    const KINDS: &'static [&'static dyn Kind] = &[&kind::<Template>()];
    const HAS_SECTION: bool = false;

    type Settings = ();

    fn open((): ()) -> Self {
        Self
    }
}

#[async_trait]
impl Connection for File {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    fn known_realm(&self, _: &Place) -> Realm {
        Realm::UNKNOWN
    }

    async fn realm(&self, _: &Run, _: &Place) -> Result<Realm> {
        Ok(Realm::UNKNOWN)
    }

    fn destinations(&self, _: &[Place]) -> Destinations {
        Destinations::new()
    }
}
