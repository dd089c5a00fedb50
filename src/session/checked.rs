//! A plan that passed every check that needs no network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{wanted, whole};
use crate::changeset::{RemovalScope, Selection};
use crate::error;
use crate::graph::{Graph, Selected};
use crate::journal::{Journal, Who};
use crate::lock::{LocalLock, Wait};
use crate::place::Realms;
use crate::plan::{self, Diagnostic, Diagnostics, Document, Given};
use crate::provider::Registry;
use crate::providers::PROVIDERS;
use crate::resolve::notify::Topic;
use crate::resolve::recovery::Recovery;
use crate::resolve::{self, OutputTable, Resolved, declare};
use crate::resource::erased::Instance;
use crate::session::Wanted;
use crate::signing::Authority;
use crate::trust;
use crate::trust::{Source, Subject, Trust};
use crate::workspace::Workspace;

/// A plan that passed every check that needs no network.
pub struct Checked {
    /// The plan.
    pub resolved: Resolved,
    /// One for each step.
    pub instances: Vec<Box<dyn Instance>>,
    /// The outputs that are certain before anything exists.
    pub outputs: OutputTable,
    /// The edges.
    pub graph: Graph,
    /// Warnings about things that are allowed but probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// The permissions that the plan needs of the caller, given or not.
    pub wanted: Vec<Wanted>,
    /// The scope of removal.
    pub extent: RemovalScope,
    /// The steps that a run deals with.
    pub selected: Selected,
}

/// The use that a command makes of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Talk to the plan's servers and accounts.
    Connect,
    /// The same, and read the secret inputs of its steps.
    Everything,
}

/// Reads and checks a plan without the network, with the stage and the variables that are given. It may use
/// what `trust` allows, and what the caller has allowed before.
///
/// # Errors
/// All mistakes found; permissions that cannot be read.
pub fn check(path: &Path, given: &Given, trust: &Trust) -> Result<Checked, Diagnostics> {
    check_with(&PROVIDERS, path, given, trust)
}

/// As [`check`], with other providers than the program's own.
///
/// # Errors
/// As [`check`].
pub fn check_with(
    registry: &'static Registry,
    path: &Path,
    given: &Given,
    trust: &Trust,
) -> Result<Checked, Diagnostics> {
    let document = plan::load(path, given, &registry.sections())?;
    let mut resolved = resolve::resolve(document, registry);
    // Permissions go by the plan's name, which is known only now.
    resolved.trust = trust_in(&resolved.document, trust)?;
    let (mut instances, outputs) = declare::declare(&resolved)?;
    let graph = Graph::build(&resolved, &instances)?;
    let mut found = declare::check_sources(&resolved, &mut instances);
    found.extend(whole::mistakes(&resolved, &instances));
    let found = Diagnostics::new(resolved.document.sources.clone(), found);
    if found.has_errors() {
        return Err(found);
    }
    let remark = Workspace::remark(&resolved.document.folder);
    let mut warnings = found.list;
    warnings.extend(remark.map(|remark| Diagnostic::warning(None, remark)));
    let extent = RemovalScope::default();
    let wanted = Vec::new();
    let selected = Selected::default();
    let mut checked = Checked { resolved, instances, outputs, graph, warnings, wanted, extent, selected };
    checked.wanted = wanted::wanted(&checked);
    Ok(checked)
}

/// The grants for this run, with those that are remembered for the plan.
fn trust_in(document: &Document, given: &Trust) -> Result<Trust, Diagnostics> {
    let store = trust::Store::of_plan(given.environment(), &document.folder, &document.name);
    let remembered = store.map_or(Ok(BTreeMap::new()), |store| store.load()).map_err(|error| {
        let mistake = Diagnostic::error(None, error.to_string()).help(error.advice.unwrap_or_default());
        Diagnostics::new(document.sources.clone(), vec![mistake])
    })?;
    let remembered = remembered.into_iter().map(|(grant, when)| (grant, Source::Remembered(when)));
    Ok(given.clone().with_given(remembered))
}

impl Checked {
    /// The permissions that the plan needs for this purpose and the caller has not given.
    pub fn missing(&self, purpose: Purpose) -> impl Iterator<Item = &Wanted> {
        let concerns =
            move |wanted: &Wanted| purpose == Purpose::Everything || wanted.grant.subject != Subject::Env;
        self.wanted
            .iter()
            .filter(move |wanted| concerns(wanted) && !self.resolved.trust.allows(&wanted.grant))
    }

    /// Requires that everything is allowed that the plan wants for this.
    ///
    /// # Errors
    /// All that is missing, with the flags that allow it.
    pub fn require_allowed(&self, purpose: Purpose) -> Result<(), Diagnostics> {
        let refusals: Vec<Diagnostic> = self.missing(purpose).map(Wanted::refusal).collect();
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(Diagnostics::new(self.resolved.document.sources.clone(), refusals)),
        }
    }

    /// The targets of a recovery.
    ///
    /// # Errors
    /// Mistakes in the section.
    pub fn recovery(&self) -> Result<Recovery, Diagnostics> {
        let recovery = self.resolved.recovery(&self.outputs);
        recovery.map_err(|found| Diagnostics::new(self.resolved.document.sources.clone(), found))
    }

    /// The topic that hears of an emergency.
    ///
    /// # Errors
    /// Mistakes in the section.
    pub fn notify(&self) -> Result<Option<Topic>, Diagnostics> {
        let topic = self.resolved.notify(&self.outputs);
        topic.map_err(|found| Diagnostics::new(self.resolved.document.sources.clone(), found))
    }

    /// The same plan, for a run that deals with this part of it.
    ///
    /// # Errors
    /// Names that the plan does not have.
    pub fn select(mut self, asked: Selection) -> Result<Self, Diagnostics> {
        let selected = Selected::of(&self.resolved, &self.graph, asked);
        let sources = || self.resolved.document.sources.clone();
        self.selected = selected.map_err(|mistakes| Diagnostics::new(sources(), mistakes))?;
        Ok(self)
    }

    /// The same plan, which also wants the key that has signed its journal.
    #[must_use]
    pub fn with_signer(mut self) -> Self {
        let signer = wanted::signer(&self);
        let is_new = |wanted: &Wanted| self.wanted.iter().all(|known| known.grant != wanted.grant);
        self.wanted.extend(signer.filter(is_new));
        self
    }

    /// Takes the right to be the only run of this plan on this machine.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run has it.
    pub async fn lock(&self, wait: &Wait<'_>) -> error::Result<LocalLock> {
        wait.take(async || local_lock(&self.resolved)).await
    }

    /// Declares every step again, now that these realms are known.
    ///
    /// # Errors
    /// Mistakes that only these bring to light.
    pub(super) fn declare_in(&mut self, realms: Realms) -> Result<(), Diagnostics> {
        self.resolved.learn(realms);
        (self.instances, self.outputs) = declare::declare(&self.resolved)?;
        Ok(())
    }
}

pub(super) fn local_lock(resolved: &Resolved) -> error::Result<LocalLock> {
    let document = &resolved.document;
    LocalLock::acquire(&Workspace::of(&document.folder)?, &document.name, &who(resolved))
}

/// The journal of a plan, as it is on this machine.
pub(super) fn local_journal(resolved: &Resolved) -> error::Result<Journal> {
    let document = &resolved.document;
    let authority = Authority::of_plan(&document.folder, &document.name, &resolved.trust)?;
    journal_of(resolved, Arc::new(authority))
}

/// The same, without a line, in place of one that is damaged.
pub(super) fn unread_journal(resolved: &Resolved) -> error::Result<Journal> {
    let document = &resolved.document;
    let authority = Authority::of_plan(&document.folder, &document.name, &resolved.trust)?;
    Journal::unread_of_plan(&document.folder, &document.name, who(resolved), Arc::new(authority))
}

/// The same, with an authority that is loaded already.
pub(super) fn journal_of(resolved: &Resolved, authority: Arc<Authority>) -> error::Result<Journal> {
    let document = &resolved.document;
    Journal::of_plan(&document.folder, &document.name, who(resolved), authority)
}

/// This process, as the journal and the locks name it.
pub(super) fn who(resolved: &Resolved) -> Who {
    Who::here(&resolved.document.digest, resolved.trust.environment())
}
