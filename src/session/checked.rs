//! A plan that passed every check that needs no network.

use std::path::Path;

use crate::graph::Graph;
use crate::journal::{Journal, Who};
use crate::lock::LocalLock;
use crate::plan::{self, Diagnostic, Diagnostics, Node};
use crate::resolve::{self, OutputTable, Resolved, declare};
use crate::resource::erased::Instance;
use crate::resource::{Result, Scope};

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
    /// What is allowed but probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a plan without the network.
///
/// # Errors
/// All mistakes found.
pub fn check(path: &Path, vars: &[(String, Node)]) -> Result<Checked, Diagnostics> {
    let resolved = resolve::resolve(plan::load(path, vars)?);
    let (mut instances, outputs) = declare::declare(&resolved, &declare::scope(&resolved))?;
    let graph = Graph::build(&resolved, &instances)?;
    let found = Diagnostics::new(
        resolved.document.sources.clone(),
        declare::check_sources(&resolved, &mut instances),
    );
    if found.has_errors() {
        return Err(found);
    }
    Ok(Checked { resolved, instances, outputs, graph, warnings: found.list })
}

impl Checked {
    /// Takes the right to be the only run of this plan on this machine.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run has it.
    pub fn lock(&self) -> Result<LocalLock> {
        local_lock(&self.resolved)
    }

    /// Declares every step again, now that account and region are known.
    ///
    /// # Errors
    /// Mistakes that only these bring to light.
    pub(super) fn declare_in(&mut self, scope: &Scope) -> Result<(), Diagnostics> {
        self.resolved.aws.account_id.clone_from(&scope.account_id);
        self.resolved.aws.region = Some(scope.region.clone());
        (self.instances, self.outputs) = declare::declare(&self.resolved, scope)?;
        Ok(())
    }
}

pub(super) fn local_lock(resolved: &Resolved) -> Result<LocalLock> {
    let document = &resolved.document;
    LocalLock::acquire(&document.folder.join(".groundwork"), &document.name, &Who::here(&document.digest))
}

/// The journal of a plan, as it is on this machine.
pub(super) fn local_journal(resolved: &Resolved) -> Result<Journal> {
    let document = &resolved.document;
    Journal::of_plan(&document.folder, &document.name, Who::here(&document.digest))
}
