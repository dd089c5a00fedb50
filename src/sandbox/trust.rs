//! Checks that a folder is safe for programs and keys: no other user can have put anything there.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::Error;
use super::error::Doing;

const WRITABLE_BY_ALL: u32 = 0o002;
const WRITABLE_BY_GROUP: u32 = 0o020;
/// Only the owner of an entry may rename or remove it, as in `/tmp`.
const STICKY: u32 = 0o1000;

/// Requires that a folder, if it exists, is this user's own, and closes it to all other users.
///
/// # Errors
/// When another user owns it or can change it; `instead` says what to do.
pub fn require_private(folder: &Path, instead: &'static str) -> Result<(), Error> {
    let Some(found) = look(folder, instead)? else { return Ok(()) };
    if !is_mine(&found) {
        return Err(untrusted(folder, "belongs to another user", instead));
    }
    if found.mode() & 0o077 != 0 {
        close(folder, &found, 0o700)?;
    }
    Ok(())
}

/// Requires that only this user, or the system, can have put programs into a folder. A missing folder
/// passes.
///
/// # Errors
/// When another user owns it or can change it; `instead` says what to do.
pub fn require_own(folder: &Path, instead: &'static str) -> Result<(), Error> {
    let Some(found) = look(folder, instead)? else { return Ok(()) };
    let by_group = found.mode() & WRITABLE_BY_GROUP != 0;
    match is_mine(&found) {
        true if by_group => close(folder, &found, found.mode() & 0o755),
        false if found.uid() != 0 => Err(untrusted(folder, "belongs to another user", instead)),
        false if by_group => Err(untrusted(folder, "can be changed by other users", instead)),
        _ => Ok(()),
    }
}

/// The checks for every folder: it is not a link, and not all users can change it or a folder above.
fn look(folder: &Path, instead: &'static str) -> Result<Option<Metadata>, Error> {
    let found = match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.doing(|| format!("look at {}", folder.display()))?),
    };
    if found.as_ref().is_some_and(Metadata::is_symlink) {
        return Err(untrusted(folder, "is a link", instead));
    }
    if found.as_ref().is_some_and(|found| found.mode() & WRITABLE_BY_ALL != 0) {
        return Err(untrusted(folder, "can be changed by every user", instead));
    }
    for above in folder.ancestors().skip(1) {
        // This user will make a missing one.
        let Ok(above) = fs::metadata(above) else { continue };
        if above.mode() & (WRITABLE_BY_ALL | STICKY) == WRITABLE_BY_ALL {
            return Err(untrusted(folder, "is in a folder that every user can change", instead));
        }
    }
    Ok(found)
}

fn is_mine(found: &Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

fn close(folder: &Path, found: &Metadata, mode: u32) -> Result<(), Error> {
    if !found.is_dir() {
        return Ok(());
    }
    fs::set_permissions(folder, Permissions::from_mode(mode))
        .doing(|| format!("close {} to other users", folder.display()))
}

fn untrusted(folder: &Path, why: &'static str, instead: &'static str) -> Error {
    Error::Untrusted { dir: folder.to_owned(), why, instead }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    fn folder(root: &Path, name: &str, mode: u32) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn mode(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().mode() & 0o777
    }

    #[test]
    fn own_folder_is_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let open = folder(dir.path(), "open", 0o755);
        assert!(require_private(&open, "").is_ok());
        assert_eq!(mode(&open), 0o700);
        let shared = folder(dir.path(), "shared", 0o775);
        assert!(require_own(&shared, "").is_ok());
        assert_eq!(mode(&shared), 0o755);
        assert!(require_private(&dir.path().join("absent/deep"), "").is_ok());
        // Everybody may make folders in a temporary directory, and nobody may replace this one.
        let temporary = folder(dir.path(), "tmp", 0o1777);
        assert!(require_private(&folder(&temporary, "mine", 0o700), "").is_ok());
    }

    #[test]
    fn folder_that_others_can_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let everybody = folder(dir.path(), "everybody", 0o777);
        let inside = folder(&everybody, "inside", 0o700);
        let link = dir.path().join("link");
        symlink(folder(dir.path(), "target", 0o700), &link).unwrap();
        for (folder, why) in [
            (&everybody, "every user"),
            (&inside, "in a folder that every user"),
            (&everybody.join("absent"), "in a folder that every user"),
            (&link, "is a link"),
        ] {
            for refused in [require_private(folder, "use another"), require_own(folder, "use another")] {
                let error = refused.expect_err(why).to_string();
                assert!(error.contains(why) && error.contains("use another"), "{error}");
            }
        }
    }

    #[test]
    fn folder_of_another_user_is_refused() {
        let Some(foreign) = foreign_folder() else { return };
        let refused = require_own(&foreign, "use another").expect_err("refused").to_string();
        assert!(refused.contains("belongs to another user"), "{refused}");
        assert!(require_private(&foreign, "use another").is_err());
        fs::remove_dir(foreign).unwrap();
    }

    /// Only root can make one.
    fn foreign_folder() -> Option<PathBuf> {
        let folder = tempfile::tempdir().unwrap().keep();
        match std::os::unix::fs::chown(&folder, Some(65_534), None) {
            Ok(()) => Some(folder),
            Err(_) => {
                fs::remove_dir(folder).unwrap();
                None
            }
        }
    }
}
