//! The contents of a plan, in the form that the template takes.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::custody::{Holder, HolderKey, pgp};
use crate::destination::Destinations;
use crate::plan::settings::{BackupSettings, BackupStoreSettings, RecipientSettings, StoreSettings};
use crate::plan::{Diagnostics, LockPlace};
use crate::session::Checked;
use crate::template::unknown;

/// When and with what a page is made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The time.
    pub at: Timestamp,
    /// The commands that the program has: a page names no others.
    pub commands: Vec<String>,
}

/// The contents of a page. Never a secret, because a plan does not have any.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    plan: String,
    stage: Option<String>,
    digest: String,
    made: String,
    version: &'static str,
    /// The file and the options, as a shell takes them.
    command_line: String,
    commands: Vec<String>,
    /// Where the systems are, by the field of the plan that says so.
    places: Destinations,
    grants: Vec<String>,
    cluster: Option<Cluster>,
    recipients: Vec<Key>,
    stores: Vec<Place>,
    backups: Option<Backups>,
    journal: Option<String>,
    lock: Option<String>,
    steps: Vec<Step>,
}

/// The cluster that the plan initialises.
#[derive(Clone, Debug, Serialize)]
struct Cluster {
    step: String,
    shares: u64,
    threshold: u64,
    keep_shares: bool,
    holders: Vec<Key>,
}

/// A person or a service that opens something.
#[derive(Clone, Debug, Serialize)]
struct Key {
    name: Option<String>,
    /// `kms`, `age` or `pgp`.
    kind: &'static str,
    /// The fingerprint, the public key, or the name of the key.
    id: String,
    /// The file with the public key.
    file: Option<String>,
    /// The step that makes it.
    step: Option<String>,
}

/// A place that keeps something.
#[derive(Clone, Debug, Serialize)]
struct Place {
    /// `file`, `s3` or `secretsmanager`.
    kind: &'static str,
    name: String,
}

#[derive(Clone, Debug, Serialize)]
struct Backups {
    stores: Vec<Place>,
    last: u32,
    daily: u32,
}

#[derive(Clone, Debug, Serialize)]
struct Step {
    id: String,
    kind: &'static str,
    name: String,
    fields: Value,
}

impl Facts {
    /// The facts of a checked plan.
    ///
    /// # Errors
    /// Sections of the plan that are wrong.
    pub fn of(checked: &Checked, made: Made) -> Result<Self, Diagnostics> {
        let resolved = &checked.resolved;
        let document = &resolved.document;
        let wrong = |mistakes| Diagnostics::new(document.sources.clone(), mistakes);
        let custody = resolved.custody(&checked.outputs).map_err(wrong)?.unwrap_or_default();
        let backups = resolved.backups(&checked.outputs, false).map_err(wrong)?;
        let places = resolved.places(&checked.outputs, false).map_err(wrong)?;
        let destinations = resolved.providers.iter().flat_map(|connection| connection.written());
        let steps = resolved.steps.iter().zip(&checked.instances);
        let steps: Vec<Step> = steps
            .map(|(step, instance)| Step {
                id: step.id.clone(),
                kind: step.kind.name(),
                name: known(&instance.name()),
                fields: instance.fields(),
            })
            .collect();
        let bootstraps = resolved.steps.iter().position(|step| step.kind.bootstraps());
        let recipients = custody.recipients.iter().map(|one| recipient(one, &document.folder, &steps));
        Ok(Self {
            plan: document.name.clone(),
            stage: document.stage_name().map(str::to_owned),
            digest: document.digest.clone(),
            made: made.at.strftime("%Y-%m-%d %H:%M UTC").to_string(),
            version: env!("CARGO_PKG_VERSION"),
            command_line: document.command_line.clone(),
            commands: made.commands,
            places: destinations
                .map(|(name, values)| (name, values.iter().map(|one| known(one)).collect()))
                .collect(),
            grants: checked.wanted.iter().map(|wanted| wanted.grant.to_string()).collect(),
            cluster: bootstraps.map(|index| cluster(&steps[index], &document.folder)),
            recipients: recipients.collect(),
            stores: custody.stores.iter().map(store).collect(),
            backups: backups.map(|settings| kept(&settings)),
            journal: places.journal.map(|place| place.to_string()),
            lock: places.lock.map(|place| match place {
                LockPlace::Item { table, id } => format!("the item {id} in the table {table}"),
                LockPlace::Object(place) => place.to_string(),
            }),
            steps,
        })
    }
}

/// Text with a description in place of what only `apply` makes known.
fn known(text: &str) -> String {
    unknown::describe(text)
}

fn cluster(step: &Step, folder: &Path) -> Cluster {
    let number = |field: &str| step.fields[field].as_u64().unwrap_or_default();
    let holders: Vec<Holder> =
        serde_json::from_value(step.fields.get("holders").cloned().unwrap_or(json!([]))).unwrap_or_default();
    Cluster {
        step: step.id.clone(),
        shares: number("shares"),
        threshold: number("threshold"),
        keep_shares: step.fields["keep_shares"] != false,
        holders: holders.iter().map(|one| holder(one, folder)).collect(),
    }
}

fn holder(holder: &Holder, folder: &Path) -> Key {
    let (kind, id) = match holder.key(folder) {
        Ok(HolderKey::Age(key)) => ("age", key.to_string()),
        Ok(HolderKey::Pgp(key)) => ("pgp", key.fingerprint()),
        Err(error) => {
            (if holder.age.is_some() { "age" } else { "pgp" }, format!("(cannot be read: {error})"))
        }
    };
    let file = holder.pgp.as_ref().map(|path| path.display().to_string());
    Key { name: Some(holder.name.clone()), kind, id, file, step: None }
}

fn recipient(settings: &RecipientSettings, folder: &Path, steps: &[Step]) -> Key {
    let key = |kind, id| Key { name: None, kind, id, file: None, step: None };
    match settings {
        RecipientSettings::Age(public) => key("age", public.clone()),
        RecipientSettings::Pgp(path) => {
            let read = pgp::PublicKey::read(folder, path).map(|public| public.fingerprint());
            let id = read.unwrap_or_else(|error| format!("(cannot be read: {error})"));
            Key { file: Some(path.display().to_string()), ..key("pgp", id) }
        }
        RecipientSettings::Kms(id) if unknown::is_unknown(id) => {
            let maker = unknown::references(id).next().and_then(|name| {
                let id = name.split('.').next().unwrap_or(name);
                steps.iter().find(|step| step.id == id)
            });
            let id = maker.map_or_else(|| known(id), |step| step.name.clone());
            Key { step: maker.map(|step| step.id.clone()), ..key("kms", id) }
        }
        RecipientSettings::Kms(id) => key("kms", id.clone()),
    }
}

fn store(settings: &StoreSettings) -> Place {
    let place = |kind, name: &str| Place { kind, name: known(name) };
    match settings {
        StoreSettings::File(path) => place("file", &path.display().to_string()),
        StoreSettings::S3(address) => place("s3", address),
        StoreSettings::Secretsmanager(prefix) => place("secretsmanager", prefix),
    }
}

fn kept(settings: &BackupSettings) -> Backups {
    let store = |store: &BackupStoreSettings| match store {
        BackupStoreSettings::File(path) => Place { kind: "file", name: known(&path.display().to_string()) },
        BackupStoreSettings::S3(address) => Place { kind: "s3", name: known(address) },
    };
    Backups {
        stores: settings.stores.iter().map(store).collect(),
        last: settings.keep.last,
        daily: settings.keep.daily,
    }
}
