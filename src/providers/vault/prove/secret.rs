//! A secret is proven to be there, to have its owner and type, and to be no older than it says that it may become.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Vault;

/// The key of the custom metadata that says after how many days a secret is to be replaced.
pub(in crate::providers::vault) const ROTATION: &str = "rotation_days";

/// The custom metadata by which people find out about a secret.
const DESCRIBED_BY: [&str; 2] = ["owner", "type"];

const DAY: i64 = 86_400;

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
    let Some(days) = metadata.get(ROTATION) else { return };
    let tried = format!("is younger than its {ROTATION} ({days})");
    let limit = days.parse::<i64>().ok().filter(|days| *days > 0);
    let (Some(limit), Ok(created)) = (limit, created.parse::<Timestamp>()) else {
        let seen = format!("{ROTATION} is `{days}`, the version is of `{created}`");
        return prover.failed(tried, "a number of days", seen, "write a whole number of days");
    };
    let age = (Timestamp::now().as_second() - created.as_second()) / DAY;
    match age < limit {
        true => prover.proven(tried),
        false => {
            let advice = "replace it (`groundwork apply PLAN --replace STEP` for a generated one)";
            prover.failed(tried, format!("at most {limit} days"), format!("{age} days"), advice);
        }
    }
}
