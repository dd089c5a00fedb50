//! The folder `.groundwork` beside a plan: journal, lock, rescued secrets, keys.
//!
//! Groundwork trusts its content, so it must be the caller's own: no link leads there or out of it, it
//! belongs to the current user, no other user may change it, and the repository does not track it.

mod file;
mod git_index;
mod repository;

use std::path::{Path, PathBuf};

pub use file::LocalFile;
pub use git_index::{Index, NotUnderstood};
pub(crate) use repository::Tracked;

use crate::confined_path::{Folder, Keeping, Missing};
use crate::error::{Error, ErrorKind, Result};

/// The folder's name.
pub const NAME: &str = ".groundwork";

/// The folder `.groundwork` of one plan, after the check that it is the caller's own.
#[derive(Clone, Debug)]
pub struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    /// The one in the folder of a plan, which need not exist yet. Creates nothing.
    ///
    /// # Errors
    /// `Local` when it is a link, when another user owns it or may change it, or when a repository
    /// tracks it; with what to do.
    pub fn of(plan_folder: &Path) -> Result<Self> {
        let workspace = Self { folder: plan_folder.to_owned() };
        Folder::open(plan_folder, NAME, Keeping::Guarded, Missing::Leave)
            .map_err(|error| workspace.refused(&error.to_string()))?;
        match repository::tracked(plan_folder, NAME) {
            Ok(Some(name)) => Err(workspace.tracked(&name)),
            // The index is git's own file, not the plan's: an unknown format must not stop a run.
            Ok(None) | Err(NotUnderstood) => Ok(workspace),
        }
    }

    /// A warning for people if the program cannot find out whether the repository tracks it.
    pub fn remark(plan_folder: &Path) -> Option<&'static str> {
        let is_there = plan_folder.join(NAME).symlink_metadata().is_ok();
        let is_unknown = is_there && repository::tracked(plan_folder, NAME).is_err();
        is_unknown.then_some(
            "the index of the git repository is not understood, so a tracked .groundwork would not be noticed",
        )
    }

    /// A file in it, such as `journal/demo.jsonl`.
    pub fn file(&self, path: &str) -> LocalFile {
        LocalFile::new(&self.folder, format!("{NAME}/{path}"), Keeping::Guarded)
    }

    /// The names of the files in one of its folders, such as `drills/demo`; none when there is no such folder.
    ///
    /// # Errors
    /// The operating system's.
    pub fn entries(&self, folder: &str) -> std::io::Result<Vec<String>> {
        let below = format!("{NAME}/{folder}");
        let entries = match Folder::open(&self.folder, &below, Keeping::Guarded, Missing::Leave)? {
            Some(folder) => folder.entries()?,
            None => Vec::new(),
        };
        Ok(entries.into_iter().filter(|(_, is_folder)| !is_folder).map(|(name, _)| name).collect())
    }

    /// Removes what a plan that is torn down leaves in it, and itself if nothing else is in it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn clear(&self, plan: &str) -> std::io::Result<()> {
        self.file(&format!("{plan}.lock")).remove()?;
        let open = |below: &str| Folder::open(&self.folder, below, Keeping::Guarded, Missing::Leave);
        if let Some(folder) = open(NAME)? {
            folder.remove_folder("journal")?;
        }
        open("")?.map_or(Ok(()), |folder| folder.remove_folder(NAME))
    }

    fn refused(&self, why: &str) -> Error {
        Error::new(ErrorKind::Local, format!("use {}", self.folder.join(NAME).display()), why).advice(
            "it must be a folder that only you can change; to have it on another disk, mount that there",
        )
    }

    fn tracked(&self, name: &str) -> Error {
        let message = format!(
            "the repository tracks {name}: anyone who can propose a change to it could make this plan own, \
             or forget, things"
        );
        Error::new(ErrorKind::Local, format!("use {}", self.folder.join(NAME).display()), message).advice(format!(
            "run `git rm -r --cached {NAME}` in the plan's folder and add `{NAME}/` to .gitignore; for a journal that \
             machines share, use `journal: {{ s3: … }}`"
        ))
    }
}
