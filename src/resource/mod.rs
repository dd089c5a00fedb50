//! The contract that every kind of step implements.
//!
//! A kind is a type that implements [`Resource`]. The engine calls it through the type-erased
//! interface in [`erased`], and [`registry`] lists all kinds. No other part of the program knows a
//! particular kind.

mod addresses;
mod attachment;
pub mod constants;
mod diff;
pub mod erased;
mod look;
mod partial;
mod placed;
mod preview;
mod recorded;
mod replacement;
pub mod risk;
mod rotation;
mod settled;
pub(crate) mod strict;
mod wording;
mod writer;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use attachment::{Attachment, Holder, Part, mentions};
pub(crate) use diff::NOT_COMPARED;
pub use diff::{Blocked, Change, Diff};
pub use look::Look;
pub use partial::Partial;
pub use placed::requires_in;
pub use recorded::Recorded;
pub use replacement::Replacement;
pub use rotation::{Pending, Rotation, Turn};
pub use writer::Writer;

use self::risk::{Deletion, Risks};
use crate::access::{Grant, Granting};
use crate::error::{FieldError, Result};
use crate::health::Due;
use crate::place::{Place, Realm};
use crate::proof::{Proof, Prover};
use crate::run::{Permission, Run, Use, Workload};
use crate::secret::{Declarations, Fields, LoadError, Loader, SecretSource};

/// Tags of a cloud resource, key to value.
pub type Tags = BTreeMap<String, String>;

/// One kind of declared thing, such as an S3 bucket or a Vault policy.
///
/// All functions are associated functions: a kind does not have state of its own. The declaration
/// is [`Resource::Desired`], the live state is [`Resource::Observed`].
pub trait Resource: Sized + Send + Sync + 'static {
    /// The name in a plan's `kind:` field, `provider.noun`.
    const KIND: &'static str;
    /// One sentence for `groundwork explain`: the kind's purpose.
    const ABOUT: &'static str;
    /// A complete example for `groundwork explain`: the YAML of one or more entries under
    /// `steps:`, validated by a test.
    const EXAMPLE: &'static str;
    /// Whether `Desired` has a `tags` map into which the engine merges the plan's own tags and the
    /// tags that mark ownership. Tagged kinds also implement [`Resource::tags`].
    const TAGGED: bool = false;
    /// Whether a step of this kind is protected from deletion unless the plan sets `protect:
    /// false`.
    const PROTECTED: bool = false;
    /// Whether creating it involves a once-only response. The engine never retries such a creation;
    /// the kind itself follows the custody protocol.
    const ONCE_ONLY: bool = false;
    /// Whether it starts a server: until the thing exists, the server is empty. Its step also
    /// unseals a sealed server.
    const BOOTSTRAPS: bool = false;
    /// Whether it holds values, or content in which others may keep some. Of one that the journal does
    /// not know as the plan's, nothing is compared and nothing of its content shown: the plan may be a
    /// stranger's.
    const HOLDS_VALUES: bool = false;
    /// Whether its things are on the machine that runs: another machine, with a fresh clone, does not have
    /// them.
    const ON_THIS_MACHINE: bool = false;
    /// Outputs that are made from its content.
    const TELLING: &'static [&'static str] = &[];
    /// Whether a step may name the `namespace` of its thing.
    const NAMESPACED: bool = <Self::Client as Provided>::NAMESPACED;
    /// The parts of the realm in which the names of its things are unique, see [`Provided::REALM`].
    const REALM: &'static [&'static str] = <Self::Client as Provided>::REALM;
    /// The consequences of its removal, for the reviewer: what is deleted with it, and what
    /// cannot be restored.
    const REMOVAL: Option<&'static str> = None;
    /// How it comes back when it was lost and is made again, where that is less than it was before.
    const REBUILT: Option<&'static str> = None;
    /// What its removal means for the review's risks.
    const DELETION: Deletion = Deletion::usual(Self::PROTECTED);
    /// What `--replace` does with a thing of this kind.
    const REPLACEMENT: Replacement = Replacement::Recreated;
    /// How `rotate` gives a thing of this kind new secrets.
    const ROTATION: Rotation = Rotation::Never("it has no secret that can be rotated");
    /// Whether its things have to do with access; a test of the registry checks that every kind says so.
    const GRANTS: Granting = Granting::Unsaid;
    /// For each declared field which change is dangerous, or why none is; a test of the registry checks
    /// that none is missing.
    const RISKS: Risks = &[];
    /// Whether the system can say what a write would do, see [`Resource::rehearse`].
    const REHEARSED: bool = false;
    /// Whether what is read of its live thing depends on its files and templates: then these are loaded before.
    const FILES_FIRST: bool = false;
    /// How its things are proven to work; a test of the registry checks that each kind says it.
    const PROOF: Proof = Proof::Unstated;

    /// The client of the kind; built once per run and shared by all steps.
    type Client: Provided;
    /// The address of the thing in the live system, and nothing else but what its removal needs; [`Look`]
    /// says what to read. The journal keeps it, so that a thing can be
    /// found after its step is removed: it must not contain secrets or values that come only from
    /// the step's fields.
    type Id: Display + Clone + Serialize + DeserializeOwned + Send + Sync + 'static;
    /// The declared fields, as in the plan after expressions are resolved. Deserialisation is
    /// strict (`deny_unknown_fields`); serde fills in defaults.
    type Desired: Clone + Serialize + DeserializeOwned + JsonSchema + Send + Sync;
    /// The live state, in the form that [`Resource::diff`] compares.
    type Observed: Send + Sync;
    /// The outputs for other steps, as `{{ step_id.field }}`.
    type Outputs: Serialize + JsonSchema;

    /// The identity, from the plan only.
    fn id(desired: &Self::Desired) -> Self::Id;

    /// The name in the form that the live system compares: two names that it takes for the same, such as
    /// those that differ only by case, give the same text.
    fn same_name(id: &Self::Id) -> String {
        id.to_string()
    }

    /// The one place that a parent has for a thing of this kind, if it is like that, such as `the alias of
    /// the group X`: two steps must not both want it.
    fn occupies(_desired: &Self::Desired) -> Option<String> {
        None
    }

    /// Checks beyond the types, without network, as if every value were known. The engine drops mistakes
    /// at values that are not known yet, and those that [depend](FieldError::reading) on one.
    fn check(_desired: &Self::Desired) -> Vec<FieldError> {
        Vec::new()
    }

    /// Things which, if the plan declares them, must exist before this step.
    fn requires(_desired: &Self::Desired) -> Vec<Requirement> {
        Vec::new()
    }

    /// The permissions that a run needs for this use of it. Each is needed: a kind names none without which
    /// the same would be possible.
    fn permissions(_desired: &Self::Desired, _used: Use<'_>) -> Vec<Permission> {
        Vec::new()
    }

    /// The permissions that a rotation needs, besides those to look at the thing and to change it.
    fn rotation_permissions(_desired: &Self::Desired, _realm: &Realm) -> Vec<Permission> {
        Vec::new()
    }

    /// Files beside the plan with public keys for which it encrypts, relative to the plan's folder.
    /// A saved changeset covers their content.
    fn key_files(_desired: &Self::Desired) -> Vec<PathBuf> {
        Vec::new()
    }

    /// The secret inputs, which [`Resource::load`] reads.
    fn sources(_desired: &mut Self::Desired) -> Vec<&mut SecretSource> {
        Vec::new()
    }

    /// The live values of the fields that [`Resource::compared`] lists, by path: other steps can take them, with
    /// `secret: STEP.PATH`.
    fn secrets(_observed: &Self::Observed) -> Fields {
        Fields::new()
    }

    /// The secret inputs that [`Resource::diff`] compares with live values, by name, and the path that
    /// they are below.
    fn compared(_desired: &mut Self::Desired) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("", BTreeMap::new())
    }

    /// What is declared of the places that secrets are delivered to and compared with, as
    /// [`declarations`](crate::secret::declarations) does for secret inputs.
    fn declared_places(_desired: &Self::Desired) -> Declarations {
        Declarations::new()
    }

    /// Says which of those places are not to be compared.
    fn hide_places(_desired: &mut Self::Desired, _unsettled: Vec<String>) {}

    /// Asks for new values in place of those that were made once: [`Resource::diff`] then shows them as
    /// changes, and [`Resource::update`] makes them. Returns whether there are any. For kinds whose
    /// [`Resource::REPLACEMENT`] is [`Replacement::Renewed`].
    fn renew(desired: &mut Self::Desired) -> bool {
        // All of them, not only the first.
        Self::sources(desired).into_iter().filter_map(|source| source.renew().then_some(())).count() > 0
    }

    /// Asks for a rotation, or for the next phase of one, which [`Resource::diff`] then shows and
    /// [`Resource::update`] carries out. Returns whether there is anything to rotate in this direction. For kinds
    /// whose [`Resource::ROTATION`] is not [`Rotation::Never`].
    fn rotate(desired: &mut Self::Desired, turn: Turn) -> bool {
        turn == Turn::Forward && Self::renew(desired)
    }

    /// Asks for secrets that other steps have to be sent again although the server never reports them: the
    /// step that they come from is rotated.
    fn resend(_desired: &mut Self::Desired) {}

    /// The rotation that is under way. Pure.
    fn pending(_desired: &Self::Desired, _observed: &Self::Observed) -> Option<Pending> {
        None
    }

    /// Reads files beside the plan: secret inputs, templates. Called before [`Resource::diff`] and
    /// before every write; does not contact live systems.
    fn load(desired: &mut Self::Desired, loader: &Loader) -> Result<(), LoadError> {
        Self::sources(desired).into_iter().try_for_each(|source| source.load(loader))
    }

    /// Reads of the live thing what `look` says; `None` when it does not exist. Never writes.
    fn observe(
        client: &Self::Client,
        id: &Self::Id,
        look: Look<'_, Self>,
    ) -> impl Future<Output = Result<Option<Self::Observed>>> + Send;

    /// Asks the system what a write of the declaration would do, without doing it: what others make of the
    /// fields, and whether the write would be refused. Called where the observed thing is absent or differs,
    /// for kinds that have [`Resource::REHEARSED`]. Returns what is then compared: the observed thing with the
    /// answer, or one that [obstructs](Resource::obstructs) for a creation that would be refused; `None` when
    /// the system cannot say.
    fn rehearse(
        _client: &Self::Client,
        _desired: &Self::Desired,
        _observed: Option<&Self::Observed>,
    ) -> impl Future<Output = Result<Option<Self::Observed>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Compares field by field, and by meaning rather than by notation. Pure.
    fn diff(desired: &Self::Desired, observed: &Self::Observed) -> Diff;

    /// Creates the thing, complete with all its fields. Called when it did not exist at the last
    /// observation. Must fail rather than adopt a thing that was created in the meantime.
    fn create(
        w: &Writer<'_, Self::Client>,
        desired: &Self::Desired,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Changes an existing thing to the declared state, writing only the fields that differ. Also
    /// completes an interrupted creation.
    fn update(
        w: &Writer<'_, Self::Client>,
        desired: &Self::Desired,
        observed: &Self::Observed,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes the thing; succeeds if the thing no longer exists.
    fn delete(w: &Writer<'_, Self::Client>, id: &Self::Id) -> impl Future<Output = Result<()>> + Send;

    /// Why the thing is not removed by itself: it is built into the server, or exists as long as
    /// the server or its container. It does not keep other things from removal.
    fn permanent(_id: &Self::Id) -> Option<&'static str> {
        None
    }

    /// The attachments of the live thing: those that block its removal, and those that are deleted
    /// with it. Read before a removal is shown, and again immediately before the removal; never
    /// writes.
    fn attachments(
        _client: &Self::Client,
        _id: &Self::Id,
        _observed: &Self::Observed,
    ) -> impl Future<Output = Result<Vec<Attachment>>> + Send {
        std::future::ready(Ok(Vec::new()))
    }

    /// The attachments that the plan itself declares, see [`Attachment::path`]: losing them does
    /// not affect others. `None` for kinds that do not declare any.
    fn attaches(_desired: &Self::Desired) -> Option<Vec<String>> {
        None
    }

    /// Why the live thing cannot be removed by itself in its current state, and its container.
    /// Pure.
    fn part_of(_id: &Self::Id, _observed: &Self::Observed) -> Option<Part> {
        None
    }

    /// Whether the observed thing is another one, which occupies the place that this one needs.
    /// Then [`Resource::diff`] must block. Pure.
    fn obstructs(_observed: &Self::Observed) -> bool {
        false
    }

    /// Whether the observed thing is deleted already, and is kept only so that it can be restored. Then a
    /// removal has nothing left to do. Pure.
    fn is_deleted(_observed: &Self::Observed) -> bool {
        false
    }

    /// The outputs for other steps. Pure.
    fn outputs(observed: &Self::Observed) -> Self::Outputs;

    /// A value that differs between writes of the live thing if neither its fields nor its outputs
    /// do, such as the time of a secret's version. Never derived from a secret. Pure.
    fn revision(_observed: &Self::Observed) -> Option<String> {
        None
    }

    /// The outputs that are certain before the thing exists, such as an ARN made of names.
    fn predicted_outputs(_desired: &Self::Desired, _realm: &Realm) -> Partial {
        Partial::default()
    }

    /// Proves that the live thing works, for kinds whose [`Resource::PROOF`] is [`Proof::Tried`]. What it
    /// finds goes to the prover. It writes only what goes away again, see [`Prover::undo`].
    fn prove(
        _prover: &Prover<'_, Self::Client>,
        _desired: &Self::Desired,
        _observed: &Self::Observed,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// The workload whose token proves the thing, if the caller gives no credential. Pure.
    fn workload(_desired: &Self::Desired) -> Option<Workload> {
        None
    }

    /// The dates by which parts of the live thing have to be replaced. Pure.
    fn due(_desired: &Self::Desired, _observed: &Self::Observed) -> Vec<Due> {
        Vec::new()
    }

    /// What the thing has to do with access once it is as declared: what the plan does not manage of it is as in
    /// `live`. Pure.
    fn grants(_desired: &Self::Desired, _live: Option<&Self::Observed>, _realm: &Realm) -> Vec<Grant> {
        Vec::new()
    }

    /// What the live thing has to do with access. Pure.
    fn granted(_observed: &Self::Observed) -> Vec<Grant> {
        Vec::new()
    }

    /// The live tags, for kinds that have [`Resource::TAGGED`].
    fn tags(_observed: &Self::Observed) -> Option<&Tags> {
        None
    }
}

/// A client of the live system behind a kind. A run makes one for each place and shares it.
pub trait Provided: Sized + Send + Sync + 'static {
    /// The name of its provider.
    const PROVIDER: &'static str;
    /// The parts of the realm in which the names of its things are unique: the same name in another
    /// realm is another thing.
    const REALM: &'static [&'static str] = &[];
    /// Whether the system has namespaces, so that a step may name the one of its thing.
    const NAMESPACED: bool = false;

    /// Returns the run's one client of this type for this place, connecting on first use.
    fn provide(run: &Run, place: &Place) -> impl Future<Output = Result<Arc<Self>>> + Send;

    /// The thing that makes the namespace of this name, by kind and id: it must exist before the things
    /// in the namespace.
    fn namespace_maker(_name: &str) -> Option<Requirement> {
        None
    }
}

/// An edge implied by a step's declaration, without a reference or `needs:`.
///
/// It applies only if the plan declares the other thing; an existing thing does not need an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The step of this kind with this id, e.g. the mount of a secret.
    Thing {
        /// The kind's name.
        kind: &'static str,
        /// The id as [`Resource::id`] displays it.
        id: String,
    },
    /// Every step of this kind, e.g. `vault.init` before anything in Vault.
    Kind(&'static str),
    /// Every other step of this provider, for steps that must come last.
    Provider(&'static str),
}

impl Requirement {
    /// Shorthand for [`Requirement::Thing`].
    pub fn thing(kind: &'static str, id: impl Display) -> Self {
        Self::Thing { kind, id: id.to_string() }
    }
}
