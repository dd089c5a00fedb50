//! The contract that every kind of step implements.
//!
//! A kind is a type that implements [`Resource`]; the engine drives it through the type-erased
//! seam in [`erased`], and [`registry`] lists all kinds. Nothing else in the program knows a
//! particular kind.

mod addresses;
mod attachment;
mod awaited;
mod calls;
mod diff;
mod elsewhere;
pub mod erased;
mod error;
pub mod registry;
mod remains;
mod scope;
mod writer;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::visible::neutralise;
pub use attachment::{Attachment, Holder, Part, mentions};
pub use awaited::{Awaited, Awaiting};
pub use calls::{CallCount, Calls};
pub use diff::{Blocked, Change, Diff, SecretChange};
pub use elsewhere::Elsewhere;
pub use error::{Error, ErrorKind, Result, in_words};
pub use remains::Remains;
pub use scope::{Partial, Scope};
pub use writer::{Permit, Writer};

use crate::providers::Providers;
use crate::secret::{LoadError, Loader, SecretSource};

/// Tags of a cloud resource, key to value.
pub type Tags = BTreeMap<String, String>;

/// One kind of declared thing, such as an S3 bucket or a Vault policy.
///
/// All functions are associated functions: a kind has no state of its own. What is declared is
/// [`Resource::Desired`], what the live system says is [`Resource::Observed`].
pub trait Resource: Send + Sync + 'static {
    /// The name in a plan's `kind:` field, `provider.noun`.
    const KIND: &'static str;
    /// One sentence for `groundwork explain`: what the kind manages.
    const ABOUT: &'static str;
    /// A complete example for `groundwork explain`: the YAML of one or more entries under
    /// `steps:`, validated by a test.
    const EXAMPLE: &'static str;
    /// Whether `Desired` has a `tags` map into which the engine merges the plan's own tags and
    /// the tags that mark ownership. Kinds that say so also implement [`Resource::tags`].
    const TAGGED: bool = false;
    /// Whether a step of this kind is protected from deletion unless the plan says otherwise.
    const PROTECTED: bool = false;
    /// Whether creating it involves an answer that the server gives only once. The engine never
    /// retries such a creation; the kind itself follows the custody protocol.
    const ONCE_ONLY: bool = false;
    /// Whether it brings a server up: while the thing does not exist nothing on that server can,
    /// and its step is also what makes a sealed server serve.
    const BOOTSTRAPS: bool = false;
    /// Whether a step may say in which `namespace` its thing is.
    const NAMESPACED: bool = <Self::Client as Provided>::IN_VAULT;
    /// What a reviewer has to know before agreeing to its removal: what goes with it, what cannot
    /// be had back.
    const REMOVAL: Option<&'static str> = None;

    /// What the kind talks to; built once per run and shared by all steps.
    type Client: Provided;
    /// How the live system addresses the thing. The journal keeps it, so that a thing can be found
    /// when its step is gone: nothing secret, and nothing that only the step's own fields tell.
    type Id: Display + Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The declared fields, exactly as they stand in a plan after expressions are resolved.
    /// Deserialisation is strict (`deny_unknown_fields`); defaults are filled in by serde.
    type Desired: Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// What the live system says, in the shape that [`Resource::diff`] compares.
    type Observed: Send + Sync;
    /// What other steps may refer to, as `{{ step_id.field }}`.
    type Outputs: Serialize + JsonSchema;

    /// The identity, from the plan alone.
    fn id(desired: &Self::Desired) -> Self::Id;

    /// The identity of a thing whose outputs nobody refers to, for kinds that must send a request for
    /// them alone.
    fn without_outputs(id: Self::Id) -> Self::Id {
        id
    }

    /// Checks that need no network and go beyond the types. Strings may contain the marker of a
    /// value that is not known yet (see [`crate::resolve::unknown`]); such a string passes.
    fn check(_desired: &Self::Desired) -> Vec<FieldError> {
        Vec::new()
    }

    /// Things which, if the plan declares them, must be in place before this step.
    fn requires(_desired: &Self::Desired) -> Vec<Requirement> {
        Vec::new()
    }

    /// Files beside the plan with public keys that it encrypts for, relative to the plan's folder. A
    /// saved changeset covers what is in them.
    fn key_files(_desired: &Self::Desired) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The secret inputs, which [`Resource::load`] reads.
    fn sources(_desired: &mut Self::Desired) -> Vec<&mut SecretSource> {
        Vec::new()
    }

    /// Reads what lies beside the plan: secret inputs, template files. Called before
    /// [`Resource::diff`] and before every write; touches no live system.
    fn load(desired: &mut Self::Desired, loader: &Loader) -> Result<(), LoadError> {
        Self::sources(desired).into_iter().try_for_each(|source| source.load(loader))
    }

    /// Reads the live thing; `None` when it does not exist. Never writes.
    fn observe(
        client: &Self::Client,
        id: &Self::Id,
    ) -> impl Future<Output = Result<Option<Self::Observed>>> + Send;

    /// Compares, field by field and by meaning rather than by notation. Pure.
    fn diff(desired: &Self::Desired, observed: &Self::Observed) -> Diff;

    /// Makes the thing, complete with all its fields. Called when it did not exist a moment ago.
    /// Must fail rather than take over a thing that somebody else made in between.
    fn create(
        w: &Writer<'_, Self::Client>,
        desired: &Self::Desired,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Brings an existing thing to the declared state, writing only the fields that differ.
    /// Also finishes a creation that was cut off half way.
    fn update(
        w: &Writer<'_, Self::Client>,
        desired: &Self::Desired,
        observed: &Self::Observed,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes the thing; a thing that is already gone is success.
    fn delete(w: &Writer<'_, Self::Client>, id: &Self::Id) -> impl Future<Output = Result<()>> + Send;

    /// Why the thing is not to be removed by itself: it is built into the server, or lasts as long
    /// as the server or the thing that it is part of. Nothing else is kept because it stays.
    fn permanent(_id: &Self::Id) -> Option<&'static str> {
        None
    }

    /// What hangs on the live thing: what the server refuses to remove it with, and what ends with
    /// it. Asked before a removal is shown, and again right before it; never writes.
    fn attachments(
        _client: &Self::Client,
        _id: &Self::Id,
        _observed: &Self::Observed,
    ) -> impl Future<Output = Result<Vec<Attachment>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// The attachments that the plan itself declares, see [`Attachment::path`]: their end is no loss
    /// for others. `None` for kinds that declare none.
    fn attaches(_desired: &Self::Desired) -> Option<Vec<String>> {
        None
    }

    /// Why the live thing cannot be removed by itself as it is now, and the thing with which it
    /// ends. Pure.
    fn part_of(_id: &Self::Id, _observed: &Self::Observed) -> Option<Part> {
        None
    }

    /// Whether what was found is another thing, which takes the place that this one needs. Then
    /// [`Resource::diff`] must block. Pure.
    fn obstructs(_observed: &Self::Observed) -> bool {
        false
    }

    /// What other steps may refer to. Pure.
    fn outputs(observed: &Self::Observed) -> Self::Outputs;

    /// What tells one write of the live thing from the next where neither its fields nor its
    /// outputs do, such as the time of a secret's version. Never made from a secret. Pure.
    fn revision(_observed: &Self::Observed) -> Option<String> {
        None
    }

    /// The outputs that are certain before the thing exists, such as an ARN made of names.
    fn predicted_outputs(_desired: &Self::Desired, _scope: &Scope) -> Partial {
        Partial::default()
    }

    /// The live tags, for kinds that have [`Resource::TAGGED`].
    fn tags(_observed: &Self::Observed) -> Option<&Tags> {
        None
    }
}

/// A client that can be had from the run's [`Providers`].
pub trait Provided: Sized + Send + Sync + 'static {
    /// Whether what it reads and writes is in a Vault cluster: in one of its namespaces, and gone
    /// with it.
    const IN_VAULT: bool = false;

    /// Returns the run's one client of this type, connecting on first use.
    fn provide(providers: &Providers) -> impl Future<Output = Result<Arc<Self>>> + Send;

    /// The client for a step that is elsewhere, for clients that know several places.
    fn provide_at(
        providers: &Providers,
        _place: Option<&Elsewhere>,
    ) -> impl Future<Output = Result<Arc<Self>>> + Send {
        Self::provide(providers)
    }
}

/// An edge that follows from what a step declares, without a reference or `needs:`.
///
/// It binds only if the plan declares the other thing; what exists already needs no edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The step of this kind with this id, e.g. the mount that a secret lives on.
    Thing {
        /// The kind's name.
        kind: &'static str,
        /// The id as [`Resource::id`] displays it.
        id: String,
    },
    /// Every step of this kind, e.g. `vault.init` before anything in Vault.
    Kind(&'static str),
    /// Every other step of this provider, for what must come last.
    Provider(&'static str),
}

impl Requirement {
    /// Shorthand for [`Requirement::Thing`].
    pub fn thing(kind: &'static str, id: impl Display) -> Self {
        Self::Thing { kind, id: id.to_string() }
    }
}

/// A mistake in one field of a step, found without the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a dotted path below the step; `""` is the step itself.
    pub path: String,
    /// What is wrong, a lowercase fragment.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Whether what stands there must not be shown.
    pub secret: bool,
}

impl FieldError {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None, secret: false }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says that what stands there must not be shown.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
