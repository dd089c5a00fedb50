//! JSON that a service takes as text and a plan may write as a map: compared by meaning.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Number, Value};

use crate::resolve::unknown::is_unknown;

/// A JSON document. In a plan it is a YAML map or JSON text.
#[derive(Clone, Debug)]
pub struct Json(Value);

impl Json {
    /// What a service returned; text that is not JSON is kept as text, which equals nothing declared.
    pub fn live(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)))
    }

    /// The text to send.
    pub fn text(&self) -> String {
        self.0.to_string()
    }
}

/// The order of keys has no meaning, and 1 is 1.0.
impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        normal(&self.0) == normal(&other.0)
    }
}

fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            number.as_f64().and_then(Number::from_f64).map_or(value.clone(), Value::Number)
        }
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), normal(value))).collect(),
        other => other.clone(),
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            map @ Value::Object(_) => Ok(Self(map)),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(map @ Value::Object(_)) => Ok(Self(map)),
                _ if is_unknown(&text) => Ok(Self(Value::String(text))),
                Ok(_) => Err(D::Error::custom("expected a JSON object")),
                Err(error) => Err(D::Error::custom(format!("this is not JSON: {error}"))),
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
    fn notation_does_not_matter() {
        let map: Json = serde_json::from_value(json!({ "a": 1, "b": [2.0] })).expect("valid");
        let text: Json = serde_json::from_value(json!("{\"b\": [2],\n \"a\": 1.0}")).expect("valid");
        assert_eq!(map, text);
        assert_ne!(map, Json::live("{\"a\": 1}"));
        assert_ne!(map, Json::live("nonsense"));
        assert!(serde_json::from_value::<Json>(json!("[1]")).is_err());
    }
}
