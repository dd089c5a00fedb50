//! One run over one plan: from the file to a changeset and its application.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::apply;
use crate::changeset::Changeset;
use crate::diff;
use crate::event::Events;
use crate::graph::Graph;
use crate::journal::{Journal, Who};
use crate::lock::{Info, LocalLock, RemoteLock};
use crate::observe::{self, World};
use crate::plan::settings::CustodySettings;
use crate::plan::{self, Diagnostic, Diagnostics, Node, Section};
use crate::providers::Providers;
use crate::providers::aws::AwsClient;
use crate::resolve::{self, OutputTable, Resolved, declare};
use crate::resource::erased::Instance;
use crate::resource::{ErrorKind, Provided, Scope};

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

impl Checked {
    /// Takes the right to be the only run of this plan on this machine.
    ///
    /// # Errors
    /// `Conflict`, naming the holder, when another run has it.
    pub fn lock(&self) -> Result<LocalLock, crate::resource::Error> {
        local_lock(&self.resolved)
    }
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
    local: Option<LocalLock>,
    parallelism: usize,
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
        find_places(&resolved, &mut providers).await?;
        providers.journal()?.pull().await?;
        let world =
            observe::observe(resolved, graph, instances, &providers, scope, parallelism, events).await;
        tell_warnings(&providers, &|warning| events.warn(warning));
        Ok(Self { providers, world, local: None, parallelism })
    }

    /// As [`Session::observe`], as the only run of this plan on this machine: what is observed is
    /// changed by no other run before this one has ended.
    ///
    /// # Errors
    /// As [`Session::observe`]; `Conflict` when another run has the lock.
    pub async fn observe_alone(checked: Checked, parallelism: usize, events: &Events) -> Result<Self, Error> {
        let local = checked.lock()?;
        let session = Self::observe(checked, parallelism, events).await?;
        Ok(Self { local: Some(local), ..session })
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

    /// Carries out an approved changeset of this session, under the plan's lock. Where that is a
    /// lock which other machines see, it is taken only now, because taking it is a write; so
    /// everything is observed once more, and what was approved must still be right.
    ///
    /// # Errors
    /// When another run holds the lock, naming it; when something has changed since the approval;
    /// or the journal cannot be written.
    pub async fn apply(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        if self.local.is_none() {
            self.local = Some(local_lock(&self.world.resolved)?);
        }
        let result = self.apply_locked(approved, options, events).await;
        tell_warnings(&self.providers, &|warning| events.warn(warning));
        self.release(events).await;
        result
    }

    /// Gives the lock back that other machines see. To be called when [`Session::apply`] was cut
    /// off; otherwise it has been done.
    pub async fn release(&self, events: &Events) {
        let Some(lock) = &self.providers.lock else { return };
        if let Err(error) = apply::unlock(lock).await {
            let advice = error.advice.as_deref().unwrap_or("run `groundwork unlock`");
            events.warn(format!("{error}; {advice}"));
        }
    }

    async fn apply_locked(
        &mut self,
        approved: apply::Approved<'_>,
        options: &apply::Options,
        events: &Events,
    ) -> Result<apply::Report, Error> {
        if let Some(lock) = &self.providers.lock
            && approved.changeset().summary.writing() > 0
            && apply::lock(lock, &approved).await?
        {
            self.require_unchanged(approved.changeset()).await?;
        }
        Ok(apply::apply(&mut self.world, approved, &self.providers, options, events).await?)
    }

    /// Somebody may have changed something between the observation and the lock.
    async fn require_unchanged(&mut self, approved: &Changeset) -> Result<(), Error> {
        let moved = self.providers.journal()?.pull().await?;
        observe::observe_again(&mut self.world, &self.providers, self.parallelism).await;
        let now = self.compare()?;
        let changed = approved.differences(&now);
        match (moved, changed.is_empty()) {
            (false, true) => Ok(()),
            (true, true) => Err(outdated("another run has written to the journal".to_owned()).into()),
            (_, false) => Err(outdated(format!("these steps have changed: {}", changed.join(", "))).into()),
        }
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

/// What was approved is not what would be done now.
fn outdated(what: String) -> crate::resource::Error {
    let message = format!("{what}, since the changes were approved; nothing was written");
    crate::resource::Error::new(ErrorKind::Conflict, "apply", message)
        .advice("apply again, and look at the changes once more")
}

fn local_lock(resolved: &Resolved) -> Result<LocalLock, crate::resource::Error> {
    let document = &resolved.document;
    LocalLock::acquire(&document.folder.join(".groundwork"), &document.name, &Who::here(&document.digest))
}

/// A plan's journal, with what other machines have added to its copy; and why that could not be
/// seen, for a journal is worth reading above all when something is not as it should be.
///
/// # Errors
/// When the journal here is damaged.
pub async fn journal(checked: Checked) -> Result<(Arc<Journal>, Option<Error>), Error> {
    let here = Arc::new(journal_of(&checked.resolved)?);
    if checked.resolved.document.section(Section::Journal).is_none() {
        return Ok((here, None));
    }
    match with_copy(checked).await {
        Ok(journal) => Ok((journal, None)),
        Err(error) => Ok((here, Some(error))),
    }
}

async fn with_copy(checked: Checked) -> Result<Arc<Journal>, Error> {
    let journal = connect_remotely(checked).await?.journal()?;
    journal.pull().await?;
    Ok(journal)
}

/// Takes the plan's lock away from whoever holds it, if the lock's id is exactly `id`. Gives who
/// held it, in words; `None` when there is no lock.
///
/// # Errors
/// `Rejected` when the plan has no lock; `Conflict` when the lock has another id.
pub async fn unlock(checked: Checked, id: &str) -> Result<Option<String>, Error> {
    let providers = connect_remotely(checked).await?;
    let Some(lock) = &providers.lock else {
        return Err(crate::resource::Error::new(ErrorKind::Rejected, "unlock", "the plan names no lock")
            .advice("the lock on this machine ends with the process that holds it")
            .into());
    };
    let held = apply::force_unlock(apply::ApprovedUnlock::by_caller(id), lock).await?;
    Ok(held.map(|info| info.describe()))
}

/// The clients, the journal and the lock of a plan; nothing is observed.
async fn connect_remotely(checked: Checked) -> Result<Providers, Error> {
    let mut resolved = checked.resolved;
    let mut providers = providers_of(&resolved)?;
    find_scope(&mut resolved, &providers).await?;
    find_places(&resolved, &mut providers).await?;
    Ok(providers)
}

/// Adds the journal's copy and the lock, which may be known only with the account.
async fn find_places(resolved: &Resolved, providers: &mut Providers) -> Result<(), Error> {
    let document = &resolved.document;
    if document.section(Section::Journal).is_none() && document.section(Section::Lock).is_none() {
        return Ok(());
    }
    let outputs = declare::predicted_outputs(resolved)?;
    let places = resolved
        .places(&outputs, true)
        .map_err(|mistakes| Diagnostics::new(document.sources.clone(), mistakes))?;
    if let Some(place) = places.journal {
        let copy = Arc::new(providers.s3_object(place).await?);
        providers.journal = Some(Arc::new(journal_of(resolved)?.mirrored(copy)));
    }
    if let Some(place) = places.lock {
        let place = providers.lock_place(place).await?;
        let info = Info::new(&Who::here(&document.digest), &place.path());
        providers.lock = Some(RemoteLock::new(place, info, document.path.clone()));
    }
    Ok(())
}

fn journal_of(resolved: &Resolved) -> Result<Journal, crate::resource::Error> {
    let document = &resolved.document;
    Journal::of_plan(&document.folder, &document.name, Who::here(&document.digest))
}

/// What the clients of a run over this plan are made from. Connects to nothing.
///
/// # Errors
/// Mistakes in `custody:`, and a journal that is damaged.
pub fn providers_of(resolved: &Resolved) -> Result<Providers, Error> {
    let document = &resolved.document;
    Ok(Providers {
        plan: document.name.clone(),
        folder: document.folder.clone(),
        aws_settings: resolved.aws.clone(),
        iam_steps: resolved.steps.iter().filter(|step| step.kind.name().starts_with("aws.iam_")).count(),
        vault_settings: resolved.vault.clone(),
        custody_settings: custody_of(resolved, &OutputTable::new())?,
        journal: Some(Arc::new(journal_of(resolved)?)),
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
        let own = Scope { account_id: Some(identity.account_id.clone()), plan: scope.plan, ..client.scope() };
        scope = Scope { aliases: scope.aliases, ..own };
        resolved.aws.account_id.clone_from(&scope.account_id);
        resolved.aws.region = Some(scope.region.clone());
    }
    let used: BTreeSet<String> = resolved.steps.iter().filter_map(|step| step.alias.clone()).collect();
    for alias in used {
        let client = AwsClient::provide_as(providers, Some(&alias)).await?;
        let account = client.identity().await?.account_id.clone();
        if let Some(declared) = resolved.aws.aliases.get_mut(&alias) {
            declared.account_id = Some(account);
            declared.region = Some(client.region().to_owned());
        }
        scope.aliases.insert(alias, client.scope());
    }
    Ok(scope)
}
