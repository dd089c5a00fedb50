//! One case: something goes wrong, the tool is run again, and the properties are looked at.

use serde_json::Value;

use super::fault::Fault;
use super::scene::{Scene, Subject};
use super::snapshot;
use super::wire::Place;
use crate::support::{Ran, block_on};

/// How often the tool is run again.
const RERUNS: usize = 3;

/// What goes wrong in one run.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// With a call.
    Call(Place, Fault),
    /// With the n-th durable write; see `journal::disk`.
    Disk(&'static str, usize),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(place, fault) => write!(f, "{fault} at {} #{}", place.label, place.occurrence),
            Self::Disk(what, position) => write!(f, "disk {what} at write {position}"),
        }
    }
}

impl Trouble {
    fn strike(&self, scene: &mut Scene) -> Ran {
        match self {
            Self::Call(place, fault) => scene.apply(Some((place.clone(), *fault))),
            Self::Disk(what, position) => {
                scene.run(&["apply", "--yes"], None, &[("GROUNDWORK_FAULT", format!("{what}@{position}"))])
            }
        }
    }

    /// Whether the machine went down with it, and the Vault on it.
    fn takes_vault_along(&self) -> bool {
        matches!(self, Self::Call(_, Fault::KilledBefore | Fault::KilledAfter) | Self::Disk("torn", _))
    }

    /// Whether nobody's tool could come to a good end: the shares were sent, or were about to be,
    /// and nobody was there to receive them.
    fn may_lose_shares(&self) -> bool {
        match self {
            Self::Call(_, Fault::KilledBefore | Fault::KilledAfter) => true,
            Self::Call(place, fault) => place.label == "POST sys/init" && fault.loses_answer(),
            Self::Disk(what, _) => matches!(*what, "torn" | "before" | "after"),
        }
    }
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// The call never came.
    NotReached,
    /// All was well after so many more runs.
    Converged(usize),
    /// The outcome is unknown, and the tool says so.
    Unknown,
    /// It never came to an end.
    Stuck,
}

/// A case and what came of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// How it ended.
    pub ending: Ending,
    /// Properties that did not hold, with what was seen.
    pub violations: Vec<String>,
}

/// What a clean run leaves and does.
pub struct Reference {
    /// The servers' state.
    pub state: Value,
    /// The calls.
    pub trace: Vec<(super::call::Call, Place)>,
    /// Durable writes.
    pub writes: usize,
}

impl Reference {
    /// Applies the plan without trouble.
    pub fn of(subject: &Subject) -> Self {
        let mut scene = Scene::new(subject);
        let ran = scene.apply(None);
        assert_eq!(ran.code, 0, "a clean run of {} fails: {ran:?}", subject.name);
        let trace = scene.wire.trace();
        let leaks = [scene.wire.unlawful(), scene.leaks()].concat();
        assert!(leaks.is_empty(), "{leaks:?}");
        let kept = scene.files().iter().filter(|(name, _)| name.contains("custody/")).count();
        // Each store is probed once; what comes beyond the last write is a case that is not reached.
        let writes = scene.wire.entries().len() + kept + 1;
        scene.apply(None);
        assert!(scene.wire.writes().is_empty(), "P2: a second run of {} writes", subject.name);
        Self { state: block_on(snapshot::take(&scene)), trace, writes }
    }
}

/// Runs a case: each trouble in a run of its own, then as many clean runs as it takes.
pub fn judge(subject: &Subject, reference: &Reference, troubles: &[Trouble]) -> Verdict {
    let mut scene = Scene::new(subject);
    let (mut reached, mut excused) = (false, false);
    for trouble in troubles {
        let ran = trouble.strike(&mut scene);
        reached |= scene.wire.met() || matches!(trouble, Trouble::Disk(..)) && ran.code != 0;
        excused |= trouble.may_lose_shares();
        if trouble.takes_vault_along() {
            scene.restart_vault();
        }
    }
    let mut violations = Vec::new();
    let ending = settle(&mut scene, excused, &mut violations);
    if matches!(ending, Ending::Converged(_)) {
        if ending != Ending::Converged(0) {
            scene.apply(None);
        }
        violations.extend(scene.wire.writes().iter().map(|call| format!("P2: {call} in a second run")));
        let state = block_on(snapshot::take(&scene));
        let differences = snapshot::differences(&reference.state, &state);
        violations.extend(differences.into_iter().map(|difference| format!("P1: {difference}")));
    }
    violations.extend(scene.wire.unlawful());
    violations.extend(scene.leaks());
    Verdict { ending: if reached { ending } else { Ending::NotReached }, violations }
}

fn settle(scene: &mut Scene, excused: bool, violations: &mut Vec<String>) -> Ending {
    let mut last = None;
    for round in 0..=RERUNS {
        let ran = scene.apply(None);
        match ran.code {
            0 if scene.wire.writes().is_empty() => return Ending::Converged(0),
            0 => return Ending::Converged(round + 1),
            4 if excused => return admitted(scene, &ran, violations),
            1 if excused && format!("{}{}", ran.stdout, ran.stderr).contains("half a cluster") => {
                return Ending::Unknown;
            }
            _ => last = Some(ran),
        }
    }
    let ran = last.expect("at least one run");
    let said: Vec<&str> = ran
        .stdout
        .lines()
        .chain(ran.stderr.lines())
        .filter(|line| line.contains("✗") || line.contains("rror"))
        .collect();
    violations.push(format!("P1: still exit {} after {RERUNS} more runs: {}", ran.code, said.join(" | ")));
    Ending::Stuck
}

/// P3: what is lost is said, in the journal and to the person.
fn admitted(scene: &Scene, ran: &Ran, violations: &mut Vec<String>) -> Ending {
    let entries = scene.wire.entries();
    let of_init = |entry: &&Value| entry["operation"] == "sys/init";
    let open = entries
        .iter()
        .rev()
        .find(of_init)
        .is_some_and(|last| last["entry"] == "intent" || last["result"] == "unknown");
    if !open {
        violations.push("P3: the shares are lost and the journal does not say so".to_owned());
    }
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if said.contains("gone for good") && scene.files().iter().any(|(name, _)| name.ends_with("/init.1.json"))
    {
        violations.push("P3: the shares are in custody and said to be lost".to_owned());
    }
    if !["gone for good", "did not arrive whole"].iter().any(|words| said.contains(words)) {
        violations.push(format!("P3: the shares are lost and nobody is told: {}", said.trim()));
    }
    Ending::Unknown
}
