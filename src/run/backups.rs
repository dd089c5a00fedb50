//! The places of a plan's backups.

use super::{Run, nobody_keeps};
use crate::backup::{BackupFolder, BackupPlace};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::S3Location;
use crate::plan::settings::BackupStoreSettings;
use crate::trust::{Grant, Subject};

impl Run {
    /// The place that a store of the plan's `backup:` section is.
    ///
    /// # Errors
    /// When the system that keeps it cannot be used at all; `Denied` for a folder outside of the plan's that the
    /// caller does not allow.
    pub async fn backup_place(&self, settings: &BackupStoreSettings) -> Result<Box<dyn BackupPlace>> {
        let path = match settings {
            BackupStoreSettings::File(path) => path,
            BackupStoreSettings::S3(place) => {
                let wrong = |why| Error::new(ErrorKind::Rejected, "backup.stores", why);
                return self.backup_bucket(&place.parse().map_err(wrong)?).await;
            }
        };
        let text = path.to_string_lossy();
        if !path.is_absolute() {
            return Ok(Box::new(BackupFolder::below(&self.folder, &text)));
        }
        let why = format!("the plan keeps backups in {text}, which is outside of its own folder");
        self.trust.require(&Grant::new(Subject::Store, text), "use a store of backups", &why)?;
        Ok(Box::new(BackupFolder::new(path)))
    }

    /// A place for backups in S3.
    ///
    /// # Errors
    /// When S3 cannot be used at all.
    pub async fn backup_bucket(&self, place: &S3Location) -> Result<Box<dyn BackupPlace>> {
        for connection in self.connections.iter() {
            if let Some(found) = connection.backup_place(self, place).await? {
                return Ok(found);
            }
        }
        Err(nobody_keeps("backup.stores"))
    }
}
