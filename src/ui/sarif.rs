//! The findings of `validate`, in the Static Analysis Results Interchange Format 2.1.0:
//! <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>. Code scanning takes it, at
//! GitHub and elsewhere.
//!
//! Silenced findings are left out, because GitHub shows those that are marked as suppressed as if
//! they were not. No line of a plan is quoted.

use std::path::Path;

use serde_json::{Value, json};

use crate::lint::told::{self, DOUBTFUL, INVALID, PERMISSION, Place, Told};
use crate::lint::{self, Rule};
use crate::plan::Severity;

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// The log of one run over the plan at `path`.
pub fn log(path: &Path, told: &[Told]) -> Value {
    let rules: Vec<Value> = descriptors();
    let results: Vec<Value> = told.iter().map(|one| result(one, &rules)).collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "groundwork",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            // Distinguishes the runs over several plans of a repository.
            "automationDetails": { "id": format!("groundwork/{}/", told::shown(path)) },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn descriptors() -> Vec<Value> {
    let own = [
        (INVALID, Severity::Error, "The plan is wrong", "Nothing can be done with a plan that has mistakes."),
        (
            DOUBTFUL,
            Severity::Warning,
            "The plan may not work here",
            "Something that the plan needs, such as an environment variable, is not there.",
        ),
        (
            PERMISSION,
            Severity::Note,
            "The plan wants a permission",
            "The plan names a server, a role, a file or a variable that its caller has to allow.",
        ),
    ];
    let own =
        own.map(|(id, severity, title, text)| descriptor(id, severity, title, text, "Correct the plan."));
    let of_rule = |rule: &Rule| descriptor(rule.id, rule.severity, rule.title, rule.explanation, rule.help);
    own.into_iter().chain(lint::all().map(of_rule)).collect()
}

fn descriptor(id: &str, severity: Severity, title: &str, text: &str, help: &str) -> Value {
    // GitHub's scale: above 7 is high, above 4 medium.
    let weight = match severity {
        Severity::Error => "8.0",
        Severity::Warning => "5.0",
        Severity::Note => "1.0",
    };
    json!({
        "id": id,
        "name": pascal(id),
        "shortDescription": { "text": title },
        "fullDescription": { "text": text },
        "help": { "text": format!("{text}\n\nWhat to do: {help}"), "markdown": format!("{text}\n\n**What to do:** {help}") },
        "defaultConfiguration": { "level": told::name(severity) },
        "properties": { "tags": ["security"], "security-severity": weight, "precision": "high" },
    })
}

fn pascal(id: &str) -> String {
    id.split('-').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

fn result(told: &Told, rules: &[Value]) -> Value {
    let text = match &told.help {
        Some(help) => format!("{}. What to do: {help}", told.message),
        None => told.message.clone(),
    };
    let locations: Vec<Value> = told.place.iter().map(location).collect();
    json!({
        "ruleId": told.rule,
        "ruleIndex": rules.iter().position(|rule| rule["id"] == told.rule),
        "level": told.severity,
        "message": { "text": text },
        "locations": locations,
        "partialFingerprints": { "groundwork/v1": told.fingerprint },
    })
}

fn location(place: &Place) -> Value {
    let artifact = match place.file.strip_prefix('/') {
        Some(absolute) => json!({ "uri": format!("file:///{}", encoded(absolute)) }),
        None => json!({ "uri": encoded(&place.file), "uriBaseId": "%SRCROOT%" }),
    };
    json!({ "physicalLocation": {
        "artifactLocation": artifact,
        "region": {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.end_line,
            "endColumn": place.end_column,
        },
    } })
}

/// A path as a URI has it (RFC 3986).
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
