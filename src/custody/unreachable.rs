//! A store or key service that is not available in this run, such as AWS without credentials.
//!
//! It fails at every use, and only then, so that the run can still use the other stores and keys.

use async_trait::async_trait;

use super::{Context, KeyService, Store};
use crate::error::{Error, Result};
use crate::permit::Permit;
use crate::secret::Secret;

/// Takes the place of an unavailable store or key service, and fails with the reason.
#[derive(Debug)]
pub struct Unreachable {
    what: String,
    because: Error,
}

impl Unreachable {
    /// Takes the place of `what`, which is unavailable for this reason.
    pub fn new(what: impl Into<String>, because: Error) -> Self {
        Self { what: what.into(), because }
    }

    fn fail<T>(&self) -> Result<T> {
        let Error { kind, operation, message, advice, .. } = &self.because;
        let error = Error::new(*kind, operation.clone(), message.clone());
        Err(match advice {
            Some(advice) => error.advice(advice.clone()),
            None => error,
        })
    }
}

#[async_trait]
impl Store for Unreachable {
    fn describe(&self) -> String {
        self.what.clone()
    }

    async fn versions(&self, _: &str) -> Result<Vec<u32>> {
        self.fail()
    }

    async fn read(&self, _: &str, _: u32) -> Result<Vec<u8>> {
        self.fail()
    }

    async fn write(&self, _: &Permit, _: &str, _: u32, _: &[u8]) -> Result<()> {
        self.fail()
    }

    async fn objects(&self, _: &str) -> Result<Vec<(String, u32)>> {
        self.fail()
    }

    async fn remove(&self, _: &Permit, _: &str, _: u32) -> Result<()> {
        self.fail()
    }

    async fn set_aside(&self, _: &Permit, _: &str, _: u32) -> Result<()> {
        self.fail()
    }

    async fn repair(&self, _: &Permit, _: &str, _: u32, _: &[u8]) -> Result<()> {
        self.fail()
    }

    async fn probe(&self, _: &Permit, _: &[u8]) -> Result<Vec<u8>> {
        self.fail()
    }
}

#[async_trait]
impl KeyService for Unreachable {
    async fn encrypt(&self, _: &str, _: &Secret, _: &Context) -> Result<Vec<u8>> {
        self.fail()
    }

    async fn decrypt(&self, _: &[u8], _: &Context) -> Result<Secret> {
        self.fail()
    }
}
