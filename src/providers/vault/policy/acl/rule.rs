//! One rule of a token: what all of its policies say about one path.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::super::notation::nanoseconds;

/// The rules of all policies of a token for one path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    granted: BTreeSet<String>,
    /// Parameters with the values that are allowed for them.
    pub(super) allowed: Parameters,
    /// Parameters with the values that are denied for them.
    pub(super) denied: Parameters,
    /// Parameters that a request must have.
    pub(super) required: BTreeSet<String>,
    /// The bounds of the time for which responses must be wrapped, in nanoseconds.
    pub(super) wrapping: (Option<u128>, Option<u128>),
    /// The policies that it comes from.
    pub origins: Vec<Origin>,
    pub(super) expires: Option<Timestamp>,
}

/// Values by parameter; an empty list stands for every value.
pub(super) type Parameters = BTreeMap<String, Vec<Value>>;

/// A rule in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The policy's name.
    pub policy: String,
    /// The path as it is written there.
    pub path: String,
    capabilities: BTreeSet<String>,
}

impl Origin {
    /// Whether this one gives a capability.
    pub fn gives(&self, capability: &str) -> bool {
        self.capabilities.contains(capability)
    }
}

impl Rule {
    /// A rule of one policy.
    pub(super) fn read(rule: &Map<String, Value>, policy: &str, path: &str) -> Self {
        let texts = |name: &str| -> BTreeSet<String> {
            let list = rule.get(name).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        let parameters = |name: &str| -> Parameters {
            let all = rule.get(name).and_then(Value::as_object).into_iter().flatten();
            all.map(|(name, values)| (name.clone(), values.as_array().cloned().unwrap_or_default())).collect()
        };
        let granted = texts("capabilities");
        Self {
            origins: vec![Origin {
                policy: policy.to_owned(),
                path: path.to_owned(),
                capabilities: granted.clone(),
            }],
            granted,
            allowed: parameters("allowed_parameters"),
            denied: parameters("denied_parameters"),
            required: texts("required_parameters"),
            wrapping: (duration(rule.get("min_wrapping_ttl")), duration(rule.get("max_wrapping_ttl"))),
            expires: rule.get("expiration").and_then(Value::as_str).and_then(time),
        }
    }

    /// Adds what another policy says about the path.
    pub(super) fn merge(&mut self, other: Self) {
        self.origins.extend(other.origins);
        if self.is_denied() {
            return;
        }
        if other.granted.contains("deny") {
            self.granted = other.granted;
            (self.allowed, self.denied) = (Parameters::new(), Parameters::new());
            return;
        }
        self.granted.extend(other.granted);
        self.required.extend(other.required);
        // The shorter of two times counts, for the greatest as for the least.
        self.wrapping =
            (shorter(self.wrapping.0, other.wrapping.0), shorter(self.wrapping.1, other.wrapping.1));
        merge_parameters(&mut self.allowed, other.allowed);
        merge_parameters(&mut self.denied, other.denied);
    }

    /// Whether `deny` is among its capabilities.
    pub fn is_denied(&self) -> bool {
        self.granted.contains("deny")
    }

    /// Whether it gives a capability.
    pub fn gives(&self, capability: &str) -> bool {
        !self.is_denied() && self.granted.contains(capability)
    }

    /// The capabilities that it gives; none where it denies.
    pub fn capabilities(&self) -> BTreeSet<&str> {
        if self.is_denied() { BTreeSet::new() } else { self.granted.iter().map(String::as_str).collect() }
    }

    /// The conditions on requests beside the capability, in words.
    pub fn limits(&self) -> Vec<String> {
        let words = |label: &str, names: Vec<&str>| {
            let is_limit = names.iter().any(|name| label.contains("denied") || *name != "*");
            is_limit.then(|| format!("{label} {}", names.join(", ")))
        };
        let wrapped = (self.wrapping != (None, None)).then(|| "with a wrapped response".to_owned());
        let all = [
            words("with the parameters", self.required.iter().map(String::as_str).collect()),
            words("within the allowed_parameters", self.allowed.keys().map(String::as_str).collect()),
            words("outside of the denied_parameters", self.denied.keys().map(String::as_str).collect()),
            wrapped,
        ];
        all.into_iter().flatten().collect()
    }
}

fn shorter(one: Option<u128>, other: Option<u128>) -> Option<u128> {
    [one, other].into_iter().flatten().min()
}

fn merge_parameters(known: &mut Parameters, more: Parameters) {
    let was_empty = known.is_empty();
    for (name, values) in more {
        let any = values.is_empty() || !was_empty && known.get(&name).is_some_and(Vec::is_empty);
        let merged = known.entry(name).or_default();
        if any { merged.clear() } else { merged.extend(values) }
    }
}

/// A duration as the parser of policies writes it: seconds, or nanoseconds as text.
fn duration(value: Option<&Value>) -> Option<u128> {
    match value? {
        Value::String(text) => nanoseconds(text),
        Value::Number(seconds) => nanoseconds(&format!("{seconds}s")),
        _ => None,
    }
}

fn time(text: &str) -> Option<Timestamp> {
    match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok(),
    }
}
