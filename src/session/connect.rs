//! From a plan to the clients of a run: whose account it is, then what depends on that.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use super::checked::{Checked, Purpose, journal_of, local_journal};
use crate::error::ErrorKind;
use crate::journal::{Journal, Who};
use crate::lock::{Info, RemoteLock};
use crate::plan::settings::{CustodySettings, StoreSettings};
use crate::plan::{Diagnostics, Section};
use crate::providers::Providers;
use crate::providers::aws::AwsClient;
use crate::resolve::declare;
use crate::resource::Scope;
use crate::template::unknown;

/// How much of a plan's surroundings a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The servers and custody. AWS is asked only when the account decides where custody is, so
    /// that a lost account does not stand between people and what is kept elsewhere.
    Custody,
    /// Also the journal's copy and the lock that other machines see, and whose account it is.
    Everything,
}

/// The clients of a plan; nothing is observed.
///
/// # Errors
/// When the journal is damaged; when the account has to be known and cannot be, or is not the one
/// that the plan names.
pub async fn connect(checked: &mut Checked, reach: Reach) -> Result<Providers, Error> {
    Ok(connect_in_scope(checked, reach).await?.0)
}

pub(super) async fn connect_in_scope(
    checked: &mut Checked,
    reach: Reach,
) -> Result<(Providers, Scope), Error> {
    checked.require_allowed(Purpose::Connect)?;
    let mut providers = offline(checked)?;
    let mut scope = declare::scope(&checked.resolved);
    if needs_account(checked, &providers, reach) {
        scope = Scope { aliases: scope.aliases, ..ask_account(&providers, None).await? };
        if reach == Reach::Everything {
            scope.aliases.extend(ask_aliases(checked, &providers).await?);
        }
        checked.declare_in(&scope)?;
        providers.custody_settings = custody(checked)?;
    }
    if reach == Reach::Everything {
        add_places(checked, &mut providers).await?;
    }
    Ok((providers, scope))
}

/// The providers as far as the plan determines them, without the network.
fn offline(checked: &Checked) -> Result<Providers, Error> {
    let resolved = &checked.resolved;
    Ok(Providers {
        plan: resolved.document.name.clone(),
        trust: resolved.trust.clone(),
        folder: resolved.document.folder.clone(),
        aws_settings: resolved.aws.clone(),
        iam_steps: resolved.steps.iter().filter(|step| step.kind.name().starts_with("aws.iam_")).count(),
        vault_settings: resolved.vault.clone(),
        custody_settings: custody(checked)?,
        journal: Some(Arc::new(local_journal(resolved)?)),
        ..Providers::default()
    })
}

fn custody(checked: &Checked) -> Result<Option<CustodySettings>, Error> {
    let settings = checked.resolved.custody(&checked.outputs);
    Ok(settings.map_err(|found| Diagnostics::new(checked.resolved.document.sources.clone(), found))?)
}

fn needs_account(checked: &Checked, providers: &Providers, reach: Reach) -> bool {
    let stores = providers.custody_settings.iter().flat_map(|settings| &settings.stores);
    let somewhere = |store: &StoreSettings| match store {
        StoreSettings::File(_) => false,
        StoreSettings::S3(place) | StoreSettings::Secretsmanager(place) => unknown::is_unknown(place),
    };
    let resolved = &checked.resolved;
    stores.into_iter().any(somewhere)
        || (reach == Reach::Everything
            && (resolved.steps.iter().any(|step| step.kind.provider() == "aws")
                || resolved.places(&checked.outputs, true).is_err()))
}

/// The account and region of the credentials: the plan's own, or those of this name. An account other
/// than the one the plan names is refused here, before anything else is asked.
async fn ask_account(providers: &Providers, alias: Option<&str>) -> Result<Scope, Error> {
    let client = AwsClient::of_account(providers, alias).await?;
    client.identity().await?;
    Ok(client.scope())
}

/// Those of every further account and region that a step is in.
async fn ask_aliases(checked: &Checked, providers: &Providers) -> Result<BTreeMap<String, Scope>, Error> {
    let mut scopes = BTreeMap::new();
    for alias in checked.resolved.steps.iter().filter_map(|step| step.alias.as_ref()) {
        if !scopes.contains_key(alias) {
            scopes.insert(alias.clone(), ask_account(providers, Some(alias)).await?);
        }
    }
    Ok(scopes)
}

/// Adds the journal's copy and the lock.
async fn add_places(checked: &Checked, providers: &mut Providers) -> Result<(), Error> {
    let document = &checked.resolved.document;
    let places = checked.resolved.places(&checked.outputs, true);
    let places = places.map_err(|mistakes| Diagnostics::new(document.sources.clone(), mistakes))?;
    if let Some(place) = places.journal {
        let copy = Arc::new(providers.s3_object(place).await?);
        let authority = Arc::clone(providers.journal()?.authority());
        providers.journal = Some(Arc::new(journal_of(&checked.resolved, authority)?.mirrored(copy)));
    }
    if let Some(place) = places.lock {
        let place = providers.lock_place(place).await?;
        let info = Info::new(&Who::here(&document.digest), &place.path());
        providers.lock = Some(RemoteLock::new(place, info, document.path.clone()));
    }
    Ok(())
}

/// A plan's journal, with what other machines have added to its copy; and why that could not be
/// seen, for a journal is worth reading above all when something is not as it should be.
///
/// # Errors
/// When the journal here is damaged.
pub async fn journal(mut checked: Checked) -> Result<(Arc<Journal>, Option<Error>), Error> {
    let here = Arc::new(local_journal(&checked.resolved)?);
    if checked.resolved.document.section(Section::Journal).is_none() {
        return Ok((here, None));
    }
    match with_copy(&mut checked).await {
        Ok(journal) => Ok((journal, None)),
        Err(error) => Ok((here, Some(error))),
    }
}

async fn with_copy(checked: &mut Checked) -> Result<Arc<Journal>, Error> {
    let journal = connect(checked, Reach::Everything).await?.journal()?;
    journal.pull().await?;
    Ok(journal)
}

/// Takes the plan's lock away from its holder, if the lock's id is exactly `id`. Returns a description
/// of the holder; `None` when there is no lock.
///
/// # Errors
/// `Rejected` when the plan has no lock; `Conflict` when the lock has another id.
pub async fn unlock(mut checked: Checked, id: &str) -> Result<Option<String>, Error> {
    let providers = connect(&mut checked, Reach::Everything).await?;
    let Some(lock) = &providers.lock else {
        return Err(crate::error::Error::new(ErrorKind::Rejected, "unlock", "the plan names no lock")
            .advice("the lock on this machine ends with the process that holds it")
            .into());
    };
    let held = crate::apply::force_unlock(crate::apply::ApprovedUnlock::by_caller(id), lock).await?;
    Ok(held.map(|info| info.describe()))
}
