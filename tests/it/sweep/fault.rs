//! What can go wrong with a call.

use std::fmt;

use super::call::{Call, Service};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// The connection breaks, and for a second no other is accepted.
    Refused,
    /// The request never reaches the server.
    RequestLost,
    /// The request takes effect, its answer is lost.
    ResponseLost,
    /// The server answers 500 and has done nothing.
    ErrorBefore,
    /// The server has done it and answers 500.
    ErrorAfter,
    /// Too many requests.
    Throttled,
    /// The caller may not.
    Denied,
    /// The answer stops half-way.
    Truncated,
    /// The request takes effect, the answer never comes.
    Hung,
    /// `kill -9` of the tool before the request arrives.
    KilledBefore,
    /// `kill -9` of the tool before the answer arrives.
    KilledAfter,
    /// Vault is sealed when the request arrives.
    Sealed,
    /// The KMS key has been disabled.
    Disabled,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Refused,
        Self::RequestLost,
        Self::ResponseLost,
        Self::ErrorBefore,
        Self::ErrorAfter,
        Self::Throttled,
        Self::Denied,
        Self::Truncated,
        Self::Hung,
        Self::KilledBefore,
        Self::KilledAfter,
        Self::Sealed,
        Self::Disabled,
    ];

    /// Whether it can happen to this call.
    pub fn suits(self, call: &Call) -> bool {
        match self {
            Self::Sealed => call.service == Service::Vault && call.authenticated,
            Self::Disabled => {
                ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"].contains(&call.operation())
            }
            _ => true,
        }
    }

    /// Whether the tool cannot know if the server has done what was asked.
    pub fn leaves_doubt(self) -> bool {
        self.loses_answer() || matches!(self, Self::RequestLost | Self::ErrorBefore | Self::KilledBefore)
    }

    /// Whether it ends the tool.
    pub fn kills(self) -> bool {
        matches!(self, Self::KilledBefore | Self::KilledAfter)
    }

    /// Whether the server has done what was asked, but the tool cannot have the answer.
    pub fn loses_answer(self) -> bool {
        matches!(
            self,
            Self::ResponseLost | Self::ErrorAfter | Self::Truncated | Self::Hung | Self::KilledAfter
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Refused => "refused",
            Self::RequestLost => "request lost",
            Self::ResponseLost => "response lost",
            Self::ErrorBefore => "5xx before",
            Self::ErrorAfter => "5xx after",
            Self::Throttled => "throttled",
            Self::Denied => "denied",
            Self::Truncated => "truncated",
            Self::Hung => "hung",
            Self::KilledBefore => "killed before",
            Self::KilledAfter => "killed after",
            Self::Sealed => "sealed",
            Self::Disabled => "disabled",
        };
        f.pad(name)
    }
}
