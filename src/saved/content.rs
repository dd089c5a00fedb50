//! The content of a saved changeset: everything that a review depends on.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::access::AccessChange;
use crate::changeset::{Changeset, RemovalScope, Selection, StepChange};
use crate::confined_path;
use crate::destination::{Destinations, WhereThisGoes};
use crate::observe::{Observation, ObservedPlan};
use crate::place::Realm;
use crate::plan::Node;
use crate::plan::ownership::PLAN_TAG;
use crate::plan::settings::RecipientSettings;
use crate::removal::Orphan;
use crate::resolve::{OutputTable, Resolved};
use crate::resource::erased::Instance;

/// Everything that a review depends on. The same plan and the same live systems result in the same
/// content, to the byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// The version of Groundwork that made it.
    pub tool: String,
    /// The plan, and everything that was read for it.
    pub plan: PlanRecord,
    /// The realms that were read.
    pub identities: Identities,
    /// The destinations of the run, including the recipients of its secrets.
    #[serde(default, skip_serializing_if = "Destinations::is_empty")]
    pub destinations: Destinations,
    /// All steps, in the changeset's order.
    pub steps: Vec<StepRecord>,
    /// Who gains or loses what by it, one line each, as the reviewer saw it. It follows from the rest, with which a
    /// later run is compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub access_changes: Vec<String>,
}

/// A plan as it was reviewed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRecord {
    /// The plan file, relative to the working directory where that is possible.
    pub path: String,
    /// The declared name.
    pub name: String,
    /// SHA-256 over plan, includes and given variables, `sha256:…`.
    pub digest: String,
    /// Each file that was read, relative to the plan's folder, with its SHA-256; template files as
    /// `template NAME`, and those with public keys that secrets are encrypted for as `key NAME`. Files
    /// of secrets are not among them.
    pub files: BTreeMap<String, String>,
    /// The chosen stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The commit that was checked out in the plan's repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The variables that were given beside the plan, in their order; of one that was given twice
    /// the later value wins.
    pub vars: Vec<(String, Value)>,
    /// The scope of removals.
    #[serde(default, skip_serializing_if = "RemovalScope::is_nothing")]
    pub removes: RemovalScope,
    /// The part of the plan that was asked for.
    #[serde(default, skip_serializing_if = "Selection::is_empty")]
    pub selection: Selection,
}

/// The realms that were read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Identities {
    /// By connection: `aws`, `aws.audit`, `vault`.
    Realms(Realms),
    /// As older versions recorded them.
    Older(Older),
}

/// Realms by connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realms {
    /// The realms; one that is not known is not among them.
    pub realms: BTreeMap<String, Realm>,
}

/// The accounts and the cluster that were read, as older versions recorded them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Older {
    aws: Option<OlderAccount>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    aliases: BTreeMap<String, OlderAccount>,
    vault: Option<OlderCluster>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OlderAccount {
    account_id: String,
    partition: String,
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OlderCluster {
    ClusterId(String),
    Address(String),
}

impl Identities {
    /// The realms by connection.
    pub fn new(realms: BTreeMap<String, Realm>) -> Self {
        Self::Realms(Realms { realms })
    }

    /// The realms by connection, as far as they are recorded.
    pub fn realms(&self) -> BTreeMap<String, Realm> {
        let older = match self {
            Self::Realms(Realms { realms }) => return realms.clone(),
            Self::Older(older) => older,
        };
        let account = |account: &OlderAccount| {
            Realm::default().with("account", &account.account_id).with("region", &account.region)
        };
        let cluster = |cluster: &OlderCluster| match cluster {
            OlderCluster::ClusterId(id) => Realm::default().with("cluster", id),
            OlderCluster::Address(_) => Realm::UNKNOWN,
        };
        let own = older.aws.iter().map(|aws| ("aws".to_owned(), account(aws)));
        let aliases = older.aliases.iter().map(|(name, aws)| (format!("aws.{name}"), account(aws)));
        let vault = older.vault.iter().map(|vault| ("vault".to_owned(), cluster(vault)));
        own.chain(aliases).chain(vault).collect()
    }
}

/// One step of the changeset, with the observation of its thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// The step's entry in the changeset, as `plan --format json` has it.
    pub change: Map<String, Value>,
    /// The observation that the entry depends on.
    pub observed: ObservedStep,
}

/// The observed state of one thing, as far as a decision depends on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedStep {
    /// `present`, `absent`, or the reason why it could not be read.
    pub state: String,
    /// The plan that its tags name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its outputs: numbers and booleans as they are, texts by the beginning of their SHA-256.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// The server's revision, which changes with each write, where the server has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Whether it is on the machine that planned, so that another machine may not have it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub local: bool,
    /// SHA-256 over all of this, the thing's identity and the fields that differ.
    pub fingerprint: String,
}

/// The inputs of a changeset beside the live systems.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The plan file as it was named.
    pub plan: PathBuf,
    /// The variables that were given.
    pub vars: Vec<(String, Node)>,
    /// The scope of removals.
    pub removes: RemovalScope,
    /// The part of the plan that was asked for.
    pub selection: Selection,
    /// The commit that is checked out around the plan, or that the caller expects.
    pub commit: Option<String>,
}

impl Content {
    /// Builds the content for this changeset.
    pub fn new(origin: &Origin, world: &ObservedPlan, identities: Identities, changeset: &Changeset) -> Self {
        let indices: BTreeMap<&str, usize> =
            world.resolved.steps.iter().enumerate().map(|(index, step)| (step.id.as_str(), index)).collect();
        let record = |step: &StepChange| {
            let index = indices.get(step.id.as_str()).copied();
            let change = fields_of(step);
            let orphan = || world.orphans.iter().find(|orphan| orphan.id == step.id);
            let observed = match index {
                Some(index) => observe(world, index),
                None => orphan().map(observe_orphan).unwrap_or_default(),
            };
            StepRecord { observed: observed.fingerprinted(&change), change }
        };
        Self {
            tool: env!("CARGO_PKG_VERSION").to_owned(),
            plan: PlanRecord::of(origin, &world.resolved, world.instances.iter()),
            identities,
            destinations: changeset.where_this_goes.as_ref().map(WhereThisGoes::values).unwrap_or_default(),
            steps: changeset.steps.iter().map(record).collect(),
            access_changes: changeset.access_changes.iter().map(AccessChange::line).collect(),
        }
    }

    /// The canonical bytes of this content, which its digest covers.
    ///
    /// # Panics
    /// Never: text, numbers and maps with text as keys can always be written as JSON.
    pub fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

impl PlanRecord {
    /// Builds the record of this plan, whose steps are `instances`.
    pub fn of<'a>(
        origin: &Origin,
        resolved: &Resolved,
        instances: impl Iterator<Item = &'a dyn Instance>,
    ) -> Self {
        let document = &resolved.document;
        let mut files: BTreeMap<String, String> = document
            .sources
            .iter()
            .map(|(path, text)| (below(path, &document.folder), sha256(text.as_bytes())))
            .collect();
        let templates = resolved.templates.digests();
        files.extend(templates.into_iter().map(|(name, digest)| (format!("template {name}"), digest)));
        files.extend(key_files(resolved, instances));
        let here = std::env::current_dir().unwrap_or_default();
        Self {
            path: below(&origin.plan, &here),
            name: document.name.clone(),
            stage: document.stage_name().map(str::to_owned),
            digest: document.digest.clone(),
            files,
            commit: origin.commit.clone(),
            removes: origin.removes,
            selection: origin.selection.clone(),
            vars: origin.vars.iter().map(|(name, node)| (name.clone(), node.to_value())).collect(),
        }
    }
}

/// The files with the public keys that secrets will be encrypted for: custody's recipients and the
/// holders of shares. An attacker who can change one of them can read the new secrets.
fn key_files<'a>(
    resolved: &Resolved,
    instances: impl Iterator<Item = &'a dyn Instance>,
) -> BTreeMap<String, String> {
    let custody = resolved.custody(&OutputTable::new()).ok().flatten();
    let recipients = custody.into_iter().flat_map(|settings| settings.recipients);
    let recipients = recipients.filter_map(|recipient| match recipient {
        RecipientSettings::Pgp(path) => Some(path),
        _ => None,
    });
    let folder = &resolved.document.folder;
    let digest = |path: PathBuf| {
        // A file that cannot be read is a mistake in the plan, which another check reports.
        let bytes = confined_path::read_existing(folder, &path, confined_path::KEY).ok()?;
        Some((format!("key {}", path.display()), sha256(&bytes)))
    };
    recipients.chain(instances.flat_map(Instance::key_files)).filter_map(digest).collect()
}

fn below(path: &Path, folder: &Path) -> String {
    let path = path.strip_prefix(folder).unwrap_or(path);
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.collect::<PathBuf>().display().to_string()
}

fn observe(world: &ObservedPlan, index: usize) -> ObservedStep {
    let instance = &world.instances[index];
    let state = match &world.observations[index] {
        Observation::Observed if instance.exists() => "present".to_owned(),
        Observation::Observed => "absent".to_owned(),
        Observation::BehindBootstrap(first) => format!("not before {}", world.resolved.steps[*first].id),
        Observation::AddressUnknown(references) => format!("not before {references} is known"),
        Observation::Failed(error) => format!("not to be read: {error}"),
        Observation::NotAsked => "not asked for".to_owned(),
    };
    ObservedStep {
        state,
        owner: instance.tags().and_then(|tags| tags.get(PLAN_TAG).cloned()),
        outputs: instance.outputs().unwrap_or_default().into_iter().map(shortened).collect(),
        revision: instance.revision(),
        local: world.resolved.steps[index].kind.on_this_machine(),
        fingerprint: String::new(),
    }
}

fn observe_orphan(orphan: &Orphan) -> ObservedStep {
    let state = match &orphan.hidden {
        Some(error) => format!("not to be read: {error}"),
        None if orphan.recorded.exists() => "present".to_owned(),
        None => "absent".to_owned(),
    };
    let owner = orphan.recorded.tags().and_then(|tags| tags.get(PLAN_TAG).cloned());
    let local = orphan.kind.on_this_machine();
    ObservedStep { state, owner, local, ..ObservedStep::default() }
}

fn shortened((name, value): (String, Value)) -> (String, Value) {
    match value {
        Value::Number(_) | Value::Bool(_) | Value::Null => (name, value),
        other => (name, json!(&sha256(other.to_string().as_bytes())[..23])),
    }
}

impl ObservedStep {
    fn fingerprinted(mut self, change: &Map<String, Value>) -> Self {
        let parts = ["kind", "name", "changes"].map(|key| change.get(key).cloned().unwrap_or_default());
        self.fingerprint = sha256(json!([self, parts]).to_string().as_bytes());
        self
    }
}

/// `sha256:…` of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn fields_of(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}
