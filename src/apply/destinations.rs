//! Destinations of a run, from its plan and its clients; and their record in the journal.

use std::path::Path;

use crate::custody::pgp::PublicKey;
use crate::destination::{Destinations, WhereThisGoes};
use crate::error::Result;
use crate::journal::Entry;
use crate::observe::ObservedPlan;
use crate::permit::Permit;
use crate::plan::settings::{AwsAccount, CustodySettings, RecipientSettings};
use crate::plan::{LockPlace, S3Location};
use crate::providers::Providers;
use crate::resolve::OutputTable;
use crate::resolve::places::Places;
use crate::resource::erased::Instance;
use crate::template::unknown::describe;

/// Where a run goes, with what of that is not as the journal has it.
pub fn of_world(world: &ObservedPlan, providers: &Providers) -> WhereThisGoes {
    let last = providers.journal.as_ref().and_then(|journal| journal.destinations());
    WhereThisGoes::new(collect(world, providers, &world.known_outputs()), last)
}

/// Notes in the journal where a run went, unless it is known.
///
/// # Errors
/// When the journal cannot be written.
pub async fn record(world: &ObservedPlan, providers: &Providers, permit: &Permit) -> Result<()> {
    let journal = providers.journal()?;
    let destinations = collect(world, providers, &world.known_outputs());
    if journal.destinations().is_some_and(|(_, last)| last == destinations) || destinations.is_empty() {
        return Ok(());
    }
    journal.append(permit, Entry::Destinations { destinations }).await
}

fn collect(world: &ObservedPlan, providers: &Providers, outputs: &OutputTable) -> Destinations {
    let mut all = Destinations::new();
    let mut add = |name: &str, values: Vec<String>| {
        let values: Vec<String> = values.iter().map(|value| describe(value)).collect();
        if !values.is_empty() {
            all.insert(name.to_owned(), values);
        }
    };
    let folder = &world.resolved.document.folder;
    for (name, values) in aws(world) {
        add(&name, values);
    }
    if let Some(vault) = providers.vault.get() {
        add("vault.address", vec![vault.address().to_owned()]);
        add("vault.nodes", vault.nodes().iter().map(|node| node.address().to_owned()).collect());
        add("vault.ca_cert", vault.ca_fingerprint().map(str::to_owned).into_iter().collect());
        add("vault.namespace", vault.namespace().map(str::to_owned).into_iter().collect());
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
        let values = std::iter::once(here).chain(copy.iter().map(object_name)).collect();
        all.insert("journal".to_owned(), values);
    }
    all
}

/// Account, region, profile and role: the plan's own, and those of each name that steps use.
fn aws(world: &ObservedPlan) -> Vec<(String, Vec<String>)> {
    let settings = &world.resolved.aws;
    let uses = |alias: Option<&str>| {
        let mut steps = world.resolved.steps.iter().filter(|step| step.kind.provider() == "aws");
        steps.any(|step| step.alias.as_deref() == alias)
    };
    let mut found = Vec::new();
    if (uses(None) || world.scope.account_id.is_some())
        && let Some(AwsAccount { profile, assume_role, .. }) = settings.account(None)
    {
        let region = Some(world.scope.region.clone()).filter(|region| !region.is_empty());
        found.push(("aws.account_id".to_owned(), world.scope.account_id.iter().cloned().collect()));
        found.push(("aws.region".to_owned(), region.into_iter().collect()));
        found.push(("aws.profile".to_owned(), profile.into_iter().collect()));
        let role = assume_role.map(|role| role.role_arn);
        found.push(("aws.assume_role".to_owned(), role.into_iter().collect()));
    }
    for name in settings.aliases.keys().filter(|name| uses(Some(name))) {
        let Some(AwsAccount { region, account_id, profile, assume_role }) = settings.account(Some(name))
        else {
            continue;
        };
        let parts = [
            ("account", account_id),
            ("region", region),
            ("profile", profile),
            ("role", assume_role.map(|role| role.role_arn)),
        ];
        let values = parts.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", value?)));
        found.push((format!("aws.aliases.{name}"), values.collect()));
    }
    found
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
        LockPlace::Object(place) => object_name(place),
    }
}

fn object_name(place: &S3Location) -> String {
    format!("s3://{}/{}", place.bucket, place.key)
}
