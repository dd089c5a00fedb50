//! Finds out whether the git repository around a folder tracks a file in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::git_index::{Base, Index, NotUnderstood};
use crate::confined_path::read_to;

/// The longest index that is read; one of a million files takes about 100 MB.
const LARGEST: u64 = 512 << 20;

/// The tracked path at or below `name` in `folder`, if there is a repository and it tracks one.
///
/// # Errors
/// When there is a repository whose index cannot be read or understood.
pub fn tracked(folder: &Path, name: &str) -> Result<Option<String>, NotUnderstood> {
    let Some((git, folder)) = around(folder) else { return Ok(None) };
    let file = index_file(&git)?;
    let found = match read(&file)? {
        Some(index) => names_below(&file, &index, &git_path(&folder.join(name)))?,
        None => None,
    };
    Ok(found.map(|name| String::from_utf8_lossy(&name).into_owned()))
}

/// The files that the repository around a folder tracks, read once for many lookups.
#[derive(Debug)]
pub(crate) struct Tracked(Result<Option<Entries>, NotUnderstood>);

#[derive(Debug)]
struct Entries {
    /// The folder as the repository calls it.
    folder: PathBuf,
    index: Index,
    /// The index that the other one adds to.
    shared: Option<Index>,
}

impl Tracked {
    /// Reads the index of the repository around `folder`, if there is one.
    pub(crate) fn around(folder: &Path) -> Self {
        Self(entries(folder))
    }

    /// Whether a file below the folder comes with the repository: it is tracked, or in a submodule. File
    /// systems may ignore case, so that this does, too.
    ///
    /// # Errors
    /// When there is a repository whose index cannot be read or understood.
    pub(crate) fn brings(&self, path: &Path) -> Result<bool, NotUnderstood> {
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::Normal(part) => plain.push(part),
                _ => return Err(NotUnderstood),
            }
        }
        let Some(entries) = self.0.as_ref().map_err(|error| *error)? else { return Ok(false) };
        let path = git_path(&entries.folder.join(plain));
        // An entry that is deleted from the shared index is the caller's file, but which entries are
        // deleted is not known here, so each one counts as tracked.
        let indexes = [Some(&entries.index), entries.shared.as_ref()];
        Ok(indexes.into_iter().flatten().any(|index| index.names.iter().any(|entry| is_in(&path, entry))))
    }
}

fn entries(folder: &Path) -> Result<Option<Entries>, NotUnderstood> {
    let Some((git, folder)) = around(folder) else { return Ok(None) };
    let file = index_file(&git)?;
    let Some(index) = read(&file)? else { return Ok(None) };
    let shared = index.base.as_ref().map(|base| read_shared(&file, base)).transpose()?;
    Ok(Some(Entries { folder, index, shared }))
}

/// Whether a path is the entry or below it, as what is in a submodule.
fn is_in(path: &[u8], entry: &[u8]) -> bool {
    let entry = entry.strip_suffix(b"/").unwrap_or(entry);
    let Some((same, rest)) = path.split_at_checked(entry.len()) else { return false };
    same.eq_ignore_ascii_case(entry) && (rest.is_empty() || rest.starts_with(b"/"))
}

/// The `.git` of the repository around a folder, and the folder's path in it. An outer repository does
/// not see what is in an inner one.
fn around(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().ok()?;
    let top = folder.ancestors().find(|above| above.join(".git").symlink_metadata().is_ok())?;
    Some((top.join(".git"), folder.strip_prefix(top).ok()?.to_owned()))
}

fn names_below(file: &Path, index: &Index, path: &[u8]) -> Result<Option<Vec<u8>>, NotUnderstood> {
    if let Some(name) = index.first_below(path) {
        return Ok(Some(name.to_vec()));
    }
    let Some(base) = &index.base else { return Ok(None) };
    let shared = read_shared(file, base)?;
    match shared.first_below(path) {
        // Which of its entries are deleted is not known here.
        Some(_) if !base.is_whole => Err(NotUnderstood),
        found => Ok(found.map(<[u8]>::to_vec)),
    }
}

/// The other half of a split index.
fn read_shared(file: &Path, base: &Base) -> Result<Index, NotUnderstood> {
    read(&file.with_file_name(format!("sharedindex.{}", base.id)))?.ok_or(NotUnderstood)
}

/// `None` when there is no index: nothing was ever added.
fn read(file: &Path) -> Result<Option<Index>, NotUnderstood> {
    let open = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|_| NotUnderstood)?,
    };
    Index::parse(&read_to(open, LARGEST).map_err(|_| NotUnderstood)?).map(Some)
}

/// The index of the repository whose `.git` this is: a folder, or in a worktree or a submodule a
/// file that says where the folder is.
fn index_file(git: &Path) -> Result<PathBuf, NotUnderstood> {
    if git.is_dir() {
        return Ok(git.join("index"));
    }
    let bytes = File::open(git).and_then(|file| read_to(file, 4096)).map_err(|_| NotUnderstood)?;
    let text = String::from_utf8(bytes).map_err(|_| NotUnderstood)?;
    let folder = text.strip_prefix("gitdir:").ok_or(NotUnderstood)?.trim();
    Ok(git.parent().unwrap_or(Path::new("/")).join(folder).join("index"))
}

/// A path as git writes it.
fn git_path(path: &Path) -> Vec<u8> {
    let parts: Vec<&[u8]> = path.iter().map(OsStr::as_encoded_bytes).collect();
    parts.join(&b'/')
}
