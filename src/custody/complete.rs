//! Finds objects with missing copies or recipients, and completes them.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::document::Document;
use super::newest::{Listed, Whole};
use super::{Custody, Envelope, Recipient, Store, local};
use crate::error::Result;
use crate::permit::Permit;

/// Something that an object in custody lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The object's name.
    pub object: String,
    /// A description of the missing part: a copy on a store, or a key for a recipient.
    pub lacks: String,
}

/// The objects below a prefix, and what each store and the folder beside the journal lists; `None`
/// for a store that does not answer.
struct Survey {
    names: BTreeSet<String>,
    listings: Vec<Option<BTreeSet<(String, u32)>>>,
}

impl Custody {
    /// The missing copies and keys of the objects whose names begin with `prefix`. Leaves out stores
    /// and recipients that failed in this run and stores that do not answer: a warning already names
    /// them.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn gaps(&self, prefix: &str) -> Result<Vec<Gap>> {
        let survey = self.survey(prefix).await?;
        let mut gaps = Vec::new();
        for name in &survey.names {
            let Some(whole) = self.surveyed(&survey, name).await else { continue };
            let gap = |lacks| Gap { object: name.clone(), lacks };
            for store in self.without(&survey, name, whole.version).await {
                gaps.push(gap(format!("a copy in {}", self.name_of(store))));
            }
            if let Document::Envelope(envelope) = whole.document {
                self.warn_former(&envelope);
                gaps.extend(
                    self.not_sealed_for(&envelope)
                        .iter()
                        .map(|one| gap(format!("a key for {}", one.describe()))),
                );
            }
        }
        Ok(gaps)
    }

    /// Copies the objects whose names begin with `prefix` to the stores that lack them, and seals them
    /// for the missing recipients. Warns of each copy and recipient that cannot be completed now.
    ///
    /// # Errors
    /// When an object is still on no store afterwards.
    pub async fn complete(&self, permit: &Permit, prefix: &str) -> Result<()> {
        let survey = self.survey(prefix).await?;
        for name in &survey.names {
            let Some(Whole { version, document, .. }) = self.surveyed(&survey, name).await else { continue };
            let without = self.without(&survey, name, version).await;
            if let Document::Envelope(envelope) = document {
                self.widen(permit, name, version, &envelope).await?;
            }
            if !without.is_empty() {
                self.copy_to(permit, name, &without).await?;
            }
            self.clear_rescue(permit, name, version).await?;
        }
        Ok(())
    }

    /// Warns of recipients that the plan no longer names.
    fn warn_former(&self, envelope: &Envelope) {
        for who in self.compared(envelope).1 {
            self.warnings.insert(format!(
                "custody: {who} can open what is kept, and the plan no longer names it; `groundwork custody \
                 rewrap PLAN` seals everything only for the plan's recipients"
            ));
        }
    }

    /// A description of a store that is the same on every machine that has the plan.
    fn name_of(&self, store: &dyn Store) -> String {
        store.describe().replacen(&format!("{}/", self.folder.display()), "", 1)
    }

    async fn survey(&self, prefix: &str) -> Result<Survey> {
        let answers = join_all(self.stores.iter().map(|store| store.objects(prefix))).await;
        let rescued: BTreeSet<(String, u32)> = self.rescue.objects(prefix).await?.into_iter().collect();
        let (mut listings, mut failure) = (Vec::new(), None);
        for (store, answer) in self.stores.iter().zip(answers) {
            match answer {
                Ok(objects) => listings.push(Some(objects.into_iter().collect::<BTreeSet<_>>())),
                Err(error) => {
                    self.warnings.insert(format!(
                        "custody: {} does not answer ({}); its missing copies are not known",
                        store.describe(),
                        error.message
                    ));
                    listings.push(None);
                    failure = Some(error);
                }
            }
        }
        listings.push(Some(rescued));
        let names: BTreeSet<String> =
            listings.iter().flatten().flatten().map(|(name, _)| name.clone()).collect();
        match failure {
            Some(error) if names.is_empty() => Err(error),
            _ => Ok(Survey { names, listings }),
        }
    }

    /// The copy of an object that counts, according to the stores' lists. `None` if no copy counts;
    /// `custody check` reports that case, and a person decides.
    async fn surveyed(&self, survey: &Survey, name: &str) -> Option<Whole> {
        let versions = |listing: &Option<BTreeSet<(String, u32)>>| match listing {
            Some(all) => Ok(all.iter().filter(|(one, _)| one == name).map(|(_, version)| *version).collect()),
            None => Err(local(name, "the store does not answer".to_owned())),
        };
        let listed: Listed<'_> = self.places().zip(survey.listings.iter().map(versions)).collect();
        self.search_in(name, &listed, false).await.whole
    }

    /// The stores that answer and do not have this version. A list may lag behind, so each of them is
    /// asked for the object itself.
    async fn without(&self, survey: &Survey, name: &str, version: u32) -> Vec<&dyn Store> {
        let mut without = Vec::new();
        for (store, listing) in self.stores.iter().zip(&survey.listings) {
            let Some(listing) = listing else { continue };
            if listing.contains(&(name.to_owned(), version)) || self.is_failing(&store.describe()) {
                continue;
            }
            if store.versions(name).await.is_ok_and(|versions| !versions.contains(&version)) {
                without.push(store.as_ref());
            }
        }
        without
    }

    /// The declared recipients that an object is not sealed for. Those that are not known yet are
    /// left out.
    fn not_sealed_for(&self, envelope: &Envelope) -> Vec<Recipient> {
        let declared = self.recipients().unwrap_or_default();
        let has = |recipient: &Recipient| {
            let (kind, id) = recipient.identity();
            envelope.header.recipients.iter().any(|one| one.kind == kind && one.id == id)
        };
        declared.into_iter().filter(|one| !has(one) && !self.is_failing(&one.describe())).collect()
    }

    /// Seals an object for the declared recipients that it lacks, on every store that has it. Each
    /// store keeps the old form aside.
    async fn widen(&self, permit: &Permit, name: &str, version: u32, envelope: &Envelope) -> Result<()> {
        let missing = self.not_sealed_for(envelope);
        if missing.is_empty() {
            return Ok(());
        }
        let key = match self.authority.require_key() {
            Ok(key) => key,
            Err(error) => {
                for one in &missing {
                    self.warn_unsealed(name, &one.describe(), &error);
                }
                return Ok(());
            }
        };
        let opened = envelope.open(name, version, &self.keyring).await;
        let widened = envelope.widen(version, &missing, &self.keyring).await;
        let (secret, (wide, failures)) = match (opened, widened) {
            (Ok(secret), Ok(widened)) => (secret, widened),
            (Err(error), _) | (_, Err(error)) => {
                for one in &missing {
                    self.warn_unsealed(name, &one.describe(), &error);
                }
                return Ok(());
            }
        };
        for (who, error) in &failures {
            self.warn_unsealed(name, who, error);
        }
        if failures.len() == missing.len() {
            return Ok(());
        }
        let bytes = Document::Envelope(wide).sign(version, &key).encode();
        for place in self.places_of(name, version).await? {
            // A copy that is damaged or has another value is for `custody check` and a person.
            let Ok(found) = self.read_from(place, name, version).await else { continue };
            if found == secret
                && let Err(error) = place.repair(permit, name, version, &bytes).await
            {
                self.warn_missing(name, place, &error);
            }
        }
        Ok(())
    }

    /// Copies the version of an object that counts from a place that has it whole. Where a key is at
    /// hand, the copied form also has to open.
    async fn copy_to(&self, permit: &Permit, name: &str, stores: &[&dyn Store]) -> Result<()> {
        let Some(Whole { version, bytes, .. }) = self.search(name, true).await?.into_whole()? else {
            return Err(local(name, "no store has it".to_owned()));
        };
        let writes = stores.iter().map(|store| self.write_on(*store, permit, name, version, &bytes));
        for (store, written) in stores.iter().zip(join_all(writes).await) {
            if let Err(error) = written {
                self.warn_missing(name, *store, &error);
            }
        }
        Ok(())
    }

    /// Removes the copy beside the journal once a store has the same.
    async fn clear_rescue(&self, permit: &Permit, name: &str, version: u32) -> Result<()> {
        if !self.rescue.versions(name).await?.contains(&version) {
            return Ok(());
        }
        let rescued = self.rescue.read(name, version).await?;
        let copies = join_all(self.stores.iter().map(|store| store.read(name, version))).await;
        if copies.into_iter().flatten().any(|copy| copy == rescued) {
            return self.rescue.remove(permit, name, version).await;
        }
        let message = format!("no store has it yet; it lies encrypted in {}", self.rescue.describe());
        Err(local(name, message)
            .advice("make a store of the plan's `custody.stores` work again, and run again"))
    }
}
