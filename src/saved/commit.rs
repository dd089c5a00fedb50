//! The commit that is checked out around a plan, read from the repository's own files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The largest `packed-refs` that is read, in bytes.
const MAX_REFS: u64 = 16 * 1024 * 1024;
/// The largest other file of a repository that is read, in bytes.
const MAX_LINE: u64 = 4096;

/// The commit that is checked out in the repository around `folder`. `None` outside of a repository,
/// and in one that has no commit yet.
pub fn of(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let git = folder.ancestors().find_map(git_folder)?;
    let head = read(&git.join("HEAD"), MAX_LINE)?;
    let Some(name) = head.trim().strip_prefix("ref: ") else { return commit(&head) };
    if !is_reference(name) {
        return None;
    }
    // A work tree of its own has its references in the repository that it was made from.
    let common = read(&git.join("commondir"), MAX_LINE).map(|path| git.join(path.trim()));
    let folders = [Some(git), common];
    folders.iter().flatten().find_map(|folder| {
        let loose = || commit(&read(&folder.join(name), MAX_LINE)?);
        loose().or_else(|| packed(&read(&folder.join("packed-refs"), MAX_REFS)?, name))
    })
}

/// The repository's folder for a work tree: `.git`, or the folder that a file of that name points to.
fn git_folder(tree: &Path) -> Option<PathBuf> {
    let path = tree.join(".git");
    let metadata = path.symlink_metadata().ok()?;
    if metadata.is_dir() {
        return Some(path);
    }
    Some(tree.join(read(&path, MAX_LINE)?.trim().strip_prefix("gitdir: ")?))
}

/// The text of a regular file; other files might block or never end.
fn read(path: &Path, limit: u64) -> Option<String> {
    let metadata = path.symlink_metadata().ok()?;
    if !metadata.is_file() || metadata.len() > limit {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(limit).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a text is a commit's full name.
pub fn is_commit(text: &str) -> bool {
    [40, 64].contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn commit(text: &str) -> Option<String> {
    Some(text.trim().to_owned()).filter(|text| is_commit(text))
}

fn is_reference(name: &str) -> bool {
    name.starts_with("refs/") && name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn packed(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (id, reference) = line.split_once(' ')?;
        commit(id).filter(|_| reference == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        folder
    }

    #[test]
    fn commit_is_found_in_each_form_of_repository() {
        let cases: [&[(&str, &str)]; 4] = [
            &[(".git/HEAD", ONE)],
            &[(".git/HEAD", "ref: refs/heads/main\n"), (".git/refs/heads/main", ONE)],
            &[
                (".git/HEAD", "ref: refs/heads/main\n"),
                (
                    ".git/packed-refs",
                    "# pack-refs\n2222222222222222222222222222222222222222 refs/heads/other\n1111111111111111111111111111111111111111 refs/heads/main\n",
                ),
            ],
            &[
                (".git", "gitdir: elsewhere/worktrees/one\n"),
                ("elsewhere/worktrees/one/HEAD", "ref: refs/heads/main\n"),
                ("elsewhere/worktrees/one/commondir", "../..\n"),
                ("elsewhere/refs/heads/main", ONE),
            ],
        ];
        for files in cases {
            let folder = repository(files);
            std::fs::create_dir_all(folder.path().join("plans/deep")).expect("made");
            assert_eq!(of(&folder.path().join("plans/deep")).as_deref(), Some(ONE), "{files:?}");
        }
    }

    #[test]
    fn commit_is_none_outside_a_valid_repository() {
        let cases: [&[(&str, &str)]; 4] = [
            &[("plan.yaml", "")],
            &[(".git/HEAD", "ref: refs/heads/main\n")],
            &[(".git/HEAD", "ref: ../token\n"), ("token", TWO)],
            &[(".git/HEAD", "ref: refs/../../token\n"), ("token", TWO)],
        ];
        for files in cases {
            assert_eq!(of(repository(files).path()), None, "{files:?}");
        }
        let folder = repository(&[(".git/other", "")]);
        std::os::unix::fs::symlink("/dev/zero", folder.path().join(".git/HEAD")).expect("a link");
        assert_eq!(of(folder.path()), None);
    }
}
