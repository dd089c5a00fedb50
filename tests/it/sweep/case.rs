//! One case: something goes wrong, the tool is run again, and the properties are looked at.

use std::path::Path;

use groundwork::net::timeout::HASTE;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fault::Fault;
use super::proxy::AWAY;
use super::scene::{Scene, Subject};
use super::snapshot;
use super::wire::Place;
use crate::support::{Ran, block_on};

/// How often the tool is run again.
const RERUNS: usize = 3;
/// How much of a run's output a violation quotes.
const LAST_LINES: usize = 8;

/// The initialisation, as the journal names it.
const INIT: &str = "sys/init";

/// What goes wrong in one run.
#[derive(Clone, Debug)]
pub enum Trouble {
    /// With a call.
    Call(Place, Fault),
    /// With the n-th durable write; see `journal::disk`.
    Disk(&'static str, usize),
    /// Nothing but that IAM lists access keys all the time as they were at first.
    Stale,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(place, fault) => write!(f, "{fault} at {} #{}", place.label, place.occurrence),
            Self::Disk(what, position) => write!(f, "disk {what} at write {position}"),
            Self::Stale => f.write_str("stale lists"),
        }
    }
}

impl Trouble {
    /// Runs the tool once, with this going wrong.
    pub fn strike(&self, scene: &mut Scene) -> Ran {
        match self {
            Self::Call(place, fault) => scene.apply(Some((place.clone(), *fault))),
            Self::Disk(what, position) => {
                scene.run(&["apply", "--yes"], None, &[("GROUNDWORK_FAULT", format!("{what}@{position}"))])
            }
            Self::Stale => {
                scene.wire.stale_answers("iam:ListAccessKeys", usize::MAX);
                // Without haste: lists lag for less long than it takes to give up on them.
                let ran = scene.run(&["apply", "--yes"], None, &[(HASTE, "1".to_owned())]);
                scene.wire.stale_answers("iam:ListAccessKeys", 0);
                ran
            }
        }
    }

    /// Whether the machine went down with it, and the Vault on it.
    fn takes_vault_along(&self) -> bool {
        matches!(self, Self::Call(_, fault) if fault.kills()) || matches!(self, Self::Disk("torn", _))
    }

    /// Whether the shares arrive, and not whole.
    fn spoils_shares(&self) -> bool {
        matches!(self, Self::Call(place, Fault::Truncated) if place.label == "POST sys/init")
    }

    /// Whether it takes away whoever could receive an answer that comes only once.
    fn takes_reader_away(&self) -> bool {
        match self {
            Self::Call(_, fault) if fault.kills() => true,
            Self::Call(place, fault) => place.label == "POST sys/init" && fault.loses_answer(),
            Self::Disk(what, _) => matches!(*what, "torn" | "before" | "after"),
            Self::Stale => false,
        }
    }
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
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

    /// Whether what goes wrong is a write, to a server or to the disk.
    pub fn writes_in(&self, trouble: &Trouble) -> bool {
        match trouble {
            Trouble::Call(place, _) => self.trace.iter().any(|(call, one)| call.writes && one == place),
            Trouble::Disk(..) | Trouble::Stale => true,
        }
    }
}

/// Runs a case: each trouble in a run of its own, then as many clean runs as it takes.
pub fn judge(scene: &mut Scene, reference: &Reference, troubles: &[Trouble]) -> Verdict {
    let (mut reached, mut spoilt) = (false, false);
    // How often the shares had been asked for before a run in which whoever asks was taken away.
    let mut asked_before = None;
    let before = kept_files(scene);
    for trouble in troubles {
        let asked = scene.wire.sent(INIT);
        let ran = trouble.strike(scene);
        reached |= scene.wire.met() || matches!(trouble, Trouble::Disk(..)) && ran.code != 0;
        if trouble.takes_reader_away() {
            asked_before.get_or_insert(asked);
        }
        spoilt |= trouble.spoils_shares();
        if matches!(trouble, Trouble::Call(_, Fault::Refused)) {
            // With waits of a tenth all re-runs would be over before the server is back.
            std::thread::sleep(AWAY);
        }
        if trouble.takes_vault_along() && !scene.is_untouched() {
            scene.restart_vault();
        }
    }
    if reached && scene.is_untouched() && kept_files(scene) == before {
        // Nothing was done anywhere, so a clean run does what the reference's has done.
        let violations = [scene.wire.unlawful(), scene.leaks()].concat();
        return Verdict { ending: Ending::Converged(1), violations };
    }
    let mut violations = Vec::new();
    let ending = settle(scene, (asked_before, spoilt), &mut violations);
    if matches!(ending, Ending::Converged(_)) {
        if ending != Ending::Converged(0) {
            scene.apply(None);
        }
        violations.extend(scene.wire.writes().iter().map(|call| format!("P2: {call} in a second run")));
        let state = block_on(snapshot::take(scene));
        let differences = snapshot::differences(&reference.state, &state);
        violations.extend(differences.into_iter().map(|difference| format!("P1: {difference}")));
    }
    violations.extend(scene.wire.unlawful());
    violations.extend(scene.leaks());
    Verdict { ending: if reached { ending } else { Ending::NotReached }, violations }
}

/// The files that mean anything to a later run; what the lock of this machine says is for people.
fn kept_files(scene: &Scene) -> Vec<(String, Vec<u8>)> {
    let mut files = scene.files();
    files.retain(|(name, _)| Path::new(name).extension().is_none_or(|extension| extension != "lock"));
    files
}

/// Whether a store has the answer of the initialisation; a file has its name only when it is whole.
fn has_shares(scene: &Scene) -> bool {
    scene.files().iter().any(|(name, _)| name.ends_with("/init.1.json"))
}

fn settle(
    scene: &mut Scene,
    (asked_before, spoilt): (Option<usize>, bool),
    violations: &mut Vec<String>,
) -> Ending {
    let mut last = None;
    for round in 0..=RERUNS {
        let ran = scene.apply(None);
        // Nobody's tool could have the shares: they were asked for in such a run, and no store has them,
        // or what arrived was half of them.
        let asked = asked_before.is_some_and(|asked| scene.wire.sent(INIT) > asked);
        let excused = asked && (spoilt || !has_shares(scene));
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
    let said: Vec<&str> = ran.stdout.lines().chain(ran.stderr.lines()).collect();
    let said = &said[said.len().saturating_sub(LAST_LINES)..];
    violations.push(format!("P1: still exit {} after {RERUNS} more runs: {}", ran.code, said.join(" | ")));
    Ending::Stuck
}

/// P3: what is lost is said, in the journal and to the person.
fn admitted(scene: &Scene, ran: &Ran, violations: &mut Vec<String>) -> Ending {
    let entries = scene.wire.entries();
    let of_init = |entry: &&Value| entry["operation"] == INIT;
    let open = entries
        .iter()
        .rev()
        .find(of_init)
        .is_some_and(|last| last["entry"] == "intent" || last["result"] == "unknown");
    if !open {
        violations.push("P3: the shares are lost and the journal does not say so".to_owned());
    }
    let said = format!("{}{}", ran.stdout, ran.stderr);
    if said.contains("gone for good") && has_shares(scene) {
        violations.push("P3: the shares are in custody and said to be lost".to_owned());
    }
    if !["gone for good", "did not arrive whole"].iter().any(|words| said.contains(words)) {
        violations.push(format!("P3: the shares are lost and nobody is told: {}", said.trim()));
    }
    Ending::Unknown
}
