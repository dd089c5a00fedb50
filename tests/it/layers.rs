//! The direction of dependencies, and where things may be printed, read from the sources.

use std::path::{Path, PathBuf};

/// What may be named only below a folder.
const PLACES: [(&str, &[&str]); 8] = [
    ("aws_sdk_", &["providers/aws", "sandbox/kms.rs"]),
    ("aws_config::", &["providers/aws", "sandbox/kms.rs"]),
    ("vaultrs::", &["providers/vault"]),
    ("rustify::", &["providers/vault"]),
    ("anstream::", &["ui"]),
    // All text passes the one place that makes it harmless; tests take colours away.
    ("anstream::std", &["ui/console.rs"]),
    // Which requests go through a proxy is decided once.
    ("Client::builder", &["providers/http.rs"]),
    ("aws_smithy_http_client", &["providers/http.rs"]),
];

#[test]
fn what_belongs_to_one_folder_stays_there() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut strays = Vec::new();
    for path in sources(&src) {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let inside = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        for (name, folders) in PLACES {
            if text.contains(name) && !folders.iter().any(|folder| inside.starts_with(folder)) {
                strays.push(format!("{inside} names {name}, which belongs to {}", folders.join(", ")));
            }
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in folder.read_dir().expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// Where files are opened by their path. Everything else goes through `confined_path` or `workspace`,
/// because a plan may name what it must not reach.
const OPENERS: [&str; 14] = [
    "confined_path/",
    "workspace/",
    // What the caller names, or has in his own folders.
    "cli/",
    "custody/recipient.rs",
    "providers/vault/session.rs",
    "saved/",
    "trust/store.rs",
    "sandbox/",
    // Folders of files that are opened elsewhere.
    "journal/mod.rs",
    "journal/disk.rs",
    // The process's own.
    "resolve/bounds.rs",
    "providers/vault/client/connection.rs",
    "providers/vault/client/cluster.rs",
    "providers/vault/testing.rs",
];

#[test]
fn files_are_opened_only_in_listed_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let opens = [
        "fs::read",
        "fs::write",
        "fs::copy",
        "fs::rename",
        "fs::remove",
        "File::open",
        "File::create",
        "OpenOptions",
    ];
    let mut strays = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a source file");
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let is_test = inside.ends_with("tests.rs");
        if !is_test && !OPENERS.iter().any(|place| inside.starts_with(place)) {
            strays.extend(
                opens.iter().filter(|one| text.contains(**one)).map(|one| format!("{inside}: {one}")),
            );
        }
    }
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}
