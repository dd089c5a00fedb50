//! The thing of one step, with its types behind the seam.

use std::borrow::Cow;
use std::path::PathBuf;

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::super::addresses;
use super::super::placed::requires_in;
use super::super::preview::flatten;
use super::super::recorded::{self, Known, Recorded};
use super::super::settled;
use super::super::strict::parse;
use super::super::{
    Attachment, Diff, Look, Part, Pending, Provided, Requirement, Resource, Tags, Turn, Writer,
};
use super::proven::prove;
use crate::access::Grant;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::health::Due;
use crate::permit::Permit;
use crate::place::{Place, Realm};
use crate::proof::Proofs;
use crate::run::{Access, Connection, Permission, Run, Use, Workload};
use crate::secret::{
    Declarations, Fields, Input, LoadError, Loader, Secret, SecretSource, Sources, declarations,
    hide_unsettled, path_of, render,
};
use crate::template::unknown;

/// One step's thing: its declaration and, once observed, its live state.
#[async_trait]
pub trait Instance: Send + Sync {
    /// Replaces the declared fields, e.g. when more of them are known; keeps the observation.
    fn redeclare(&mut self, fields: Value) -> Result<(), Vec<FieldError>>;
    /// Sets the connection: the name of a further one, or the plan's own.
    fn use_alias(&mut self, alias: Option<&str>);
    /// Its place.
    fn place(&self) -> &Place;
    /// The live system's identification, with the place if it is not the plan's own.
    fn id(&self) -> String;
    /// The same without the place.
    fn name(&self) -> String;
    /// The name in the form that the system compares, see [`Resource::same_name`].
    fn same_name(&self) -> String;
    /// The one place that its parent has for it, see [`Resource::occupies`].
    fn occupies(&self) -> Option<String>;
    /// The same, complete and for programs: [`Kind::recall`] reads it.
    fn address(&self) -> Value;
    /// Declares its outputs as unused, so that requests only for outputs are not sent.
    fn without_outputs(&mut self);
    /// Says whether the journal has it as the plan's, or a person has approved what is done to it:
    /// whether its values may be read.
    fn recognise(&mut self, known: bool);
    /// Asks for new values in place of those that were made once, until they are written. Returns whether
    /// there are any.
    fn renew(&mut self) -> bool;
    /// Asks for a rotation in this direction, until it is written. Returns whether there is anything to rotate.
    fn rotate(&mut self, turn: Turn) -> bool;
    /// Asks for the secrets of other steps to be sent again, until they are written.
    fn resend(&mut self);
    /// The rotation that is under way; `None` when the thing does not exist.
    fn pending(&self) -> Option<Pending>;
    /// Whether new values are asked for and not written yet.
    fn is_renewing(&self) -> bool;
    /// Notes that the new values are written.
    fn renewed(&mut self);
    /// Whether it is there, and its values were not to be read.
    fn is_unread(&self) -> bool;
    /// The declarations of the fields whose values are compared, as digests by path; `None` for a kind
    /// without such fields.
    fn declarations(&self) -> Option<Declarations>;
    /// Checks that the secret inputs fit the templates that insert them, and returns remarks on them.
    /// Both reveal something about the values, hence the permit.
    fn prove(&self, permit: &Permit) -> Result<Vec<String>>;
    /// Checks beyond the types; `connection` is that of its provider in the plan.
    fn check(&self, connection: Option<&dyn Connection>) -> Vec<FieldError>;
    /// The permissions that a run needs to do this with it.
    fn permissions(&self, access: Access, realm: &Realm) -> Vec<Permission>;
    /// The permissions that a rotation of it needs besides.
    fn rotation_permissions(&self, realm: &Realm) -> Vec<Permission>;
    /// Implied edges.
    fn requires(&self) -> Vec<Requirement>;
    /// Files with public keys, relative to the plan's folder.
    fn key_files(&self) -> Vec<PathBuf>;
    /// The environment variables that the secret inputs come from.
    fn env_names(&self) -> Vec<String>;
    /// The secrets of other steps that it takes, as they are written.
    fn step_secrets(&self) -> Vec<String>;
    /// The paths of the secrets that other steps can take from it.
    fn offered(&self) -> Vec<String>;
    /// The live value of one of these, if it was read.
    fn secret(&self, path: &str) -> Option<Secret>;
    /// Reads the secret inputs.
    fn load(&mut self, loader: &Loader) -> Result<(), LoadError>;
    /// The declared fields with their defaults; a secret's source as a description.
    fn fields(&self) -> Value;
    /// Everything that creating it would set, as changes from nothing.
    fn preview(&self) -> Diff;
    /// The outputs that are known before it exists.
    fn predicted_outputs(&self, realm: &Realm) -> Map<String, Value>;
    /// Reads the live thing.
    async fn observe(&mut self, run: &Run) -> Result<()>;
    /// Asks the system what a write would do, if the thing is absent or differs and all of its fields are
    /// known.
    async fn rehearse(&mut self, run: &Run) -> Result<()>;
    /// Marks the thing as absent, without a request.
    fn assume_absent(&mut self);
    /// Whether the thing existed when it was observed.
    fn exists(&self) -> bool;
    /// Whether it is deleted already, and can still be restored.
    fn is_deleted(&self) -> bool;
    /// The live tags, for tagged kinds.
    fn tags(&self) -> Option<Tags>;
    /// The differences; `None` when the thing does not exist.
    fn diff(&self, view: View<'_>) -> Option<Diff>;
    /// The outputs; `None` when the thing does not exist.
    fn outputs(&self) -> Option<Map<String, Value>>;
    /// A value that differs between writes of it; `None` if the kind does not have one.
    fn revision(&self) -> Option<String>;
    /// Creates it, or updates it when it exists. `begun` is when an earlier run began to create it, if
    /// how that ended is not known.
    async fn write(&self, run: &Run, permit: &Permit, step: &str, begun: Option<Timestamp>) -> Result<()>;
    /// Proves that the live thing works; nothing is tried when it does not exist.
    async fn verify(&self, run: &Run, proofs: &Proofs, step: &str);
    /// The workload whose token proves it.
    fn workload(&self) -> Option<Workload>;
    /// The dates by which parts of it have to be replaced; none when it does not exist.
    fn due(&self) -> Vec<Due>;
    /// The attachments of the live thing; empty when it does not exist.
    async fn attachments(&self, run: &Run) -> Result<Vec<Attachment>>;
    /// The declared attachments; `None` for kinds that do not declare any.
    fn attaches(&self) -> Option<Vec<String>>;
    /// Why the live thing cannot be removed by itself.
    fn part_of(&self) -> Option<Part>;
    /// What it has to do with access once it is as declared.
    fn grants(&self, realm: &Realm) -> Vec<Grant>;
    /// What the live thing has to do with access; nothing when it does not exist.
    fn granted(&self) -> Vec<Grant>;
    /// The same thing without its declaration, for removal.
    fn recorded(&self) -> Box<dyn Recorded>;
}

/// Which values may be compared.
#[derive(Clone, Copy)]
pub enum View<'a> {
    /// All of them: the plan has been approved.
    Approved(&'a Permit),
    /// Those whose declarations match this record.
    Recorded(Option<&'a Declarations>),
}

pub(super) struct Typed<R: Resource> {
    desired: R::Desired,
    /// The fields as written, without defaults.
    declared: Value,
    place: Place,
    /// Whether another step refers, or may refer, to its outputs.
    outputs_wanted: bool,
    /// Whether its values may be read.
    known: bool,
    observed: Option<R::Observed>,
    /// Whether it was observed without its values.
    unread: bool,
    /// What is asked for beside the declaration, until it is written.
    asked: Option<Asked>,
}

/// A wish of a run beside the declaration.
#[derive(Clone, Copy)]
enum Asked {
    /// New values.
    Renew,
    /// A rotation.
    Rotate(Turn),
    /// The secrets of other steps once more.
    Resend,
}

/// A step's fields: typed, as written, and the place of its thing.
fn read<R: Resource>(mut fields: Value) -> Result<(R::Desired, Value, Place), Vec<FieldError>> {
    let place = if R::NAMESPACED { Place::take_namespace(&mut fields) } else { Ok(Place::OWN) };
    match (parse::<R::Desired>(fields.clone()), place) {
        (Ok(desired), Ok(place)) => Ok((desired, fields, place)),
        (desired, place) => {
            let mistakes = desired.err().into_iter().flatten();
            Err(mistakes.chain(place.err()).collect())
        }
    }
}

impl<R: Resource> Typed<R> {
    /// Reads the declaration; nothing was observed yet.
    pub(super) fn new(fields: Value) -> Result<Self, Vec<FieldError>> {
        let (desired, declared, place) = read::<R>(fields)?;
        Ok(Self {
            desired,
            declared,
            place,
            outputs_wanted: true,
            known: false,
            observed: None,
            unread: false,
            asked: None,
        })
    }
}

#[async_trait]
impl<R: Resource> Instance for Typed<R> {
    fn redeclare(&mut self, fields: Value) -> Result<(), Vec<FieldError>> {
        let (desired, declared, place) = read::<R>(fields)?;
        (self.desired, self.declared) = (desired, declared);
        self.place.namespace = place.namespace;
        Ok(())
    }

    fn use_alias(&mut self, alias: Option<&str>) {
        self.place.alias = alias.map(ToOwned::to_owned);
    }

    fn place(&self) -> &Place {
        &self.place
    }

    fn id(&self) -> String {
        self.known().id()
    }

    fn name(&self) -> String {
        R::id(&self.desired).to_string()
    }

    fn same_name(&self) -> String {
        R::same_name(&R::id(&self.desired))
    }

    fn occupies(&self) -> Option<String> {
        R::occupies(&self.desired)
    }

    fn address(&self) -> Value {
        self.known().address()
    }

    fn without_outputs(&mut self) {
        self.outputs_wanted = false;
    }

    fn recognise(&mut self, known: bool) {
        self.known = known;
    }

    fn renew(&mut self) -> bool {
        self.asked = R::renew(&mut self.desired.clone()).then_some(Asked::Renew);
        self.is_renewing()
    }

    fn rotate(&mut self, turn: Turn) -> bool {
        self.asked = R::rotate(&mut self.desired.clone(), turn).then_some(Asked::Rotate(turn));
        self.is_renewing()
    }

    fn resend(&mut self) {
        self.asked = Some(Asked::Resend);
    }

    fn pending(&self) -> Option<Pending> {
        self.live().and_then(|observed| R::pending(&self.desired, observed))
    }

    fn is_renewing(&self) -> bool {
        self.asked.is_some()
    }

    fn renewed(&mut self) {
        self.asked = None;
    }

    fn is_unread(&self) -> bool {
        self.unread && self.observed.is_some()
    }

    fn declarations(&self) -> Option<Declarations> {
        let (below, sources) = self.compared();
        let declared = declarations(&sources).into_iter();
        let mut declared: Declarations =
            declared.map(|(name, digest)| (path_of(below, &name), digest)).collect();
        declared.extend(R::declared_places(&self.desired));
        (!declared.is_empty()).then_some(declared)
    }

    fn prove(&self, _: &Permit) -> Result<Vec<String>> {
        let mut desired = self.desired.clone();
        let remarks = R::sources(&mut desired).into_iter().filter_map(|source| source.remark()).collect();
        match render(&self.compared().1, &Fields::new(), false) {
            Ok(_) => Ok(remarks),
            Err(error) => {
                let error = Error::new(ErrorKind::Local, self.id(), error.to_string());
                Err(error.advice("nothing was written; change the value or the template and run again"))
            }
        }
    }

    fn check(&self, connection: Option<&dyn Connection>) -> Vec<FieldError> {
        let mut found = R::check(&self.desired);
        let is_known = |found: &[FieldError], path: &str| found.iter().any(|mistake| mistake.path == path);
        let fields = self.fields();
        for (path, text) in addresses::with_passwords(&fields) {
            if !is_known(&found, &path) && !self.is_literal_source(&text) {
                found.push(addresses::mistake(path));
            }
        }
        let of_the_place = connection.map(|connection| connection.check_fields(&self.place, &fields));
        for mistake in of_the_place.into_iter().flatten() {
            if !is_known(&found, &mistake.path) {
                found.push(mistake);
            }
        }
        settled::mistakes(found, &[self.declared.clone(), fields])
    }

    fn permissions(&self, access: Access, realm: &Realm) -> Vec<Permission> {
        R::permissions(&self.desired, Use { access, realm, outputs: self.outputs_wanted })
    }

    fn rotation_permissions(&self, realm: &Realm) -> Vec<Permission> {
        R::rotation_permissions(&self.desired, realm)
    }

    fn requires(&self) -> Vec<Requirement> {
        requires_in::<R::Client>(&self.place, settled::requirements(R::requires(&self.desired)))
    }

    fn key_files(&self) -> Vec<PathBuf> {
        R::key_files(&self.desired)
    }

    fn env_names(&self) -> Vec<String> {
        // Sources can be had only of what may be changed.
        let Ok((mut desired, ..)) = read::<R>(self.declared.clone()) else { return Vec::new() };
        R::sources(&mut desired).iter().flat_map(|source| source.env_names()).collect()
    }

    fn step_secrets(&self) -> Vec<String> {
        let mut desired = self.desired.clone();
        R::sources(&mut desired).iter().flat_map(|source| source.step_secrets()).collect()
    }

    fn offered(&self) -> Vec<String> {
        let mut desired = self.desired.clone();
        let (below, sources) = R::compared(&mut desired);
        sources.keys().map(|name| path_of(below, name)).collect()
    }

    fn secret(&self, path: &str) -> Option<Secret> {
        let observed = self.observed.as_ref().filter(|_| !self.is_unread())?;
        R::secrets(observed).remove(path)
    }

    fn load(&mut self, loader: &Loader) -> Result<(), LoadError> {
        R::load(&mut self.desired, loader)
    }

    fn fields(&self) -> Value {
        serde_json::to_value(&self.desired).unwrap_or_default()
    }

    fn preview(&self) -> Diff {
        let mut diff = Diff::none();
        let fields = serde_json::to_value(&self.desired).unwrap_or(Value::Null);
        flatten(&mut diff, "", &fields, Some(&self.declared));
        diff
    }

    fn predicted_outputs(&self, realm: &Realm) -> Map<String, Value> {
        R::predicted_outputs(&self.desired, realm).into_map()
    }

    async fn observe(&mut self, run: &Run) -> Result<()> {
        let values = self.known || !R::HOLDS_VALUES;
        let look = Look { declared: Some(&self.desired), outputs: self.outputs_wanted, values };
        let client = R::Client::provide(run, &self.place).await?;
        self.observed = R::observe(&client, &R::id(&self.desired), look).await?;
        self.unread = !values;
        Ok(())
    }

    async fn rehearse(&mut self, run: &Run) -> Result<()> {
        let is_as_declared = |observed| R::diff(&self.desired, observed).is_empty();
        if !R::REHEARSED || self.has_unknown() || self.observed.as_ref().is_some_and(is_as_declared) {
            return Ok(());
        }
        let client = R::Client::provide(run, &self.place).await?;
        let observed = self.observed.as_ref().filter(|observed| !R::obstructs(observed));
        if let Some(rehearsed) = R::rehearse(&client, &self.desired, observed).await? {
            self.observed = Some(rehearsed);
        }
        Ok(())
    }

    fn assume_absent(&mut self) {
        self.observed = None;
    }

    fn exists(&self) -> bool {
        self.live().is_some()
    }

    fn is_deleted(&self) -> bool {
        self.observed.as_ref().is_some_and(R::is_deleted)
    }

    fn tags(&self) -> Option<Tags> {
        self.live().and_then(|observed| R::tags(observed).cloned())
    }

    fn diff(&self, view: View<'_>) -> Option<Diff> {
        let observed = self.observed.as_ref()?;
        let View::Recorded(record) = view else { return Some(R::diff(&self.wanted(), observed)) };
        let mut desired = self.wanted().into_owned();
        let (below, mut fields) = R::compared(&mut desired);
        hide_unsettled(below, fields.iter_mut().map(|(name, source)| (name.as_str(), &mut **source)), record);
        let mut places = R::declared_places(&desired);
        places.retain(|path, digest| record.and_then(|record| record.get(path)) != Some(digest));
        R::hide_places(&mut desired, places.into_keys().collect());
        Some(R::diff(&desired, observed))
    }

    fn outputs(&self) -> Option<Map<String, Value>> {
        let mut outputs = self.live().map(recorded::outputs::<R>)?;
        outputs.retain(|name, _| !(self.unread && R::TELLING.contains(&name.as_str())));
        Some(outputs)
    }

    fn revision(&self) -> Option<String> {
        self.live().and_then(R::revision)
    }

    async fn write(&self, run: &Run, permit: &Permit, step: &str, begun: Option<Timestamp>) -> Result<()> {
        let client = R::Client::provide(run, &self.place).await?;
        let writer = Writer::new(&*client, permit, step).after(begun).reporting(&run.reports);
        self.refuse_unknown(step)?;
        if self.is_unread() {
            let message = "its values were not read before the write; nothing was written";
            return Err(Error::new(ErrorKind::Local, step, message)
                .advice("this is a mistake in the program; report it"));
        }
        match &self.observed {
            Some(observed) if R::obstructs(observed) => {
                let message = "another thing already exists in its place; nothing was written";
                Err(Error::new(ErrorKind::Conflict, step, message))
            }
            None => R::create(&writer, &self.desired).await,
            Some(observed) => R::update(&writer, &self.wanted(), observed).await,
        }
    }

    async fn verify(&self, run: &Run, proofs: &Proofs, step: &str) {
        if let Some(observed) = self.live() {
            prove::<R>(run, &self.place, (&self.desired, observed), proofs, step).await;
        }
    }

    fn workload(&self) -> Option<Workload> {
        R::workload(&self.desired)
    }

    fn due(&self) -> Vec<Due> {
        self.live().map(|observed| R::due(&self.desired, observed)).unwrap_or_default()
    }

    async fn attachments(&self, run: &Run) -> Result<Vec<Attachment>> {
        let id = R::id(&self.desired);
        match self.live() {
            Some(observed) => recorded::attachments::<R>(run, &id, &self.place, observed).await,
            None => Ok(Vec::new()),
        }
    }

    fn attaches(&self) -> Option<Vec<String>> {
        R::attaches(&self.desired)
    }

    fn part_of(&self) -> Option<Part> {
        recorded::part_of::<R>(&R::id(&self.desired), &self.place, self.live()?)
    }

    fn grants(&self, realm: &Realm) -> Vec<Grant> {
        R::grants(&self.desired, self.live(), realm)
    }

    fn granted(&self) -> Vec<Grant> {
        self.live().map(R::granted).unwrap_or_default()
    }

    fn recorded(&self) -> Box<dyn Recorded> {
        Box::new(self.known())
    }
}

impl<R: Resource> Typed<R> {
    /// The declaration, with new values where these are asked for.
    fn wanted(&self) -> Cow<'_, R::Desired> {
        let Some(asked) = self.asked else { return Cow::Borrowed(&self.desired) };
        let mut desired = self.desired.clone();
        match asked {
            Asked::Renew => {
                R::renew(&mut desired);
            }
            Asked::Rotate(turn) => {
                R::rotate(&mut desired, turn);
            }
            Asked::Resend => R::resend(&mut desired),
        }
        Cow::Owned(desired)
    }

    /// The sources that are compared with live values, and the path that they are below.
    fn compared(&self) -> (&'static str, Sources) {
        let mut desired = self.desired.clone();
        let (below, fields) = R::compared(&mut desired);
        (below, fields.into_iter().map(|(name, source)| (name, source.clone())).collect())
    }

    fn known(&self) -> Known<R> {
        Known::new(R::id(&self.desired), self.place.clone())
    }

    /// The live thing, unless another one takes its place.
    fn live(&self) -> Option<&R::Observed> {
        self.observed.as_ref().filter(|observed| !R::obstructs(observed))
    }

    /// Whether a secret field contains this text as a literal, which a lint rule reports.
    fn is_literal_source(&self, text: &str) -> bool {
        let Ok((mut desired, ..)) = read::<R>(self.declared.clone()) else { return false };
        let is_it = |source: &SecretSource| matches!(source.input(), Input::Literal(own) if own == text);
        R::sources(&mut desired).into_iter().any(|source| is_it(source))
    }
}

impl<R: Resource> Typed<R> {
    /// Whether a field depends on a value that is not known yet.
    fn has_unknown(&self) -> bool {
        unknown::has_unknown(&serde_json::to_value(&self.desired).unwrap_or(Value::Null))
    }

    /// The last safeguard: unknown values are never written.
    fn refuse_unknown(&self, step: &str) -> Result<()> {
        if self.has_unknown() {
            let message = "a field still depends on an unknown value; nothing was written";
            return Err(Error::new(ErrorKind::Local, step, message));
        }
        Ok(())
    }
}
