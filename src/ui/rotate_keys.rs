//! Shows what a rotation of the cluster's key changes.

use std::fmt::Write;

use super::style::{BAD, GOOD, paint};
use crate::providers::vault::{DeclaredSplit, RekeyOutlook};
use crate::visible::sanitize;

/// The review before the confirmation.
pub fn outlook(outlook: &RekeyOutlook, wanted: &DeclaredSplit) -> String {
    let key = if outlook.is_recovery { "recovery key" } else { "unseal key" };
    let mut text = format!("the {key} of {} is split again", sanitize(&outlook.address));
    for (name, before, after) in [
        ("shares", outlook.now.shares, wanted.shares),
        ("threshold", outlook.now.threshold, wanted.threshold),
    ] {
        let _ = match before == after {
            true => write!(text, "\n  {name:<10} {before}"),
            false => write!(text, "\n  {name:<10} {before} → {after}"),
        };
    }
    let comes = |name: &&String| wanted.holders.iter().any(|holder| holder.name == **name);
    for holder in &wanted.holders {
        let sign = if outlook.holders.contains(&holder.name) { "holder" } else { "new holder" };
        let _ = write!(text, "\n  {} {sign} {}", paint(GOOD, "+"), sanitize(&holder.name));
    }
    for gone in outlook.holders.iter().filter(|name| !comes(name)) {
        let _ = write!(
            text,
            "\n  {} {}: the share opens only backups that were taken until now",
            paint(BAD, "-"),
            sanitize(gone)
        );
    }
    let _ = match outlook.in_custody {
        0 => write!(text, "\n  custody has no present shares: enough holders enter theirs"),
        count => {
            write!(text, "\n  the {count} present shares stay in custody, for the backups of their time")
        }
    };
    if let Some(unfinished) = &outlook.unfinished {
        let _ = write!(
            text,
            "\n  a run of {} was cut off: it is gone on with, or cancelled",
            sanitize(unfinished)
        );
    }
    text
}

/// How it ended.
pub fn done(wanted: &DeclaredSplit) -> String {
    let DeclaredSplit { shares, threshold, holders, keep_shares } = wanted;
    let mut text = format!("the key has {shares} new shares, of which {threshold} open it; proven");
    if !holders.is_empty() {
        text.push_str(
            "\neach holder's share: `groundwork custody export-share PLAN --holder NAME --to FILE`",
        );
    }
    if !keep_shares {
        text.push_str("\ncustody has forgotten the new shares: only their holders have them");
    }
    text
}
