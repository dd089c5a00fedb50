//! Destinations that have changed since the last apply.

use super::{Category, Finding, Severity};
use crate::destination::{Destination, WhereThisGoes, value_text};

/// The findings of each destination that has changed, with its name.
pub(super) fn findings(where_to: &WhereThisGoes) -> Vec<(&str, Finding)> {
    where_to
        .changed()
        .flat_map(|one| of_destination(one).into_iter().map(|found| (one.name.as_str(), found)))
        .collect()
}

fn of_destination(one: &Destination) -> Vec<Finding> {
    let list = |severity, verb: &str| -> Vec<Finding> {
        let is_new =
            |value: &&str| finding(severity, format!("{value} {verb}; it did not at the last apply"));
        let gone =
            |value: &&str| finding(Severity::Medium, format!("no longer {value}, as at the last apply"));
        one.added().iter().map(is_new).chain(one.removed().iter().map(gone)).collect()
    };
    match one.name.as_str() {
        "custody.recipients" => list(Severity::High, "can open what custody keeps"),
        "holders" => list(Severity::High, "gets a key share"),
        "custody.stores" => list(Severity::High, "keeps what is in custody"),
        "vault.nodes" => list(Severity::High, "counts as a node of Vault"),
        "aws.region" | "vault.namespace" | "lock" => vec![moved(Severity::Medium, one)],
        _ => vec![moved(Severity::High, one)],
    }
}

fn moved(severity: Severity, one: &Destination) -> Finding {
    let before = one.before.as_deref().unwrap_or_default();
    finding(
        severity,
        format!("is {}; it was {} at the last apply", value_text(&one.values), value_text(before)),
    )
}

fn finding(severity: Severity, message: String) -> Finding {
    Finding::new(severity, Category::Destination, message)
}
