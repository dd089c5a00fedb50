//! IAM policy documents: parsed, compared by meaning, checked.
//!
//! Grammar: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

mod builder;
mod check;
pub mod evaluate;
mod normal;
mod risk;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::{Value, json};

pub use check::PolicyType;
pub use normal::{as_list, element, statement};
pub use risk::{iam_policy, key_policy};

use crate::error::{Error, ErrorKind, Result};
use crate::resource::Diff;
use crate::template::unknown::is_unknown;

/// The version of the policy language that supports every feature.
const VERSION: &str = "2012-10-17";

/// A policy document: a YAML map, JSON text, or a list of [`builder::Rule`]s in a plan. Two documents
/// are equal if they have the same meaning.
#[derive(Clone, Debug)]
pub struct Document(Value);

impl Document {
    /// A document of these statements.
    pub fn of(statements: Vec<Value>) -> Self {
        Self(json!({ "Version": VERSION, "Statement": statements }))
    }

    /// Parses a document that a service returned. Errors name `operation`.
    pub fn parse(operation: &str, text: &str) -> Result<Self> {
        serde_json::from_str(text).map(Self).map_err(|error| {
            Error::new(ErrorKind::Rejected, operation, format!("the live policy is not JSON: {error}"))
        })
    }

    /// As [`Document::parse`] for IAM, which returns documents URL-encoded (RFC 3986).
    pub fn parse_encoded(operation: &str, text: &str) -> Result<Self> {
        Self::parse(operation, &percent_decode(text))
    }

    /// The JSON text to send, without any white space.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// The document as written.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// The statements as written.
    pub fn statements(&self) -> Vec<Value> {
        as_list(self.0.get("Statement"))
    }

    /// The same document with other statements.
    #[must_use]
    pub fn with_statements(&self, statements: Vec<Value>) -> Self {
        let mut value = self.0.clone();
        if let Some(fields) = value.as_object_mut() {
            fields.insert("Statement".to_owned(), Value::Array(statements));
        }
        Self(value)
    }

    /// Takes elements that it does not declare, such as the `Version`, from `live`.
    #[must_use]
    pub fn inheriting(&self, live: &Self) -> Self {
        let (Some(declared), Some(live)) = (self.0.as_object(), live.0.as_object()) else {
            return self.clone();
        };
        let mut fields = live.clone();
        fields.extend(declared.iter().map(|(name, value)| (name.clone(), value.clone())));
        Self(Value::Object(fields))
    }

    /// Finds mistakes, with paths below `path`.
    pub fn check(&self, path: &str, of: PolicyType) -> Vec<crate::error::FieldError> {
        check::document(&self.0, path, of)
    }
}

/// Whether it is an IAM policy document.
pub fn is_document(value: &Value) -> bool {
    value.get("Statement").is_some()
}

/// Whether two statements have the same meaning, ignoring their `Sid`s.
pub fn same_statement(a: &Value, b: &Value) -> bool {
    normal::anonymous_statement(a) == normal::anonymous_statement(b)
}

/// A statement's meaning as text: equal meaning, equal text.
pub fn anonymous(statement: &Value) -> String {
    normal::anonymous_statement(statement).to_string()
}

/// Records a change when live and declared documents differ in meaning.
pub fn compare(diff: &mut Diff, path: &str, before: Option<&Document>, after: &Document) {
    if before != Some(after) {
        diff.push(path, before.map_or(Value::Null, |document| document.0.clone()), after.0.clone());
        let deleted = before.map(|document| normal::deleted_principals(&document.0)).unwrap_or_default();
        if !deleted.is_empty() {
            diff.note(format!("{}: a deleted user or role, not another one of its name", deleted.join(", ")));
        }
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        normal::document(&self.0) == normal::document(&other.0)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            map @ Value::Object(_) => Ok(Self(map)),
            Value::Array(rules) => builder::statements(rules).map(Self::of).map_err(D::Error::custom),
            Value::String(text) => match serde_json::from_str(&text) {
                Ok(map @ Value::Object(_)) => Ok(Self(map)),
                _ if is_unknown(&text) => Ok(Self(Value::String(text))),
                Ok(_) => Err(D::Error::custom("a policy document is a JSON object")),
                Err(error) => Err(D::Error::custom(format!("the policy document is not JSON: {error}"))),
            },
            _ => Err(D::Error::custom("a policy document is a map, a list of rules, or JSON text")),
        }
    }
}

impl JsonSchema for Document {
    fn schema_name() -> Cow<'static, str> {
        "PolicyDocument".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rule = generator.subschema_for::<builder::Rule>();
        json_schema!({
            "description": "an IAM policy document, as a map, as a list of rules or as JSON text",
            "anyOf": [
                { "type": "string" },
                { "type": "array", "items": rule },
                {
                    "type": "object",
                    "required": ["Statement"],
                    "properties": { "Version": {
                        "enum": ["2012-10-17", "2008-10-17"],
                        "description": "The version of the policy language",
                    } },
                },
            ],
        })
    }
}

/// Decodes `%XX`; other text stays as it is.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let decoded = (first == b'%').then(|| tail.get(..2)).flatten().and_then(from_hex);
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn from_hex(digits: &[u8]) -> Option<u8> {
    let mut byte = [0];
    hex::decode_to_slice(digits, &mut byte).ok().map(|()| byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document {
        serde_json::from_value(value).expect("a document")
    }

    #[test]
    fn text_and_map_forms_are_equal() {
        let map = document(json!({ "Statement": [{ "Effect": "Allow", "Action": "a:b", "Resource": "*" }] }));
        let text = document(json!(
            "{ \"Statement\": {\"Effect\":\"Allow\",\"Resource\":[\"*\"],\n\"Action\":[\"a:b\"]}}"
        ));
        assert_eq!(map, text);
    }

    #[test]
    fn rules_make_a_document() {
        let rules = document(json!([{ "allow": "a:b", "on": "*" }]));
        let map = json!({ "Version": VERSION, "Statement": { "Effect": "Allow", "Action": "a:b", "Resource": "*" } });
        assert_eq!(rules, document(map));
    }

    #[test]
    fn deleted_principal_is_shown_as_deleted() {
        let of = |principal: &str| {
            document(
                json!({ "Statement": { "Effect": "Allow", "Action": "a:b", "Principal": { "AWS": principal } } }),
            )
        };
        let mut diff = Diff::none();
        compare(&mut diff, "policy", Some(&of("AROAEXAMPLE1234567890")), &of("arn:aws:iam::1:role/r"));
        let note = diff.changes[0].note.as_deref().unwrap_or_default();
        assert!(note.starts_with("AROAEXAMPLE1234567890: a deleted user or role"), "{note}");
    }

    #[test]
    fn iam_documents_are_percent_decoded() {
        let encoded = "%7B%22Statement%22%3A%5B%5D%2C%22Id%22%3A%22100%25+a%22%7D";
        let decoded = Document::parse_encoded("iam:GetRole", encoded).expect("JSON");
        assert_eq!(decoded.value()["Id"], "100%+a");
        assert_eq!(percent_decode("a%2"), "a%2");
    }

    #[test]
    fn reference_to_a_whole_document_is_valid() {
        let text = crate::template::unknown::marker("other.policy");
        assert_eq!(document(json!(text)).value(), &json!(text));
        assert!(serde_json::from_value::<Document>(json!("{ not json")).is_err());
    }
}
