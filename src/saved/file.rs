//! The file: a header, and the content that it seals.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::{Content, sha256};
use super::key::SealKey;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};

/// The version of the format; other versions are refused.
const FORMAT: u32 = 1;
/// The first key, which marks a saved changeset: no plan may have it.
const MARK: &str = "groundwork_changeset";
/// The number of bytes at a file's start that are searched for the mark.
const HEAD: usize = 256;
/// The largest file that is read, in bytes; 2,000 steps are a few megabytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// The largest accepted difference between the clocks of two machines.
const SKEW: Duration = Duration::from_mins(5);

/// A saved changeset that is whole.
#[derive(Clone, Debug)]
pub struct Saved {
    /// When it was made.
    pub created_at: Timestamp,
    /// The digest of the content, `sha256:…`: the same for the same plan and live systems.
    pub digest: String,
    /// The reviewed content.
    pub content: Content,
    /// The seal that a key of the caller has made over the header.
    sealed: Option<String>,
}

/// The format of the file. Two files of the same plan and live systems differ only in the time, and
/// therefore in the seals.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<C> {
    groundwork_changeset: u32,
    created_at: Timestamp,
    digest: String,
    /// SHA-256 over everything above.
    seal: String,
    /// HMAC-SHA-256 over the same, if the caller has a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyed_seal: Option<String>,
    content: C,
}

/// Whether the file at `path` claims to be a saved changeset. One that cannot be read does not.
pub fn is_saved(path: &Path) -> bool {
    let regular = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut head = Vec::with_capacity(HEAD);
    let read =
        regular.then(|| File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)));
    let text = String::from_utf8_lossy(&head);
    matches!(read, Some(Ok(_)))
        && text.trim_start().strip_prefix('{').is_some_and(|rest| {
            rest.trim_start().strip_prefix('"').is_some_and(|rest| rest.starts_with(MARK))
        })
}

impl Saved {
    /// A changeset saved now, or at the time that `SOURCE_DATE_EPOCH` names; sealed if there is a key.
    ///
    /// # Errors
    /// `Local` when that variable is not a time.
    pub fn now(content: Content, key: Option<&SealKey>, environment: &Environment) -> Result<Self> {
        let (created_at, digest) = (time_of_creation(environment)?, sha256(&content.bytes()));
        let sealed = key.map(|key| key.seal(&header(created_at, &digest)));
        Ok(Self { created_at, digest, content, sealed })
    }

    /// Reads a saved changeset and checks that it is whole, of this version, at most `max_age` old, and
    /// sealed with the caller's key if there is one.
    ///
    /// # Errors
    /// `Rejected`, naming the failed check; `Local` when the file cannot be read.
    pub fn read(path: &Path, max_age: Duration, key: Option<&SealKey>) -> Result<Self> {
        let saved = Self::parse(&read_file(path)?).map_err(|why| refused(path, &why))?;
        if let Some(key) = key {
            saved.require_sealed(path, key)?;
        }
        saved.require_this_tool(path)?;
        saved.require_recent(path, max_age, Timestamp::now())?;
        Ok(saved)
    }

    /// Reads the text of a file and checks that it is whole.
    ///
    /// # Errors
    /// A description of the damage.
    pub fn parse(text: &[u8]) -> std::result::Result<Self, String> {
        let form: Form<Content> = serde_json::from_slice(text)
            .map_err(|error| format!("is damaged, or not in a form that this version knows: {error}"))?;
        if form.groundwork_changeset != FORMAT {
            let version = form.groundwork_changeset;
            return Err(format!("has the form {version}; this version of Groundwork knows {FORMAT}"));
        }
        let digest = sha256(&form.content.bytes());
        if form.digest != digest || form.seal != seal(form.created_at, &digest) {
            return Err(
                "was changed after it was written: its content is not what its digest says".to_owned()
            );
        }
        Ok(Self { created_at: form.created_at, digest, content: form.content, sealed: form.keyed_seal })
    }

    fn require_sealed(&self, path: &Path, key: &SealKey) -> Result<()> {
        let by = key.path().display();
        let why = match &self.sealed {
            Some(seal) if key.has_sealed(&header(self.created_at, &self.digest), seal) => return Ok(()),
            Some(_) => format!("was changed, or sealed with another key than {by}"),
            None => format!("is not sealed, and you have the key {by}"),
        };
        Err(refused(path, &why))
    }

    /// The plan to apply: the one that the caller expects, if the file belongs to it; otherwise the
    /// file's own plan, which has to be in the working directory and not behind a link, so that a file
    /// from elsewhere cannot choose a plan that the caller has never seen.
    ///
    /// # Errors
    /// `Rejected` if neither is possible.
    pub fn plan(&self, path: &Path, expected: Option<&Path>) -> Result<PathBuf> {
        let plan = Path::new(&self.content.plan.path);
        let same = |expected: &Path| {
            plan == expected
                || matches!((plan.canonicalize(), expected.canonicalize()), (Ok(one), Ok(other)) if one == other)
        };
        match expected {
            Some(expected) if same(expected) => Ok(expected.to_owned()),
            Some(expected) => {
                let why = format!("is of the plan {}, not of {}", plan.display(), expected.display());
                Err(refused(path, &why))
            }
            None if !plan.components().all(|part| matches!(part, Component::Normal(_))) => {
                Err(refused(path, &format!("is of the plan {}, outside of this folder", plan.display()))
                    .advice("if that is the plan you mean, say so with `--plan PLAN`"))
            }
            None if has_link(plan) => {
                let why =
                    format!("is of the plan {}, which is or lies behind a symbolic link", plan.display());
                Err(refused(path, &why).advice("if that is the plan you mean, say so with `--plan PLAN`"))
            }
            None => Ok(plan.to_owned()),
        }
    }

    fn require_this_tool(&self, path: &Path) -> Result<()> {
        let (made, here) = (&self.content.tool, env!("CARGO_PKG_VERSION"));
        if made == here {
            return Ok(());
        }
        Err(refused(path, &format!("was made by Groundwork {made}, and this is {here}")))
    }

    fn require_recent(&self, path: &Path, max_age: Duration, now: Timestamp) -> Result<()> {
        let age = now.duration_since(self.created_at);
        if -age > SKEW.try_into().unwrap_or_default() {
            let why = format!("was made at {}, which is in the future", self.created_at);
            return Err(refused(path, &why).advice("set the clocks of both machines"));
        }
        if age > max_age.try_into().unwrap_or(jiff::SignedDuration::MAX) {
            let why = format!(
                "was made at {}, {} ago, which is more than {} (`--max-age`)",
                self.created_at,
                words(age),
                words(max_age.try_into().unwrap_or_default())
            );
            return Err(refused(path, &why));
        }
        Ok(())
    }

    /// The file's text.
    ///
    /// # Panics
    /// Never: text, numbers and maps with text as keys can always be written as JSON.
    pub fn text(&self) -> Vec<u8> {
        let form = Form {
            groundwork_changeset: FORMAT,
            created_at: self.created_at,
            digest: self.digest.clone(),
            seal: seal(self.created_at, &self.digest),
            keyed_seal: self.sealed.clone(),
            content: &self.content,
        };
        let mut text = serde_json::to_vec_pretty(&form).expect("plain data");
        text.push(b'\n');
        text
    }
}

/// Writes a saved changeset atomically, readable only for its owner, and never through a symbolic
/// link.
///
/// # Errors
/// `Local` when `path` is neither free nor a saved changeset, or cannot be written.
pub fn write(path: &Path, saved: &Saved) -> Result<()> {
    let failed = |why: String| {
        Error::new(ErrorKind::Local, format!("write {}", path.display()), why)
            .advice("name a file in a folder that exists; the plan itself is never overwritten")
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => return Err(failed("it is not a regular file".to_owned())),
        Ok(_) if !is_saved(path) => return Err(failed("it exists and is not a saved changeset".to_owned())),
        _ => {}
    }
    replace(path, &saved.text()).map_err(|error| failed(error.to_string()))
}

fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.as_file().set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let failed = |why: String| Error::new(ErrorKind::Local, format!("read {}", path.display()), why);
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > MAX_FILE {
        return Err(failed(format!("it is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(text)
}

/// The text that both seals cover.
fn header(created_at: Timestamp, digest: &str) -> String {
    format!("{FORMAT}\n{created_at}\n{digest}\n")
}

/// Detects accidental changes of the time. Only a seal with a key detects deliberate ones.
fn seal(created_at: Timestamp, digest: &str) -> String {
    sha256(header(created_at, digest).as_bytes())
}

/// Whether a part of a relative path is a symbolic link.
fn has_link(path: &Path) -> bool {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    parts.into_iter().any(Path::is_symlink)
}

/// The time that something is made at: now, or what `SOURCE_DATE_EPOCH` says.
///
/// # Errors
/// `Local` when the variable does not hold a time.
pub fn time_of_creation(environment: &Environment) -> Result<Timestamp> {
    let wrong = |text: &str| {
        Error::new(ErrorKind::Local, "SOURCE_DATE_EPOCH", format!("`{text}` is not a time"))
            .advice("set it to the seconds since 1970, or unset it")
    };
    match environment.value("SOURCE_DATE_EPOCH").and_then(OsStr::to_str) {
        Some(text) => {
            let seconds: i64 = text.trim().parse().map_err(|_| wrong(text))?;
            Timestamp::from_second(seconds).map_err(|_| wrong(text))
        }
        None => {
            let now = Timestamp::now();
            Ok(Timestamp::from_second(now.as_second()).unwrap_or(now))
        }
    }
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("it {why}; nothing was done");
    Error::new(ErrorKind::Rejected, format!("apply {}", path.display()), message)
        .advice("save the changes again with `groundwork plan PLAN --out FILE`, and review them")
}

/// A duration in its largest two units.
fn words(duration: jiff::SignedDuration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, _) => format!("{minutes} min"),
        (0, hours, 0, _) => format!("{hours} h"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, 0, ..) => format!("{days} d"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}
