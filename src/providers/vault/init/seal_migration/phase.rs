//! How far each server is on its way to another seal, and the next thing to do. Everything is read from the servers,
//! so that a run goes on where an earlier one ended, whoever did the last step.

use std::fmt;

use crate::error::{Error, Result};
use crate::providers::vault::SealStatus;

/// How far one server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It serves with the seal that it had.
    Before,
    /// It does not serve: it was started with another configuration than that of the new seal.
    Stale,
    /// It was started with the new seal, and waits for shares with the consent to move.
    Waiting,
    /// It has the consent, and waits until the leader moves the data. Its status is an error until then.
    Agreed,
    /// The leader has moved the data, and this server still runs with the seal from before. Its status is an error.
    Behind,
    /// It has the new seal, and is not open yet.
    Closed,
    /// It serves with the new seal.
    Moved,
    /// It does not answer.
    Down(String),
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePhase {
    /// The server's address.
    pub address: String,
    /// How far it is.
    pub phase: Phase,
    /// Whether it leads the cluster.
    pub leads: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Open the server, with shares where it does not open by itself.
    Open(String),
    /// Restart the server with its new configuration. A server that serves is only taken when the cluster can spare it.
    Restart(NodePhase),
    /// Have the server that leads step down: one that has agreed moves the data.
    HandOver(String),
    /// Wait for this server: the cluster is busy.
    Wait(String),
    /// Every server has the new seal.
    Done,
}

impl Phase {
    /// Reads the answer to `GET sys/seal-status` of a server that is to have the seal `target`.
    ///
    /// # Errors
    /// When the server answers with an error that has nothing to do with its seal.
    pub(super) fn of(answer: Result<SealStatus>, target: &str) -> Result<Self> {
        let status = match answer {
            Ok(status) => status,
            Err(error) => return Self::of_error(error, target),
        };
        Ok(match (status.sealed, status.migration, status.seal == target) {
            _ if !status.initialized => Self::Down("it has no data: it is not initialised".to_owned()),
            (true, true, true) => Self::Waiting,
            (false, true, _) => Self::Agreed,
            (true, false, true) => Self::Closed,
            (false, false, true) => Self::Moved,
            (false, false, false) => Self::Before,
            (true, _, false) => Self::Stale,
        })
    }

    /// A server whose seal is not that of the data says so, the seal of the data first: `barrier seal type of "shamir"
    /// does not match loaded type of "static"`.
    fn of_error(error: Error, target: &str) -> Result<Self> {
        let quoted: Vec<&str> = error.message.split('"').skip(1).step_by(2).collect();
        match quoted.as_slice() {
            [data, _, ..] if is_between_seals(&error) && *data == target => Ok(Self::Behind),
            [_, loaded, ..] if is_between_seals(&error) && *loaded == target => Ok(Self::Agreed),
            [_, _, ..] if is_between_seals(&error) => Ok(Self::Stale),
            _ if error.is_retriable() => Ok(Self::Down(error.message)),
            _ => Err(error),
        }
    }

    /// Whether the server was started with the new seal.
    pub fn is_started(&self) -> bool {
        matches!(self, Self::Waiting | Self::Agreed | Self::Closed | Self::Moved)
    }
}

/// Whether a server answers with an error because its seal is not that of the data.
pub(in crate::providers::vault::init) fn is_between_seals(error: &Error) -> bool {
    error.message.contains("barrier seal type")
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "still has its seal",
            Self::Stale => "was started with another configuration than that of the new seal",
            Self::Waiting => "waits for key shares",
            Self::Agreed => "runs with the new seal, and waits for the data to be moved",
            Self::Behind => "runs with the seal from before, and has to be restarted",
            Self::Closed => "has the new seal and is sealed",
            Self::Moved => "has the new seal",
            Self::Down(problem) => return write!(f, "does not serve: {problem}"),
        })
    }
}

/// The next step: standbys first, so that the leader hands over to servers that can move the data.
pub(super) fn next(nodes: &[NodePhase]) -> Step {
    let first = |wanted: fn(&NodePhase) -> bool| nodes.iter().find(|node| wanted(node));
    if let Some(node) = first(|node| matches!(node.phase, Phase::Waiting | Phase::Closed)) {
        return Step::Open(node.address.clone());
    }
    let idle = first(|node| matches!(node.phase, Phase::Down(_) | Phase::Stale));
    let standby = || first(|node| node.phase == Phase::Before && !node.leads);
    if let Some(node) = idle.or_else(standby).or_else(|| first(|node| node.phase == Phase::Behind)) {
        return Step::Restart(node.clone());
    }
    match first(|node| node.phase == Phase::Before) {
        Some(leader) if nodes.len() == 1 => Step::Restart(leader.clone()),
        Some(leader) => Step::HandOver(leader.address.clone()),
        None => match first(|node| node.phase == Phase::Agreed) {
            Some(node) => Step::Wait(node.address.clone()),
            None => Step::Done,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn status(seal: &str, sealed: bool, migration: bool) -> SealStatus {
        let status = json!({ "type": seal, "initialized": true, "sealed": sealed, "migration": migration });
        serde_json::from_value(status).expect("a status")
    }

    fn failure(message: &str) -> Result<SealStatus> {
        Err(Error::new(ErrorKind::Unavailable, "GET sys/seal-status", message))
    }

    #[test]
    fn phase_is_read_from_status_and_its_errors() {
        let at = |answer| Phase::of(answer, "static").expect("a phase");
        assert_eq!(at(Ok(status("shamir", false, false))), Phase::Before);
        assert_eq!(at(Ok(status("shamir", true, false))), Phase::Stale);
        assert_eq!(at(Ok(status("static", true, true))), Phase::Waiting);
        assert_eq!(at(Ok(status("awskms", true, true))), Phase::Stale, "it would move to a third seal");
        assert_eq!(at(Ok(status("static", false, true))), Phase::Agreed);
        assert_eq!(at(Ok(status("static", true, false))), Phase::Closed);
        assert_eq!(at(Ok(status("static", false, false))), Phase::Moved);
        // As OpenBao 2.7.2 says it.
        let agreed = r#"barrier seal type of "shamir" does not match loaded type of "static" (500)"#;
        let behind = r#"barrier seal type of "static" does not match expected type of "shamir" (500)"#;
        assert_eq!(at(failure(agreed)), Phase::Agreed);
        assert_eq!(at(failure(behind)), Phase::Behind);
        assert_eq!(Phase::of(failure(agreed), "shamir").expect("a phase"), Phase::Behind);
        assert_eq!(Phase::of(failure(behind), "shamir").expect("a phase"), Phase::Agreed);
        assert_eq!(Phase::of(failure(agreed), "awskms").expect("a phase"), Phase::Stale);
        assert_eq!(at(failure("connection refused")), Phase::Down("connection refused".to_owned()));
        let denied = Error::new(ErrorKind::Denied, "GET sys/seal-status", "permission denied");
        assert!(Phase::of(Err(denied), "static").is_err());
    }

    /// Goes through a cluster as its servers would, and notes each step.
    fn walk(mut nodes: Vec<NodePhase>) -> Vec<Step> {
        let (mut steps, mut moved) = (Vec::new(), nodes.iter().any(|node| node.phase == Phase::Moved));
        loop {
            let step = next(&nodes);
            steps.push(step.clone());
            let mut put = |address: &str, phase: Phase| {
                nodes
                    .iter_mut()
                    .filter(|node| node.address == address)
                    .for_each(|node| node.phase = phase.clone());
            };
            match &step {
                Step::Open(address) => put(address, if moved { Phase::Moved } else { Phase::Agreed }),
                Step::Restart(node) => put(&node.address, if moved { Phase::Closed } else { Phase::Waiting }),
                Step::HandOver(leader) => {
                    moved = true;
                    let leader = leader.clone();
                    for node in &mut nodes {
                        node.leads = !node.leads;
                        node.phase = if node.address == leader { Phase::Behind } else { Phase::Moved };
                    }
                }
                Step::Wait(_) | Step::Done => return steps,
            }
        }
    }

    fn node(address: &str, phase: Phase, leads: bool) -> NodePhase {
        NodePhase { address: address.to_owned(), phase, leads }
    }

    #[test]
    fn standbys_go_first_and_leader_last() {
        let (a, b) = (node("a", Phase::Before, true), node("b", Phase::Before, false));
        let c = node("c", Phase::Before, false);
        let open = |address: &str| Step::Open(address.to_owned());
        let steps = walk(vec![a.clone(), b.clone(), c.clone()]);
        let behind = Step::Restart(node("a", Phase::Behind, false));
        let all = [
            Step::Restart(b.clone()),
            open("b"),
            Step::Restart(c.clone()),
            open("c"),
            Step::HandOver("a".to_owned()),
            behind.clone(),
            open("a"),
            Step::Done,
        ];
        assert_eq!(steps, all);
        // From wherever an earlier run ended, what is left of these follows.
        let agreed = |address: &str| node(address, Phase::Agreed, false);
        assert_eq!(walk(vec![a.clone(), node("b", Phase::Waiting, false), c.clone()]), all[1..]);
        assert_eq!(walk(vec![a.clone(), agreed("b"), c]), all[2..]);
        assert_eq!(walk(vec![a.clone(), agreed("b"), agreed("c")]), all[4..]);
        let moved = |address: &str, leads| node(address, Phase::Moved, leads);
        assert_eq!(
            walk(vec![node("a", Phase::Behind, false), moved("b", true), moved("c", false)]),
            all[5..]
        );
        assert_eq!(
            walk(vec![node("a", Phase::Closed, false), moved("b", true), moved("c", false)]),
            all[6..]
        );
        assert_eq!(walk(vec![moved("a", false), moved("b", true)]), [Step::Done]);
        // The leader died, and one that had agreed leads; the server that is down comes first.
        let down = node("a", Phase::Down("connection refused".to_owned()), false);
        assert_eq!(next(&[down.clone(), agreed("b"), b.clone()]), Step::Restart(down));
        assert_eq!(next(&[agreed("a"), moved("b", true)]), Step::Wait("a".to_owned()));
        // One server moves the data as soon as it is open.
        let alone = [Step::Restart(a.clone()), open("a"), Step::Wait("a".to_owned())];
        assert_eq!(walk(vec![a]), alone);
    }
}
