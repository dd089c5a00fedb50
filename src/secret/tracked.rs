//! The provenance of a file beside the plan: a file that the repository tracks comes with a stranger's
//! branch and is as public as the branch; any other was put there by the caller.

use std::path::Path;

use crate::workspace::Tracked;

/// Who put a file where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The caller: there is no repository, or it does not track the file.
    Caller,
    /// It comes with the repository.
    Repository,
    /// The repository cannot be read, so it may be either.
    Unknown,
}

/// Who put the file at `path`, which is relative to the folder that `tracked` was read around, there.
pub fn provenance(tracked: &Tracked, path: &Path) -> Provenance {
    match tracked.brings(path) {
        Ok(true) => Provenance::Repository,
        Ok(false) => Provenance::Caller,
        Err(_) => Provenance::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn provenance(folder: &Path, path: &Path) -> Provenance {
        super::provenance(&Tracked::around(folder), path)
    }

    fn git(folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "core.autocrlf=false"]).args(arguments).current_dir(folder);
        let output = command.env("GIT_CONFIG_NOSYSTEM", "1").output().expect("git starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    #[test]
    fn tracked_files_are_distinguished_from_others() {
        for version in ["2", "3", "4"] {
            let root = tempfile::tempdir().expect("a folder");
            let plans = root.path().join("plans");
            std::fs::create_dir_all(plans.join("secrets")).expect("a folder");
            for name in ["secrets/tracked", "secrets/trackedness", "secrets/tracked.2", "own", "later"] {
                std::fs::write(plans.join(name), name).expect("written");
            }
            let of = |path: &str| provenance(&plans, Path::new(path));
            assert_eq!(of("secrets/tracked"), Provenance::Caller, "no repository");
            git(root.path(), &["init", "--quiet"]);
            assert_eq!(of("secrets/tracked"), Provenance::Caller, "no index");
            git(root.path(), &["add", "plans/secrets"]);
            git(root.path(), &["add", "--intent-to-add", "plans/later"]);
            git(root.path(), &["update-index", "--index-version", version]);
            for tracked in
                ["secrets/tracked", "./secrets/trackedness", "secrets/tracked.2", "later", "SECRETS/Tracked"]
            {
                assert_eq!(of(tracked), Provenance::Repository, "{tracked}, version {version}");
            }
            assert_eq!(of("own"), Provenance::Caller, "version {version}");
            assert_eq!(of("secrets/track"), Provenance::Caller, "version {version}");
        }
    }

    #[test]
    fn worktree_uses_its_own_index() {
        let root = tempfile::tempdir().expect("a folder");
        let (main, other) = (root.path().join("main"), root.path().join("other"));
        std::fs::create_dir(&main).expect("a folder");
        std::fs::write(main.join("a"), "a").expect("written");
        git(&main, &["init", "--quiet"]);
        git(&main, &["add", "a"]);
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.net"];
        git(&main, &[&who[..], &["commit", "--quiet", "--message", "a"]].concat());
        git(&main, &["worktree", "add", "--quiet", other.to_str().expect("text")]);
        std::fs::write(other.join("b"), "b").expect("written");
        assert_eq!(provenance(&other, Path::new("a")), Provenance::Repository);
        assert_eq!(provenance(&other, Path::new("b")), Provenance::Caller);
    }

    #[test]
    fn submodule_files_count_as_repository_files() {
        let root = tempfile::tempdir().expect("a folder");
        let (main, other) = (root.path().join("main"), root.path().join("other"));
        let who = ["-c", "user.name=a", "-c", "user.email=a@example.net", "-c", "protocol.file.allow=always"];
        for repository in [&main, &other] {
            std::fs::create_dir(repository).expect("a folder");
            std::fs::write(repository.join("key"), "key").expect("written");
            git(repository, &["init", "--quiet"]);
            git(repository, &["add", "key"]);
            git(repository, &[&who[..], &["commit", "--quiet", "--message", "a"]].concat());
        }
        let from = other.to_str().expect("text");
        git(&main, &[&who[..], &["submodule", "--quiet", "add", from, "sub"]].concat());
        assert_eq!(provenance(&main, Path::new("sub/key")), Provenance::Repository);
        assert_eq!(provenance(&main, Path::new("../main/key")), Provenance::Unknown);
    }

    #[test]
    fn unreadable_index_gives_unknown_provenance() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::write(root.path().join("a"), "a").expect("written");
        git(root.path(), &["init", "--quiet"]);
        git(root.path(), &["add", "a"]);
        let index = root.path().join(".git/index");
        std::fs::write(&index, "DIRC and no more").expect("written");
        assert_eq!(provenance(root.path(), Path::new("a")), Provenance::Unknown);
    }
}
