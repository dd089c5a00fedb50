//! One page for people: the findings first, then everything that was seen.

use std::fmt::Write;

use anstyle::Style;
use jiff::{SignedDuration, Timestamp};

use super::super::custody::can_open;
use super::super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::backup::State;
use crate::drill::Verdict;
use crate::health::{Due, Keys, Node, NodeState, System};
use crate::status::{
    Backups, Custody, Drift, Generation, KeptBackup, LastDrill, LockHeld, Report, Seen, Severity,
    StoreOfBackups, StoreOfCustody,
};

/// How many entries a list shows.
const SHOWN: usize = 10;

/// The text.
pub fn human(report: &Report) -> String {
    let stage = report.plan.stage.as_ref().map(|stage| format!("  stage {stage}")).unwrap_or_default();
    let at = report.at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut text =
        format!("{}{stage}  {}  {}", paint(STRONG, &report.plan.name), paint(FAINT, at), verdict(report));
    for finding in &report.findings {
        let style = style_of(finding.severity);
        let word = format!("{:<9}", finding.severity.word());
        let _ = write!(text, "\n  {} {}", paint(style, word), finding.message);
        let _ = write!(text, "\n            {}", paint(FAINT, &finding.advice));
    }
    report.systems.iter().for_each(|one| system(&mut text, one, report.at));
    part(&mut text, "custody", &report.custody, custody);
    part(&mut text, "backups", &report.backups, |text, found| backups(text, found, report.at));
    part(&mut text, "last drill", &report.drill, |text, last| drill(text, last.as_ref(), report.at));
    part(&mut text, "due", &report.due, |text, found| due(text, found, report.at));
    part(&mut text, "lock of this machine", &report.locks.here, |text, held| {
        lock(text, held.as_ref(), report);
    });
    part(&mut text, "lock everywhere", &report.locks.everywhere, |text, held| {
        lock(text, held.as_ref(), report);
    });
    part(&mut text, "open requests", &report.outcomes, |text, open| match open.as_slice() {
        [] => text.push_str("  none"),
        open => open.iter().for_each(|one| {
            let _ = write!(
                text,
                "\n  {} of {}, since {} by {}",
                one.operation,
                one.target,
                day(one.since),
                one.who
            );
        }),
    });
    part(&mut text, "drift", &report.drift, drift);
    text
}

fn verdict(report: &Report) -> String {
    match report.worst() {
        None => paint(GOOD, "healthy"),
        Some(severity) => paint(style_of(severity), report.word()),
    }
}

const fn style_of(severity: Severity) -> Style {
    match severity {
        Severity::Attention => CHANGE,
        Severity::Broken | Severity::Unknown => BAD,
    }
}

/// A part, or why it could not be asked; nothing for one that the plan does not have.
fn part<T>(text: &mut String, title: &str, part: &Seen<T>, show: impl FnOnce(&mut String, &T)) {
    match part {
        Seen::Absent => {}
        Seen::Unseen(why) => {
            let _ = write!(text, "\n\n{}  {} {why}", paint(STRONG, title), paint(CHANGE, "not known:"));
        }
        Seen::Known(found) => {
            let _ = write!(text, "\n\n{}", paint(STRONG, title));
            show(text, found);
        }
    }
}

fn system(text: &mut String, system: &System, now: Timestamp) {
    let _ = write!(text, "\n\n{}", paint(STRONG, system.provider));
    if let Some(why) = &system.unseen {
        let _ = write!(text, "  {} {why}", paint(CHANGE, "not known:"));
        return;
    }
    let _ = write!(text, "  {} of {} servers serve", system.serving(), system.nodes.len());
    system.nodes.iter().for_each(|one| node(text, one, now));
    if let Some(storage) = &system.storage {
        let (servers, voters, tolerance) =
            (storage.servers.len(), storage.voters(), storage.failure_tolerance);
        let _ = write!(text, "\n  storage  {servers} servers, {voters} vote, {tolerance} may be lost");
    }
    if let Some(why) = &system.storage_unseen {
        let _ = write!(text, "\n  storage  {} {why}", paint(CHANGE, "not known:"));
    }
    match &system.differences_unseen {
        Some(why) => {
            let _ = write!(text, "\n  tables   {} {why}", paint(CHANGE, "not compared:"));
        }
        None if system.serving() > 1 && system.differences.is_empty() => {
            text.push_str("\n  tables   engines, methods and policies are the same on every server");
        }
        None => {}
    }
    match (&system.keys, &system.keys_unseen) {
        (Some(found), _) => keys(text, found),
        (None, Some(why)) => {
            let _ = write!(text, "\n  keys     {} {why}", paint(CHANGE, "not known:"));
        }
        (None, None) => {}
    }
}

fn node(text: &mut String, node: &Node, now: Timestamp) {
    let style = match node.state {
        NodeState::Active | NodeState::Standby => GOOD,
        NodeState::Sealed | NodeState::Uninitialised | NodeState::Unreachable => BAD,
    };
    let state = format!("{:<13}", node.state.word());
    let _ = write!(text, "\n  {} {}", paint(style, state), node.address);
    for said in [&node.version, &node.seal].into_iter().flatten() {
        let _ = write!(text, "  {said}");
    }
    if let Some(lag) = node.lag.filter(|lag| *lag > 0) {
        let _ = write!(text, "  {lag} entries behind");
    }
    if let Some(ends) = node.certificate_ends {
        let days = crate::health::days_until(now, ends);
        let _ = write!(text, "  {}", paint(FAINT, format!("certificate {days} days")));
    }
    if let Some((entered, needed)) = node.entered {
        let _ = write!(text, "  {entered} of {needed} shares entered");
    }
    if let Some(why) = &node.why {
        let _ = write!(text, "  {why}");
    }
}

fn keys(text: &mut String, keys: &Keys) {
    let needed = keys.threshold.map_or("an unknown number".to_owned(), |threshold| threshold.to_string());
    let _ = match (keys.shares, keys.handed_out) {
        (0, holders) if holders > 0 => {
            write!(text, "\n  keys     {holders} holders have a share each, {needed} are needed")
        }
        (shares, _) => write!(text, "\n  keys     {shares} shares open, {needed} are needed"),
    };
}

fn custody(text: &mut String, custody: &Custody) {
    let _ = write!(text, "  {} of {} objects open", custody.obtainable, custody.objects);
    for store in &custody.stores {
        store_line(text, store.silent.as_deref(), &store.store, &copies(store));
        store.faults.iter().take(SHOWN).for_each(|fault| {
            let _ = write!(text, "\n                {fault}");
        });
    }
    let most = custody.recipients.iter().map(|one| one.objects).max().unwrap_or_default();
    for one in &custody.recipients {
        can_open(text, one, most);
    }
}

fn copies(store: &StoreOfCustody) -> String {
    let closed = if store.closed > 0 { format!(", {} closed", store.closed) } else { String::new() };
    format!("{} copies open{closed}", store.whole)
}

/// A store, and what it has or why it does not answer.
fn store_line(text: &mut String, silent: Option<&str>, store: &str, has: &str) {
    let _ = match silent {
        None => write!(text, "\n  {} {store}  {has}", paint(GOOD, format!("{:<13}", "answers"))),
        Some(why) => write!(text, "\n  {} {store}  {why}", paint(BAD, format!("{:<13}", "silent"))),
    };
}

fn backups(text: &mut String, backups: &Backups, now: Timestamp) {
    for store in &backups.stores {
        store_line(text, store.silent.as_deref(), &store.store, &kept(store, now));
    }
    for generation in &backups.generations {
        let _ = write!(text, "\n  opened by {}: {}", generation.opener(), opens(generation));
    }
}

fn kept(store: &StoreOfBackups, now: Timestamp) -> String {
    let Some(newest) = &store.newest else { return "none".to_owned() };
    let shown = format!("{}; the newest {}", store.count, one(newest, now));
    match &store.newest_proven {
        Some(proven) if proven.name != newest.name => {
            format!("{shown}; the newest proven {}", one(proven, now))
        }
        _ => shown,
    }
}

fn one(backup: &KeptBackup, now: Timestamp) -> String {
    let proof = match backup.proof {
        State::Proven => "proven",
        State::Whole => "whole, not proven",
        State::Locked => "the keys at hand did not open it",
        State::Flawed => "flawed",
    };
    let signed = if backup.signed { "" } else { ", not signed" };
    format!("is {} old, {proof}{signed}", age(now.duration_since(backup.taken)))
}

fn opens(generation: &Generation) -> String {
    let count = match generation.backups {
        1 => format!("1 backup of {}", day(generation.last)),
        count => format!("{count} backups, from {} to {}", day(generation.first), day(generation.last)),
    };
    let custody = match generation.in_custody {
        Some(true) => "; custody has what opened them",
        Some(false) => "; custody lacks some of what opened them",
        None => "",
    };
    let custody = match generation.opens_now {
        Some(State::Proven) => "; the newest was opened now",
        _ => custody,
    };
    let id = generation.id.as_ref().map(|id| format!("  {}", paint(FAINT, short(id)))).unwrap_or_default();
    format!("{count}{custody}{id}")
}

/// The beginning of a digest, which is enough to know it by.
fn short(id: &str) -> &str {
    let digest = id.rsplit(':').next().unwrap_or(id);
    digest.get(..12).unwrap_or(digest)
}

fn drill(text: &mut String, last: Option<&LastDrill>, now: Timestamp) {
    let Some(last) = last else { return text.push_str("  none") };
    let style = if last.verdict == Verdict::Passed { GOOD } else { BAD };
    let verdict = paint(style, last.verdict.word());
    let _ = write!(text, "  {verdict}, {} ago", age(now.duration_since(last.started)));
    for (name, measure) in [("took", last.rto), ("data of", last.rpo)] {
        let Some(measured) = measure.measured_ms else { continue };
        let target = measure.target_ms.map(|target| format!(" (target {})", age(millis(target))));
        let _ = write!(text, "; {name} {}{}", age(millis(measured)), target.unwrap_or_default());
    }
    if let Some(backup) = &last.backup {
        let _ = write!(text, "\n  {}", paint(FAINT, backup));
    }
}

fn millis(ms: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))
}

fn due(text: &mut String, all: &[Due], now: Timestamp) {
    if all.is_empty() {
        text.push_str("  nothing has a date");
    }
    for one in all.iter().take(SHOWN) {
        let when = match (one.days_left(now), one.age(now)) {
            (Some(days @ ..0), _) => paint(BAD, format!("{:>4} days overdue", -days)),
            (Some(days), _) => format!("{days:>4} days left   "),
            (None, Some(days)) => format!("{days:>4} days old    "),
            (None, None) => " ".repeat(17),
        };
        let _ = write!(text, "\n  {when}  {} of {}", one.what, one.of);
    }
    if all.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", all.len() - SHOWN);
    }
}

fn lock(text: &mut String, held: Option<&LockHeld>, report: &Report) {
    let Some(held) = held else { return text.push_str("  free") };
    let since = held.since.map(|since| format!(", for {}", age(report.at.duration_since(since))));
    let _ = write!(text, "  held by {}{}", held.holder, since.unwrap_or_default());
    let clear = match &held.id {
        Some(id) => format!("if that run is dead: `groundwork unlock {} --id {id}`", report.command_line),
        None => "it ends with that process".to_owned(),
    };
    let _ = write!(text, "\n  {}", paint(FAINT, clear));
}

fn drift(text: &mut String, drift: &Drift) {
    let counts = &drift.counts;
    let _ = write!(text, "  {} steps are as declared", counts.none);
    if drift.undeclared > 0 {
        let _ = write!(text, ", {} things are no longer declared", drift.undeclared);
    }
    for (step, action) in drift.steps.iter().take(SHOWN) {
        let _ = write!(text, "\n  {} {step}", paint(CHANGE, format!("{action:<9}")));
    }
    if drift.steps.len() > SHOWN {
        let _ = write!(text, "\n  and {} more", drift.steps.len() - SHOWN);
    }
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// A length of time in its largest unit that says enough.
fn age(length: SignedDuration) -> String {
    match length.as_secs() {
        ..120 => format!("{} s", length.as_secs().max(0)),
        120..7_200 => format!("{} min", length.as_mins()),
        7_200..172_800 => format!("{} h", length.as_hours()),
        _ => format!("{} days", length.as_hours() / 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_the_unit_that_says_enough() {
        let of = |seconds| age(SignedDuration::from_secs(seconds));
        assert_eq!(
            [of(-5), of(119), of(7_199), of(172_799), of(172_800)],
            ["0 s", "119 s", "119 min", "47 h", "2 days"]
        );
    }
}
