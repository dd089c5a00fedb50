//! Destinations of a run, from its plan and its clients; and their record in the journal.

use std::path::Path;

use crate::custody::pgp::PublicKey;
use crate::destination::{Destinations, WhereThisGoes};
use crate::error::Result;
use crate::journal::Entry;
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::place::Place;
use crate::plan::LockPlace;
use crate::plan::settings::{CustodySettings, RecipientSettings};
use crate::resolve::OutputTable;
use crate::resolve::places::Places;
use crate::resource::erased::Instance;
use crate::run::Run;
use crate::template::unknown::describe;

/// Where a run goes, with what of that is not as the journal has it.
pub fn of_world(world: &ObservedPlan, run: &Run) -> WhereThisGoes {
    WhereThisGoes::new(of_run(world, run), run.journal.destinations())
}

/// Notes in the journal where a run went, unless it is known.
///
/// # Errors
/// When the journal cannot be written.
pub async fn record(world: &ObservedPlan, run: &Run, permit: &Permit) -> Result<()> {
    let journal = &run.journal;
    let destinations = of_run(world, run);
    if journal.destinations().is_some_and(|(_, last)| last == destinations) || destinations.is_empty() {
        return Ok(());
    }
    journal.append(permit, Entry::Destinations { destinations }).await
}

/// The destinations of a run. A part of a plan that leaves a provider out says nothing about where that one goes.
fn of_run(world: &ObservedPlan, run: &Run) -> Destinations {
    let mut all = collect(world, run, &world.known_outputs());
    if !world.selected.is_partial() {
        return all;
    }
    let is_read = |provider: &str| {
        let steps = world.resolved.steps.iter().enumerate();
        steps
            .filter(|(_, step)| step.kind.provider() == provider)
            .any(|(index, _)| world.selected.reads(index))
    };
    for (name, values) in run.journal.destinations().into_iter().flat_map(|(_, last)| last) {
        let provider = name.split('.').next().unwrap_or_default();
        let is_left_out = run.connections.iter().any(|one| one.provider() == provider) && !is_read(provider);
        if is_left_out {
            all.entry(name).or_insert(values);
        }
    }
    all
}

fn collect(world: &ObservedPlan, run: &Run, outputs: &OutputTable) -> Destinations {
    let mut all = Destinations::new();
    let mut add = |name: &str, values: Vec<String>| {
        let values: Vec<String> = values.iter().map(|value| describe(value)).collect();
        if !values.is_empty() {
            all.insert(name.to_owned(), values);
        }
    };
    let folder = &world.resolved.document.folder;
    for connection in run.connections.iter() {
        let steps = (0..world.resolved.steps.len()).map(|index| world.place(index));
        let places = steps.filter(|(provider, _)| *provider == connection.provider());
        let places: Vec<Place> = places.map(|(_, place)| place).collect();
        for (name, values) in connection.destinations(&places) {
            add(&name, values);
        }
    }
    // A mistake in these sections is reported elsewhere.
    if let Some(custody) = world.resolved.custody(outputs).ok().flatten() {
        add("custody.recipients", recipients(&custody, folder));
        add("custody.stores", custody.stores.iter().map(ToString::to_string).collect());
    }
    add(
        "holders",
        world.instances.iter().flat_map(Instance::key_files).map(|file| key(folder, &file)).collect(),
    );
    let Places { journal: copy, lock } = world.resolved.places(outputs, false).unwrap_or_default();
    add("lock", lock.iter().map(lock_name).collect());
    // A plan that reaches nothing but files goes nowhere.
    if !all.is_empty() {
        let here = format!(".groundwork/journal/{}.jsonl", world.resolved.document.name);
        let values = std::iter::once(here).chain(copy.iter().map(ToString::to_string)).collect();
        all.insert("journal".to_owned(), values);
    }
    all
}

fn recipients(custody: &CustodySettings, folder: &Path) -> Vec<String> {
    let name = |recipient: &RecipientSettings| match recipient {
        RecipientSettings::Kms(arn) => format!("kms {arn}"),
        RecipientSettings::Age(key) => format!("age {key}"),
        RecipientSettings::Pgp(path) => format!("pgp {}", key(folder, path)),
    };
    custody.recipients.iter().map(name).collect()
}

/// The fingerprint of a public key file, with the file's name.
fn key(folder: &Path, path: &Path) -> String {
    let fingerprint = PublicKey::read(folder, path).map(|key| key.fingerprint());
    format!("{} ({})", fingerprint.as_deref().unwrap_or("not readable"), path.display())
}

fn lock_name(place: &LockPlace) -> String {
    match place {
        LockPlace::Item { table, id } => format!("DynamoDB {table}, {id}"),
        LockPlace::Object(place) => place.to_string(),
    }
}
