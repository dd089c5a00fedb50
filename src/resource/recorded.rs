//! A thing without its declaration: the operations that remain possible after its step is removed.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attachment, Look, Part, Provided, Resource, Tags, Writer};
use crate::access::Grant;
use crate::error::Result;
use crate::permit::Permit;
use crate::place::Place;
use crate::run::Run;

/// A resource that is known only by its address.
#[async_trait]
pub trait Recorded: Send + Sync {
    /// The live system's identification, with the place if it is not the plan's own.
    fn id(&self) -> String;
    /// The name in the form that the system compares, see [`Resource::same_name`].
    fn same_name(&self) -> String;
    /// Its place.
    fn place(&self) -> &Place;
    /// Looks for it in this place from now on: the one that its step declared may have another name now.
    fn look_in(&mut self, place: Place);
    /// Why it is not removed by itself.
    fn permanent(&self) -> Option<&'static str>;
    /// Reads the live thing.
    async fn observe(&mut self, run: &Run) -> Result<()>;
    /// Whether the thing existed when it was observed.
    fn exists(&self) -> bool;
    /// The live tags, for tagged kinds.
    fn tags(&self) -> Option<Tags>;
    /// What the live thing has to do with access; nothing when it did not exist.
    fn granted(&self) -> Vec<Grant>;
    /// Its outputs; `None` when it did not exist.
    fn outputs(&self) -> Option<Map<String, Value>>;
    /// Why it cannot be removed by itself, according to the last observation.
    fn part_of(&self) -> Option<Part>;
    /// Its attachments; empty when it did not exist.
    async fn attachments(&self, run: &Run) -> Result<Vec<Attachment>>;
    /// Removes the live thing.
    async fn delete(&self, run: &Run, permit: &Permit, step: &str) -> Result<()>;
}

/// A thing of kind `R`, by its identity.
pub struct Known<R: Resource> {
    id: R::Id,
    place: Place,
    observed: Option<R::Observed>,
}

impl<R: Resource> Known<R> {
    /// The thing with this identity, in this place, not observed yet.
    pub fn new(id: R::Id, place: Place) -> Self {
        Self { id, place, observed: None }
    }

    /// Its address, complete and for programs.
    pub fn address(&self) -> Value {
        serde_json::to_value(Address { id: &self.id, place: self.place.clone() }).unwrap_or_default()
    }

    /// The thing at an address that [`super::erased::Instance::address`] has returned, if it is
    /// one.
    pub fn at(address: &Value) -> Option<Self> {
        let Address { id, place } = serde_json::from_value(address.clone()).ok()?;
        Some(Self::new(id, place))
    }
}

/// The location of a thing, as the journal stores it.
#[derive(Serialize, Deserialize)]
struct Address<I> {
    id: I,
    /// As `alias` or `namespace`.
    #[serde(flatten)]
    place: Place,
}

#[async_trait]
impl<R: Resource> Recorded for Known<R> {
    fn id(&self) -> String {
        self.place.qualify(R::Client::PROVIDER, &self.id.to_string())
    }

    fn same_name(&self) -> String {
        R::same_name(&self.id)
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn look_in(&mut self, place: Place) {
        self.place = place;
    }

    fn permanent(&self) -> Option<&'static str> {
        R::permanent(&self.id)
    }

    async fn observe(&mut self, run: &Run) -> Result<()> {
        let client = R::Client::provide(run, &self.place).await?;
        let observed = R::observe(&client, &self.id, Look::BARE).await?;
        self.observed = observed.filter(|observed| !R::obstructs(observed) && !R::is_deleted(observed));
        Ok(())
    }

    fn exists(&self) -> bool {
        self.observed.is_some()
    }

    fn tags(&self) -> Option<Tags> {
        self.observed.as_ref().and_then(|observed| R::tags(observed).cloned())
    }

    fn granted(&self) -> Vec<Grant> {
        self.observed.as_ref().map(R::granted).unwrap_or_default()
    }

    fn outputs(&self) -> Option<Map<String, Value>> {
        self.observed.as_ref().map(outputs::<R>)
    }

    fn part_of(&self) -> Option<Part> {
        part_of::<R>(&self.id, &self.place, self.observed.as_ref()?)
    }

    async fn attachments(&self, run: &Run) -> Result<Vec<Attachment>> {
        match &self.observed {
            Some(observed) => attachments::<R>(run, &self.id, &self.place, observed).await,
            None => Ok(Vec::new()),
        }
    }

    async fn delete(&self, run: &Run, permit: &Permit, step: &str) -> Result<()> {
        let client = R::Client::provide(run, &self.place).await?;
        R::delete(&Writer::new(&*client, permit, step).reporting(&run.reports), &self.id).await
    }
}

/// The outputs of a live thing.
pub(super) fn outputs<R: Resource>(observed: &R::Observed) -> Map<String, Value> {
    match serde_json::to_value(R::outputs(observed)) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// As [`Resource::part_of`], seen from outside the thing's place.
pub(super) fn part_of<R: Resource>(id: &R::Id, place: &Place, observed: &R::Observed) -> Option<Part> {
    R::part_of(id, observed).map(|part| part.in_place(R::Client::PROVIDER, place))
}

/// As [`Resource::attachments`], seen from outside the thing's place.
pub(super) async fn attachments<R: Resource>(
    run: &Run,
    id: &R::Id,
    place: &Place,
    observed: &R::Observed,
) -> Result<Vec<Attachment>> {
    let client = R::Client::provide(run, place).await?;
    let found = R::attachments(&client, id, observed).await?;
    Ok(found.into_iter().map(|attachment| attachment.in_place(R::Client::PROVIDER, place)).collect())
}
