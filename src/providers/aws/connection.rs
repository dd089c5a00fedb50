//! AWS in one run: a client for each account and region, and what AWS keeps for the run itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::accounts::Aliases;
use super::arn::partition_of;
use super::backup_place::S3BackupPlace;
use super::client::AwsClient;
use super::constants;
use super::least;
use super::lock::LockItem;
use super::s3_object::S3Object;
use super::s3_store::S3Store;
#[cfg(feature = "aws-secretsmanager")]
use super::secrets_store::SecretsStore;
use super::{KINDS, OPTIONAL_KINDS};
use super::{own_needs, preflight, reach};
use crate::access::{Access, Stated};
use crate::backup::BackupPlace;
use crate::custody::{KeyService, Store, Unreachable};
use crate::destination::Destinations;
use crate::error::{FieldError, Result};
use crate::journal::mirror;
use crate::lock;
use crate::place::{Place, Realm, Realms};
use crate::plan::settings::StoreSettings;
use crate::plan::{LockPlace, S3Location};
#[cfg(not(feature = "aws-secretsmanager"))]
use crate::provider::LeftOut;
use crate::provider::Provider;
use crate::providers::aws::settings::{AwsAccount, AwsSettings};
use crate::providers::patience::{PatientKeys, PatientStore};
use crate::resource::Provided;
use crate::resource::erased::Kind;
use crate::run::{Command, Connection, Kept, Lack, LeastPolicy, Needs, Permission, Run, Service, Want};
use crate::template::unknown;
use crate::trust::{Grant, Subject};

/// AWS in a plan: its accounts and regions. A client connects when a step first asks for it.
#[derive(Debug)]
pub struct Aws {
    /// The `aws:` section.
    pub settings: AwsSettings,
    pub(super) own: OnceCell<Arc<AwsClient>>,
    pub(super) aliases: Aliases,
}

impl Aws {
    fn connected(&self, place: &Place) -> Option<Arc<AwsClient>> {
        match &place.alias {
            None => self.own.get().cloned(),
            Some(name) => self.aliases.get(name),
        }
    }
}

impl Provider for Aws {
    const NAME: &'static str = "aws";
    const TITLE: &'static str = "AWS";
    const KINDS: &'static [&'static dyn Kind] = KINDS;
    const OPTIONAL_KINDS: &'static [(&'static str, &'static str)] = OPTIONAL_KINDS;
    const IN_EXPRESSIONS: bool = true;

    type Settings = AwsSettings;

    fn open(settings: AwsSettings) -> Self {
        Self { settings, own: OnceCell::new(), aliases: Aliases::default() }
    }
}

/// The realm of an account as far as its declaration says. The region implies the partition.
fn declared_realm(account: &AwsAccount) -> Realm {
    Realm::default()
        .with_some("account", account.account_id.as_deref())
        .with_some("region", account.region.as_deref())
}

fn account_wants(path: &str, account: AwsAccount) -> Vec<Want> {
    let profile = account.profile.map(|profile| Want {
        path: format!("{path}profile"),
        why: format!("the plan uses the credentials of your AWS profile `{profile}`"),
        grant: Grant::new(Subject::AwsProfile, profile),
    });
    let role = account.assume_role.map(|role| Want {
        path: format!("{path}assume_role.role_arn"),
        why: format!("the plan assumes the role {} with your AWS credentials", role.role_arn),
        grant: Grant::new(Subject::AwsRole, role.role_arn),
    });
    profile.into_iter().chain(role).collect()
}

#[async_trait]
impl Connection for Aws {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    fn check(&self) -> Vec<FieldError> {
        self.settings.check()
    }

    fn stand_in(&self, realm: &Realm) -> Realm {
        reach::stand_in(realm)
    }

    fn reach(&self, stated: &[Stated]) -> Access {
        reach::reach(stated)
    }

    async fn further_policies(&self, run: &Run, stated: &[Stated]) -> Vec<Stated> {
        reach::further(run, stated).await
    }

    fn check_fields(&self, place: &Place, fields: &Value) -> Vec<FieldError> {
        let realm = self.known_realm(place);
        let region = realm.get("region").filter(|region| !unknown::is_unknown(region));
        constants::in_fields(fields, realm.get("partition").or_else(|| region.map(partition_of)))
    }

    fn wants(&self, _: &Path) -> Vec<Want> {
        let own = self.settings.account(None).map(|account| (String::new(), account));
        let aliases = self.settings.aliases.iter();
        let aliases = aliases.map(|(name, account)| (format!("aliases.{name}."), account.clone()));
        own.into_iter().chain(aliases).flat_map(|(path, account)| account_wants(&path, account)).collect()
    }

    /// `aws.region`, `aws.account_id`, and the same of each name under `aws.aliases`.
    fn expressions(&self, realms: &Realms) -> Option<Value> {
        let known = |alias: Option<&str>, path: &str| {
            let realm = realms.of(Self::NAME, &Place::of_alias(alias));
            let or_marker = |part: &str, field: &str| {
                realm.get(part).map_or_else(|| unknown::marker(&format!("{path}.{field}")), ToOwned::to_owned)
            };
            json!({ "region": or_marker("region", "region"), "account_id": or_marker("account", "account_id") })
        };
        let aliases = self.settings.aliases.keys();
        let aliases = aliases.map(|name| (name.clone(), known(Some(name), &format!("aws.aliases.{name}"))));
        let mut own = known(None, Self::NAME);
        own["aliases"] = Value::Object(aliases.collect());
        Some(own)
    }

    /// The control plane of IAM throttles early.
    fn service(&self, kind: &str) -> Service {
        match kind.starts_with("aws.iam_") {
            true => Service { name: "iam", at_once: 5 },
            false => Service { name: Self::NAME, at_once: usize::MAX },
        }
    }

    fn tags(&self) -> BTreeMap<String, String> {
        self.settings.tags.clone()
    }

    fn aliases(&self) -> Vec<String> {
        self.settings.aliases.keys().cloned().collect()
    }

    fn asks_first(&self) -> bool {
        true
    }

    fn known_realm(&self, place: &Place) -> Realm {
        match self.connected(place) {
            Some(client) => client.realm(),
            None => declared_realm(&self.settings.account(place.alias.as_deref()).unwrap_or_default()),
        }
    }

    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm> {
        let client = AwsClient::provide(run, place).await?;
        client.identity().await?;
        Ok(client.realm())
    }

    fn destinations(&self, places: &[Place]) -> Destinations {
        let mut all = Destinations::new();
        let mut add = |name: String, values: Vec<String>| {
            if !values.is_empty() {
                all.insert(name, values);
            }
        };
        let own = self.known_realm(&Place::OWN);
        let uses_own = places.contains(&Place::OWN) || own.get("account").is_some();
        let text = |part: &str| own.get(part).map(ToOwned::to_owned).into_iter().collect();
        if let Some(account) = self.settings.account(None).filter(|_| uses_own) {
            add("aws.account_id".to_owned(), text("account"));
            add("aws.region".to_owned(), text("region"));
            add("aws.profile".to_owned(), account.profile.into_iter().collect());
            let role = account.assume_role.map(|role| role.role_arn);
            add("aws.assume_role".to_owned(), role.into_iter().collect());
        }
        for name in self.settings.aliases.keys() {
            let place = Place::of_alias(Some(name));
            let Some(account) = self.settings.account(Some(name)).filter(|_| places.contains(&place)) else {
                continue;
            };
            let parts = [
                ("account", account.account_id),
                ("region", account.region),
                ("profile", account.profile),
                ("role", account.assume_role.map(|role| role.role_arn)),
            ];
            let values = parts.into_iter().filter_map(|(word, value)| Some(format!("{word} {}", value?)));
            add(format!("aws.aliases.{name}"), values.collect());
        }
        all
    }

    fn own_permissions(
        &self,
        command: Command,
        kept: &Kept<'_>,
        realm: &Realm,
    ) -> Vec<(&'static str, Permission)> {
        own_needs::of(command, kept, realm)
    }

    fn least_policies(&self, connection: &Place, needs: &[&Needs]) -> Vec<LeastPolicy> {
        let account = self.settings.account(connection.alias.as_deref()).unwrap_or_default();
        least::policies(connection, &account, needs)
    }

    async fn lacking(&self, run: &Run, connection: &Place, needs: &[&Needs]) -> Vec<Lack> {
        match AwsClient::provide(run, connection).await {
            Ok(client) => preflight::lacking(&client, needs).await,
            Err(_) => Vec::new(),
        }
    }

    async fn forget(&self) {
        for client in self.own.get().cloned().into_iter().chain(self.aliases.connected()) {
            client.forget().await;
        }
    }

    async fn store(&self, run: &Run, settings: &StoreSettings) -> Result<Option<Box<dyn Store>>> {
        let name = match settings {
            StoreSettings::S3(url) => url.clone(),
            StoreSettings::Secretsmanager(prefix) => format!("Secrets Manager {prefix}"),
            StoreSettings::File(_) => return Ok(None),
        };
        #[cfg(not(feature = "aws-secretsmanager"))]
        if matches!(settings, StoreSettings::Secretsmanager(_)) {
            let left_out = LeftOut { what: "Secrets Manager".to_owned(), feature: "aws-secretsmanager" };
            return Err(left_out.error("custody.stores"));
        }
        // Without AWS, what another store has can still be had.
        let client = match AwsClient::provide(run, &Place::OWN).await {
            Ok(client) => client,
            Err(error) => return Ok(Some(Box::new(Unreachable::new(name, error)))),
        };
        Ok(Some(match settings {
            #[cfg(feature = "aws-secretsmanager")]
            StoreSettings::Secretsmanager(prefix) => {
                Box::new(PatientStore::new(SecretsStore::new(client, prefix)?))
            }
            _ => Box::new(PatientStore::new(S3Store::new(client, &name)?)),
        }))
    }

    async fn key_service(&self, run: &Run) -> Option<Arc<dyn KeyService>> {
        // Without AWS, what another recipient opens can still be had.
        Some(match AwsClient::provide(run, &Place::OWN).await {
            Ok(client) => Arc::new(PatientKeys::new("AWS KMS", client)),
            Err(error) => Arc::new(Unreachable::new("AWS KMS", error)),
        })
    }

    async fn backup_place(&self, run: &Run, place: &S3Location) -> Result<Option<Box<dyn BackupPlace>>> {
        let client = AwsClient::provide(run, &Place::OWN).await?;
        Ok(Some(Box::new(S3BackupPlace::new(client, place.clone()))))
    }

    async fn journal_copy(&self, run: &Run, place: &S3Location) -> Result<Option<Arc<dyn mirror::Place>>> {
        let client = AwsClient::provide(run, &Place::OWN).await?;
        Ok(Some(Arc::new(S3Object::new(client, place.clone()))))
    }

    async fn lock_place(&self, run: &Run, place: &LockPlace) -> Result<Option<Box<dyn lock::Place>>> {
        let client = AwsClient::provide(run, &Place::OWN).await?;
        Ok(Some(match place {
            LockPlace::Object(place) => Box::new(S3Object::new(client, place.clone())),
            LockPlace::Item { table, id } => Box::new(LockItem::new(client, table.clone(), id.clone())),
        }))
    }
}
