//! Shows rotations to people: what can be rotated, when it is due, and what is under way.

use std::fmt::Write;

use jiff::Timestamp;

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::resource::Pending;
use crate::session::rotate::Standing;

/// All steps that can be rotated.
pub fn standings(standings: &[Standing], now: Timestamp) -> String {
    if standings.is_empty() {
        return "No step of this plan has a secret that can be rotated.".to_owned();
    }
    let width = standings.iter().map(|one| one.id.chars().count()).max().unwrap_or_default();
    let mut text = paint(STRONG, "Secrets that can be rotated");
    for one in standings {
        let _ = write!(text, "\n  {:width$}  {}  {}", one.id, when(one, now), paint(FAINT, one.kind));
        if let Some(pending) = &one.pending {
            let _ = write!(text, "\n  {:width$}    {}", "", under_way(pending));
        }
    }
    text
}

fn when(standing: &Standing, now: Timestamp) -> String {
    let days = standing.due.as_ref().and_then(|due| due.days_left(now));
    match days {
        _ if standing.pending.is_some() => paint(CHANGE, "under way"),
        None => paint(FAINT, "no date"),
        Some(..0) => paint(BAD, format!("overdue by {} days", -days.unwrap_or_default())),
        Some(0) if standing.is_due(now) => paint(BAD, "due now"),
        Some(days) => paint(GOOD, format!("due in {days} days")),
    }
}

/// The rotations that wait for something.
pub fn waiting(waiting: &[Standing]) -> String {
    let mut text = paint(STRONG, "Under way");
    for one in waiting {
        if let Some(pending) = &one.pending {
            let _ = write!(text, "\n  {}: {}", one.id, under_way(pending));
        }
    }
    text.push_str("\n  Go on with `groundwork rotate PLAN --due`");
    let can_go_back = |one: &&Standing| one.pending.as_ref().is_some_and(|pending| pending.can_go_back);
    for one in waiting.iter().filter(can_go_back) {
        let _ = write!(text, "; `groundwork rotate PLAN --rollback {}` goes back", one.id);
    }
    text.push('.');
    text
}

/// That there is nothing to do now.
pub fn nothing(pending: &[Standing]) -> String {
    match pending {
        [] => "Nothing is to be rotated.".to_owned(),
        pending => format!("Nothing can be done now.\n{}", waiting(pending)),
    }
}

fn under_way(pending: &Pending) -> String {
    let until = pending.until.map(|until| format!(", from {}", until.strftime("%Y-%m-%d %H:%M:%S UTC")));
    format!("{} still exists: {}{}", pending.old, pending.waits, until.unwrap_or_default())
}
