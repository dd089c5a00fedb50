//! Installs pinned programs into the cache folder: with pip and with hashes, or in a way of their own.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::Error;
use super::error::Doing;
use super::lock::Lock;
use super::options::Host;
use super::python::Python;
use super::requirements::Requirements;
use super::trust;
use crate::event::Events;

/// How much of pip's output an error quotes.
const QUOTED_LINES: usize = 6;

/// The folder of an installed set; installs it if it is missing.
///
pub async fn installed(
    set: &Requirements,
    tag: &str,
    host: &Host,
    events: &Events,
) -> Result<PathBuf, Error> {
    let key = format!("{}{tag}", set.key());
    once(&key, host, events, async |staging| {
        let python = Python::find(host).await?;
        events.progress(format!("installing {} ({} MB), once", set.title, set.megabytes));
        install(set, &python, host, &staging).await
    })
    .await
}

/// The folder of the cache with this name. If it is missing, `make` fills a folder beside it that gets the
/// final name only when it is whole, so that an interrupted installation never counts as one; a lock keeps
/// two installations apart.
pub async fn once(
    key: &str,
    host: &Host,
    events: &Events,
    make: impl AsyncFnOnce(PathBuf) -> Result<(), Error>,
) -> Result<PathBuf, Error> {
    let cache = host.cache.as_deref().ok_or(Error::NoCache)?;
    trust::require_own(cache, "name a folder of your own in GROUNDWORK_CACHE")?;
    let folder = cache.join(key);
    if folder.exists() {
        return Ok(folder);
    }
    std::fs::create_dir_all(cache).doing(|| format!("make the folder {}", cache.display()))?;
    let _lock = Lock::acquire(&cache.join(format!("{key}.lock")), events).await?;
    if folder.exists() {
        return Ok(folder);
    }
    let staging = folder.with_added_extension("partial");
    let doing = || format!("install into {}", staging.display());
    // A killed installation left it: we hold the lock, so no other process uses it.
    if staging.exists() {
        std::fs::remove_dir_all(&staging).doing(doing)?;
    }
    std::fs::create_dir_all(&staging).doing(doing)?;
    let outcome = make(staging.clone()).await;
    if outcome.is_err() {
        // If this fails, the next attempt removes the rest.
        let _ = std::fs::remove_dir_all(&staging);
    }
    outcome?;
    std::fs::rename(&staging, &folder).doing(doing)?;
    Ok(folder)
}

async fn install(set: &Requirements, python: &Python, host: &Host, staging: &Path) -> Result<(), Error> {
    let list = staging.join("requirements.txt");
    std::fs::write(&list, set.text).doing(|| format!("write {}", list.display()))?;
    pip(set, python, host, staging, &list).await
}

async fn pip(
    set: &Requirements,
    python: &Python,
    host: &Host,
    staging: &Path,
    list: &Path,
) -> Result<(), Error> {
    let output = Command::new(&python.program)
        .args(["-m", "pip", "install", "--require-hashes", "--no-deps", "--only-binary", ":all:"])
        .args(["--quiet", "--no-input", "--disable-pip-version-check", "--target"])
        .arg(staging)
        .arg("-r")
        .arg(list)
        .env("PATH", &host.path)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        // They contradict --target; the user's index, proxy and certificates stay in force.
        .env_remove("PIP_USER")
        .env_remove("PIP_PREFIX")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .doing(|| format!("run {}", python.program.display()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(explain(set, python, &String::from_utf8_lossy(&output.stderr)))
}

/// Maps pip's output to an error with a remedy.
fn explain(set: &Requirements, python: &Python, said: &str) -> Error {
    // With retries turned off, pip prints only the last one.
    const OFFLINE: [&str; 8] = [
        "NewConnectionError",
        "NameResolutionError",
        "ConnectTimeoutError",
        "ReadTimeoutError",
        "ProxyError",
        "Network is unreachable",
        "Connection refused",
        "(from versions: none)",
    ];
    let what = set.title.to_owned();
    let find = |words: &[&str]| said.lines().find(|line| words.iter().any(|word| line.contains(word)));
    if find(&["No module named pip"]).is_some() {
        Error::NoPip { python: python.program.clone() }
    } else if find(&["DO NOT MATCH THE HASHES"]).is_some() {
        Error::Hash { what, detail: last_lines(said) }
    } else if let Some(line) = find(&OFFLINE) {
        Error::NoNetwork { what, detail: reason(line) }
    } else {
        Error::Install { what, detail: last_lines(said) }
    }
}

/// The readable part of a line, without pip's internal details around it.
fn reason(line: &str) -> String {
    let innermost = line.find("Failed to").and_then(|start| line[start..].split('\'').next());
    innermost.unwrap_or_else(|| line.trim_start_matches("ERROR: ")).to_owned()
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::requirements::EMULATOR;
    use super::*;

    #[test]
    fn pip_errors_become_remedies() {
        let python = Python { program: "/usr/bin/python3".into(), version: (3, 11) };
        let cases = [
            ("/usr/bin/python3: No module named pip", "apt install python3-pip"),
            (
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('x: Failed to \
                 establish a new connection: [Errno 111] Connection refused')': /simple/six/",
                "out of reach (Failed to establish a new connection: [Errno 111] Connection refused)",
            ),
            (
                "ERROR: Could not find a version that satisfies the requirement six==1 (from versions: none)",
                "out of reach",
            ),
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "expected hash"),
            ("ERROR: No space left on device", "No space left on device"),
        ];
        for (said, remedy) in cases {
            let error = explain(&EMULATOR, &python, said).to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[tokio::test]
    async fn installation_requires_a_private_folder() {
        let host = Host { cache: None, path: "/nowhere".into() };
        let outcome = installed(&EMULATOR, "", &host, &Events::default()).await;
        assert!(outcome.is_err_and(|error| error.to_string().contains("HOME")));
        let dir = tempfile::tempdir().unwrap();
        let planted = dir.path().join("planted");
        std::fs::create_dir_all(planted.join(EMULATOR.key())).unwrap();
        std::fs::set_permissions(&planted, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let host = Host { cache: Some(planted), path: "/nowhere".into() };
        let outcome = installed(&EMULATOR, "", &host, &Events::default()).await;
        assert!(matches!(outcome, Err(Error::Untrusted { .. })), "{outcome:?}");
    }

    #[tokio::test]
    async fn interrupted_installation_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host { cache: Some(dir.path().to_owned()), path: "/nowhere".into() };
        std::fs::create_dir(dir.path().join(format!("{}.partial", EMULATOR.key()))).unwrap();
        let outcome = installed(&EMULATOR, "", &host, &Events::default()).await;
        assert!(matches!(outcome, Err(Error::NoPython { .. })));
        std::fs::create_dir(dir.path().join(EMULATOR.key())).unwrap();
        assert!(installed(&EMULATOR, "", &host, &Events::default()).await.is_ok());
    }
}
