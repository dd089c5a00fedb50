//! One permission of the caller: `vault=https://vault.example:8200`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::origin::origin;
use super::variable::{Standing, standing};

/// The subject of a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An origin (`scheme://host:port`) to which Vault credentials may be sent.
    Vault,
    /// The address of a server of another system that may get a login: `postgres://host:port`.
    Server,
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
    /// The SHA-256 of a kubeconfig of the plan, which may name programs to run.
    Kubeconfig,
    /// A context of the caller's kubeconfig that the plan may choose.
    KubeContext,
}

impl Subject {
    const ALL: [(Self, &str); 11] = [
        (Self::Vault, "vault"),
        (Self::Server, "server"),
        (Self::Node, "node"),
        (Self::Ca, "ca"),
        (Self::AwsProfile, "aws-profile"),
        (Self::AwsRole, "aws-role"),
        (Self::Env, "env"),
        (Self::Signer, "signer"),
        (Self::Store, "store"),
        (Self::Kubeconfig, "kubeconfig"),
        (Self::KubeContext, "kube-context"),
    ];

    /// The word by which it is written.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(subject, _)| *subject == self).map_or("", |(_, word)| word)
    }

    /// A description of its values.
    fn values(self) -> &'static str {
        match self {
            Self::Vault | Self::Node => "the address of a server, such as https://vault.example:8200",
            Self::Server => "the address of a server, such as postgres://db.example:5432",
            Self::Ca | Self::Kubeconfig => "the SHA-256 of a file, 64 hexadecimal digits",
            Self::AwsProfile => "the name of a profile",
            Self::AwsRole => "the ARN of a role",
            Self::Env => {
                "the name of a variable or the beginning of names with `*` behind it, but not of a credential of \
                 AWS, Vault or the pipeline"
            }
            Self::Signer => "the fingerprint of a key",
            Self::Store => "the absolute path of a folder",
            Self::KubeContext => "the name of a context",
        }
    }

    /// A value as it is compared: servers by scheme, host and port. `None` when it is not one.
    fn normal(self, value: &str) -> Option<String> {
        match self {
            Self::Vault | Self::Node => origin(value),
            Self::Server => Some(value.to_ascii_lowercase()).filter(|address| is_server(address)),
            Self::Ca | Self::Kubeconfig => Some(value.to_ascii_lowercase())
                .filter(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())),
            Self::Env => Some(value.to_owned()).filter(|name| match standing(name) {
                Standing::Ordinary => true,
                Standing::Pipeline => !name.ends_with('*'),
                Standing::Credential => false,
            }),
            Self::Store if !value.starts_with('/') => None,
            Self::AwsProfile | Self::AwsRole | Self::Signer | Self::Store | Self::KubeContext => {
                Some(value.to_owned()).filter(|value| !value.chars().any(char::is_control))
            }
        }
    }
}

/// Whether it is `SYSTEM://HOST:PORT` and nothing more.
fn is_server(address: &str) -> bool {
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let host_and_port = rest.rsplit_once(':').filter(|(host, port)| {
        !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ']) && port.parse::<u16>().is_ok()
    });
    !scheme.is_empty() && host_and_port.is_some()
}

/// One permission of the caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    /// Its subject.
    pub subject: Subject,
    /// Which one.
    pub value: String,
}

/// Why a text is not a permission.
#[derive(Debug, thiserror::Error)]
pub enum InvalidGrant {
    /// It is not a subject with a value.
    #[error("`{0}` is not a permission; write SUBJECT=VALUE with one of {all}", all = subjects())]
    Form(String),
    /// The value is not one of this subject's.
    #[error("`{text}` is not a permission; {word} is {expected}", word = .subject.word(), expected = .subject.values())]
    Value {
        /// The intended subject.
        subject: Subject,
        /// All of it.
        text: String,
    },
}

fn subjects() -> String {
    Subject::ALL.map(|(_, word)| word).join(", ")
}

impl Grant {
    /// A permission. Addresses are reduced to what is compared of them.
    pub fn new(subject: Subject, value: impl Into<String>) -> Self {
        let value = value.into();
        Self { subject, value: subject.normal(&value).unwrap_or(value) }
    }

    /// Whether this permission includes `wanted`. A server that may get key shares may get a token as well.
    /// No permission includes a credential's variable, and one of the pipeline's own only by its whole name.
    pub fn covers(&self, wanted: &Self) -> bool {
        match (self.subject, wanted.subject) {
            (Subject::Env, Subject::Env) => match (standing(&wanted.value), self.value.strip_suffix('*')) {
                (Standing::Credential, _) => false,
                (Standing::Ordinary, Some(prefix)) => wanted.value.starts_with(prefix),
                (Standing::Ordinary | Standing::Pipeline, _) => self.value == wanted.value,
            },
            (given, asked) => {
                let suffices = given == asked || (given, asked) == (Subject::Node, Subject::Vault);
                suffices && self.value == wanted.value
            }
        }
    }

    /// The flag that gives it.
    pub fn flag(&self) -> String {
        match self.subject {
            Subject::Env => format!("--env {}", self.value),
            _ => format!("--trust {self}"),
        }
    }

    /// How a caller who trusts it can allow it.
    pub fn advice(&self) -> String {
        let flag = self.flag();
        format!("if you trust it, use `{flag}` for this run, or `groundwork trust PLAN` to remember it")
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
        let invalid = || InvalidGrant::Form(text.to_owned());
        let (word, value) =
            text.split_once('=').filter(|(_, value)| !value.is_empty()).ok_or_else(invalid)?;
        let (subject, _) = *Subject::ALL.iter().find(|(_, known)| *known == word).ok_or_else(invalid)?;
        let value = subject.normal(value);
        let value = value.ok_or_else(|| InvalidGrant::Value { subject, text: text.to_owned() })?;
        Ok(Self { subject, value })
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

    fn grant(text: &str) -> Grant {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn grant_text_round_trips_for_each_subject() {
        for (subject, word) in Subject::ALL {
            let value = match subject {
                Subject::Vault | Subject::Node => "https://vault.example:8200".to_owned(),
                Subject::Server => "postgres://db.example:5432".to_owned(),
                Subject::Ca | Subject::Kubeconfig => "0a".repeat(32),
                Subject::Store => "/mnt/custody".to_owned(),
                _ => "x=y".to_owned(),
            };
            let one = Grant::new(subject, value.clone());
            assert_eq!(one.to_string(), format!("{word}={value}"));
            assert_eq!(grant(&one.to_string()), one);
        }
        for wrong in [
            "",
            "vault",
            "vault=",
            "other=x",
            "vault=vault.example",
            "ca=ab",
            "env=VAULT_TOKEN",
            "env=CI_*",
            "server=db.example:5432",
            "server=postgres://db.example",
            "server=postgres://a@db:1",
        ] {
            assert!(wrong.parse::<Grant>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_env_grants_take_a_pattern() {
        let covers = |given: &str, wanted: &str| grant(given).covers(&grant(wanted));
        assert!(covers("env=APP_*", "env=APP_KEY") && covers("env=APP", "env=APP"));
        assert!(!covers("env=APP_*", "env=OTHER") && !covers("env=APP", "env=APP_KEY"));
        assert!(!covers("vault=https://a*", "vault=https://a.example"));
        assert!(!covers("vault=https://a", "node=https://a") && covers("node=https://a", "vault=https://a"));
    }

    #[test]
    fn servers_are_compared_by_scheme_host_and_port() {
        let covers = |given: &str, wanted: &str| {
            Grant::new(Subject::Vault, given).covers(&Grant::new(Subject::Vault, wanted))
        };
        for same in ["https://v.example", "HTTPS://V.Example:443/", "https://v.example:0443"] {
            assert!(covers("https://v.example:443", same), "{same}");
        }
        for other in
            ["http://v.example:443", "https://v.example:8443", "https://v.example.net", "https://w.example"]
        {
            assert!(!covers("https://v.example", other), "{other}");
        }
    }

    #[test]
    fn pattern_never_covers_credentials_or_the_pipeline() {
        let given = |text: &str, name: &str| {
            Grant { subject: Subject::Env, value: text.into() }
                .covers(&Grant { subject: Subject::Env, value: name.into() })
        };
        for credential in ["VAULT_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "https_proxy"] {
            for text in ["*", credential] {
                assert!(!given(text, credential), "{text} {credential}");
            }
        }
        assert!(!given("*", "CI_COMMIT_SHA") && !given("CI_*", "CI_COMMIT_SHA"));
        assert!(given("CI_COMMIT_SHA", "CI_COMMIT_SHA") && given("*", "APP_KEY"));
    }
}
