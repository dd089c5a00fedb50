//! The version that counts: the newest that is the plan's own, from any place that has it whole.
//!
//! The search sets aside copies without a trusted signature, damaged copies and unreadable copies, so
//! that an attacker who can write to one store does not block the others. It does not skip a copy
//! that is ours but cannot be opened here: an older version must not replace it.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::document::Document;
use super::{Custody, Handout, Store, check_name, local};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The versions that each place lists; an error where it does not answer.
pub(super) type Listed<'a> = Vec<(&'a dyn Store, Result<BTreeSet<u32>>)>;

/// A copy that counts.
pub(super) struct Whole {
    pub(super) version: u32,
    pub(super) document: Document,
    pub(super) bytes: Vec<u8>,
    /// The decrypted value, if the caller asked for it.
    pub(super) value: Option<Secret>,
}

/// Why a copy does not count.
struct Unusable {
    error: Error,
    /// It is ours, but cannot be opened here.
    is_ours: bool,
}

impl From<Error> for Unusable {
    fn from(error: Error) -> Self {
        Self { error, is_ours: false }
    }
}

/// The result of a search for a name.
#[derive(Default)]
pub(super) struct Search {
    pub(super) whole: Option<Whole>,
    /// Why the newest copy does not count, where none does.
    failure: Option<Unusable>,
}

impl Search {
    /// The copy that counts; `None` when there is nothing under the name.
    ///
    /// # Errors
    /// When there are copies, but none counts.
    pub(super) fn into_whole(self) -> Result<Option<Whole>> {
        match (self.whole, self.failure) {
            (None, Some(failure)) => Err(failure.error),
            (whole, _) => Ok(whole),
        }
    }

    /// As [`Search::into_whole`], but a copy that does not count is the same as no copy.
    ///
    /// # Errors
    /// When the newest copy is ours but cannot be opened, or a place does not answer.
    pub(super) fn into_whole_if_any(self) -> Result<Option<Whole>> {
        match (self.whole, self.failure) {
            (None, Some(failure)) if failure.is_ours || is_passing(&failure.error) => Err(failure.error),
            (whole, _) => Ok(whole),
        }
    }
}

/// Whether the failure may be transient, so that the place may answer the next time.
fn is_passing(error: &Error) -> bool {
    !matches!(error.kind, ErrorKind::Local | ErrorKind::Denied | ErrorKind::Rejected)
}

impl Custody {
    /// The newest version of `name` that is the plan's, from the first store that has it whole.
    ///
    /// # Errors
    /// When stores have the object, but no copy both counts and can be opened.
    pub async fn get(&self, name: &str) -> Result<Option<Secret>> {
        check_name(name)?;
        let whole = self.search(name, true).await?.into_whole()?;
        Ok(whole.and_then(|whole| whole.value))
    }

    /// As [`Custody::get`], for this version, whether it is the newest or not.
    ///
    /// # Errors
    /// As [`Custody::get`].
    pub async fn get_version(&self, name: &str, version: u32) -> Result<Option<Secret>> {
        check_name(name)?;
        let mut listed = self.listed(name).await;
        for versions in listed.iter_mut().filter_map(|(_, answer)| answer.as_mut().ok()) {
            versions.retain(|one| *one == version);
        }
        let whole = self.search_in(name, &listed, true).await.into_whole()?;
        Ok(whole.and_then(|whole| whole.value))
    }

    /// The number of the version of `name` that counts, without opening it.
    ///
    /// # Errors
    /// When stores have the object, but no copy counts; when no store answers.
    pub async fn version(&self, name: &str) -> Result<Option<u32>> {
        Ok(self.search(name, false).await?.into_whole()?.map(|whole| whole.version))
    }

    /// Whether the plan has an object of this name, without opening it.
    ///
    /// # Errors
    /// As [`Custody::version`].
    pub async fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.version(name).await?.is_some())
    }

    /// As [`Custody::exists`], for a name from a store's list: a foreign object is the same as none, and
    /// causes a warning.
    ///
    /// # Errors
    /// When no store answers, or none can be read now.
    pub async fn has(&self, name: &str) -> Result<bool> {
        Ok(self.search(name, false).await?.into_whole_if_any()?.is_some())
    }

    /// The handout of this name; `None` when no store that answers has one that counts.
    ///
    /// # Errors
    /// When no store answers.
    pub async fn handout(&self, name: &str) -> Result<Option<Handout>> {
        check_name(name)?;
        let listed = self.listed(name).await;
        require_an_answer(&listed)?;
        let whole = self.search_in(name, &listed, false).await.into_whole_if_any()?;
        Ok(whole.and_then(|whole| match whole.document {
            Document::Handout(handout) => Some(handout),
            Document::Envelope(_) => None,
        }))
    }

    /// The number of the next version of `name`: above the version that counts, and not taken in any
    /// place.
    ///
    /// # Errors
    /// When no store answers.
    pub(super) async fn next_version(&self, name: &str) -> Result<u32> {
        let listed = self.listed(name).await;
        require_an_answer(&listed)?;
        let counts = self.search_in(name, &listed, false).await.whole.map_or(0, |whole| whole.version);
        let taken: BTreeSet<u32> =
            listed.into_iter().filter_map(|(_, answer)| answer.ok()).flatten().collect();
        let free = (counts..u32::MAX).map(|version| version + 1).find(|version| !taken.contains(version));
        free.ok_or_else(|| local(name, "there is no number left for another version".to_owned()))
    }

    /// The versions of `name` in each place.
    pub(super) async fn listed(&self, name: &str) -> Listed<'_> {
        let answers = join_all(self.places().map(|place| place.versions(name))).await;
        let sets = answers.into_iter().map(|answer| answer.map(|all| all.into_iter().collect()));
        self.places().zip(sets).collect()
    }

    /// Looks for the version of `name` that counts; with `open`, opens it.
    ///
    /// # Errors
    /// When no store has the object and one cannot be read: "there is none" would be a guess.
    pub(super) async fn search(&self, name: &str, open: bool) -> Result<Search> {
        let mut listed = self.listed(name).await;
        let is_nowhere = listed.iter().all(|(_, answer)| answer.as_ref().map_or(true, BTreeSet::is_empty));
        let failed = listed.iter().position(|(_, answer)| answer.is_err());
        if let Some(position) = failed.filter(|_| is_nowhere) {
            return listed.swap_remove(position).1.map(|_| Search::default());
        }
        Ok(self.search_in(name, &listed, open).await)
    }

    pub(super) async fn search_in(&self, name: &str, listed: &Listed<'_>, open: bool) -> Search {
        let answers = listed.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let versions: BTreeSet<u32> = answers.flatten().copied().collect();
        let (mut newest, mut aside) = (None, Vec::new());
        for version in versions.into_iter().rev() {
            let mut failures = Vec::new();
            for (place, answer) in listed {
                let lists = answer.as_ref().is_ok_and(|versions| versions.contains(&version));
                // A list may lag behind, except that of the folder beside the journal.
                if !lists && self.is_rescue(*place) {
                    continue;
                }
                match self.read_whole(*place, name, version, open).await {
                    Ok(whole) => {
                        self.warn(name, &failures);
                        self.warn_set_aside(name, version, &aside);
                        return Search { whole: Some(whole), failure: None };
                    }
                    // `gaps` reports a missing copy, so it needs no warning here.
                    Err(failure) => failures.push((place.describe(), lists || answer.is_err(), failure)),
                }
            }
            let ours = failures.iter().position(|(_, _, failure)| failure.is_ours);
            if let Some(position) = ours {
                newest = Some(placed(failures.swap_remove(position)));
                break;
            }
            aside.extend(failures.iter().filter(|(_, is_told, _)| *is_told).map(|(place, _, failure)| {
                format!("version {version} in {place} ({})", failure.error.message)
            }));
            let told = failures.iter().rposition(|(_, is_told, _)| *is_told).unwrap_or_default();
            if newest.is_none() && !failures.is_empty() {
                newest = Some(placed(failures.swap_remove(told)));
            }
        }
        Search { whole: None, failure: newest }
    }

    async fn read_whole(
        &self,
        place: &dyn Store,
        name: &str,
        version: u32,
        open: bool,
    ) -> Result<Whole, Unusable> {
        let bytes = place.read(name, version).await?;
        let document = Document::decode(name, version, &bytes)?;
        document.require_ours(name, version, &self.authority)?;
        let value = match &document {
            Document::Envelope(envelope) if open => {
                let opened = envelope.open(name, version, &self.keyring).await;
                Some(opened.map_err(|error| Unusable { error, is_ours: true })?)
            }
            _ => None,
        };
        Ok(Whole { version, document, bytes, value })
    }

    /// Checks that one copy counts.
    pub(super) async fn require_whole(&self, place: &dyn Store, name: &str, version: u32) -> Result<()> {
        self.read_whole(place, name, version, false).await.map(drop).map_err(|failure| failure.error)
    }

    /// The value of one copy.
    pub(super) async fn read_from(&self, place: &dyn Store, name: &str, version: u32) -> Result<Secret> {
        let whole = self.read_whole(place, name, version, true).await.map_err(|failure| failure.error)?;
        whole.value.ok_or_else(|| local(name, "is a handout, which only its holder opens".to_owned()))
    }

    /// Warns of the stores that failed before one had the object whole: the next loss could be that of
    /// the last copy.
    fn warn(&self, name: &str, failures: &[(String, bool, Unusable)]) {
        for (store, _, failure) in failures.iter().filter(|(_, is_told, _)| *is_told) {
            self.warnings.insert(format!(
                "custody: {name} cannot be used from {store} ({}); another store has it whole, and \
                 `groundwork custody check PLAN --repair` copies it back",
                failure.error.message
            ));
        }
    }

    fn warn_set_aside(&self, name: &str, version: u32, aside: &[String]) {
        for what in aside {
            self.warnings.insert(format!(
                "custody: {name}: {what} is set aside, and version {version} is used, the newest that is this \
                 plan's; `groundwork custody check PLAN` shows all of it"
            ));
        }
    }
}

/// Adds the place to the message of the failure.
fn placed((place, _, mut failure): (String, bool, Unusable)) -> Unusable {
    if !failure.error.message.contains(&place) {
        failure.error.message = format!("{} (in {place})", failure.error.message);
    }
    failure
}

/// At least one store has to answer; the folder beside the journal does not count as a store.
pub(super) fn require_an_answer(listed: &Listed<'_>) -> Result<()> {
    let stores = &listed[..listed.len().saturating_sub(1)];
    match stores.iter().find_map(|(_, answer)| answer.as_ref().err()) {
        Some(error) if stores.iter().all(|(_, answer)| answer.is_err()) => {
            Err(Error::new(error.kind, &*error.operation, &error.message)
                .advice(error.advice.clone().unwrap_or_else(|| "make a store work again".to_owned())))
        }
        _ => Ok(()),
    }
}
