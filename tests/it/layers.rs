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
