//! A secret is proven to be there, to have its owner and type, and to be no older than it says that it may become.

use std::collections::BTreeMap;

use super::Vault;
use crate::proof::ROTATION;

/// The custom metadata by which people find out about a secret.
const DESCRIBED_BY: [&str; 2] = ["owner", "type"];

/// Judges the version that was observed.
pub(in crate::providers::vault) fn prove(
    prover: &Vault<'_>,
    is_there: bool,
    (version, created): (u64, &str),
    metadata: &BTreeMap<String, String>,
) {
    if !is_there {
        // The difference from the plan says so already.
        return;
    }
    let told: Vec<String> =
        DESCRIBED_BY.iter().filter_map(|key| Some(format!("{key} {}", metadata.get(*key)?))).collect();
    let described = if told.is_empty() { String::new() } else { format!(", {}", told.join(", ")) };
    prover.proven(format!("is there, version {version}{described}"));
    if let Some(days) = metadata.get(ROTATION) {
        prover.judge_age(days, created.parse().ok());
    }
}
