//! How old the data of a backup is.

use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;

use super::Subject;
use crate::place::Place;
use crate::providers::vault::{NodeClient, VaultClient};
use crate::resource::Provided;
use crate::run::Run;

/// How long the live cluster has to say how far it is. It may be the one that is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// The age of a backup against the newest write, in milliseconds. Without a login the time of that write cannot be
/// known, only whether there was one: if so, it may have been a moment ago. `None` when nothing says when the backup
/// was taken.
pub(super) async fn measure(run: &Run, subject: &Subject, findings: &mut Vec<String>) -> Option<u64> {
    let Some(read) = subject.read(run) else {
        findings.push("there is no manifest beside the backup, so its age is not known".to_owned());
        return None;
    };
    let live = live_index(run).await;
    if live.is_none() {
        findings.push(
            "no node of the live cluster says how far it is, so every moment since the backup counts"
                .to_owned(),
        );
    }
    Some(age(read.manifest.taken, read.manifest.index, Timestamp::now(), live))
}

fn age(taken: Timestamp, index: u64, now: Timestamp, live: Option<u64>) -> u64 {
    match live {
        Some(live) if live <= index => 0,
        _ => u64::try_from(now.duration_since(taken).as_millis()).unwrap_or_default(),
    }
}

/// How far the log of the live cluster has come. Any caller may ask for it; `None` when no leader answers.
async fn live_index(run: &Run) -> Option<u64> {
    let vault = VaultClient::provide(run, &Place::OWN).await.ok()?;
    let nodes = vault.nodes();
    let answers = tokio::time::timeout(PATIENCE, join_all(nodes.iter().map(NodeClient::leader)));
    let known = answers.await.ok()?.into_iter().flatten().map(|leader| leader.raft_committed_index);
    known.max().filter(|index| *index > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_counts_only_when_something_was_written_since() {
        let at = |time: &str| time.parse::<Timestamp>().expect("a time");
        let age = |live| age(at("2026-11-28T08:00:00Z"), 40, at("2026-11-28T08:10:00Z"), live);
        assert_eq!((age(Some(40)), age(Some(41)), age(None)), (0, 600_000, 600_000));
    }
}
