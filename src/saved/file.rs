//! The file: a header, and the content that it seals.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::{Content, sha256};
use super::key::SealKey;
use crate::error::{Error, ErrorKind, Result};

/// The version of the form; another one is not read.
const FORMAT: u32 = 1;
/// The first key, by which a saved changeset is told from a plan: no plan may have it.
const MARK: &str = "groundwork_changeset";
/// How far into a file the mark is looked for.
const HEAD: usize = 256;
/// The largest file that is read, in bytes; 2,000 steps are a few megabytes.
const MAX_FILE: u64 = 256 * 1024 * 1024;
/// How far the clocks of two machines may be apart.
const SKEW: Duration = Duration::from_mins(5);

/// A saved changeset that is whole.
#[derive(Clone, Debug)]
pub struct Saved {
    /// When it was made.
    pub created_at: Timestamp,
    /// The digest of the content, `sha256:…`: the same for the same plan and live systems.
    pub digest: String,
    /// What it holds.
    pub content: Content,
    /// What a key of the caller has made of all this.
    sealed: Option<String>,
}

/// The form of the file. Time, and with it the seal, are all that two files of the same plan and
/// live systems differ in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<C> {
    groundwork_changeset: u32,
    created_at: Timestamp,
    digest: String,
    /// SHA-256 over everything above.
    seal: String,
    /// HMAC-SHA-256 over the same, where the caller has a key.
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
    /// `Local` when that variable is no time.
    pub fn now(content: Content, key: Option<&SealKey>) -> Result<Self> {
        let (created_at, digest) = (time_of_creation()?, sha256(&content.bytes()));
        let sealed = key.map(|key| key.seal(&header(created_at, &digest)));
        Ok(Self { created_at, digest, content, sealed })
    }

    /// Reads a saved changeset and sees that it is whole, of this version, at most `max_age` old, and
    /// sealed with the caller's key if there is one.
    ///
    /// # Errors
    /// `Rejected`, saying which of these it is not; `Local` when it cannot be read.
    pub fn read(path: &Path, max_age: Duration, key: Option<&SealKey>) -> Result<Self> {
        let saved = Self::parse(&read_file(path)?).map_err(|why| refused(path, &why))?;
        if let Some(key) = key {
            saved.require_sealed(path, key)?;
        }
        saved.require_this_tool(path)?;
        saved.require_recent(path, max_age, Timestamp::now())?;
        Ok(saved)
    }

    /// Reads the text of a file and sees that it is whole.
    ///
    /// # Errors
    /// What is wrong with it.
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

    /// The plan to apply: the one that the caller expects, if the file is of that; else the file's own,
    /// which has to be in the working directory and not behind a link. A file from elsewhere does not
    /// choose a plan that nobody has looked at.
    ///
    /// # Errors
    /// `Rejected` otherwise.
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

/// Writes a saved changeset: for the owner alone, the whole file or nothing, and never through a
/// symbolic link.
///
/// # Errors
/// `Local` when `path` is something else than a regular file, or cannot be written.
pub fn write(path: &Path, saved: &Saved) -> Result<()> {
    let failed = |why: String| {
        Error::new(ErrorKind::Local, format!("write {}", path.display()), why)
            .advice("name a file in a folder that exists; the plan itself is never overwritten")
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => return Err(failed("it is there and no regular file".to_owned())),
        Ok(_) if !is_saved(path) => return Err(failed("it is there and no saved changeset".to_owned())),
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

/// What both seals go over.
fn header(created_at: Timestamp, digest: &str) -> String {
    format!("{FORMAT}\n{created_at}\n{digest}\n")
}

/// This seal keeps the time from being changed by accident. Only a key keeps it from being changed on
/// purpose.
fn seal(created_at: Timestamp, digest: &str) -> String {
    sha256(header(created_at, digest).as_bytes())
}

/// Whether a part of a relative path is a symbolic link.
fn has_link(path: &Path) -> bool {
    let parts = path.ancestors().filter(|part| !part.as_os_str().is_empty());
    parts.into_iter().any(Path::is_symlink)
}

fn time_of_creation() -> Result<Timestamp> {
    let wrong = |text: &str| {
        Error::new(ErrorKind::Local, "SOURCE_DATE_EPOCH", format!("`{text}` is no time"))
            .advice("it holds the seconds since 1970, or is not set at all")
    };
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => {
            let seconds: i64 = text.trim().parse().map_err(|_| wrong(&text))?;
            Timestamp::from_second(seconds).map_err(|_| wrong(&text))
        }
        Err(_) => {
            let now = Timestamp::now();
            Ok(Timestamp::from_second(now.as_second()).unwrap_or(now))
        }
    }
}

fn refused(path: &Path, why: &str) -> Error {
    let message = format!("it {why}; nothing was done");
    Error::new(ErrorKind::Rejected, format!("apply {}", path.display()), message)
        .advice("save the changes anew with `groundwork plan PLAN --out FILE`, and review them")
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
