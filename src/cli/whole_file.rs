//! Results in files, which others read while they are written again.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::durable::sync_folder;
use crate::error::{Error, ErrorKind};

/// Puts a file in its place at once, whole, and in the place of an older one. Everybody may read it, because it
/// holds no secret.
///
/// # Errors
/// When it cannot be written.
pub(super) fn put(path: &Path, text: &str) -> Result<(), Error> {
    write(path, text).map_err(|error| {
        Error::new(ErrorKind::Local, format!("write {}", path.display()), error.to_string())
            .advice("name a file in a folder that exists and that you may write to")
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::fs::Permissions::from_mode(0o644);
    // A collector that reads the files of a folder by their ends must not see this one.
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(".groundwork-").suffix(".part").permissions(permissions);
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_whole_and_everybody_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("status.prom");
        for text in ["one\n", "another\n"] {
            put(&path, text).expect("written");
            assert_eq!(std::fs::read_to_string(&path).expect("readable"), text);
        }
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(folder.path().read_dir().expect("a folder").count(), 1, "nothing is left beside it");
        let error = put(&folder.path().join("no/such/folder"), "x").expect_err("no folder");
        assert!(error.advice.is_some_and(|advice| advice.contains("folder that exists")));
    }
}
