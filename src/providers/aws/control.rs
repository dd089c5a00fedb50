//! Safeguards that are on unless a plan switches them off with a reason.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::error::FieldError;

/// A safeguard: `true`, or `{ off: "the reason" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "takes `true`, or `{ off: \"the reason\" }`")]
pub enum Control {
    /// `true`, or `false`, which [`Control::check`] refuses.
    Switch(bool),
    /// Off, with the reason.
    Off(Off),
}

/// A safeguard that is off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Off {
    /// Why it is off.
    #[schemars(length(min = 1))]
    pub off: String,
}

impl Default for Control {
    fn default() -> Self {
        Self::Switch(true)
    }
}

impl Control {
    /// Whether the safeguard is wanted.
    pub fn is_on(&self) -> bool {
        *self == Self::Switch(true)
    }

    /// Refuses to switch a safeguard off without a reason.
    pub fn check(&self, path: &str) -> Option<FieldError> {
        match self {
            Self::Switch(true) => None,
            Self::Off(off) if !off.off.trim().is_empty() => None,
            _ => Some(no_reason(path)),
        }
    }
}

impl JsonSchema for Control {
    fn schema_name() -> Cow<'static, str> {
        "Control".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let off = generator.subschema_for::<Off>();
        json_schema!({
            "description": "a safeguard: true, or { off: \"the reason\" }",
            "anyOf": [{ "const": true }, off],
        })
    }
}

/// The number of days after which something is deleted, or `{ off: "the reason" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "takes a whole number of days, or `{ off: \"the reason\" }`")]
pub enum Days {
    /// After this many days.
    After(#[schemars(range(min = 1))] u32),
    /// Never, with the reason.
    Off(Off),
}

impl Days {
    /// The number of days, if set.
    pub fn get(&self) -> Option<u32> {
        match self {
            Self::After(days) => Some(*days),
            Self::Off(_) => None,
        }
    }

    /// Requires at least one day, and a reason for never.
    pub fn check(&self, path: &str) -> Option<FieldError> {
        match self {
            Self::After(0) => {
                Some(FieldError::new(path, "must be at least 1").help("write a number of days"))
            }
            Self::Off(off) if off.off.trim().is_empty() => Some(no_reason(path)),
            _ => None,
        }
    }
}

fn no_reason(path: &str) -> FieldError {
    let field = path.rsplit('.').next().unwrap_or(path);
    FieldError::new(path, "a safeguard is switched off without a reason")
        .help(format!("write `{field}: {{ off: \"why\" }}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{from_value, json};

    #[test]
    fn switching_off_requires_a_reason() {
        let control = |value| from_value::<Control>(value).expect("a control");
        assert!(control(json!(true)).is_on() && control(json!(true)).check("versioning").is_none());
        let off = control(json!({ "off": "cost" }));
        assert!(!off.is_on() && off.check("versioning").is_none());
        let error = control(json!(false)).check("versioning").expect("refused");
        assert_eq!(error.help.as_deref(), Some("write `versioning: { off: \"why\" }`"));
        assert!(control(json!({ "off": " " })).check("versioning").is_some());
    }

    #[test]
    fn days_are_positive_or_switched_off() {
        let days = |value| from_value::<Days>(value).expect("days");
        assert_eq!(days(json!(30)).get(), Some(30));
        assert_eq!(days(json!({ "off": "audit" })).get(), None);
        assert!(days(json!(0)).check("d").is_some());
    }
}
