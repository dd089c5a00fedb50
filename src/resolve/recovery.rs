//! The section `recovery:`, made definite: the targets of a recovery, and the secrets that a drill reads.

use std::time::Duration;

use jiff::SignedDuration;

use super::{OutputTable, Resolved};
use crate::error::FieldError;
use crate::plan::settings::{CanarySettings, RecoverySettings};
use crate::plan::{Diagnostic, Section};
use crate::template::unknown::is_unknown;

/// The targets of a recovery, and the secrets that a drill reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// How long it may take.
    pub rto: Option<Duration>,
    /// How old the recovered data may be.
    pub rpo: Option<Duration>,
    /// The secrets that a drill reads.
    pub canaries: Vec<CanarySettings>,
    /// Whether a whole backup comes back only with key shares that enough holders give.
    pub quorum: bool,
}

impl Resolved {
    /// The targets of a recovery; nothing where the plan declares none, or where they depend on an unknown value.
    ///
    /// # Errors
    /// Expressions that fail and values that are wrong, with their places.
    pub fn recovery(&self, outputs: &OutputTable) -> Result<Recovery, Vec<Diagnostic>> {
        let settings: Option<RecoverySettings> = self.section(Section::Recovery, outputs)?;
        if is_unknown(&serde_json::to_string(&settings).unwrap_or_default()) {
            return Ok(Recovery::default());
        }
        let (recovery, mistakes) = definite(settings.unwrap_or_default());
        match mistakes.is_empty() {
            true => Ok(recovery),
            false => Err(mistakes.into_iter().flat_map(|one| self.mistake(Section::Recovery, one)).collect()),
        }
    }
}

fn definite(settings: RecoverySettings) -> (Recovery, Vec<FieldError>) {
    let mut mistakes = Vec::new();
    let mut target = |field: &str, text: Option<&String>| {
        let text = text?;
        let time = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
        let time = time.filter(|time| !time.is_zero());
        if time.is_none() {
            let message = format!("`{text}` is not a length of time");
            mistakes.push(FieldError::new(field, message).help("write it as `15m`, `90s` or `1h 30m`"));
        }
        time
    };
    let (rto, rpo) = (target("rto", settings.rto.as_ref()), target("rpo", settings.rpo.as_ref()));
    for (index, canary) in settings.canaries.iter().enumerate() {
        let mut wrong = |field: &str, message: &str, help: &str| {
            mistakes.push(FieldError::new(format!("canaries[{index}].{field}"), message).help(help));
        };
        let path = canary.path.as_str();
        if path.starts_with('/') || path.ends_with('/') || !path.contains('/') {
            wrong("path", "this is not the path of a secret", "write mount and path, such as secret/app/db");
        }
        let same = |other: &CanarySettings| (&other.path, &other.field) == (&canary.path, &canary.field);
        if settings.canaries[..index].iter().any(same) {
            wrong("path", "this secret is already in the list", "name each field once");
        }
        let is_digest =
            |digest: &String| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if canary.sha256.as_ref().is_some_and(|digest| !is_digest(digest)) {
            wrong(
                "sha256",
                "this is not a SHA-256 in hexadecimal",
                "write the 64 digits that `printf %s VALUE | sha256sum` gives",
            );
        }
    }
    (Recovery { rto, rpo, canaries: settings.canaries, quorum: settings.quorum }, mistakes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(settings: Value) -> (Recovery, Vec<String>) {
        let (recovery, mistakes) = definite(serde_json::from_value(settings).expect("settings"));
        (recovery, mistakes.into_iter().map(|mistake| mistake.path).collect())
    }

    #[test]
    fn targets_are_lengths_of_time() {
        let (recovery, mistakes) = read(json!({ "rto": "15m", "rpo": "1h 30m" }));
        let expected = (Some(Duration::from_mins(15)), Some(Duration::from_mins(90)));
        assert_eq!(((recovery.rto, recovery.rpo), mistakes.len()), (expected, 0));
        for wrong in ["", "soon", "15", "0s", "-5m"] {
            assert_eq!(read(json!({ "rto": wrong })).1, ["rto"], "{wrong}");
        }
        assert_eq!(read(json!({})).0, Recovery::default());
    }

    #[test]
    fn canaries_are_secrets_with_a_field_and_a_digest() {
        let (recovery, mistakes) = read(json!({ "canaries": [{ "path": "secret/a" }] }));
        assert_eq!((recovery.canaries[0].field.as_str(), mistakes.len()), ("value", 0));
        let (_, mistakes) = read(json!({ "canaries": [
            { "path": "secret" },
            { "path": "secret/a", "sha256": "abc" },
            { "path": "secret/a", "sha256": "ab".repeat(32) },
            { "path": "secret/a", "field": "user" },
        ] }));
        assert_eq!(mistakes, ["canaries[0].path", "canaries[1].sha256", "canaries[2].path"]);
    }
}
