//! One run over one plan: from the file to a changeset and its application.

use std::path::Path;
use std::sync::Arc;

use crate::apply;
use crate::changeset::Changeset;
use crate::diff;
use crate::event::Events;
use crate::graph::Graph;
use crate::journal::lock::LocalLock;
use crate::journal::{Journal, Who};
use crate::observe::{self, World};
use crate::plan::settings::CustodySettings;
use crate::plan::{self, Diagnostic, Diagnostics, Node};
use crate::providers::Providers;
use crate::providers::aws::AwsClient;
use crate::resolve::{self, OutputTable, Resolved, declare};
use crate::resource::erased::Instance;
use crate::resource::{Provided, Scope};

/// Things that are read at the same time, and steps that are written at the same time, unless
/// the caller says otherwise.
pub const PARALLELISM: usize = 16;

/// A plan that passed every check that needs no network.
pub struct Checked {
    /// The plan.
    pub resolved: Resolved,
    /// One for each step.
    pub instances: Vec<Box<dyn Instance>>,
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
    let mut instances = declare::declare(&resolved)?;
    let graph = Graph::build(&resolved, &instances)?;
    let found = Diagnostics::new(
        resolved.document.sources.clone(),
        declare::check_sources(&resolved, &mut instances),
    );
    if found.has_errors() {
        return Err(found);
    }
    Ok(Checked { resolved, instances, graph, warnings: found.list })
}

/// The clients of a plan for commands that need no changeset. Sends nothing.
///
/// # Errors
/// When the journal is damaged.
pub fn connect(checked: &Checked) -> Result<Providers, Error> {
    let mut providers = providers_of(&checked.resolved)?;
    let scope = declare::scope(&checked.resolved);
    let predicted = predicted(&checked.resolved, &checked.instances, &scope);
    providers.custody_settings = custody_of(&checked.resolved, &predicted)?;
    Ok(providers)
}

/// The outputs that are certain before anything exists: a store may be in a bucket of the plan.
fn predicted(resolved: &Resolved, instances: &[Box<dyn Instance>], scope: &Scope) -> OutputTable {
    let steps = resolved.steps.iter().zip(instances);
    steps.map(|(step, instance)| (step.id.clone(), instance.predicted_outputs(scope))).collect()
}

/// A plan, the live systems as they were observed, and the way to them.
pub struct Session {
    /// The clients.
    pub providers: Providers,
    /// What was seen.
    pub world: World,
}

/// Why there is no changeset.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] Diagnostics),
    /// A live system, or this machine, does not let the run begin.
    #[error(transparent)]
    Live(#[from] crate::resource::Error),
}

impl From<crate::changeset::Error> for Error {
    fn from(error: crate::changeset::Error) -> Self {
        match error {
            crate::changeset::Error::Plan(mistakes) => Self::Plan(mistakes),
        }
    }
}

impl Session {
    /// Connects and observes every step. Writes nothing, anywhere.
    ///
    /// # Errors
    /// When the account is not the plan's, credentials are missing, or the journal is damaged.
    pub async fn observe(checked: Checked, parallelism: usize, events: &Events) -> Result<Self, Error> {
        let Checked { mut resolved, instances, graph, .. } = checked;
        let mut providers = providers_of(&resolved)?;
        let scope = find_scope(&mut resolved, &providers).await?;
        providers.custody_settings = custody_of(&resolved, &predicted(&resolved, &instances, &scope))?;
        let world =
            observe::observe(resolved, graph, instances, &providers, scope, parallelism, events).await;
        tell_warnings(&providers, &|warning| events.warn(warning));
        Ok(Self { providers, world })
    }

    /// The difference between the plan and what was observed.
    ///
    /// # Errors
    /// Mistakes in the plan that only live values bring to light.
    pub fn compare(&mut self) -> Result<Changeset, Error> {
        let journal = self.providers.journal()?;
        let created = move |kind: &str, id: &str| {
            let target = apply::target(kind, id);
            journal.created(kind, id) || journal.open_intent(apply::CREATE, &target).is_some()
        };
        Ok(diff::compare(&mut self.world, &created)?)
    }

    /// Carries out an approved changeset of this session.
    ///
    /// # Errors
    /// When another run holds the lock, naming it, or the journal cannot be written.
    pub async fn apply(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        let document = &self.world.resolved.document;
        let folder = document.folder.join(".groundwork");
        let _lock = LocalLock::acquire(&folder, &document.name, &Who::here(&document.digest))?;
        let report = apply::apply(&mut self.world, approved, &self.providers, options, events).await;
        tell_warnings(&self.providers, &|warning| events.warn(warning));
        Ok(report?)
    }

    /// Removes the thing of one step, as approved.
    ///
    /// # Errors
    /// When the step is protected, or the live system refuses.
    pub async fn remove(&self, approved: apply::ApprovedRemoval<'_>) -> Result<(), Error> {
        Ok(apply::remove(&self.world, approved, &self.providers).await?)
    }
}

/// Tells of copies in custody that could not be used.
pub fn tell_warnings(providers: &Providers, tell: &dyn Fn(String)) {
    for warning in providers.custody.get().map(|custody| custody.take_warnings()).unwrap_or_default() {
        tell(warning);
    }
}

fn custody_of(resolved: &Resolved, outputs: &OutputTable) -> Result<Option<CustodySettings>, Error> {
    let settings = resolved.custody(outputs);
    Ok(settings.map_err(|found| Diagnostics::new(resolved.document.sources.clone(), found))?)
}

/// What the clients of a run over this plan are made from. Connects to nothing.
///
/// # Errors
/// Mistakes in `custody:`, and a journal that is damaged.
pub fn providers_of(resolved: &Resolved) -> Result<Providers, Error> {
    let document = &resolved.document;
    let journal = Journal::of_plan(&document.folder, &document.name, Who::here(&document.digest))?;
    Ok(Providers {
        plan: document.name.clone(),
        folder: document.folder.clone(),
        aws_settings: resolved.aws.clone(),
        vault_settings: resolved.vault.clone(),
        custody_settings: custody_of(resolved, &OutputTable::new())?,
        journal: Some(Arc::new(journal)),
        ..Providers::default()
    })
}

/// The account and region, from the caller's identity when the plan has AWS steps. An account
/// other than the one the plan names is refused here, before anything else is asked.
async fn find_scope(resolved: &mut Resolved, providers: &Providers) -> Result<Scope, Error> {
    let mut scope = declare::scope(resolved);
    if resolved.steps.iter().any(|step| step.kind.provider() == "aws") {
        let client = AwsClient::provide(providers).await?;
        let identity = client.identity().await?;
        scope = Scope { account_id: Some(identity.account_id.clone()), plan: scope.plan, ..client.scope() };
        resolved.aws.account_id.clone_from(&scope.account_id);
        resolved.aws.region = Some(scope.region.clone());
    }
    Ok(scope)
}
