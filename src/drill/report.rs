//! The report of a drill. Its JSON is the record that later commands and auditors read, so fields are only added.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of the form.
pub const FORMAT_VERSION: &str = "1";

/// How a drill ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything came back, and within the targets.
    Passed,
    /// The backup was recovered, and a target was missed, or a secret or a login was not as it should be.
    Missed,
    /// The backup was not recovered.
    Failed,
}

impl Verdict {
    /// One word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }
}

/// One part of the recovery, in the order in which they follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseName {
    /// The backup is found and copied from its store.
    Fetch,
    /// It is opened with the keys at hand, and every entry is authenticated.
    Prove,
    /// An empty server starts.
    Start,
    /// It is initialised in the shape of the backup's key shares.
    Initialise,
    /// It takes the backup, and has read it.
    Restore,
    /// It is opened with the keys of the backup's time, and serves.
    Unseal,
    /// The plan's own login gets a token.
    LogIn,
    /// The other servers of the cluster join it.
    Join,
    /// All that it has is compared with the backup.
    Compare,
    /// The secrets that the plan names are read.
    Canaries,
    /// The roles of the plan log in.
    Roles,
}

impl PhaseName {
    /// The phase in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Fetch => "fetch the backup",
            Self::Prove => "prove it",
            Self::Start => "start an empty server",
            Self::Initialise => "initialise it",
            Self::Restore => "restore",
            Self::Unseal => "unseal",
            Self::LogIn => "log in",
            Self::Join => "have the other servers join",
            Self::Compare => "compare with the backup",
            Self::Canaries => "read the canaries",
            Self::Roles => "log in as the roles",
        }
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseEnd {
    /// It was done.
    Done,
    /// It was done, and not all was as it should be.
    Wanting,
    /// It failed, and the drill ended with it.
    Failed,
}

/// One phase and its duration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phase {
    /// Which one.
    pub name: PhaseName,
    /// How it ended.
    pub end: PhaseEnd,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// More about it, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A target of the plan and its measurement, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measure {
    /// The target that the plan declares.
    pub target_ms: Option<u64>,
    /// The measurement; `None` when the drill ended before it.
    pub measured_ms: Option<u64>,
}

impl Measure {
    /// Compares a measurement with its target.
    pub fn new(target: Option<Duration>, measured: Option<Duration>) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self { target_ms: target.map(ms), measured_ms: measured.map(ms) }
    }

    /// Whether the target was met; `None` without a target or a measurement.
    pub fn is_met(self) -> Option<bool> {
        Some(self.measured_ms? <= self.target_ms?)
    }
}

/// The backup that was recovered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name in its store, or its file.
    pub name: String,
    /// The store that had it, in words.
    #[serde(default)]
    pub place: Option<String>,
    /// When it was taken, by its manifest.
    #[serde(default)]
    pub taken: Option<Timestamp>,
    /// Its digest, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Its length.
    #[serde(default)]
    pub bytes: u64,
    /// Its place in the log of the cluster.
    #[serde(default)]
    pub index: u64,
    /// The cluster.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// The generation of key shares that opened it.
    #[serde(default)]
    pub generation: Option<String>,
    /// The key that opened it, in words.
    #[serde(default)]
    pub opened_with: Option<String>,
    /// Who vouches for its manifest, in one word.
    #[serde(default)]
    pub vouching: Option<String>,
}

/// The server of the drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its version.
    pub version: String,
    /// Why it could reach nothing else.
    pub isolation: String,
}

/// The state of a secret that the plan names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// It is the declared one.
    Same,
    /// It has another value.
    Differs,
    /// It is not there.
    Missing,
}

/// A secret that the plan names, by its path and never with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Its path.
    pub path: String,
    /// The field that was compared.
    pub field: String,
    /// Its state.
    pub state: CanaryState,
}

/// A login with a role of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The role with its auth method.
    pub role: String,
    /// Why it failed; `None` when it did not.
    pub error: Option<String>,
}

/// The report of a drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of the form.
    pub format_version: String,
    /// The program that wrote it.
    pub tool: String,
    /// The plan's name.
    pub plan: String,
    /// The plan's stage, if it has any.
    #[serde(default)]
    pub stage: Option<String>,
    /// The digest of the plan.
    pub plan_digest: String,
    /// When the drill began.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// How it ended.
    pub verdict: Verdict,
    /// How long the recovery took, against the plan's target.
    pub rto: Measure,
    /// How old the recovered data was, against the plan's target.
    pub rpo: Measure,
    /// The backup; `None` when there was none.
    #[serde(default)]
    pub backup: Option<Subject>,
    /// The server of the drill; `None` when the drill ended before one was there.
    #[serde(default)]
    pub server: Option<Server>,
    /// The phases, in order.
    #[serde(default)]
    pub phases: Vec<Phase>,
    /// The secrets that the plan names.
    #[serde(default)]
    pub canaries: Vec<Canary>,
    /// The logins that were tried.
    #[serde(default)]
    pub logins: Vec<Login>,
    /// All that was wrong, or wants a person.
    #[serde(default)]
    pub findings: Vec<String>,
    /// The parts of a recovery that this drill went through.
    #[serde(default)]
    pub rehearsed: Vec<String>,
    /// The parts of a recovery that it did not.
    #[serde(default)]
    pub not_rehearsed: Vec<String>,
}

impl Report {
    /// A report that is begun.
    pub fn begin(plan: &str, stage: Option<&str>, plan_digest: &str) -> Self {
        let now = Timestamp::now();
        Self {
            format_version: FORMAT_VERSION.to_owned(),
            tool: concat!("groundwork ", env!("CARGO_PKG_VERSION")).to_owned(),
            plan: plan.to_owned(),
            stage: stage.map(str::to_owned),
            plan_digest: plan_digest.to_owned(),
            started: now,
            finished: now,
            verdict: Verdict::Failed,
            rto: Measure::default(),
            rpo: Measure::default(),
            backup: None,
            server: None,
            phases: Vec::new(),
            canaries: Vec::new(),
            logins: Vec::new(),
            findings: Vec::new(),
            rehearsed: Vec::new(),
            not_rehearsed: Vec::new(),
        }
    }

    /// Ends the report: the time of the recovery is that of its phases, and the verdict follows from all of it. A
    /// drill that `recovered` the backup has gone through every phase.
    pub fn end(&mut self, recovered: bool) {
        self.finished = Timestamp::now();
        let took: u64 = self.phases.iter().map(|phase| phase.ms).sum();
        self.rto.measured_ms = recovered.then_some(took);
        self.verdict = match recovered {
            false => Verdict::Failed,
            true if self.is_wanting() => Verdict::Missed,
            true => Verdict::Passed,
        };
    }

    /// Whether something was not as it should be. A target that could not be measured was not met.
    fn is_wanting(&self) -> bool {
        let is_missed = |one: Measure| one.target_ms.is_some() && one.is_met() != Some(true);
        is_missed(self.rto)
            || is_missed(self.rpo)
            || self.canaries.iter().any(|canary| canary.state != CanaryState::Same)
            || self.logins.iter().any(|login| login.error.is_some())
            || self.phases.iter().any(|phase| phase.end != PhaseEnd::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A drill that took 70 seconds, with these targets in seconds.
    fn report(rto: u64, rpo: u64, age: Option<u64>) -> Report {
        let mut report = Report::begin("demo", None, "sha256:1");
        for (name, ms) in [(PhaseName::Fetch, 20_000), (PhaseName::Restore, 50_000)] {
            report.phases.push(Phase { name, end: PhaseEnd::Done, ms, detail: None });
        }
        report.rto = Measure::new(Some(Duration::from_secs(rto)), None);
        report.rpo = Measure::new(Some(Duration::from_secs(rpo)), age.map(Duration::from_secs));
        report
    }

    fn verdict(mut report: Report, recovered: bool) -> Verdict {
        report.end(recovered);
        report.verdict
    }

    #[test]
    fn verdict_compares_times_with_targets() {
        assert_eq!(verdict(report(70, 60, Some(60)), true), Verdict::Passed);
        assert_eq!(verdict(report(69, 60, Some(60)), true), Verdict::Missed);
        assert_eq!(verdict(report(70, 60, Some(61)), true), Verdict::Missed);
        assert_eq!(verdict(report(70, 60, None), true), Verdict::Missed, "nothing says how old it is");
        assert_eq!(verdict(report(70, 60, Some(60)), false), Verdict::Failed);
        let without = Report { rpo: Measure::default(), ..report(70, 60, None) };
        assert_eq!(verdict(without, true), Verdict::Passed);
    }

    #[test]
    fn verdict_counts_canaries_logins_and_phases() {
        let canary = |state| Canary { path: "secret/app".to_owned(), field: "key".to_owned(), state };
        for (state, expected) in [
            (CanaryState::Same, Verdict::Passed),
            (CanaryState::Differs, Verdict::Missed),
            (CanaryState::Missing, Verdict::Missed),
        ] {
            let one = Report { canaries: vec![canary(state)], ..report(70, 60, Some(1)) };
            assert_eq!(verdict(one, true), expected, "{state:?}");
        }
        let login = Login { role: "approle/app".to_owned(), error: Some("denied".to_owned()) };
        let one = Report { logins: vec![login], ..report(70, 60, Some(1)) };
        assert_eq!(verdict(one, true), Verdict::Missed);
        let mut one = report(70, 60, Some(1));
        one.phases[1].end = PhaseEnd::Wanting;
        assert_eq!(verdict(one, true), Verdict::Missed);
    }

    #[test]
    fn record_of_today_is_read_by_later_programs() {
        let mut today = report(70, 60, Some(1));
        today.end(true);
        let mut written = serde_json::to_value(&today).expect("JSON");
        assert_eq!(written["format_version"], "1");
        written["later"] = serde_json::json!({ "more": 1 });
        assert_eq!(serde_json::from_value::<Report>(written).expect("read"), today);
    }
}
