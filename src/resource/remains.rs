//! A thing without its declaration: what can still be done with it once its step is gone.

use async_trait::async_trait;
use serde_json::Value;

use super::{Permit, Provided, Resource, Result, Tags, Writer};
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
    observed: Option<R::Observed>,
}

impl<R: Resource> Known<R> {
    /// The thing with this identity; nobody has looked for it yet.
    pub fn new(id: R::Id) -> Self {
        Self { id, observed: None }
    }

    /// The thing at an address that [`super::erased::Instance::address`] has given, if it is one.
    pub fn at(address: &Value) -> Option<Self> {
        serde_json::from_value(address.clone()).ok().map(Self::new)
    }
}

#[async_trait]
impl<R: Resource> Remains for Known<R> {
    fn id(&self) -> String {
        self.id.to_string()
    }

    fn permanent(&self) -> Option<&'static str> {
        R::permanent(&self.id)
    }

    async fn observe(&mut self, providers: &Providers) -> Result<()> {
        let client = R::Client::provide(providers).await?;
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
        let client = R::Client::provide(providers).await?;
        R::delete(&Writer::new(&*client, permit, step), &self.id).await
    }
}
