//! The parts of a report.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::judge::{Finding, Severity};
use crate::backup::State;
use crate::changeset::{Counts, PlanIdentity};
use crate::custody::people::CanOpen;
use crate::drill::{self, Measure, Verdict};
use crate::health::{Due, System};

/// A part of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It was asked.
    Known(T),
    /// It could not be asked, and why.
    Unseen(String),
    /// The plan has nothing of the kind, or the caller did not ask for it.
    Absent,
}

impl<T> Seen<T> {
    /// The part, if it was asked.
    pub const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(part) => Some(part),
            Self::Unseen(_) | Self::Absent => None,
        }
    }

    /// Why it could not be asked.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Unseen(why) => Some(why),
            Self::Known(_) | Self::Absent => None,
        }
    }
}

impl<T: Serialize> Serialize for Seen<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Unseen<'a> {
            unseen: &'a str,
        }
        match self {
            Self::Known(part) => part.serialize(to),
            Self::Unseen(unseen) => Unseen { unseen }.serialize(to),
            Self::Absent => to.serialize_none(),
        }
    }
}

/// How an environment stands.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which plan.
    pub plan: PlanIdentity,
    /// How a person names the plan on a command line: the file and its options.
    pub command_line: String,
    /// When it was asked.
    pub at: Timestamp,
    /// The systems with their servers.
    pub systems: Vec<System>,
    /// What is kept of once-only secrets.
    pub custody: Seen<Custody>,
    /// The backups.
    pub backups: Seen<Backups>,
    /// The last rehearsed recovery; nothing in it when there was none.
    pub drill: Seen<Option<LastDrill>>,
    /// Whether the plan says how a recovery has to go.
    pub has_targets: bool,
    /// How old recovered data may be, as the plan says.
    pub rpo: Option<Duration>,
    /// The things that are to be replaced, the next first.
    pub due: Seen<Vec<Due>>,
    /// The locks.
    pub locks: Locks,
    /// Requests whose outcome is not known.
    pub outcomes: Seen<Vec<OpenOutcome>>,
    /// The difference between the plan and the live systems.
    pub drift: Seen<Drift>,
    /// The findings that need a person, the most urgent first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// The most urgent of what was found; nothing when all is well.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    /// One word for all of it.
    pub fn word(&self) -> &'static str {
        self.worst().map_or("healthy", Severity::word)
    }
}

/// The last rehearsed recovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastDrill {
    /// When it began.
    pub started: Timestamp,
    /// How it ended.
    pub verdict: Verdict,
    /// The backup that was recovered.
    pub backup: Option<String>,
    /// How long the recovery took, against the plan's target of then.
    pub rto: Measure,
    /// How old the recovered data was, against the plan's target of then.
    pub rpo: Measure,
}

impl From<drill::Report> for LastDrill {
    fn from(report: drill::Report) -> Self {
        let drill::Report { started, verdict, backup, rto, rpo, .. } = report;
        Self { started, verdict, backup: backup.map(|backup| backup.name), rto, rpo }
    }
}

/// Custody, store by store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Custody {
    /// How many objects there are.
    pub objects: usize,
    /// How many of them can be opened from some store now.
    pub obtainable: usize,
    /// The stores, in the order of the plan.
    pub stores: Vec<StoreOfCustody>,
    /// Who can open them, whether or not their keys are at hand.
    pub recipients: Vec<CanOpen>,
}

/// A store of custody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreOfCustody {
    /// The store in words.
    pub store: String,
    /// How many of its copies open here and now.
    pub whole: usize,
    /// How many are whole, and no key is at hand that opens them.
    pub closed: usize,
    /// Each copy that is missing, damaged or refused, and why.
    pub faults: Vec<String>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// The backups of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backups {
    /// The stores, in the order of the plan.
    pub stores: Vec<StoreOfBackups>,
    /// Which shares open which of them, the newest first.
    pub generations: Vec<Generation>,
}

impl Backups {
    /// The newest backup that any store has.
    pub fn newest(&self) -> Option<&KeptBackup> {
        self.stores.iter().filter_map(|store| store.newest.as_ref()).max_by_key(|backup| backup.taken)
    }

    /// The newest one that was proven.
    pub fn newest_proven(&self) -> Option<&KeptBackup> {
        self.stores.iter().filter_map(|store| store.newest_proven.as_ref()).max_by_key(|backup| backup.taken)
    }
}

/// A store of backups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreOfBackups {
    /// The store in words.
    pub store: String,
    /// How many it has.
    pub count: usize,
    /// The newest.
    pub newest: Option<KeptBackup>,
    /// The newest that was proven before it was stored.
    pub newest_proven: Option<KeptBackup>,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
}

/// A backup by its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeptBackup {
    /// Its name in the store.
    pub name: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// How much of it was proven before it was stored.
    pub proof: State,
    /// Whether the plan's key has signed its manifest.
    pub signed: bool,
    /// Its length.
    pub bytes: u64,
}

/// Key shares that belong together, and the backups that they open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Its digest; nothing where the manifests do not say.
    pub id: Option<String>,
    /// How the key is protected: `shamir`, or the service that opens it.
    pub seal: String,
    /// The key of that service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// How many different backups it opens.
    pub backups: usize,
    /// The oldest of them.
    pub first: Timestamp,
    /// The newest of them.
    pub last: Timestamp,
    /// How many shares are needed.
    pub threshold: usize,
    /// Whether every object that custody had when the newest of them was proven is still obtainable; nothing
    /// where none of them was proven, or custody cannot be read.
    pub in_custody: Option<bool>,
    /// How the newest of them opens with the keys at hand; nothing when that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_now: Option<State>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_tried: Option<String>,
}

/// The locks of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Locks {
    /// That of this machine.
    pub here: Seen<Option<LockHeld>>,
    /// The one that other machines see.
    pub everywhere: Seen<Option<LockHeld>>,
}

/// A lock that a run holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockHeld {
    /// Its holder in words.
    pub holder: String,
    /// Since when, if it says so.
    pub since: Option<Timestamp>,
    /// The id that takes it away; that of this machine has none and ends with its process.
    pub id: Option<String>,
}

/// A request whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenOutcome {
    /// The request: `iam:CreateAccessKey`.
    pub operation: String,
    /// Its target.
    pub target: String,
    /// When it was announced.
    pub since: Timestamp,
    /// The run that announced it: `user@host`.
    pub who: String,
    /// Whether its response was lost; otherwise the run ended before it came, or is still going on.
    pub is_lost: bool,
}

/// The difference between a plan and the live systems.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Steps by what is to be done with them.
    pub counts: Counts,
    /// The ids of those that are not as declared, with what is to be done.
    pub steps: Vec<(String, &'static str)>,
    /// Things of the plan that no step declares any longer.
    pub undeclared: usize,
}
