//! Reads the AWS policy documents and Vault policies of a step.

use serde_json::Value;

use super::facts::Fact;
use crate::providers::vault::granted;

/// A statement of an AWS policy document.
pub struct Statement<'a> {
    /// Its place, as a dotted path below the step.
    pub path: String,
    fields: &'a Value,
}

/// Condition keys that restrict who `*` stands for.
const NARROWING: [&str; 15] = [
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principaltag",
    "aws:sourcearn",
    "aws:sourceaccount",
    // Of SNS, in the policy that every topic begins with.
    "aws:sourceowner",
    "aws:sourceorgid",
    "aws:sourceip",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "kms:calleraccount",
    "sts:externalid",
    "s3:dataaccesspointaccount",
];

/// The statements of every policy document in a step.
pub fn statements<'a>(fact: &'a Fact<'_>) -> Vec<Statement<'a>> {
    let mut found = Vec::new();
    collect(&fact.fields, "", &mut found);
    found
}

fn collect<'a>(value: &'a Value, path: &str, found: &mut Vec<Statement<'a>>) {
    match value {
        Value::Object(fields) => match fields.get("Statement") {
            Some(Value::Array(items)) => found.extend(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, fields)| Statement { path: format!("{path}.Statement[{index}]"), fields }),
            ),
            Some(fields) => found.push(Statement { path: format!("{path}.Statement"), fields }),
            None => {
                for (key, value) in fields {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(value, &path, found);
                }
            }
        },
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

impl Statement<'_> {
    /// Whether it allows rather than denies.
    pub fn allows(&self) -> bool {
        self.fields["Effect"] == "Allow"
    }

    /// The path of one of its elements.
    pub fn element(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Whether it has the element.
    pub fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some()
    }

    /// The texts of an element, whether it is one or a list.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        texts(&self.fields[name])
    }

    /// Whether it applies to everyone: `*`, or `AWS: *`.
    pub fn is_for_everybody(&self) -> bool {
        let principal = &self.fields["Principal"];
        principal == "*" || texts(&principal["AWS"]).contains(&"*")
    }

    /// The principals of a type, such as `AWS` or `Federated`.
    pub fn principals(&self, of: &str) -> Vec<&str> {
        texts(&self.fields["Principal"][of])
    }

    /// The condition's keys in lower case with their values, without those of negated operators.
    pub fn conditions(&self) -> Vec<(String, Vec<&str>)> {
        let operators = self.fields["Condition"].as_object().into_iter().flatten();
        let positive = operators.filter(|(operator, _)| !operator.to_ascii_lowercase().contains("not"));
        let keys = positive.filter_map(|(_, keys)| keys.as_object()).flatten();
        keys.map(|(key, values)| (key.to_ascii_lowercase(), texts(values))).collect()
    }

    /// Whether a condition restricts who the statement applies to.
    pub fn is_narrowed(&self) -> bool {
        self.conditions().iter().any(|(key, values)| {
            let name = key.split('/').next().unwrap_or_default();
            NARROWING.contains(&name)
                && !values.iter().any(|value| ["*", "0.0.0.0/0", "::/0"].contains(value))
        })
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The paths and capabilities that a Vault policy grants.
pub fn granted_by(fact: &Fact<'_>) -> Vec<(String, Vec<String>)> {
    match &fact.fields["rules"] {
        Value::String(text) => granted(text),
        Value::Object(paths) => paths.iter().map(|(path, rule)| (path.clone(), capabilities(rule))).collect(),
        _ => Vec::new(),
    }
}

fn capabilities(rule: &Value) -> Vec<String> {
    let list = if rule.is_array() { rule } else { &rule["capabilities"] };
    texts(list).into_iter().map(str::to_owned).collect()
}
