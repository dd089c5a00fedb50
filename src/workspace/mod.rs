//! The folder `.groundwork` beside a plan: journal, lock, rescued secrets, keys.
//!
//! What lies there is believed, so it must be the caller's own: no link leads there or elsewhere, it
//! belongs to the current user, nobody else may change it, and the repository does not bring it along.

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

/// The folder `.groundwork` of one plan, looked at and found to be the caller's own.
#[derive(Clone, Debug)]
pub struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    /// The one in the folder of a plan, whether it exists already or not. Makes nothing.
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
            // It is git's own file, not the plan's: nobody is kept from working by it.
            Ok(None) | Err(NotUnderstood) => Ok(workspace),
        }
    }

    /// What a person should know about it: whether it is tracked cannot always be found out.
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

    fn refused(&self, why: &str) -> Error {
        Error::new(ErrorKind::Local, format!("use {}", self.folder.join(NAME).display()), why)
            .advice("it must be a folder of yours that nobody else can change; to have it on another disk, mount that there")
    }

    fn tracked(&self, name: &str) -> Error {
        let message = format!(
            "the repository tracks {name}: whoever can propose a change to it could make this plan own, or forget, things"
        );
        Error::new(ErrorKind::Local, format!("use {}", self.folder.join(NAME).display()), message).advice(format!(
            "run `git rm -r --cached {NAME}` in the plan's folder and add `{NAME}/` to .gitignore; for a journal that \
             machines share, use `journal: {{ s3: … }}`"
        ))
    }
}
