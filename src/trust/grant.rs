//! One permission of the caller: `vault=https://vault.example:8200`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a permission is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An origin (`scheme://host:port`) to which Vault credentials may be sent.
    Vault,
    /// A node's origin that may receive key shares.
    Node,
    /// The SHA-256 of a CA file of the plan, by which servers may prove who they are.
    Ca,
    /// A named profile of the caller's AWS configuration that the plan may choose.
    AwsProfile,
    /// An IAM role that the plan may assume with the caller's credentials.
    AwsRole,
    /// An environment variable that the plan may read, or a pattern with one trailing `*`.
    Env,
    /// The fingerprint of a key by which the plan's journal and custody are signed.
    Signer,
    /// An absolute path of a folder outside of the plan's, where the plan may keep its custody.
    Store,
}

impl Subject {
    const ALL: [(Self, &str); 8] = [
        (Self::Vault, "vault"),
        (Self::Node, "node"),
        (Self::Ca, "ca"),
        (Self::AwsProfile, "aws-profile"),
        (Self::AwsRole, "aws-role"),
        (Self::Env, "env"),
        (Self::Signer, "signer"),
        (Self::Store, "store"),
    ];

    /// The word by which it is written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(subject, _)| *subject == self).map_or("", |(_, word)| word)
    }
}

/// One permission of the caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// What it is about.
    pub subject: Subject,
    /// Which one.
    pub value: String,
}

/// Why a text is not a permission.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` is not a permission; write SUBJECT=VALUE with one of {}", subjects())]
pub struct InvalidGrant {
    text: String,
}

fn subjects() -> String {
    Subject::ALL.map(|(_, word)| word).join(", ")
}

impl Grant {
    /// A permission.
    pub fn new(subject: Subject, value: impl Into<String>) -> Self {
        Self { subject, value: value.into() }
    }

    /// Whether whoever has given this has thereby given `wanted`.
    pub fn covers(&self, wanted: &Self) -> bool {
        self.subject == wanted.subject
            && match (self.subject, self.value.strip_suffix('*')) {
                (Subject::Env, Some(prefix)) => wanted.value.starts_with(prefix),
                _ => self.value == wanted.value,
            }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.subject.word(), self.value)
    }
}

impl FromStr for Grant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidGrant { text: text.to_owned() };
        let (word, value) =
            text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(invalid)?;
        let (subject, _) = Subject::ALL.iter().find(|(_, known)| *known == word).ok_or_else(invalid)?;
        Ok(Self::new(*subject, value))
    }
}

impl TryFrom<String> for Grant {
    type Error = InvalidGrant;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grant_text_round_trips_for_each_subject() {
        for (subject, word) in Subject::ALL {
            let grant = Grant::new(subject, "x=y");
            assert_eq!(grant.to_string(), format!("{word}=x=y"));
            assert_eq!(grant.to_string().parse::<Grant>().expect("a grant"), grant);
        }
        for wrong in ["", "vault", "vault=", "other=x"] {
            assert!(wrong.parse::<Grant>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_env_grants_take_a_pattern() {
        let covers = |given: &str, wanted: &str| {
            given.parse::<Grant>().expect("a grant").covers(&wanted.parse().expect("a grant"))
        };
        assert!(covers("env=APP_*", "env=APP_KEY") && covers("env=APP", "env=APP"));
        assert!(!covers("env=APP_*", "env=OTHER") && !covers("env=APP", "env=APP_KEY"));
        assert!(!covers("vault=https://a*", "vault=https://a.example"));
        assert!(!covers("vault=https://a", "node=https://a"));
    }
}
