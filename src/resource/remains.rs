//! A thing without its declaration: what can still be done with it once its step is gone.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Elsewhere, Permit, Provided, Resource, Result, Tags, Writer};
use crate::providers::Providers;

/// A thing of which the address alone is known.
#[async_trait]
pub trait Remains: Send + Sync {
    /// How the live system addresses it.
    fn id(&self) -> String;
    /// Why it is not to be removed by itself.
    fn permanent(&self) -> Option<&'static str>;
    /// Reads the live thing.
    async fn observe(&mut self, providers: &Providers) -> Result<()>;
    /// Whether the thing was there when it was observed.
    fn exists(&self) -> bool;
    /// The live tags, for tagged kinds.
    fn tags(&self) -> Option<Tags>;
    /// Removes it.
    async fn delete(&self, providers: &Providers, permit: &Permit, step: &str) -> Result<()>;
}

/// A thing of kind `R`, by its identity.
pub struct Known<R: Resource> {
    id: R::Id,
    place: Option<Elsewhere>,
    observed: Option<R::Observed>,
}

impl<R: Resource> Known<R> {
    /// The thing with this identity, in this place; nobody has looked for it yet.
    pub fn new(id: R::Id, place: Option<Elsewhere>) -> Self {
        Self { id, place, observed: None }
    }

    /// Where it is, complete and for programs.
    pub fn address(&self) -> Value {
        serde_json::to_value(Address { id: &self.id, place: self.place.clone() }).unwrap_or_default()
    }

    /// The thing at an address that [`super::erased::Instance::address`] has given, if it is one.
    pub fn at(address: &Value) -> Option<Self> {
        let Address { id, place } = serde_json::from_value(address.clone()).ok()?;
        Some(Self::new(id, place))
    }
}

/// Where a thing is, as the journal keeps it.
#[derive(Serialize, Deserialize)]
struct Address<I> {
    id: I,
    /// As `alias` or `namespace`.
    #[serde(flatten)]
    place: Option<Elsewhere>,
}

#[async_trait]
impl<R: Resource> Remains for Known<R> {
    fn id(&self) -> String {
        Elsewhere::qualify(self.place.as_ref(), &self.id.to_string())
    }

    fn permanent(&self) -> Option<&'static str> {
        R::permanent(&self.id)
    }

    async fn observe(&mut self, providers: &Providers) -> Result<()> {
        let client = R::Client::provide_at(providers, self.place.as_ref()).await?;
        self.observed = R::observe(&client, &self.id).await?;
        Ok(())
    }

    fn exists(&self) -> bool {
        self.observed.is_some()
    }

    fn tags(&self) -> Option<Tags> {
        self.observed.as_ref().and_then(|observed| R::tags(observed).cloned())
    }

    async fn delete(&self, providers: &Providers, permit: &Permit, step: &str) -> Result<()> {
        let client = R::Client::provide_at(providers, self.place.as_ref()).await?;
        R::delete(&Writer::new(&*client, permit, step), &self.id).await
    }
}
