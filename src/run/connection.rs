//! The presence of one provider in a run.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Command, Declared, Kept, Lack, LeastPolicy, Needs, Permission, Run};
use crate::access::{Access, Stated};
use crate::backup::BackupPlace;
use crate::custody::{KeyService, Store};
use crate::destination::Destinations;
use crate::environment::Environment;
use crate::error::{FieldError, Result};
use crate::health::System;
use crate::journal::mirror;
use crate::lock;
use crate::place::{Place, Realm, Realms};
use crate::plan::settings::StoreSettings;
use crate::plan::{LockPlace, S3Location};
use crate::proof::{Known, Load, Prover};
use crate::secret::Secret;
use crate::trust::Grant;

/// A service whose requests are bounded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// How many of its things are written at the same time.
    pub at_once: usize,
}

/// A workload of a system, which logs in elsewhere with a token that the system issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The namespace of its account.
    pub namespace: String,
    /// Its account.
    pub account: String,
    /// For whom the token is issued; the system's own when absent.
    pub audience: Option<String>,
}

/// A permission that a section needs of the caller.
#[derive(Clone, Debug)]
pub struct Want {
    /// The field below the section that asks for it.
    pub path: String,
    /// The permission.
    pub grant: Grant,
    /// The consequence of allowing it, as a sentence.
    pub why: String,
}

/// A thing of the plan that exists.
#[derive(Clone, Debug)]
pub struct Existing {
    /// The index of its step.
    pub step: usize,
    /// Its kind.
    pub kind: &'static str,
    /// Its name, with the place if it is not the plan's own.
    pub id: String,
    /// Its outputs.
    pub outputs: Map<String, Value>,
}

/// A provider in one plan: its settings, and its clients in a run. Making it reads and sends nothing;
/// clients connect when a step asks for them.
#[async_trait]
pub trait Connection: Any + Send + Sync {
    /// The provider's name.
    fn provider(&self) -> &'static str;

    /// Mistakes in the settings beyond their types, with paths below the section.
    fn check(&self) -> Vec<FieldError> {
        Vec::new()
    }

    /// Constants in the fields of a step that cannot be, whatever its kind, or that cannot be in this place.
    fn check_fields(&self, _place: &Place, _fields: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// Mistakes that only all steps of the plan show, each with the index of the step that it is in.
    fn check_plan(&self, _steps: &[&dyn Declared]) -> Vec<(usize, FieldError)> {
        Vec::new()
    }

    /// The realm with something in place of each part that is not known, so that names can be made which only have
    /// to be told apart.
    fn stand_in(&self, realm: &Realm) -> Realm {
        realm.clone()
    }

    /// Who can reach what, by what the things of this provider state.
    fn reach(&self, _stated: &[Stated]) -> Access {
        Access::default()
    }

    /// For how many pairs of a principal and a thing access is compared before and after each changeset.
    fn most_pairs(&self) -> usize {
        // About a tenth of a second.
        50_000
    }

    /// The live policies that these principals name and that are not among them. One that cannot be read is
    /// left out: what it gives is then not known.
    async fn further_policies(&self, _run: &Run, _stated: &[Stated]) -> Vec<Stated> {
        Vec::new()
    }

    /// The permissions that the settings need of the caller.
    fn wants(&self, _folder: &Path) -> Vec<Want> {
        Vec::new()
    }

    /// What expressions see under the provider's name; `realms` has what is known of its places.
    fn expressions(&self, _realms: &Realms) -> Option<Value> {
        None
    }

    /// The service behind a kind, whose writes are bounded together.
    fn service(&self, _kind: &str) -> Service {
        Service { name: self.provider(), at_once: usize::MAX }
    }

    /// Tags that every tagged thing of the provider gets.
    fn tags(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Which of these things of the plan the run itself needs to reach the system: without them nothing
    /// else could be removed. `is_bootstrapped` says whether a step of the plan starts the server.
    fn own_access(
        &self,
        _things: &[Existing],
        _is_bootstrapped: bool,
        _environment: &Environment,
    ) -> Vec<usize> {
        Vec::new()
    }

    /// The names of further connections that the plan declares, as for `provider: aws.NAME`.
    fn aliases(&self) -> Vec<String> {
        Vec::new()
    }

    /// A token of a workload, good for some minutes; `None` if the plan uses no such system.
    async fn workload_token(&self, _run: &Run, _workload: &Workload) -> Option<Result<Secret>> {
        None
    }

    /// The permission to issue such a token, in a plan with steps of these kinds; `None` as there.
    fn workload_permission(&self, _workload: &Workload, _kinds: &[&str]) -> Option<Permission> {
        None
    }

    /// Whether custody, the journal or the lock of a plan can be in this system.
    fn keeps_for_runs(&self) -> bool {
        true
    }

    /// Whether the system is asked for its realm before anything else, because expressions use it.
    fn asks_first(&self) -> bool {
        false
    }

    /// The realm of a place, as far as it is known without a request.
    fn known_realm(&self, place: &Place) -> Realm;

    /// The realm of a place according to the live system.
    ///
    /// # Errors
    /// When the system cannot be asked, or is not the one that the plan names.
    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm>;

    /// Where this run goes and with which identity, by the place in the plan that decides about it, such
    /// as `vault.address`. `places` are those that steps use.
    fn destinations(&self, places: &[Place]) -> Destinations;

    /// The same as far as the plan says it, for a reader without a run.
    fn written(&self) -> Destinations {
        self.destinations(&[Place::OWN])
    }

    /// The permissions that the run itself needs for what it keeps in this system, in the plan's own place,
    /// each with a name of what it is for.
    fn own_permissions(
        &self,
        _command: Command,
        _kept: &Kept<'_>,
        _realm: &Realm,
    ) -> Vec<(&'static str, Permission)> {
        Vec::new()
    }

    /// The policies that give these permissions and no others, all of them in one connection.
    fn least_policies(&self, _connection: &Place, _needs: &[&Needs]) -> Vec<LeastPolicy> {
        Vec::new()
    }

    /// Which of these permissions, all of them in one connection, the caller certainly does not have. Says
    /// nothing where the system does not answer that.
    async fn lacking(&self, _run: &Run, _connection: &Place, _needs: &[&Needs]) -> Vec<Lack> {
        Vec::new()
    }

    /// Forgets everything that was read.
    async fn forget(&self) {}

    /// Problems of the system that do not end the run, each reported once.
    fn take_warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Proves what no step stands for, such as the nodes of a server that the plan does not initialise. What
    /// it finds goes to the prover.
    async fn prove(&self, _prover: &Prover<'_, Run>) {}

    /// How the system stands now: its servers, each asked about itself, and what else can be read; nothing where
    /// the plan does not use it, or it has no servers of its own. `limit` bounds each part. Whatever fails is part
    /// of the answer.
    async fn health(&self, _run: &Run, _declared: &[Known], _limit: Duration) -> Option<System> {
        None
    }

    /// Measures how fast the system serves, within bounds, and compares that with the targets of the section;
    /// `None` if it is not measured.
    async fn load(&self, _prover: &Prover<'_, Run>) -> Option<Load> {
        None
    }

    /// A store of custody, if this system keeps such stores.
    ///
    /// # Errors
    /// When the settings are wrong. A system that cannot be reached gives a store that says so.
    async fn store(&self, _run: &Run, _settings: &StoreSettings) -> Result<Option<Box<dyn Store>>> {
        Ok(None)
    }

    /// The key management service of custody's recipients, if this system has it.
    async fn key_service(&self, _run: &Run) -> Option<Arc<dyn KeyService>> {
        None
    }

    /// A place for backups, if this system keeps them.
    ///
    /// # Errors
    /// When the system cannot be used at all.
    async fn backup_place(&self, _run: &Run, _place: &S3Location) -> Result<Option<Box<dyn BackupPlace>>> {
        Ok(None)
    }

    /// The place of a journal's copy, if this system keeps copies.
    ///
    /// # Errors
    /// When the system cannot be used at all.
    async fn journal_copy(&self, _run: &Run, _place: &S3Location) -> Result<Option<Arc<dyn mirror::Place>>> {
        Ok(None)
    }

    /// The place of a lock, if this system keeps locks.
    ///
    /// # Errors
    /// When the system cannot be used at all.
    async fn lock_place(&self, _run: &Run, _place: &LockPlace) -> Result<Option<Box<dyn lock::Place>>> {
        Ok(None)
    }
}

/// The providers of a plan, a connection each.
#[derive(Clone, Default)]
pub struct Connections(Vec<Arc<dyn Connection>>);

impl Connections {
    /// Adds one more.
    pub fn push(&mut self, connection: Arc<dyn Connection>) {
        self.0.push(connection);
    }

    /// All of them, in the order of the registry.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Connection> {
        self.0.iter().map(AsRef::as_ref)
    }

    /// That of the provider with this name.
    pub fn named(&self, provider: &str) -> Option<&dyn Connection> {
        self.iter().find(|connection| connection.provider() == provider)
    }

    /// The one of this type.
    pub fn of_type<C: Connection>(&self) -> Option<&C> {
        self.iter().find_map(|connection| (connection as &dyn Any).downcast_ref())
    }
}
