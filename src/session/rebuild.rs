//! The findings of a rebuild: the journal, which may be gone, and the state of Vault.

use jiff::Timestamp;

use super::restore::{Restore, refused};
use crate::apply::by_command;
use crate::backup::{Bundle, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::journal::{Belief, Doubt};
use crate::place::Place;
use crate::providers::vault::{Ground, VaultClient};
use crate::rebuild::VaultPhase;
use crate::resource::Provided;
use crate::run::Run;
use crate::snapshot::Seal;

/// The path of the journal in the archive beside a backup.
const JOURNAL: &str = "journal.jsonl";

/// The journal of a backup, for a machine that has none.
pub struct LostJournal {
    /// How many lines it has.
    pub lines: u64,
    /// How many this machine has seen.
    pub seen: Option<u64>,
    text: Vec<u8>,
}

impl LostJournal {
    /// The journal beside a backup, if the plan has none here. `manifest` is the one beside the backup, and
    /// `companion` the archive that it names.
    ///
    /// # Errors
    /// `Rejected` when the archive is not the one that the manifest names, or cannot be read.
    pub fn look(run: &Run, manifest: Option<&[u8]>, companion: Option<&[u8]>) -> Result<Option<Self>> {
        let (Some(manifest), Some(archive)) = (manifest, companion) else { return Ok(None) };
        if !run.journal.is_empty() {
            return Ok(None);
        }
        let read = Manifest::read(manifest, run.journal.authority());
        let named = read.is_some_and(|read| read.manifest.companions.iter().any(|one| one.is_of(archive)));
        if !named {
            return Err(refused("the archive beside the backup is not the one that its manifest names"));
        }
        let text = Bundle::file_of(archive, JOURNAL)
            .map_err(|error| refused(format!("the archive beside the backup cannot be read: {error}")))?;
        let Some(text) = text else { return Ok(None) };
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
        let seen = match run.journal.belief() {
            Belief::Lost(seen) => Some(seen),
            _ => None,
        };
        Ok(Some(Self { lines, seen, text }))
    }

    /// Goes on with it. Lines that this machine has seen and it does not have are lost, and the caller knows that.
    ///
    /// # Errors
    /// `Denied` when it is not the plan's; when it cannot be written.
    pub async fn bring_back(self, run: &Run) -> Result<()> {
        let journal = &run.journal;
        journal.go_on_with(self.text)?;
        match journal.belief() {
            Belief::Doubted(Doubt::RolledBack { .. }) => {}
            _ => journal.require_believed()?,
        }
        if let Some(signer) = journal.signer() {
            journal.authority().sign_as(&signer);
        }
        if journal.authority().key().is_none() {
            run.ready_to_sign().await?;
        }
        journal.adopt(&by_command()).await
    }
}

impl Restore {
    /// The same backup in another run, whose clients know of what was made since.
    #[must_use]
    pub fn in_run(self, run: Run) -> Self {
        let recorded = run.journal.can_append();
        Self { run, recorded, ..self }
    }

    /// The same, whose manifest says that it was taken then.
    #[must_use]
    pub fn dated(self, taken: Option<Timestamp>) -> Self {
        Self { taken, ..self }
    }

    /// When the backup was taken, as its manifest says.
    pub fn taken(&self) -> Option<Timestamp> {
        self.taken
    }

    /// The way in which Vault comes back.
    ///
    /// # Errors
    /// `Rejected` when the servers are of another cluster; when they do not answer.
    pub async fn vault_phase(&self) -> Result<VaultPhase> {
        let vault = VaultClient::provide(&self.run, &Place::OWN).await?;
        let nodes = vault.nodes();
        let begun = match self.ground().await? {
            Ground::Inhabited => {
                let mut live = None;
                for node in &nodes {
                    live = live.or(node.seal_status().await.ok().and_then(|status| status.cluster_id));
                }
                if live.is_some() && live != self.contents().cluster_id {
                    let message = format!(
                        "{} serves, and is of another cluster than the backup; nothing was changed",
                        vault.address()
                    );
                    return Err(Error::new(ErrorKind::Rejected, "rebuild", message).advice(
                        "if its data are worth nothing, stop the servers, remove their storage and start them; \
                         `groundwork restore --other-cluster` puts the backup over them",
                    ));
                }
                return Ok(VaultPhase::Kept { address: vault.address().to_owned() });
            }
            Ground::Empty => false,
            Ground::Begun => true,
        };
        let vitals = self.vitals()?;
        let shares = vitals.share_config();
        let opens = match &vitals.seal {
            Seal::Shamir => {
                format!("with {} of the {} shares of its time", shares.threshold, shares.shares)
            }
            seal => format!("by its own seal, {seal}"),
        };
        let address = nodes.first().map_or(vault.address(), |node| node.address()).to_owned();
        Ok(VaultPhase::Restored { address, others: nodes.len().saturating_sub(1), opens, begun })
    }
}
