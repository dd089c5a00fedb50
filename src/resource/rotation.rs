//! How things of a kind get new secrets while they are in use.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How `rotate` gives a thing of a kind new secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// In one run; how, in one sentence.
    AtOnce(&'static str),
    /// In one run, and no other step sees anything of it; how, in one sentence.
    InPlace(&'static str),
    /// Over several runs: the new secret works beside the old one, which goes when its users have changed over.
    Phased(&'static str),
    /// Not at all, and why.
    Never(&'static str),
}

impl Rotation {
    /// Why there is no rotation, where there is none.
    pub fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Never(why) => Some(why),
            Self::AtOnce(_) | Self::InPlace(_) | Self::Phased(_) => None,
        }
    }
}

/// The direction of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// To a new secret, or one phase further to it.
    Forward,
    /// Back to the secret before, as long as it exists.
    Back,
}

/// A rotation that is under way: the old secret still exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pending {
    /// The old secret's name, such as the id of a key; never a secret.
    pub old: String,
    /// Which phase it is in and what comes next, in words.
    pub waits: String,
    /// Since when the new secret is delivered.
    pub since: Option<Timestamp>,
    /// When the next phase can begin at the earliest.
    pub until: Option<Timestamp>,
    /// Whether the old secret can become the present one again.
    pub can_go_back: bool,
    /// Whether it waits for a person, and not for a time: such as for the right to see who uses the old secret.
    pub needs_person: bool,
}
