//! Finds the parts of a report that need a person.

mod findings;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::report::{Backups, Custody, Drift, Generation, LockHeld, OpenOutcome, Report, Seen};
use crate::backup::State;
use crate::drill::Verdict;
use crate::health::{Due, Node, NodeState, ROTATION, System};
use findings::Findings;

/// From when on something needs a person.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How old the newest proven backup may be; by default as old as the plan lets recovered data be.
    pub backup_age: Option<Duration>,
    /// How long ago the last drill may be.
    pub drill_age: Duration,
    /// How old something may become that has no date of its own, such as an access key.
    pub key_age: Duration,
    /// How long before its date something needs attention.
    pub due_within: Duration,
}

/// How urgent a finding is. The order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It has to be looked at, and nothing is lost yet.
    Attention,
    /// Something does not work, or would not come back.
    Broken,
    /// An outcome is not known: nothing may be done before a person has found it out.
    Unknown,
}

impl Severity {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Broken => "broken",
            Self::Unknown => "unknown",
        }
    }
}

/// Something that needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How urgent it is.
    pub severity: Severity,
    /// The part of the report that it is about: `nodes`, `keys`, `custody`, `backups`, `drill`, `due`, `locks`,
    /// `outcomes`, `drift`.
    pub area: &'static str,
    /// A sentence without its end.
    pub message: String,
    /// What to do.
    pub advice: String,
}

/// Everything that needs a person, the most urgent first.
pub(super) fn judge(report: &Report, limits: &Limits) -> Vec<Finding> {
    let mut findings = Findings::of(&report.command_line);
    for system in &report.systems {
        nodes(&mut findings, system);
        keys(&mut findings, system, &report.custody);
    }
    custody(&mut findings, &report.custody);
    let age = limits.backup_age.or(report.rpo).unwrap_or(BACKUP_AGE);
    backups(&mut findings, &report.backups, report.at, age);
    drill(&mut findings, report, limits);
    outcomes(&mut findings, &report.outcomes, &report.locks.here, &report.locks.everywhere);
    due(&mut findings, report, limits);
    locks(&mut findings, report);
    drift(&mut findings, &report.drift);
    findings.sorted()
}

fn nodes(findings: &mut Findings<'_>, system: &System) {
    if let Some(why) = &system.unseen {
        return findings.broken(
            "nodes",
            format!("{} cannot be asked: {why}", system.provider),
            CHECK_ADDRESS,
        );
    }
    let is_empty = |node: &Node| node.state == NodeState::Uninitialised;
    if !system.nodes.is_empty() && system.nodes.iter().all(is_empty) {
        let advice = "a new environment begins with `groundwork apply PLAN`; if there is a backup, do not \
                      initialise anything before a person has decided to";
        return findings.broken("nodes", "every server is empty", advice);
    }
    system.nodes.iter().for_each(|one| node(findings, one));
    let leaders = system.leaders();
    let serving = system.serving();
    if leaders != 1 && serving > 0 {
        let advice = "wait for the election to end and look again; then see the servers' logs";
        findings.broken("nodes", format!("{leaders} servers lead, and one should"), advice);
    }
    let mut versions: Vec<&str> = system.nodes.iter().filter_map(|node| node.version.as_deref()).collect();
    versions.sort_unstable();
    versions.dedup();
    if versions.len() > 1 {
        let message = format!("the servers run different versions: {}", versions.join(", "));
        findings.attention("nodes", message, "bring all to one: `groundwork restart PLAN -- COMMAND`");
    }
    let Some(storage) = &system.storage else { return };
    for server in storage.servers.iter().filter(|server| !server.healthy) {
        let message = format!("the server {} of the storage is not healthy", server.id);
        findings.attention("nodes", message, "look at its node above, and at its log");
    }
    let missing = system.nodes.len().saturating_sub(storage.servers.len());
    if missing > 0 {
        let message = format!("{missing} of {} servers are not part of the storage", system.nodes.len());
        findings.attention("nodes", message, "an empty server joins by `groundwork apply PLAN`");
    }
    if storage.failure_tolerance == 0 && system.nodes.len() > 2 {
        let message = format!("{} servers vote, and none of them may be lost now", storage.voters());
        findings.attention("nodes", message, "bring the missing servers back before anything else is done");
    }
    for difference in &system.differences {
        let advice =
            "have the server read its storage again: restart it, or seal it and run `groundwork unseal PLAN`";
        findings.broken("nodes", difference.clone(), advice);
    }
}

const CHECK_ADDRESS: &str = "check the address, the network and the authority of the certificates";

fn node(findings: &mut Findings<'_>, node: &Node) {
    let address = &node.address;
    match node.state {
        NodeState::Active | NodeState::Standby => {}
        NodeState::Sealed => {
            let entered =
                node.entered.map(|(entered, needed)| format!(", {entered} of {needed} shares entered"));
            let message = format!("{address} is sealed{}", entered.unwrap_or_default());
            let advice = "run `groundwork unseal PLAN`, or with `--share` where only holders have shares; \
                          `groundwork apply PLAN` if it is a new server in the place of another";
            findings.broken("nodes", message, advice);
        }
        NodeState::Uninitialised => {
            findings.broken("nodes", format!("{address} is empty"), "`groundwork apply PLAN` joins it");
        }
        NodeState::Unreachable => {
            let why = node.why.as_deref().unwrap_or("no answer");
            let advice = "start it, or put an empty server in its place, which `groundwork apply PLAN` joins";
            findings.broken("nodes", format!("{address} does not answer: {why}"), advice);
        }
    }
}

fn keys(findings: &mut Findings<'_>, system: &System, custody: &Seen<Custody>) {
    if let Some(why) = &system.keys_unseen {
        let message = format!("it is not known whether the keys can be had: {why}");
        findings.attention("keys", message, CUSTODY_CHECK);
    }
    let Some(keys) = &system.keys else { return };
    // Without a key at hand nothing is proven, and nothing is lost.
    let closed = custody.known().is_some_and(|custody| custody.stores.iter().any(|store| store.closed > 0));
    for problem in &keys.problems {
        let report = if closed { Findings::attention } else { Findings::broken };
        report(findings, "keys", problem.clone(), CUSTODY_CHECK);
    }
}

const CUSTODY_CHECK: &str = "run `groundwork custody check PLAN`, then with `--repair`";

fn custody(findings: &mut Findings<'_>, custody: &Seen<Custody>) {
    if let Some(why) = custody.why() {
        findings.broken("custody", format!("custody cannot be read: {why}"), CUSTODY_CHECK);
    }
    let Some(custody) = custody.known() else { return };
    let (silent, answering): (Vec<_>, Vec<_>) =
        custody.stores.iter().partition(|store| store.silent.is_some());
    if answering.is_empty() && !silent.is_empty() {
        let advice = "what is kept there is not lost yet: bring one store back, or its copy";
        findings.broken("custody", "no store of custody answers".to_owned(), advice);
    }
    for store in silent {
        let why = store.silent.as_deref().unwrap_or_default();
        let message = format!("the store {} does not answer: {why}", store.store);
        findings.attention("custody", message, "bring it back; until then custody has one copy less");
    }
    let closed: usize = answering.iter().map(|store| store.closed).sum();
    let lost = custody.objects - custody.obtainable;
    match lost {
        0 => {}
        _ if closed > 0 => {
            let message = format!("{lost} of {} objects cannot be opened here", custody.objects);
            let advice = "no key at hand opens them; for an age recipient set GROUNDWORK_AGE_IDENTITY";
            findings.attention("custody", message, advice);
        }
        _ => {
            let message = format!("{lost} of {} objects open from no store", custody.objects);
            findings.broken("custody", message, CUSTODY_CHECK);
        }
    }
    for store in answering.iter().filter(|store| !store.faults.is_empty()) {
        let (first, more) = (&store.faults[0], store.faults.len() - 1);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let message = format!("in {}: {first}{more}", store.store);
        findings.attention("custody", message, CUSTODY_CHECK);
    }
}

fn backups(findings: &mut Findings<'_>, backups: &Seen<Backups>, now: Timestamp, limit: Duration) {
    if let Some(why) = backups.why() {
        findings.attention("backups", format!("the backups cannot be listed: {why}"), TRY_BACKUP);
    }
    let Some(backups) = backups.known() else { return };
    for store in &backups.stores {
        if let Some(why) = &store.silent {
            let message = format!("the store {} does not answer: {why}", store.store);
            findings.attention("backups", message, "bring it back; the other stores keep their backups");
        } else if backups
            .newest()
            .is_some_and(|newest| store.newest.as_ref().is_none_or(|own| own.taken < newest.taken))
        {
            let message = format!("the newest backup is not in {}", store.store);
            findings.attention("backups", message, TRY_BACKUP);
        }
    }
    let answers = backups.stores.iter().any(|store| store.silent.is_none());
    match (backups.newest(), backups.newest_proven()) {
        (None, _) if !answers => {}
        (None, _) => findings.broken("backups", "there is no backup".to_owned(), TRY_BACKUP),
        (Some(newest), None) => {
            let message = format!("no backup was ever proven; the newest is {}", newest.name);
            findings.broken("backups", message, CHECK_BACKUP);
        }
        (Some(newest), Some(proven)) => {
            if newest.taken > proven.taken {
                let message = format!("the newest backup, {}, was not proven", newest.name);
                findings.attention("backups", message, CHECK_BACKUP);
            }
            let age = now.duration_since(proven.taken);
            if age > signed(limit) {
                let (age, limit) = (in_minutes(age), in_minutes(signed(limit)));
                let message = format!("the newest proven backup is {age} old, and {limit} is the limit");
                findings.broken("backups", message, TRY_BACKUP);
            }
        }
    }
    for generation in &backups.generations {
        opens(findings, generation);
    }
    for generation in backups.generations.iter().filter(|one| one.in_custody == Some(false)) {
        let message = format!(
            "custody lacks what opened the backups from {} to {}",
            generation.first.strftime("%Y-%m-%d"),
            generation.last.strftime("%Y-%m-%d")
        );
        findings.attention("backups", message, CHECK_BACKUP);
    }
}

/// Whether the newest backup of a generation opens now, where that was tried.
fn opens(findings: &mut Findings<'_>, generation: &Generation) {
    let newest = format!("the newest backup that {} open", generation.opener());
    let day = generation.last.strftime("%Y-%m-%d");
    if let Some(why) = &generation.not_tried {
        return findings.attention(
            "backups",
            format!("{newest}, of {day}, was not opened: {why}"),
            CHECK_BACKUP,
        );
    }
    match generation.opens_now {
        None | Some(State::Proven) => {}
        Some(State::Whole) => {
            findings.attention("backups", format!("no key at hand opens {newest}, of {day}"), CHECK_BACKUP);
        }
        Some(State::Locked) => {
            findings.broken(
                "backups",
                format!("the keys at hand do not open {newest}, of {day}"),
                CHECK_BACKUP,
            );
        }
        Some(State::Flawed) => {
            findings.broken("backups", format!("{newest}, of {day}, is flawed"), CHECK_BACKUP);
        }
    }
}

/// How old the newest backup may be where nothing says so: a day, and the time to take it.
const BACKUP_AGE: Duration = Duration::from_hours(26);

fn signed(limit: Duration) -> SignedDuration {
    SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX)
}

fn in_minutes(age: SignedDuration) -> String {
    match age.as_hours() {
        0 => format!("{} min", age.as_mins()),
        hours => format!("{hours} h"),
    }
}

fn drill(findings: &mut Findings<'_>, report: &Report, limits: &Limits) {
    if let Some(why) = report.drill.why() {
        findings.attention("drill", format!("the reports of drills cannot be read: {why}"), DRILL);
    }
    let Some(last) = report.drill.known() else { return };
    let Some(last) = last else {
        if report.has_targets {
            findings.attention("drill", "a recovery has never been rehearsed", DRILL);
        }
        return;
    };
    let day = last.started.strftime("%Y-%m-%d");
    match last.verdict {
        Verdict::Passed => {}
        Verdict::Missed => {
            findings.attention("drill", format!("the drill of {day} missed a target"), DRILL);
        }
        Verdict::Failed => {
            findings.broken("drill", format!("the drill of {day} did not recover the backup"), DRILL);
        }
    }
    let age = report.at.duration_since(last.started);
    if age > signed(limits.drill_age) {
        findings.attention("drill", format!("the last drill is {} days ago", age.as_hours() / 24), DRILL);
    }
}

const DRILL: &str = "run `groundwork drill PLAN`";

const TRY_BACKUP: &str = "run `groundwork backup PLAN` and see what it says";
const CHECK_BACKUP: &str = "run `groundwork backup check PLAN --latest`";

fn outcomes(
    findings: &mut Findings<'_>,
    outcomes: &Seen<Vec<OpenOutcome>>,
    here: &Seen<Option<LockHeld>>,
    everywhere: &Seen<Option<LockHeld>>,
) {
    if let Some(why) = outcomes.why() {
        let advice = "run `groundwork journal PLAN`";
        findings.attention("outcomes", format!("the journal cannot be relied on: {why}"), advice);
    }
    let is_held = |lock: &Seen<Option<LockHeld>>| matches!(lock, Seen::Known(Some(_)));
    let is_running = is_held(here) || is_held(everywhere);
    for open in outcomes.known().into_iter().flatten() {
        let subject = format!("{} of {}", open.operation, open.target);
        let since = open.since.strftime("%Y-%m-%d %H:%M UTC");
        match open.is_lost {
            true => findings.unknown(
                "outcomes",
                format!("the outcome of {subject} is not known, since {since}"),
                "run `groundwork apply PLAN`, which finds out what can be found out and says what a person must do",
            ),
            // It may only be on its way.
            false if is_running => {}
            false => findings.attention(
                "outcomes",
                format!("a run ended in the middle of {subject}, on {since}"),
                "run `groundwork apply PLAN`, which goes on where it ended",
            ),
        }
    }
}

fn due(findings: &mut Findings<'_>, report: &Report, limits: &Limits) {
    if let Some(why) = report.due.why().filter(|_| report.drift.why().is_none()) {
        findings.attention("due", format!("what is due is not known: {why}"), "see the reason");
    }
    let nodes = report.systems.iter().flat_map(|system| &system.nodes);
    let certificates = nodes.filter_map(|node| {
        let by = node.certificate_ends?;
        Some(Due { of: node.address.clone(), what: "certificate", since: None, by: Some(by) })
    });
    let within = i64::try_from(limits.due_within.as_secs() / 86_400).unwrap_or(i64::MAX);
    for due in report.due.known().into_iter().flatten().cloned().chain(certificates) {
        let Some(days) = due.days_left(report.at).filter(|days| *days <= within) else { continue };
        let subject = format!("the {} of {}", due.what, due.of);
        let advice = match due.what {
            "certificate" => "make the next one before this one ends, and give it to those who need it",
            ROTATION => "go on with it: `groundwork rotate PLAN --due`",
            _ => "rotate it: `groundwork rotate PLAN --due` for what the program makes",
        };
        match days {
            ..0 => findings.attention("due", format!("{subject} is overdue by {} days", -days), advice),
            _ => findings.attention("due", format!("{subject} is due in {days} days"), advice),
        }
    }
}

fn locks(findings: &mut Findings<'_>, report: &Report) {
    for why in [&report.locks.here, &report.locks.everywhere].into_iter().filter_map(Seen::why) {
        let advice = "without it two runs may write at the same time";
        findings.attention("locks", format!("a lock cannot be read: {why}"), advice);
    }
}

fn drift(findings: &mut Findings<'_>, drift: &Seen<Drift>) {
    if let Some(why) = drift.why() {
        findings.attention("drift", format!("the plan was not compared: {why}"), SEE_PLAN);
    }
    let Some(Drift { counts, undeclared, .. }) = drift.known() else { return };
    let parts =
        [(counts.writing(), "not as declared"), (counts.blocked, "blocked"), (counts.deferred, "not known")];
    let told: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, how)| format!("{count} {how}"))
        .collect();
    if !told.is_empty() {
        findings.attention("drift", format!("steps: {}", told.join(", ")), SEE_PLAN);
    }
    if *undeclared > 0 {
        let message = format!("{undeclared} things are no longer declared");
        findings.attention("drift", message, "see them with `groundwork plan PLAN --prune`");
    }
}

const SEE_PLAN: &str = "see them with `groundwork plan PLAN`";

impl Generation {
    /// How it is opened, in a few words.
    pub fn opener(&self) -> String {
        match (self.seal.as_str(), &self.key_id) {
            ("shamir", _) => format!("{} shares", self.threshold),
            (seal, Some(key)) => format!("{seal} {key}"),
            (seal, None) => seal.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
