//! A provider: the contract of a system that Groundwork manages, and the list of all of them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, ErrorKind, FieldError};
use crate::resource::erased::Kind;
use crate::resource::strict::parse;
use crate::run::Connection;

/// A system that Groundwork manages, such as AWS. A value of the type is the provider in one plan: its
/// settings, and its clients once steps ask for them. All that it does there is in [`Connection`].
///
/// To add a provider: a folder under `src/providers/`, this trait, and one line in
/// [`crate::providers::PROVIDERS`].
pub trait Provider: Connection + Sized {
    /// The first part of the names of its kinds, and the key of its section in a plan: `aws`.
    const NAME: &'static str;
    /// Its name for people: `AWS`.
    const TITLE: &'static str;
    /// Its kinds, in the order in which `explain` lists them.
    const KINDS: &'static [&'static dyn Kind];
    /// The kinds that a build may lack, each with the feature of Cargo.toml that has it.
    const OPTIONAL_KINDS: &'static [(&'static str, &'static str)] = &[];
    /// Whether a plan has a section for it.
    const HAS_SECTION: bool = true;
    /// Whether expressions see something of it, see [`Connection::expressions`].
    const IN_EXPRESSIONS: bool = false;

    /// The section: strictly typed, without unknown fields.
    type Settings: DeserializeOwned + JsonSchema + Default;

    /// The provider in a plan with this section. Reads and sends nothing.
    fn open(settings: Self::Settings) -> Self;
}

/// A provider without its type.
pub trait Entry: Send + Sync {
    /// See [`Provider::NAME`].
    fn name(&self) -> &'static str;
    /// See [`Provider::TITLE`].
    fn title(&self) -> &'static str;
    /// See [`Provider::KINDS`].
    fn kinds(&self) -> &'static [&'static dyn Kind];
    /// See [`Provider::OPTIONAL_KINDS`].
    fn optional_kinds(&self) -> &'static [(&'static str, &'static str)];
    /// See [`Provider::HAS_SECTION`].
    fn has_section(&self) -> bool;
    /// See [`Provider::IN_EXPRESSIONS`].
    fn is_in_expressions(&self) -> bool;
    /// The JSON Schema of the section.
    fn section_schema(&self, generator: &mut SchemaGenerator) -> Value;
    /// The provider in a plan with this section; `None` is a plan without it.
    ///
    /// # Errors
    /// Every mistake in its types.
    fn open(&self, section: Option<Value>) -> Result<Arc<dyn Connection>, Vec<FieldError>>;
}

/// The erased form of `P`.
pub const fn provider<P: Provider>() -> Erased<P> {
    Erased(PhantomData)
}

/// A provider with its type behind the seam; created by [`provider`].
pub struct Erased<P>(PhantomData<fn() -> P>);

impl<P: Provider> Entry for Erased<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn title(&self) -> &'static str {
        P::TITLE
    }

    fn kinds(&self) -> &'static [&'static dyn Kind] {
        P::KINDS
    }

    fn optional_kinds(&self) -> &'static [(&'static str, &'static str)] {
        P::OPTIONAL_KINDS
    }

    fn has_section(&self) -> bool {
        P::HAS_SECTION
    }

    fn is_in_expressions(&self) -> bool {
        P::IN_EXPRESSIONS
    }

    fn section_schema(&self, generator: &mut SchemaGenerator) -> Value {
        generator.subschema_for::<P::Settings>().to_value()
    }

    fn open(&self, section: Option<Value>) -> Result<Arc<dyn Connection>, Vec<FieldError>> {
        let settings = section.map_or_else(|| Ok(P::Settings::default()), parse)?;
        Ok(Arc::new(P::open(settings)))
    }
}

/// All providers of the program.
pub struct Registry {
    providers: &'static [&'static dyn Entry],
    /// The providers that a build may lack, each with the feature of Cargo.toml that has it.
    optional: &'static [(&'static str, &'static str)],
}

impl Registry {
    /// The registry of these providers.
    pub const fn new(providers: &'static [&'static dyn Entry]) -> Self {
        Self { providers, optional: &[] }
    }

    /// The same, which knows of providers that a build may lack, each with the feature that has it.
    #[must_use]
    pub const fn lacking(self, optional: &'static [(&'static str, &'static str)]) -> Self {
        Self { optional, ..self }
    }

    /// The providers.
    pub fn providers(&self) -> impl Iterator<Item = &'static dyn Entry> + use<> {
        self.providers.iter().copied()
    }

    /// The provider with this name.
    pub fn provider(&self, name: &str) -> Option<&'static dyn Entry> {
        self.providers().find(|provider| provider.name() == name)
    }

    /// The keys of the sections.
    pub fn sections(&self) -> Vec<&'static str> {
        let with_section = self.providers().filter(|provider| provider.has_section());
        with_section.map(|provider| provider.name()).collect()
    }

    /// Every kind, in the order in which `explain` lists them.
    pub fn kinds(&self) -> impl Iterator<Item = &'static dyn Kind> + use<> {
        self.providers().flat_map(|provider| provider.kinds().iter().copied())
    }

    /// The kind with this name.
    pub fn find(&self, name: &str) -> Option<&'static dyn Kind> {
        self.kinds().find(|kind| kind.name() == name)
    }

    /// Why there is no kind with this name, if another build of the program has it.
    pub fn left_out(&self, name: &str) -> Option<LeftOut> {
        let kinds = self.providers().flat_map(|provider| provider.optional_kinds());
        let of_kind = kinds.into_iter().find(|(kind, _)| *kind == name);
        let mut providers = self.optional.iter().filter(|(provider, _)| self.provider(provider).is_none());
        let of_provider = || providers.find(|(provider, _)| name.split('.').next() == Some(provider));
        let (_, feature) = of_kind.or_else(of_provider)?;
        self.find(name).is_none().then(|| LeftOut { what: format!("kind `{name}`"), feature })
    }

    /// The names of all kinds.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.kinds().map(|kind| kind.name())
    }
}

/// What this build of the program lacks because a feature of Cargo.toml is off.
#[derive(Debug)]
pub struct LeftOut {
    /// What is missing: "kind `aws.sns_topic`".
    pub what: String,
    /// The feature that has it.
    pub feature: &'static str,
}

impl LeftOut {
    /// What to do about it.
    pub fn advice(&self) -> String {
        format!("build with `cargo build --features {}`; plain `cargo build` has everything", self.feature)
    }

    /// The error of what needs it.
    pub fn error(&self, operation: &str) -> Error {
        Error::new(ErrorKind::Rejected, operation, self.to_string()).advice(self.advice())
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this build of groundwork has no {}, which needs the feature `{}`", self.what, self.feature)
    }
}
