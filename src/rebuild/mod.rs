//! The plan of a rebuild: what comes first, what Vault gets back, what follows, and what is lost for good.

mod times;

use std::collections::BTreeSet;

use jiff::Timestamp;

pub use times::{Part, Times};

use crate::changeset::{Action, Changeset};
use crate::observe::ObservedPlan;
use crate::plan::Section;
use crate::snapshot::{Contents, Table};

/// The way in which Vault comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPhase {
    /// It is still there, and its data are younger than the backup: they stay.
    Kept {
        /// A node of it.
        address: String,
    },
    /// It gets the backup.
    Restored {
        /// The server that gets it.
        address: String,
        /// How many others join it.
        others: usize,
        /// How it opens, in words.
        opens: String,
        /// Whether an earlier rebuild has begun it.
        begun: bool,
    },
}

impl VaultPhase {
    /// Whether it gets the backup.
    pub fn is_restored(&self) -> bool {
        matches!(self, Self::Restored { .. })
    }
}

/// Something that does not come back, or not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The step.
    pub step: String,
    /// Its thing.
    pub name: String,
    /// How it comes back.
    pub how: &'static str,
}

/// Everything that a rebuild is going to do, for a person to agree to.
#[derive(Clone, Debug)]
pub struct Outlook {
    /// The plan's name.
    pub plan: String,
    /// When the backup was taken.
    pub taken: Option<Timestamp>,
    /// What does not come back as it was.
    pub losses: Vec<Loss>,
    /// The steps that are applied before Vault is there.
    pub first: BTreeSet<String>,
    /// How many of those are missing.
    pub first_missing: usize,
    /// How many steps wait for Vault.
    pub behind: usize,
    /// The way in which Vault comes back.
    pub vault: VaultPhase,
    /// The contents of the backup, counted, in words.
    pub brings: Vec<String>,
    /// Whether the plan keeps secrets in custody.
    pub has_custody: bool,
    /// Steps that nothing can be done about, and why.
    pub blocked: Vec<(String, String)>,
}

impl Outlook {
    /// The outlook on an observed plan. `taken` is when the backup with these contents was taken.
    pub fn new(
        world: &ObservedPlan,
        changeset: &Changeset,
        contents: &Contents,
        taken: Option<Timestamp>,
        vault: VaultPhase,
    ) -> Self {
        let steps = &world.resolved.steps;
        let is_behind = |index: usize| steps[index].kind.bootstraps() || world.bootstrap_of(index).is_some();
        let (behind, first): (Vec<usize>, Vec<usize>) = (0..steps.len()).partition(|index| is_behind(*index));
        let first: BTreeSet<String> = first.into_iter().map(|index| steps[index].id.clone()).collect();
        let missing = changeset.steps.iter().filter(|step| step.action == Action::Create);
        let losses = missing.clone().filter_map(|step| {
            let kind = steps.iter().find(|one| one.id == step.id)?.kind;
            Some(Loss { step: step.id.clone(), name: step.name.clone(), how: kind.rebuilt()? })
        });
        let blocked = changeset.steps.iter().filter(|step| step.action == Action::Blocked);
        Self {
            plan: changeset.plan.name.clone(),
            taken,
            losses: losses.collect(),
            first_missing: missing.filter(|step| first.contains(&step.id)).count(),
            first,
            behind: behind.len(),
            vault,
            brings: counted(contents),
            has_custody: world.resolved.document.section(Section::Custody).is_some(),
            blocked: blocked.map(|step| (step.id.clone(), step.reason.clone().unwrap_or_default())).collect(),
        }
    }
}

fn counted(contents: &Contents) -> Vec<String> {
    let mounts = |table| contents.mounts_of(table).count();
    vec![
        format!("{} secrets", contents.secrets.len()),
        format!("{} secrets engines", mounts(Table::Secrets)),
        format!("{} auth methods", mounts(Table::Auth)),
        format!("{} policies", contents.policies.len()),
        format!("{} tokens", contents.counts.tokens),
    ]
}
