//! A thing without its declaration: the operations that remain possible after its step is removed.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Attachment, Elsewhere, Part, Provided, Resource, Tags, Writer};
use crate::error::Result;
use crate::permit::Permit;
use crate::providers::Providers;

/// A resource that is known only by its address.
#[async_trait]
pub trait Recorded: Send + Sync {
    /// The live system's identification.
    fn id(&self) -> String;
    /// Why it is not removed by itself.
    fn permanent(&self) -> Option<&'static str>;
    /// Reads the live thing.
    async fn observe(&mut self, providers: &Providers) -> Result<()>;
    /// Whether the thing existed when it was observed.
    fn exists(&self) -> bool;
    /// The live tags, for tagged kinds.
    fn tags(&self) -> Option<Tags>;
    /// Its outputs; `None` when it did not exist.
    fn outputs(&self) -> Option<Map<String, Value>>;
    /// Why it cannot be removed by itself, according to the last observation.
    fn part_of(&self) -> Option<Part>;
    /// Its attachments; empty when it did not exist.
    async fn attachments(&self, providers: &Providers) -> Result<Vec<Attachment>>;
    /// Removes the live thing.
    async fn delete(&self, providers: &Providers, permit: &Permit, step: &str) -> Result<()>;
}

/// A thing of kind `R`, by its identity.
pub struct Known<R: Resource> {
    id: R::Id,
    place: Option<Elsewhere>,
    observed: Option<R::Observed>,
}

impl<R: Resource> Known<R> {
    /// The thing with this identity, in this place, not observed yet.
    pub fn new(id: R::Id, place: Option<Elsewhere>) -> Self {
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
    place: Option<Elsewhere>,
}

#[async_trait]
impl<R: Resource> Recorded for Known<R> {
    fn id(&self) -> String {
        Elsewhere::qualify(self.place.as_ref(), &self.id.to_string())
    }

    fn permanent(&self) -> Option<&'static str> {
        R::permanent(&self.id)
    }

    async fn observe(&mut self, providers: &Providers) -> Result<()> {
        let client = R::Client::provide_at(providers, self.place.as_ref()).await?;
        let observed = R::observe(&client, &self.id).await?;
        self.observed = observed.filter(|observed| !R::obstructs(observed) && !R::is_deleted(observed));
        Ok(())
    }

    fn exists(&self) -> bool {
        self.observed.is_some()
    }

    fn tags(&self) -> Option<Tags> {
        self.observed.as_ref().and_then(|observed| R::tags(observed).cloned())
    }

    fn outputs(&self) -> Option<Map<String, Value>> {
        self.observed.as_ref().map(outputs::<R>)
    }

    fn part_of(&self) -> Option<Part> {
        part_of::<R>(&self.id, self.place.as_ref(), self.observed.as_ref()?)
    }

    async fn attachments(&self, providers: &Providers) -> Result<Vec<Attachment>> {
        match &self.observed {
            Some(observed) => attachments::<R>(providers, &self.id, self.place.as_ref(), observed).await,
            None => Ok(Vec::new()),
        }
    }

    async fn delete(&self, providers: &Providers, permit: &Permit, step: &str) -> Result<()> {
        let client = R::Client::provide_at(providers, self.place.as_ref()).await?;
        R::delete(&Writer::new(&*client, permit, step), &self.id).await
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
pub(super) fn part_of<R: Resource>(
    id: &R::Id,
    place: Option<&Elsewhere>,
    observed: &R::Observed,
) -> Option<Part> {
    R::part_of(id, observed).map(|part| part.in_place(place))
}

/// As [`Resource::attachments`], seen from outside the thing's place.
pub(super) async fn attachments<R: Resource>(
    providers: &Providers,
    id: &R::Id,
    place: Option<&Elsewhere>,
    observed: &R::Observed,
) -> Result<Vec<Attachment>> {
    let client = R::Client::provide_at(providers, place).await?;
    let found = R::attachments(&client, id, observed).await?;
    Ok(found.into_iter().map(|attachment| attachment.in_place(place)).collect())
}
