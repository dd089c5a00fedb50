//! The declared fields of a parameter.

use aws_sdk_ssm::types::{ParameterTier, ParameterType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::FieldError;
use crate::resource::Tags;
use crate::secret::{Input, SecretSource, Sources};

/// The default key of Systems Manager.
pub const DEFAULT_KEY: &str = "alias/aws/ssm";

/// The declared fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SsmParameter")]
pub struct Desired {
    /// The name, e.g. `/candlefish/production/api-url`.
    pub name: String,
    /// The type of the value. Fixed when the parameter is created.
    #[serde(rename = "type", default)]
    pub kind: ParameterKind,
    /// The value; for a `secure_string` from any source of secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SecretSource>,
    /// The values of a `string_list`. A value cannot contain a comma.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    /// The description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The KMS key of a `secure_string`: ARN, id or alias. Default: the key that AWS manages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key: Option<String>,
    /// The tier, which decides its maximum size and price. An advanced parameter stays advanced.
    #[serde(default)]
    pub tier: Tier,
    /// A regular expression that every value must match.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub allowed_pattern: String,
    /// Tags.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
}

/// The type of a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParameterKind {
    /// Text that is not secret.
    #[default]
    String,
    /// Texts, separated by commas.
    StringList,
    /// Text that is encrypted with a KMS key.
    SecureString,
}

impl ParameterKind {
    /// The type as Systems Manager names it.
    pub fn to_sdk(self) -> ParameterType {
        match self {
            Self::String => ParameterType::String,
            Self::StringList => ParameterType::StringList,
            Self::SecureString => ParameterType::SecureString,
        }
    }

    /// The live type as declared; the service's name for a type that a plan cannot declare.
    pub fn shown(live: &ParameterType) -> Value {
        let all = [Self::String, Self::StringList, Self::SecureString];
        let known = all.into_iter().find(|kind| kind.to_sdk() == *live);
        known.map_or_else(|| json!(live.as_str()), |kind| json!(kind))
    }
}

/// How large a parameter may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// 4 KB, free of charge.
    #[default]
    Standard,
    /// 8 KB, for a fee.
    Advanced,
}

impl Desired {
    /// Whether the value is kept encrypted.
    pub fn is_secure(&self) -> bool {
        self.kind == ParameterKind::SecureString
    }

    /// The one value, under the name that templates and messages use.
    pub fn sources(&self) -> Sources {
        let list = self.values.as_ref().map(|values| SecretSource::new(Input::Literal(values.join(","))));
        let value = self.value.clone().or(list);
        value.into_iter().map(|source| ("value".to_owned(), source)).collect()
    }

    /// The declared KMS key, which only a secure value has.
    pub fn kms_key(&self) -> Option<&str> {
        self.is_secure().then(|| self.kms_key.as_deref().unwrap_or(DEFAULT_KEY))
    }

    /// Whether the value fits the type.
    pub fn check_value(&self) -> Option<FieldError> {
        let list = self.kind == ParameterKind::StringList;
        let commas = self.values.iter().flatten().any(|value| value.contains(','));
        let is_secret =
            self.value.as_ref().is_some_and(|source| !matches!(source.input(), Input::Literal(_)));
        match () {
            () if self.value.is_some() == self.values.is_some() => {
                Some(FieldError::new("value", "declare exactly one of `value` and `values`"))
            }
            () if list != self.values.is_some() => {
                let error = FieldError::new(
                    "values",
                    "is only for a `string_list`, which uses it instead of `value`",
                );
                Some(error.help("set `type: string_list`, or use `value`"))
            }
            () if commas => Some(FieldError::new("values", "a value of a list cannot contain a comma")),
            () if is_secret && !self.is_secure() => {
                let error = FieldError::new("type", "a secret value must be encrypted");
                Some(error.help("set `type: secure_string`"))
            }
            () if self.kms_key.is_some() && !self.is_secure() => {
                let error = FieldError::new("kms_key", "only a `secure_string` is encrypted");
                Some(error.help("remove it, or set `type: secure_string`"))
            }
            () => None,
        }
    }
}

impl Tier {
    /// The tier as Systems Manager names it.
    pub fn to_sdk(self) -> ParameterTier {
        match self {
            Self::Standard => ParameterTier::Standard,
            Self::Advanced => ParameterTier::Advanced,
        }
    }

    /// The live tier as declared; the service's name for a tier that a plan cannot declare.
    pub fn shown(live: &ParameterTier) -> Value {
        let known = [Self::Standard, Self::Advanced].into_iter().find(|tier| tier.to_sdk() == *live);
        known.map_or_else(|| json!(live.as_str()), |tier| json!(tier))
    }
}

/// Whether Systems Manager accepts the name.
/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html>
pub fn check_name(name: &str) -> Option<FieldError> {
    const HELP: &str = "letters, digits and `_.-`, in up to 15 parts that begin with `/`";
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-/".contains(c);
    let first = name.trim_start_matches('/').to_ascii_lowercase();
    let wrong = |message: &str| Some(FieldError::new("name", message).help(HELP));
    match () {
        () if first.starts_with("aws") || first.starts_with("ssm") => {
            wrong("AWS reserves names that begin like this")
        }
        () if name.contains('/') && !name.starts_with('/') => {
            wrong("a name that contains `/` must begin with `/`")
        }
        () if first.is_empty() || name.len() > 1011 || !name.chars().all(allowed) => {
            wrong("not a valid name for a parameter")
        }
        () if name.ends_with('/') || name.contains("//") || name.matches('/').count() > 15 => {
            wrong("not a valid name for a parameter")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn desired(extra: Value) -> Desired {
        let mut fields = json!({ "name": "/a/b" });
        fields.as_object_mut().expect("a map").extend(extra.as_object().expect("a map").clone());
        serde_json::from_value(fields).expect("valid")
    }

    #[test]
    fn value_must_fit_the_parameter_type() {
        let path = |extra| desired(extra).check_value().map(|error| error.path);
        assert_eq!(path(json!({ "value": "x" })), None);
        assert_eq!(path(json!({})).as_deref(), Some("value"));
        assert_eq!(path(json!({ "values": ["x"] })).as_deref(), Some("values"));
        assert_eq!(path(json!({ "type": "string_list", "values": ["x,y"] })).as_deref(), Some("values"));
        assert_eq!(path(json!({ "value": { "generate": {} } })).as_deref(), Some("type"));
        assert_eq!(path(json!({ "value": "x", "kms_key": "k" })).as_deref(), Some("kms_key"));
    }

    #[test]
    fn names_are_checked() {
        assert!(check_name("/a/b_c.d-e").is_none() && check_name("plain").is_none());
        for wrong in ["a/b", "/aws/x", "ssm-x", "/a//b", "/a/", "a b", "/"] {
            assert!(check_name(wrong).is_some(), "{wrong}");
        }
    }
}
