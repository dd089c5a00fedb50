//! Restoring a whole backup: its proof, what it changes, and the proof that it arrived.

use std::fs::File;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::backups::take_and_check;
use super::{Hold, restore_fresh, restore_live, restore_record};
use crate::apply::by_command;
use crate::backup::{Check, Comparison, Keys, State};
use crate::error::{Error, ErrorKind, Result};
use crate::lock::Wait;
use crate::place::Place;
use crate::providers::vault::{Custodian, Ground, NodeClient, VaultClient};
use crate::resource::Provided;
use crate::run::Run;
use crate::secret::Secret;
use crate::snapshot::{Contents, Seal, Vitals};

const POLICIES: &str = "sys/policies/acl";
/// How often a server that restores is asked.
pub(super) const POLL: Duration = Duration::from_millis(300);
/// How long a restore may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(15);
/// How long a node has to have the tables of its leader.
const AGREES_WITHIN: Duration = Duration::from_mins(1);
/// Policies that each version of the server writes by itself.
const BUILT_IN: [&str; 3] = ["default", "response-wrapping", "control-group"];

/// A proven backup, and the run in which it is restored.
pub struct Restore {
    /// The run.
    pub run: Run,
    pub(super) file: File,
    pub(super) check: Check,
    pub(super) keys: Keys,
    /// The name of the backup, for the record.
    pub(super) name: String,
    pub(super) recorded: bool,
    pub(super) taken: Option<jiff::Timestamp>,
}

/// The effects of a restore, shown before it happens.
pub struct Preview {
    /// The node that gets the backup.
    pub address: String,
    /// The changes.
    pub comparison: Comparison,
    /// Notes for a person.
    pub remarks: Vec<String>,
    /// The state of the servers.
    pub ground: Ground,
    pub(super) active_since: Option<String>,
    pub(super) anyway: bool,
}

/// The observations after a restore.
#[derive(Debug, Default)]
pub struct Restored {
    /// Nodes that were sealed and opened again, so that they have the restored tables.
    pub reloaded: Vec<String>,
    /// Empty servers that have joined the restored one.
    pub joined: Vec<String>,
    /// The things that were put in order afterwards, in words.
    pub healed: Vec<String>,
    /// The steps that are left to a person.
    pub open: Vec<String>,
}

pub(super) fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Rejected, "restore", message)
}

impl Restore {
    /// Proves a backup with the keys of the plan.
    ///
    /// # Errors
    /// `Rejected` when it is not proven: nothing else is restored.
    pub async fn prove(run: Run, file: File, keys: Keys, name: &str) -> Result<Self> {
        let check = crate::backup::check(&file, &keys).await?;
        if check.state == State::Proven {
            let recorded = run.journal.can_append();
            return Ok(Self { run, file, check, keys, name: name.to_owned(), recorded, taken: None });
        }
        let why = check.flaw.as_ref().map_or("no key was at hand to open it".to_owned(), ToString::to_string);
        let lacking = check.frame.as_ref().map(|(_, vitals)| lacking(vitals)).unwrap_or_default();
        let seal = check.frame.as_ref().map(|(_, vitals)| &vitals.seal);
        let give = match seal {
            Some(Seal::Static) => "give the key of the server's configuration with `--seal-key FILE`",
            Some(Seal::AwsKms) => {
                "`kms:Decrypt` with that key is needed, with the credentials of its account"
            }
            _ => "give key shares with `--share`",
        };
        let message = format!("the backup is not proven, and nothing was changed: {why}{lacking}");
        Err(refused(message).advice(format!(
            "`groundwork backup check` shows more; `groundwork custody check PLAN` shows which stores and recipients \
             answer; {give}",
        )))
    }

    /// Requires that enough holders have given their shares, where the plan asks for it. Shares in custody do not count.
    ///
    /// # Errors
    /// `Rejected` when fewer of the shares given are good than the backup's threshold.
    pub fn require_quorum(&self) -> Result<()> {
        let needed = self.vitals()?.share_config().threshold;
        let good = self.check.good_shares(&self.keys).len();
        if good >= needed {
            return Ok(());
        }
        let message = format!("the plan asks for {needed} holders, and {good} of the shares given are good");
        Err(refused(message)
            .advice("gather the holders, and give their key shares with `--share`, one a line"))
    }

    /// The same, which leaves nothing in the journal.
    #[must_use]
    pub fn unrecorded(self) -> Self {
        Self { recorded: false, ..self }
    }

    /// Whether the journal gets what is done.
    pub(super) fn is_recorded(&self) -> bool {
        self.recorded
    }

    /// The proof of the backup.
    pub fn check(&self) -> &Check {
        &self.check
    }

    /// The contents of the backup.
    pub fn contents(&self) -> &Contents {
        static NOTHING: std::sync::LazyLock<Contents> = std::sync::LazyLock::new(Contents::default);
        self.check.opened.as_ref().map_or(&NOTHING, |opened| &opened.contents)
    }

    /// Looks at the servers. A live cluster is compared with the backup by a snapshot of the present.
    ///
    /// # Errors
    /// `Rejected` when the backup must not be restored here: it is of another cluster, of a newer server, or opens
    /// with other shares, unless `anyway`; and when a declared audit device would keep the server from starting.
    pub async fn preview(&self, anyway: bool) -> Result<Preview> {
        match self.ground().await? {
            Ground::Inhabited => restore_live::preview(self, anyway).await,
            ground => restore_fresh::preview(self, ground).await,
        }
    }

    /// The state of the servers. Without custody nothing can be initialised, so they count as inhabited.
    pub(super) async fn ground(&self) -> Result<Ground> {
        if self.run.custody_settings.is_none() {
            return Ok(Ground::Inhabited);
        }
        Custodian::provide(&self.run, &Place::OWN).await?.ground().await
    }

    /// Restores, waits for the proof, and has every other node follow.
    ///
    /// # Errors
    /// When the server refuses, or does not serve again in time; run it again, and it goes on.
    pub async fn carry_out(&mut self, preview: &Preview, told: &dyn Fn(&str)) -> Result<Restored> {
        restore_record::begun(self, preview).await?;
        let restored = match preview.ground {
            Ground::Inhabited => restore_live::carry_out(self, preview, told).await,
            Ground::Empty | Ground::Begun => restore_fresh::carry_out(self, preview, told).await,
        };
        restore_record::ended(self, preview, restored).await
    }

    /// Takes the lock that other machines see, where the plan names one. [`Self::let_go`] gives it back.
    ///
    /// # Errors
    /// As [`Hold::take`].
    pub async fn hold(&self, wait: &Wait<'_>) -> Result<()> {
        Hold::take(&self.run, wait).await.map(drop)
    }

    /// Gives the lock back, if this run holds it. `note` says which lock stays; the answer is whether none does.
    pub async fn let_go(&self, note: impl FnOnce(String)) -> bool {
        Hold::of(&self.run).let_go(note).await
    }

    /// The facts that the snapshot shows without a key.
    pub(super) fn vitals(&self) -> Result<&Vitals> {
        let frame = self.check.frame.as_ref();
        frame.map(|(_, vitals)| vitals).ok_or_else(|| refused("the backup is not whole"))
    }

    pub(super) fn is_shamir(&self) -> bool {
        self.vitals().is_ok_and(|vitals| vitals.seal == Seal::Shamir)
    }

    /// An older server takes a newer snapshot, and never becomes active again.
    pub(super) fn require_not_newer(&self, server: &str) -> Result<()> {
        let Some((_, vitals)) = &self.check.frame else { return Ok(()) };
        let Some(newest) = vitals.newest_version() else { return Ok(()) };
        let numbers = |version: &str| -> Vec<u64> {
            version.split(['.', '-', '+']).map_while(|n| n.parse().ok()).collect()
        };
        if numbers(newest) <= numbers(server) {
            return Ok(());
        }
        Err(refused(format!(
            "the backup was written by version {newest}, and the server is version {server}: it would take it and \
             never become active again"
        ))
        .advice(format!("start servers of version {newest} or newer first")))
    }

    /// The shares that open the backup.
    pub(super) fn good_shares(&self) -> Vec<Secret> {
        let all = self.keys.sets.iter().flat_map(|set| {
            set.shares.iter().enumerate().map(move |(index, share)| (set.from.as_str(), index + 1, share))
        });
        let is_good = |from: &str, number: usize| {
            use crate::snapshot::Verdict::Good;
            self.check
                .shares
                .iter()
                .any(|one| one.from == from && one.number == number && one.verdict == Good)
        };
        all.filter(|(from, number, _)| is_good(from, *number)).map(|(_, _, share)| share.clone()).collect()
    }

    /// A new snapshot must hold what the backup holds. Without a token of the backup's time this is left to a
    /// person.
    pub(super) async fn prove_restored(
        &self,
        vault: &VaultClient,
        leader: &NodeClient,
        restored: &mut Restored,
    ) -> Result<()> {
        let now = match take_and_check(vault, leader, &self.keys).await {
            Ok((_, now)) => now,
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::Unauthenticated) => {
                restored.open.push(format!(
                    "log in with a token of the backup's time and compare: no token at hand is good now ({error})"
                ));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let Some(opened) = &now.opened else {
            return Err(Error::new(ErrorKind::Unknown, "restore", "what was restored cannot be read back")
                .advice("run `groundwork backup check --latest PLAN`, and look at the log of the server"));
        };
        let comparison = Comparison::new(&opened.contents, self.contents());
        let is_built_in = |kind: &str, name: &str| kind == "policy" && BUILT_IN.contains(&name);
        let mut changes = comparison.changes.iter().filter(|one| !is_built_in(one.kind, &one.name));
        match changes.next() {
            None => Ok(()),
            Some(first) => {
                let message = format!(
                    "the server has not restored the backup: {} things differ, such as the {} {}",
                    changes.count() + 1,
                    first.kind,
                    first.name
                );
                Err(Error::new(ErrorKind::Unknown, "restore", message)
                    .advice("look at the log of the server, and run it again"))
            }
        }
    }

    /// Puts the plan's login in order, as far as custody has one.
    pub(super) async fn regain(&self, restored: &mut Restored) {
        if self.run.custody_settings.is_none() {
            return;
        }
        let regained =
            async { Custodian::provide(&self.run, &Place::OWN).await?.regain(&by_command()).await };
        match regained.await {
            Ok(done) => restored.healed.extend(done),
            Err(error) => restored.open.push(format!("the plan's own login does not work: {error}")),
        }
    }
}

/// The keys that open a backup, in words.
fn lacking(vitals: &Vitals) -> String {
    let shares = vitals.share_config();
    let generation = vitals.generation.as_deref().unwrap_or("unknown");
    match &vitals.seal {
        Seal::Shamir => format!(
            "; it takes {} of the {} shares of generation {generation}",
            shares.threshold, shares.shares
        ),
        seal => format!("; it takes the key {} of the seal {seal}", vitals.root.key_id),
    }
}

/// Requires that a node has the tables of the leader: the same mounts, and each policy with the same text.
pub(super) async fn compare_tables(
    (vault, leader): (&VaultClient, &NodeClient),
    (other, node): (&VaultClient, &NodeClient),
) -> Result<()> {
    let names = vault.list_from(leader, POLICIES).await?;
    let names = names["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let policies = names.filter(|name| *name != "root").map(|name| format!("{POLICIES}/{name}"));
    for path in ["sys/mounts", "sys/auth"].map(str::to_owned).into_iter().chain(policies) {
        let started = Instant::now();
        let expected = vault.read_from(leader, &path).await?;
        loop {
            let seen = other.read_from(node, &path).await;
            if seen.as_ref().is_ok_and(|seen| *seen == expected) {
                break;
            }
            if started.elapsed() > AGREES_WITHIN {
                let why =
                    seen.err().map_or("it differs from the leader's".to_owned(), |error| error.to_string());
                return Err(Error::new(ErrorKind::Unavailable, format!("compare {path}"), why));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}
