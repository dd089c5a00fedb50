//! Backups of a plan's Vault: taking one, and finding one that was taken.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;

use super::{Checked, Error, Reach, connect};
use crate::apply::by_command;
use crate::backup::{
    self, BackupPlace, Bundle, Check, FromStart, Keys, Latest, Manifest, Parcel, ShareSet, State,
    Surroundings, Taken,
};
use crate::confined_path::{Folder, JOURNAL, Keeping, Missing, TEMPLATE};
use crate::error::{self, ErrorKind};
use crate::place::Place;
use crate::plan::Diagnostics;
use crate::plan::settings::BackupSettings;
use crate::providers::vault::{Custodian, NodeClient, VaultClient};
use crate::resource::Provided;
use crate::run::Run;
use crate::workspace::Workspace;

/// The folder of templates, beside the plan.
const TEMPLATES: &str = "templates";
/// How deep it is searched.
const DEPTH: usize = 4;

/// A backup that was taken, and its proof.
pub struct BackedUp {
    /// The outcome.
    pub taken: Taken,
    /// How much of it is proven.
    pub check: Check,
    /// Notes for a person.
    pub remarks: Vec<String>,
}

/// A run with the places of a plan's backups.
pub struct Backups {
    /// The run.
    pub run: Run,
    settings: BackupSettings,
    places: Vec<Box<dyn BackupPlace>>,
}

impl Backups {
    /// Connects to where the plan keeps its backups. AWS is asked only for what is there.
    ///
    /// # Errors
    /// `Rejected` when the plan does not say where; when a place cannot be used at all.
    pub async fn connect(checked: &mut Checked) -> Result<Self, Error> {
        let needs_all = checked.resolved.backups(&checked.outputs, true).is_err();
        let reach = if needs_all { Reach::Everything } else { Reach::Custody };
        let run = connect(checked, reach).await?;
        let sources = || checked.resolved.document.sources.clone();
        let settings = checked.resolved.backups(&checked.outputs, true);
        let settings = settings.map_err(|found| Diagnostics::new(sources(), found))?;
        let settings = settings.ok_or_else(no_backups)?;
        let mut places = Vec::with_capacity(settings.stores.len());
        for store in &settings.stores {
            places.push(run.backup_place(store).await?);
        }
        Ok(Self { run, settings, places })
    }

    /// The places, in the order of the plan.
    pub fn places(&self) -> &[Box<dyn BackupPlace>] {
        &self.places
    }

    /// The newest backup.
    ///
    /// # Errors
    /// `Rejected` when there is none.
    pub async fn latest(&self) -> error::Result<Latest> {
        backup::latest(&self.places, self.run.journal.authority()).await
    }

    /// The archive with the plan's files and its journal that a manifest names, from a place that has it whole.
    pub async fn companion(&self, manifest: &Manifest) -> Option<Vec<u8>> {
        let companion = manifest.companions.first()?;
        for place in &self.places {
            let Ok(file) = backup::fetch(place.as_ref(), &companion.name).await else { continue };
            let mut bytes = Vec::new();
            let read = FromStart::of(&file).ok()?.take(JOURNAL).read_to_end(&mut bytes);
            if read.is_ok() && companion.is_of(&bytes) {
                return Some(bytes);
            }
        }
        None
    }

    /// Takes a snapshot from the node that leads, proves it, and stores it with what else a rebuild needs.
    ///
    /// # Errors
    /// When there is no snapshot, or the one that arrived is flawed; then nothing is stored.
    pub async fn take(&self, checked: &Checked) -> Result<BackedUp, Error> {
        let (run, mut remarks) = (&self.run, Vec::new());
        let vault = VaultClient::provide(run, &Place::OWN).await?;
        let node = vault.leading_node().await?;
        let mut keys = Keys::default();
        if let Err(error) = add_keys(run, &mut keys).await {
            remarks.push(format!("custody cannot be read, so the backup is not proven: {error}"));
        }
        let taken = Timestamp::now();
        let (file, check) = take_and_check(&vault, &node, &keys).await?;
        let cluster_id = vault.cluster_id().await.unwrap_or_else(|| "unknown".to_owned());
        let around = self.surroundings(checked, &mut remarks).await;
        let manifest = Manifest::new(&check, taken, &cluster_id, around);
        let manifest = manifest.filter(|_| check.state != State::Flawed);
        let manifest = manifest.ok_or_else(|| flawed(node.address(), &check))?;
        let bundle = bundle(checked)?;
        if let Err(error) = run.ready_to_sign().await {
            remarks.push(format!("the manifest is not signed: {error}"));
        }
        let (authority, key) = (run.journal.authority(), run.journal.authority().key());
        let (keep, key) = (self.settings.keep, key.as_deref());
        let parcel = Parcel { file: &file, bundle: &bundle, key, authority, keep };
        let taken = backup::store(&by_command(), &self.places, manifest, &parcel).await?;
        Ok(BackedUp { taken, check, remarks })
    }

    async fn surroundings(&self, checked: &Checked, remarks: &mut Vec<String>) -> Surroundings {
        let document = &checked.resolved.document;
        let custody = async { self.run.custody().await?.examine("", false).await };
        let custody = match custody.await {
            Ok(objects) => objects.into_iter().map(|one| format!("{}.{}", one.name, one.version)).collect(),
            Err(error) => {
                remarks.push(format!("the manifest does not list custody: {error}"));
                Vec::new()
            }
        };
        Surroundings {
            plan: document.name.clone(),
            plan_digest: document.digest.clone(),
            custody,
            journal_lines: self.run.journal.entries().len(),
        }
    }
}

/// The plan's files, its templates, and the journal.
fn bundle(checked: &Checked) -> error::Result<Bundle> {
    let (document, mut bundle) = (&checked.resolved.document, Bundle::default());
    for (path, text) in document.sources.iter() {
        let inside = path.strip_prefix(&document.folder).unwrap_or(path);
        let name = inside.file_name().map(Path::new).filter(|_| inside.is_absolute()).unwrap_or(inside);
        bundle.add(format!("plan/{}", name.display()), text.as_bytes().to_vec());
    }
    let unread = |error: std::io::Error| {
        error::Error::new(ErrorKind::Local, "read the plan's files", error.to_string())
    };
    let templates = Folder::open(&document.folder, TEMPLATES, Keeping::Open, Missing::Leave);
    if let Some(folder) = templates.map_err(unread)? {
        add_files(&mut bundle, &folder, TEMPLATES, DEPTH).map_err(unread)?;
    }
    let journal = Workspace::of(&document.folder)?.file(&format!("journal/{}.jsonl", document.name));
    if let Some(bytes) = journal.read(JOURNAL).map_err(unread)? {
        bundle.add("journal.jsonl", bytes);
    }
    Ok(bundle)
}

/// Takes a snapshot from this node, into a file that is gone when it is closed, and checks it.
pub(super) async fn take_and_check(
    vault: &VaultClient,
    node: &NodeClient,
    keys: &Keys,
) -> error::Result<(File, Check)> {
    let mut file = backup::spool()?;
    vault.take_snapshot(node, &mut file).await?;
    let check = backup::check(&file, keys).await?;
    Ok((file, check))
}

fn add_files(bundle: &mut Bundle, folder: &Folder, prefix: &str, depth: usize) -> std::io::Result<()> {
    let mut entries = folder.entries()?;
    entries.sort_unstable();
    for (name, is_folder) in entries {
        let path = format!("{prefix}/{name}");
        if !is_folder {
            if let Some((bytes, _)) = folder.read(&name, TEMPLATE)? {
                bundle.add(format!("plan/{path}"), bytes);
            }
        } else if depth > 0
            && let Some(inner) = folder.enter(&name)?
        {
            add_files(bundle, &inner, &path, depth - 1)?;
        }
    }
    Ok(())
}

/// Adds what a plan has to open a backup: the key service of its account, and the shares in custody.
///
/// # Errors
/// When custody cannot be listed.
pub async fn add_keys(run: &Run, keys: &mut Keys) -> error::Result<()> {
    keys.service = run.any_key_service().await;
    if run.custody_settings.is_some() {
        let kept = Custodian::provide(run, &Place::OWN).await?.kept_shares().await?;
        keys.sets.extend(kept.into_iter().map(|(from, shares)| ShareSet { from, shares }));
    }
    Ok(())
}

/// A backup at an address in S3, in a file that is gone when it is closed; its manifest, and the archive with the plan's
/// files, if they are there.
///
/// # Errors
/// When it cannot be fetched.
pub async fn fetch_from_s3(
    run: &Run,
    address: &str,
) -> error::Result<(File, Option<Vec<u8>>, Option<Vec<u8>>)> {
    let wrong = |why: String| error::Error::new(ErrorKind::Rejected, "fetch the backup", why);
    let place: crate::plan::S3Location = address.parse().map_err(wrong)?;
    let (folder, name) = place.key.rsplit_once('/').ok_or_else(|| {
        wrong(format!("`{address}` has no folder; write it as s3://BUCKET/PREFIX/NAME.snap"))
    })?;
    let folder = crate::plan::S3Location { key: folder.to_owned(), bucket: place.bucket.clone() };
    let place = run.backup_bucket(&folder).await?;
    let (manifest, companion) = match name.strip_suffix(".snap") {
        Some(base) => (
            place.text(&format!("{base}.json")).await?,
            place.text(&format!("{base}.plan.tar")).await.ok().flatten(),
        ),
        None => (None, None),
    };
    Ok((backup::fetch(place.as_ref(), name).await?, manifest, companion))
}

fn flawed(address: &str, check: &Check) -> error::Error {
    let why = check.flaw.as_ref().map(|flaw| format!(": {flaw}")).unwrap_or_default();
    let message = format!("what {address} sent is flawed, and nothing was stored{why}");
    error::Error::new(ErrorKind::Unavailable, "take a backup", message)
        .advice("run it again; if it stays so, look at the log of the server")
}

fn no_backups() -> error::Error {
    let message = "the plan does not say where backups are kept";
    error::Error::new(ErrorKind::Rejected, "backup", message).advice(
        "add a section, e.g. `backup: { stores: [ { file: backups }, { s3: \"s3://BUCKET/vault\" } ] }`",
    )
}
