//! The report of a drill for people, for programs, and for a folder of evidence.

mod human;
mod page;

use std::time::Duration;

use jiff::SignedDuration;

pub use human::{human, markdown};
pub use page::html;

use crate::drill::{Measure, PhaseEnd, Report};

/// A time in words, to the tenth of a second while it is short.
fn time(ms: u64) -> String {
    if ms < 60_000 {
        return format!("{}.{} s", ms / 1000, ms % 1000 / 100);
    }
    let whole = Duration::from_millis(ms).as_secs();
    format!("{:#}", SignedDuration::from_secs(i64::try_from(whole).unwrap_or(i64::MAX)))
}

/// A measurement against its target, in words.
fn measure(measure: Measure) -> String {
    let measured = measure.measured_ms.map_or("not measured".to_owned(), time);
    match (measure.target_ms, measure.is_met()) {
        (None, _) => format!("{measured}; the plan declares no target"),
        (Some(target), Some(true)) => format!("{measured}, within {}", time(target)),
        (Some(target), _) => format!("{measured}, and the target is {}", time(target)),
    }
}

/// The facts of a report: a title and a text each.
fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Recovery time", measure(report.rto)),
        ("Age of the data", measure(report.rpo)),
        ("Begun", report.started.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
        ("Plan", format!("{}, digest {}", report.plan, report.plan_digest)),
    ];
    if let Some(stage) = &report.stage {
        facts.push(("Stage", stage.clone()));
    }
    if let Some(backup) = &report.backup {
        let place = backup.place.as_ref().map(|place| format!(" in {place}")).unwrap_or_default();
        facts.push(("Backup", format!("{}{place}", backup.name)));
        if let Some(taken) = backup.taken {
            facts.push(("Taken", taken.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()));
        }
        facts.extend(backup.sha256.clone().map(|digest| ("SHA-256", digest)));
        facts.extend(backup.opened_with.clone().map(|key| ("Opened with", key)));
        facts.extend(backup.vouching.clone().map(|who| ("Manifest", who.replace('_', " "))));
    }
    if let Some(server) = &report.server {
        facts.push(("Server", format!("version {}; {}", server.version, server.isolation)));
    }
    facts.push(("Written by", report.tool.clone()));
    facts
}

/// How a phase ended, in a word.
fn ended(end: PhaseEnd) -> &'static str {
    match end {
        PhaseEnd::Done => "done",
        PhaseEnd::Wanting => "wanting",
        PhaseEnd::Failed => "failed",
    }
}

/// The lists of a report that are not empty: a title and its lines.
fn lists(report: &Report) -> Vec<(&'static str, Vec<String>)> {
    let canaries = report.canaries.iter().map(|canary| {
        let state = serde_json::to_value(canary.state).unwrap_or_default();
        format!("{}, field {}: {}", canary.path, canary.field, state.as_str().unwrap_or_default())
    });
    let logins = report.logins.iter().map(|login| match &login.error {
        None => format!("{}: done", login.role),
        Some(error) => format!("{}: {error}", login.role),
    });
    let all = [
        ("To look at", report.findings.clone()),
        ("Canaries", canaries.collect()),
        ("Logins", logins.collect()),
        ("Rehearsed", report.rehearsed.clone()),
        ("Not rehearsed", report.not_rehearsed.clone()),
    ];
    all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
}

#[cfg(test)]
pub(super) mod testing {
    use crate::drill::{Canary, CanaryState, Login, Measure, Phase, PhaseEnd, PhaseName, Report, Verdict};

    /// A report in which something is wrong, and others' text means harm.
    pub fn report() -> Report {
        let at = |time: &str| time.parse().expect("a time");
        let phase = |name, ms| Phase { name, end: PhaseEnd::Done, ms, detail: None };
        let canary = Canary {
            path: "secret/<script>".to_owned(),
            field: "value".to_owned(),
            state: CanaryState::Differs,
        };
        Report {
            started: at("2026-11-28T08:00:00Z"),
            finished: at("2026-11-28T08:01:00Z"),
            tool: "groundwork".to_owned(),
            verdict: Verdict::Missed,
            rto: Measure { target_ms: Some(900_000), measured_ms: Some(8_140) },
            rpo: Measure { target_ms: Some(3_600_000), measured_ms: Some(5_400_000) },
            phases: vec![
                phase(PhaseName::Fetch, 140),
                Phase { detail: Some("3 secrets".to_owned()), ..phase(PhaseName::Restore, 8_000) },
            ],
            canaries: vec![canary],
            logins: vec![Login { role: "approle/app".to_owned(), error: None }],
            findings: vec!["look at @everyone".to_owned()],
            rehearsed: vec!["restoring".to_owned()],
            ..Report::begin("demo", Some("prod"), "sha256:1")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_people_do() {
        assert_eq!(time(0), "0.0 s");
        assert_eq!(time(8_140), "8.1 s");
        assert_eq!(time(900_000), "15m");
        assert_eq!(time(5_400_000), "1h 30m");
        assert_eq!(measure(Measure::default()), "not measured; the plan declares no target");
        let missed = Measure { target_ms: Some(60_000), measured_ms: Some(61_000) };
        assert_eq!(measure(missed), "1m 1s, and the target is 1m");
    }
}
