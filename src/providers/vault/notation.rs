//! Values that Vault writes differently from the plan: durations, policy names, CIDRs.
//!
//! Each type reads every notation and stores one, so that values can be compared directly. Strings
//! with a marker of [`crate::template::unknown`] are stored unchanged.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

use crate::template::unknown::is_unknown;

/// A duration, as `90m`, `1h30m`, `7d` or a number of seconds; Vault responds with seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Whole seconds.
    Seconds(u64),
    /// A text with a marker of a value that is not known yet.
    Unknown(String),
}

impl Default for Ttl {
    fn default() -> Self {
        Self::Seconds(0)
    }
}

/// The units of a duration in Go's notation, plus `d` for days, in nanoseconds.
const UNITS: [(&str, u128); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Nanoseconds of a duration: seconds, or numbers with units such as `1h30m`, `1.5h` or `1500ms`; `None` when
/// it is not a duration.
pub(super) fn nanoseconds(text: &str) -> Option<u128> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(u128::from(seconds) * 1_000_000_000);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| !c.is_alphabetic()).unwrap_or(behind.len()));
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 18 {
            return None;
        }
        let whole: u128 = if whole.is_empty() { 0 } else { u128::from(whole.parse::<u64>().ok()?) };
        let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
        let divisor = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        total = total.checked_add(whole.checked_mul(*factor)?)?.checked_add(part * factor / divisor)?;
        rest = behind;
    }
    Some(total)
}

/// Whole seconds of a duration, as the server takes them; `None` when it is not a duration.
pub(super) fn seconds(text: &str) -> Option<u64> {
    u64::try_from(nanoseconds(text)? / 1_000_000_000).ok()
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => serializer.serialize_u64(*seconds),
            Self::Unknown(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = |value: &Value| {
            D::Error::custom(format!(
                "expected a duration such as `90m`, `1h30m`, `7d` or seconds, found {value}"
            ))
        };
        match Value::deserialize(deserializer)? {
            Value::String(text) if is_unknown(&text) => Ok(Self::Unknown(text)),
            Value::String(text) => seconds(&text).map(Self::Seconds).ok_or_else(|| wrong(&text.into())),
            value => value.as_u64().map(Self::Seconds).ok_or_else(|| wrong(&value)),
        }
    }
}

impl JsonSchema for Ttl {
    fn schema_name() -> Cow<'static, str> {
        "Ttl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "a duration: seconds, or text such as 90m, 1h30m or 7d",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^\\+?([0-9]+|([0-9.]+(ns|us|ms|[smhd]))+)$" },
            ],
        })
    }
}

/// A set of names: order and repetition do not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Names(Vec<String>);

impl From<Vec<String>> for Names {
    fn from(names: Vec<String>) -> Self {
        Self(sorted(names))
    }
}

impl Names {
    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A set of names of HTTP headers, which Vault always writes as `X-Amz-Date`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct HeaderNames(Vec<String>);

impl From<Vec<String>> for HeaderNames {
    fn from(names: Vec<String>) -> Self {
        let capitalised = |part: &str| {
            let (first, rest) = part.split_at(part.chars().next().map_or(0, char::len_utf8));
            format!("{}{}", first.to_uppercase(), rest.to_lowercase())
        };
        let canonical = |name: String| match is_unknown(&name) {
            true => name,
            false => name.split('-').map(capitalised).collect::<Vec<_>>().join("-"),
        };
        Self(sorted(names.into_iter().map(canonical).collect()))
    }
}

/// A base URL; Vault ends it with a slash.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub struct BaseUrl(String);

impl From<String> for BaseUrl {
    fn from(url: String) -> Self {
        match url.is_empty() || url.ends_with('/') || is_unknown(&url) {
            true => Self(url),
            false => Self(format!("{url}/")),
        }
    }
}

/// A name that Vault converts to lowercase, as it does for roles and users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub struct LowerName(String);

impl From<String> for LowerName {
    fn from(name: String) -> Self {
        Self(lower(&name))
    }
}

impl Deref for LowerName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of names that Vault's API writes as one text with commas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "Vec<String>")]
pub struct CommaNames(Vec<String>);

impl<'de> Deserialize<'de> for CommaNames {
    /// From a list, as plans write it, or a text, as the server does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(sorted(comma_separated(deserializer)?)))
    }
}

impl CommaNames {
    /// The names in one text.
    pub fn joined(&self) -> String {
        self.0.join(",")
    }
}

/// A list that Vault's API writes as one text with commas, and whose order matters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(with = "Vec<String>")]
pub struct CommaList(Vec<String>);

impl<'de> Deserialize<'de> for CommaList {
    /// From a list, as plans write it, or a text, as the server does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        comma_separated(deserializer).map(Self)
    }
}

impl CommaList {
    /// The items in one text.
    pub fn joined(&self) -> String {
        self.0.join(",")
    }
}

fn comma_separated<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if is_unknown(&text) => Ok(vec![text]),
        Value::String(text) => {
            Ok(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
        }
        list => serde_json::from_value(list).map_err(D::Error::custom),
    }
}

/// A set of policy names; Vault converts them to lowercase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct PolicyNames(Vec<String>);

impl From<Vec<String>> for PolicyNames {
    fn from(names: Vec<String>) -> Self {
        Self(sorted(names.into_iter().map(|name| lower(&name)).collect()))
    }
}

impl PolicyNames {
    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// A set of group names, which Vault converts to lowercase like policy names.
pub type GroupNames = PolicyNames;

/// A set of networks; a single address is a network of one address.
///
/// Vault removes `/32` from `token_bound_cidrs`, and requires it in `secret_id_bound_cidrs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Cidrs(Vec<String>);

impl From<Vec<String>> for Cidrs {
    fn from(networks: Vec<String>) -> Self {
        Self(sorted(networks.into_iter().map(with_prefix).collect()))
    }
}

fn with_prefix(network: String) -> String {
    match network.as_str() {
        text if is_unknown(text) || text.contains('/') => network,
        text if text.contains(':') => format!("{text}/128"),
        text => format!("{text}/32"),
    }
}

/// `name` in the form in which Vault stores the names of policies and roles.
pub(super) fn lower(name: &str) -> String {
    if is_unknown(name) { name.to_owned() } else { name.to_lowercase() }
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// A PEM text whose surrounding whitespace does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub struct Pem(String);

impl From<String> for Pem {
    fn from(text: String) -> Self {
        Self(text.trim().replace("\r\n", "\n"))
    }
}

impl Pem {
    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: serde::de::DeserializeOwned + Serialize>(value: Value) -> Value {
        json!(serde_json::from_value::<T>(value).expect("readable"))
    }

    #[test]
    fn durations_are_read_as_seconds() {
        let rows = [
            ("1h", 3600),
            ("30m", 1800),
            ("1h30m", 5400),
            ("7d", 604_800),
            ("15", 15),
            ("720h0m0s", 2_592_000),
        ];
        for (text, expected) in rows {
            assert_eq!(read::<Ttl>(json!(text)), json!(expected), "{text}");
        }
        assert_eq!(read::<Ttl>(json!(3600)), json!(3600));
        for wrong in
            [json!("soon"), json!("1w"), json!(""), json!("h"), json!(-1), json!("99999999999999999999d")]
        {
            assert!(serde_json::from_value::<Ttl>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_values_stay_unchanged() {
        let marker = crate::template::unknown::marker("Key.Arn");
        assert_eq!(read::<Ttl>(json!(marker)), json!(marker));
        assert_eq!(read::<PolicyNames>(json!([marker])), json!([marker]));
        assert_eq!(read::<Cidrs>(json!([marker])), json!([marker]));
    }

    #[test]
    fn lists_and_addresses_keep_significant_parts() {
        assert_eq!(read::<CommaList>(json!("ldaps://b, ldaps://a")), json!(["ldaps://b", "ldaps://a"]));
        for url in ["https://api.example/v3", "https://api.example/v3/"] {
            assert_eq!(read::<BaseUrl>(json!(url)), json!("https://api.example/v3/"));
        }
        assert_eq!(read::<BaseUrl>(json!("")), json!(""));
    }

    #[test]
    fn sets_are_normalised_to_one_notation() {
        assert_eq!(read::<PolicyNames>(json!(["B", "a", "b"])), json!(["a", "b"]));
        assert_eq!(read::<Names>(json!(["b", "A", "b"])), json!(["A", "b"]));
        assert_eq!(
            read::<Cidrs>(json!(["10.1.0.0/16", "10.0.0.1", "::1"])),
            json!(["10.0.0.1/32", "10.1.0.0/16", "::1/128"])
        );
        assert_eq!(read::<CommaNames>(json!("b, a,b")), json!(["a", "b"]));
        assert_eq!(read::<HeaderNames>(json!(["x-amz-date", "X-TEAM"])), json!(["X-Amz-Date", "X-Team"]));
        assert_eq!(read::<Pem>(json!("\n-----BEGIN\r\n-----END\n")), json!("-----BEGIN\n-----END"));
    }
}
