//! From a plan to the clients of a run: whose account it is, then what depends on that.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Error;
use super::checked::{Checked, Purpose, journal_of, local_journal, unread_journal, who};
use super::permissions::of_run;
use crate::error::ErrorKind;
use crate::graph;
use crate::journal::Journal;
use crate::lock::{Info, RemoteLock};
use crate::place::{Place, Realms};
use crate::plan::settings::{CustodySettings, StoreSettings};
use crate::plan::{Diagnostics, LockPlace, Section};
use crate::run::{Access, Command, Connection, Needs, Run};
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
pub async fn connect(checked: &mut Checked, reach: Reach) -> Result<Run, Error> {
    checked.require_allowed(Purpose::Connect)?;
    let mut run = offline(checked)?;
    let first = asked_first(checked, &run, reach);
    if !first.is_empty() {
        let realms = ask(checked, &run, &first, reach).await?;
        checked.declare_in(realms)?;
        run.needs = Arc::new(needs(checked));
        run.custody_settings = custody(checked)?;
    }
    if reach == Reach::Everything {
        add_places(checked, &mut run).await?;
        run.own_needs = Arc::new(of_run(checked, Command::Apply)?);
    }
    Ok(run)
}

/// A run for when [`connect`] fails: without the network, without what depends on it, and in place of a damaged
/// journal with an empty one.
///
/// # Errors
/// When the caller has not allowed the plan's servers; when not even the keys of the plan can be read.
pub fn bare(checked: &Checked) -> Result<Run, Error> {
    checked.require_allowed(Purpose::Connect)?;
    let journal = match local_journal(&checked.resolved) {
        Ok(journal) => journal,
        Err(_) => unread_journal(&checked.resolved)?,
    };
    let mut run = made_of(checked, journal);
    run.custody_settings = custody(checked).ok().flatten();
    Ok(run)
}

/// A plan's journal as this machine has it.
///
/// # Errors
/// When it is damaged.
pub fn journal_here(checked: &Checked) -> Result<Journal, Error> {
    Ok(local_journal(&checked.resolved)?)
}

/// The run as far as the plan determines it, without the network.
fn offline(checked: &Checked) -> Result<Run, Error> {
    let mut run = made_of(checked, local_journal(&checked.resolved)?);
    run.custody_settings = custody(checked)?;
    Ok(run)
}

fn made_of(checked: &Checked, journal: Journal) -> Run {
    let resolved = &checked.resolved;
    let document = &resolved.document;
    let mut run = Run::new(&document.name, &document.folder, resolved.trust.clone(), Arc::new(journal));
    run.kinds = resolved.steps.iter().map(|step| step.kind.name()).collect();
    run.connections = resolved.providers.clone();
    run.needs = Arc::new(needs(checked));
    run
}

/// The permissions that the steps need.
fn needs(checked: &Checked) -> Vec<Needs> {
    let steps = checked.resolved.steps.iter().zip(&checked.instances);
    let needs = steps.flat_map(|(step, instance)| {
        let (provider, place) = (step.kind.provider(), instance.place());
        let realm = checked.resolved.realms.of(provider, place);
        let permissions = Access::APPLY.iter().flat_map(|access| instance.permissions(*access, &realm));
        Needs::of_step(&step.id, provider, place, permissions.collect())
    });
    needs.collect()
}

fn custody(checked: &Checked) -> Result<Option<CustodySettings>, Error> {
    let settings = checked.resolved.custody(&checked.outputs);
    Ok(settings.map_err(|found| Diagnostics::new(checked.resolved.document.sources.clone(), found))?)
}

/// The connections whose realms something depends on, so that they are asked before anything else.
fn asked_first<'r>(checked: &Checked, run: &'r Run, reach: Reach) -> Vec<&'r dyn Connection> {
    let stores = run.custody_settings.iter().flat_map(|settings| &settings.stores);
    let is_somewhere = |store: &StoreSettings| match store {
        StoreSettings::File(_) => false,
        StoreSettings::S3(place) | StoreSettings::Secretsmanager(place) => unknown::is_unknown(place),
    };
    let (resolved, is_all) = (&checked.resolved, reach == Reach::Everything);
    let has_unknown_places =
        stores.into_iter().any(is_somewhere) || is_all && resolved.places(&checked.outputs, true).is_err();
    // A kind of a system may only write a file.
    let there = resolved.steps.iter().filter(|step| !step.kind.on_this_machine());
    let has_steps = |provider| is_all && there.clone().any(|step| step.kind.provider() == provider);
    let all = run.connections.iter().filter(|connection| connection.asks_first());
    let is_asked = |connection: &&dyn Connection| {
        has_unknown_places && connection.keeps_for_runs() || has_steps(connection.provider())
    };
    all.filter(is_asked).collect()
}

/// Asks for the realms of the plan's own places and, with `Everything`, of the connections that steps
/// use; gives them with those that the plan declares. An account other than the one that the plan names is refused here, before anything else is asked.
async fn ask(checked: &Checked, run: &Run, first: &[&dyn Connection], reach: Reach) -> Result<Realms, Error> {
    let mut realms = checked.resolved.realms.clone();
    for connection in first {
        let provider = connection.provider();
        let steps = checked.resolved.steps.iter().filter(|step| step.kind.provider() == provider);
        let used = steps.filter(|_| reach == Reach::Everything);
        let used = used.map(|step| Place::of_alias(step.alias.as_deref()));
        for place in std::iter::once(Place::OWN).chain(used).collect::<BTreeSet<Place>>() {
            let realm = connection.realm(run, &place).await?;
            realms.set(provider, place, realm);
        }
    }
    Ok(realms)
}

/// Adds the journal's copy and the lock.
async fn add_places(checked: &Checked, run: &mut Run) -> Result<(), Error> {
    let document = &checked.resolved.document;
    let places = checked.resolved.places(&checked.outputs, true);
    let places = places.map_err(|mistakes| Diagnostics::new(document.sources.clone(), mistakes))?;
    let is_made = |place: &LockPlace| graph::makes(&checked.resolved, &checked.instances, place);
    if let Some(place) = places.journal {
        let is_made = is_made(&LockPlace::Object(place.clone()));
        let copy = run.journal_copy(&place).await?;
        let authority = Arc::clone(run.journal.authority());
        run.journal = Arc::new(journal_of(&checked.resolved, authority)?.mirrored(copy, is_made));
    }
    if let Some(place) = places.lock {
        let is_made = is_made(&place);
        let place = run.lock_place(&place).await?;
        let info = Info::new(&who(&checked.resolved), &place.path());
        let lock = RemoteLock::new(place, info, document.command_line.clone());
        run.lock = Some(lock.made_by_plan(is_made));
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
    let journal = connect(checked, Reach::Everything).await?.journal;
    journal.pull().await?;
    Ok(journal)
}

/// Takes the plan's lock away from its holder, if the lock's id is exactly `id`. Returns a description
/// of the holder; `None` when there is no lock.
///
/// # Errors
/// `Rejected` when the plan has no lock; `Conflict` when the lock has another id.
pub async fn unlock(mut checked: Checked, id: &str) -> Result<Option<String>, Error> {
    let run = connect(&mut checked, Reach::Everything).await?;
    let Some(lock) = &run.lock else {
        return Err(crate::error::Error::new(ErrorKind::Rejected, "unlock", "the plan names no lock")
            .advice("the lock on this machine ends with the process that holds it")
            .into());
    };
    let held = crate::apply::force_unlock(crate::apply::ApprovedUnlock::by_caller(id), lock).await?;
    Ok(held.map(|info| info.describe()))
}
