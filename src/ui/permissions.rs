//! Least policies in several forms.

use std::fmt::Write;

use serde_json::{Value, json};

use super::style::{FAINT, STRONG, paint};
use crate::run::{Command, LeastPolicy};

/// A policy with its name.
pub type Named<'a> = (String, &'a LeastPolicy);

/// Names for the policies: the plan and the command, and what distinguishes several.
pub fn named<'a>(plan: &str, command: Command, policies: &'a [LeastPolicy]) -> Vec<Named<'a>> {
    let of = |(index, policy): (usize, &'a LeastPolicy)| {
        let alike =
            |all: &[LeastPolicy]| all.iter().filter(|one| one.connection == policy.connection).count();
        let (before, all) = (alike(&policies[..index]), alike(policies));
        let alias = policy.connection.split_once('.').map(|(_, alias)| format!("-{alias}"));
        let number = if all > 1 { format!("-{}", before + 1) } else { String::new() };
        (format!("{plan}-{}{}{number}", command.name(), alias.unwrap_or_default()), policy)
    };
    policies.iter().enumerate().map(of).collect()
}

/// For people.
pub fn human(plan: &str, command: Command, named: &[Named<'_>]) -> String {
    if named.is_empty() {
        return format!("`{}` on {plan} needs no permissions in AWS, Vault or Kubernetes.", command.name());
    }
    let mut parts = Vec::new();
    for (name, policy) in named {
        let title = match policy.ending {
            "json" => format!("IAM policy {name}, for {}", policy.connection),
            "yaml" => format!("Role {name}, for {}", policy.connection),
            _ => format!("Vault policy {name}"),
        };
        let mut text = format!("{}\n\n{}\n", paint(STRONG, title), policy.text);
        for note in &policy.notes {
            let _ = write!(text, "\n{}", paint(FAINT, note));
        }
        parts.push(text.trim_end().to_owned());
    }
    parts.join("\n\n")
}

/// For programs.
pub fn json(plan: &str, command: Command, named: &[Named<'_>]) -> Value {
    let one = |(name, policy): &Named<'_>| {
        let document = match policy.ending {
            "json" => serde_json::from_str(&policy.text).unwrap_or_default(),
            _ => Value::from(policy.text.as_str()),
        };
        json!({
            "name": name, "connection": policy.connection, "format": policy.ending, "policy": document,
            "notes": policy.notes,
        })
    };
    let policies: Vec<Value> = named.iter().map(one).collect();
    json!({ "format_version": "1", "plan": plan, "command": command.name(), "policies": policies })
}

/// A file for a plan's `include:`, with a step for each policy.
pub fn steps(plan: &str, command: Command, named: &[Named<'_>]) -> String {
    let mut text = format!(
        "# The permissions of `groundwork {}` on {plan}, made by `groundwork permissions`.\nversion: 1\nsteps:",
        command.name()
    );
    for (name, policy) in named {
        let (kind, fields) = &policy.step;
        let id: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let provider = kind.split('.').next().unwrap_or_default();
        let _ = write!(text, "\n  {id}_{provider}:\n    kind: {kind}\n    name: {name}");
        if policy.connection.contains('.') {
            let _ = write!(text, "\n    provider: {}", policy.connection);
        }
        for (field, value) in fields.as_object().into_iter().flatten() {
            let value = format!("{value:#}").replace('\n', "\n    ");
            let _ = write!(text, "\n    {field}: {value}");
        }
    }
    text
}
