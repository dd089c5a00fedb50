//! JSON that a service takes as text and a plan may write as a map; compared by meaning.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use super::json_text::canonical;
use crate::template::unknown::is_unknown;

/// A JSON document: a YAML map or JSON text in a plan. Kept as text, because a number may have more
/// digits than its parsed form.
#[derive(Clone, Debug)]
pub struct Json(String);

impl Json {
    /// A document that a service returned. Text that is not JSON never equals a declared document.
    pub fn live(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text to send.
    pub fn text(&self) -> String {
        self.0.clone()
    }
}

/// Ignores the order of keys, and 1 equals 1.0; digits are never rounded.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        canonical(&self.0) == canonical(&other.0)
    }
}

/// As a map if that has the same meaning, otherwise as text.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let parsed = serde_json::from_str::<Value>(&self.0).ok();
        match parsed.filter(|parsed| canonical(&parsed.to_string()) == canonical(&self.0)) {
            Some(parsed) => parsed.serialize(serializer),
            None => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            map @ Value::Object(_) => Ok(Self(map.to_string())),
            Value::String(text) => match serde_json::from_str::<Value>(&text) {
                Ok(Value::Object(_)) => Ok(Self(text)),
                _ if is_unknown(&text) => Ok(Self(text)),
                Ok(_) => Err(D::Error::custom("expected a JSON object")),
                Err(error) => Err(D::Error::custom(format!("not valid JSON: {error}"))),
            },
            _ => Err(D::Error::custom("expected a map, or JSON text")),
        }
    }
}

impl JsonSchema for Json {
    fn schema_name() -> Cow<'static, str> {
        "Json".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "a map, or JSON text", "type": ["object", "string"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_compared_regardless_of_notation() {
        let map: Json = serde_json::from_value(json!({ "a": 1, "b": [2.0] })).expect("valid");
        let text: Json = serde_json::from_value(json!("{\"b\": [2],\n \"a\": 1.0}")).expect("valid");
        assert_eq!(map, text);
        assert_ne!(map, Json::live("{\"a\": 1}"));
        assert_ne!(map, Json::live("nonsense"));
        assert_ne!(Json::live("{\"a\": 9007199254740993}"), Json::live("{\"a\": 9007199254740992}"));
        let long = Json::live("{\"a\": 1.00000000000000000001}");
        assert_eq!(json!(long), json!("{\"a\": 1.00000000000000000001}"));
        assert_eq!(json!(Json::live("{\"a\": 1.0}")), json!({ "a": 1.0 }));
        assert!(serde_json::from_value::<Json>(json!("[1]")).is_err());
    }
}
