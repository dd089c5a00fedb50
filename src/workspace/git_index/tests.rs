use std::path::Path;
use std::process::Command;

use super::super::Workspace;
use super::super::repository::tracked;
use super::*;

fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(folder).args(["-c", "user.name=x", "-c", "user.email=x@example.org"]);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    let ran = command.args(arguments).output().expect("git starts");
    assert!(ran.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

fn write(folder: &Path, path: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, "x").expect("written");
}

/// A repository with some files, made with these options of `git init` and settings.
fn repository(init: &[&str], settings: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    git(folder.path(), &[&["init", "--quiet"], init].concat());
    for (name, value) in settings {
        git(folder.path(), &["config", name, value]);
    }
    for path in ["a", ".groundwork.txt", "env/plan.yaml", "env/.groundwork-not", "z/deep/er/file"] {
        write(folder.path(), path);
    }
    git(folder.path(), &["add", "--all"]);
    folder
}

#[test]
fn tracked_folder_is_found_in_every_index_format() {
    /// Arguments of `git init`, and settings.
    type Form = (&'static [&'static str], &'static [(&'static str, &'static str)]);
    let forms: [Form; 5] = [
        (&[], &[("index.version", "2")]),
        (&[], &[("index.version", "4")]),
        (&["--object-format=sha256"], &[]),
        (&[], &[("core.splitIndex", "true")]),
        (&[], &[("core.untrackedCache", "true"), ("index.skipHash", "true")]),
    ];
    for (init, settings) in forms {
        let folder = repository(init, settings);
        for place in [folder.path().to_owned(), folder.path().join("env")] {
            assert_eq!(tracked(&place, ".groundwork"), Ok(None), "{settings:?}");
        }
        write(folder.path(), "env/.groundwork/journal/x.jsonl");
        assert_eq!(tracked(&folder.path().join("env"), ".groundwork"), Ok(None), "not added yet");
        git(folder.path(), &["add", "--all"]);
        let found = tracked(&folder.path().join("env"), ".groundwork").expect("understood");
        assert_eq!(found.as_deref(), Some("env/.groundwork/journal/x.jsonl"), "{init:?} {settings:?}");
        assert_eq!(tracked(folder.path(), ".groundwork"), Ok(None), "{settings:?}");
        git(folder.path(), &["commit", "--quiet", "--message", "x"]);
        git(folder.path(), &["rm", "-r", "--quiet", "--cached", "env/.groundwork"]);
        assert_eq!(tracked(&folder.path().join("env"), ".groundwork").ok().flatten(), None, "{settings:?}");
    }
}

#[test]
fn tracked_link_and_intended_file_are_found() {
    let folder = repository(&[], &[]);
    std::os::unix::fs::symlink("/tmp", folder.path().join(".Groundwork")).expect("linked");
    git(folder.path(), &["add", "--intent-to-add", ".Groundwork"]);
    assert_eq!(tracked(folder.path(), ".groundwork"), Ok(Some(".Groundwork".to_owned())));
}

#[test]
fn worktree_uses_its_own_index() {
    let folder = repository(&[], &[]);
    git(folder.path(), &["commit", "--quiet", "--message", "x"]);
    git(folder.path(), &["worktree", "add", "--quiet", "other"]);
    let other = folder.path().join("other");
    write(&other, ".groundwork/x.lock");
    git(&other, &["add", "--all"]);
    assert_eq!(tracked(&other, ".groundwork"), Ok(Some(".groundwork/x.lock".to_owned())));
    assert_eq!(tracked(folder.path(), ".groundwork"), Ok(None));
}

#[test]
fn folder_without_a_repository_tracks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(tracked(folder.path(), ".groundwork"), Ok(None));
    git(folder.path(), &["init", "--quiet"]);
    assert_eq!(tracked(folder.path(), ".groundwork"), Ok(None), "nothing was ever added");
    std::fs::write(folder.path().join(".git/index"), "DIRCnonsense").expect("written");
    assert_eq!(tracked(folder.path(), ".groundwork"), Err(NotUnderstood));
    assert_eq!(Workspace::remark(folder.path()), None, "there is nothing that could be tracked");
    std::fs::create_dir(folder.path().join(".groundwork")).expect("made");
    assert!(Workspace::remark(folder.path()).is_some() && Workspace::of(folder.path()).is_ok());
}

#[test]
fn broken_index_is_refused_without_a_panic() {
    let folder = repository(&[], &[]);
    let whole = std::fs::read(folder.path().join(".git/index")).expect("an index");
    let names = Index::parse(&whole).expect("an index").names;
    assert_eq!(names.len(), 5);
    for length in 0..whole.len() {
        // What is cut within the checksum or an extension may still be read; never other names.
        assert!(Index::parse(&whole[..length]).map_or(true, |index| index.names == names), "{length}");
    }
    for position in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[position] ^= 0xff;
        let _ = Index::parse(&bytes);
    }
}
