//! The change of a secret value, without the value.

use schemars::JsonSchema;
use serde::Serialize;

/// The change of a secret value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretChange {
    /// It does not exist yet.
    New,
    /// The live value differs.
    Changed,
    /// The live value is the same.
    Unchanged,
    /// The server does not return the value, so it is sent again with the other changes.
    Resent,
    /// It is removed.
    Removed,
}

impl SecretChange {
    /// The word in JSON and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Resent => "resent",
            Self::Removed => "removed",
        }
    }
}
