//! Outputs that are known before a thing exists.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::template::unknown::is_unknown;

/// The outputs of a step that are known in advance; the others are known after apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial(Map<String, Value>);

impl Partial {
    /// Adds one output. Names must be fields of the kind's `Outputs`; the contract test checks it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        self.0.insert(name.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
        self
    }

    /// Adds one output if it is known.
    #[must_use]
    pub fn with_some(self, name: &str, value: Option<impl Serialize>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Adds the SHA-256 of this content, in hexadecimal, if all of the content is known.
    #[must_use]
    pub fn with_sha256(self, name: &str, content: &[u8]) -> Self {
        let is_known = std::str::from_utf8(content).map_or(true, |text| !is_unknown(text));
        self.with_some(name, is_known.then(|| hex::encode(Sha256::digest(content))))
    }

    /// The known outputs.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }
}
