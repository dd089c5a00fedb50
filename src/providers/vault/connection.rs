//! Vault in one run.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::client::{VaultClient, declared_authority};
use super::health;
use super::least;
use super::own_needs;
use super::permissions;
use super::settings::{ServiceTargets, VaultAuth, VaultSettings};
use super::{KINDS, KvSecret, VaultInit, prove};
use super::{preflight, reach};
use crate::access::{Access, Stated};
use crate::destination::Destinations;
use crate::environment::Environment;
use crate::error::{FieldError, Result};
use crate::health::System;
use crate::net::endpoint;
use crate::place::{NAMESPACE, Place, Realm};
use crate::proof::{Known, Load, Prover};
use crate::provider::Provider;
use crate::providers::aws::constants;
use crate::resource::constants::networks;
use crate::resource::erased::Kind;
use crate::resource::{Provided, Resource};
use crate::run::{
    Command, Connection, Declared, Existing, Kept, Lack, LeastPolicy, Needs, Permission, Run, Want,
};
use crate::template::unknown;
use crate::trace;
use crate::trust::{Grant, Subject};

/// Vault in a plan: its cluster. The client connects when a step first asks for it.
#[derive(Debug)]
pub struct Vault {
    /// The `vault:` section.
    pub settings: VaultSettings,
    pub(super) client: OnceCell<Arc<VaultClient>>,
}

impl Provider for Vault {
    const NAME: &'static str = "vault";
    const TITLE: &'static str = "Vault";
    const KINDS: &'static [&'static dyn Kind] = KINDS;

    type Settings = VaultSettings;

    fn open(settings: VaultSettings) -> Self {
        Self { settings, client: OnceCell::new() }
    }
}

impl Vault {
    /// The addresses in the section, with the paths of their fields. One that is not known yet is not
    /// among them.
    fn addresses(&self) -> impl Iterator<Item = (String, &String)> {
        let address = self.settings.address.iter().map(|address| ("address".to_owned(), address));
        let nodes = self.settings.nodes.iter().enumerate();
        let nodes = nodes.map(|(index, node)| (format!("nodes[{index}]"), node));
        address.chain(nodes).filter(|(_, address)| !unknown::is_unknown(address))
    }
}

#[async_trait]
impl Connection for Vault {
    fn provider(&self) -> &'static str {
        Self::NAME
    }

    /// Addresses that are none, or could never be meant.
    fn check(&self) -> Vec<FieldError> {
        let wrong = self.addresses().filter_map(|(path, url)| {
            let mistake =
                FieldError::new(path, format!("`{}`: {}", trace::public(url), endpoint::mistake(url)?));
            Some(if url.contains('@') { mistake.secret() } else { mistake })
        });
        let targets = self.settings.service.iter().filter_map(ServiceTargets::mistakes);
        wrong.chain(targets).collect()
    }

    fn check_fields(&self, _: &Place, fields: &Value) -> Vec<FieldError> {
        let mut found = networks(fields, |name| name.ends_with("_cidrs") || name.ends_with("cidr_list"));
        found.extend(constants::in_fields(fields, None));
        found
    }

    fn check_plan(&self, steps: &[&dyn Declared]) -> Vec<(usize, FieldError)> {
        permissions::check(steps)
    }

    fn reach(&self, stated: &[Stated]) -> Access {
        reach::reach(stated)
    }

    /// Only the pairs that rules can concern take time.
    fn most_pairs(&self) -> usize {
        usize::MAX
    }

    async fn further_policies(&self, run: &Run, stated: &[Stated]) -> Vec<Stated> {
        reach::further(run, stated).await
    }

    /// An authority that cannot be read is a separate mistake, reported by the client.
    fn wants(&self, folder: &Path) -> Vec<Want> {
        let mut wants: Vec<Want> = self
            .addresses()
            .map(|(path, address)| {
                let grant = Grant::new(Subject::Vault, address.as_str());
                let why = format!("the plan sends Vault credentials to {}", grant.value);
                Want { path, grant, why }
            })
            .collect();
        if let Some(path) = &self.settings.ca_cert
            && let Some(Ok(authority)) = declared_authority(&self.settings, folder)
        {
            let why = format!("the plan has {} prove who the servers of Vault are", path.display());
            wants.push(Want { path: "ca_cert".to_owned(), grant: authority.grant(), why });
        }
        wants
    }

    /// The role with which this run logs in.
    fn own_access(
        &self,
        things: &[Existing],
        is_bootstrapped: bool,
        environment: &Environment,
    ) -> Vec<usize> {
        let of_kind = |kind| things.iter().filter(move |thing| thing.kind == kind);
        let root_is_gone = of_kind("vault.root_token").next().is_some() || !is_bootstrapped;
        if environment.value("VAULT_TOKEN").is_some() || !root_is_gone {
            return Vec::new();
        }
        let admins =
            of_kind("vault.root_token").filter_map(|thing| thing.outputs.get("admin_role")?.as_str());
        let declared = self.settings.auth.iter();
        let declared =
            declared.map(|VaultAuth::Approle(approle)| format!("{}/{}", approle.mount, approle.role));
        let names: Vec<String> = admins.map(|role| format!("/{role}")).chain(declared).collect();
        let is_login = |thing: &&Existing| {
            names.iter().any(|name| thing.id == *name || (name.starts_with('/') && thing.id.ends_with(name)))
        };
        of_kind("vault.approle_role").filter(is_login).map(|thing| thing.step).collect()
    }

    fn known_realm(&self, _: &Place) -> Realm {
        Realm::UNKNOWN
    }

    /// The cluster's id is absent while it does not report one. Namespaces are absolute paths; the root's
    /// is `/`.
    async fn realm(&self, run: &Run, place: &Place) -> Result<Realm> {
        let client = VaultClient::provide(run, place).await?;
        let cluster = client.cluster_id().await;
        let path = client.namespace().unwrap_or_default().trim_matches('/');
        Ok(Realm::default().with_some("cluster", cluster).with(NAMESPACE, format!("/{path}")))
    }

    fn destinations(&self, _: &[Place]) -> Destinations {
        let mut all = Destinations::new();
        let mut add = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                all.insert(name.to_owned(), values);
            }
        };
        if let Some(vault) = self.client.get() {
            add("vault.address", vec![vault.address().to_owned()]);
            add("vault.nodes", vault.nodes().iter().map(|node| node.address().to_owned()).collect());
            add("vault.ca_cert", vault.ca_fingerprint().map(str::to_owned).into_iter().collect());
            add("vault.namespace", vault.namespace().map(str::to_owned).into_iter().collect());
        }
        all
    }

    fn written(&self) -> Destinations {
        let settings = &self.settings;
        let ca = settings.ca_cert.iter().map(|path| path.display().to_string()).collect();
        let all = [
            ("vault.address", settings.address.iter().cloned().collect()),
            ("vault.nodes", settings.nodes.clone()),
            ("vault.ca_cert", ca),
            ("vault.namespace", settings.namespace.iter().cloned().collect::<Vec<_>>()),
        ];
        all.into_iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| (name.to_owned(), values))
            .collect()
    }

    /// The nodes of a cluster that the plan uses and does not initialise.
    async fn prove(&self, prover: &Prover<'_, Run>) {
        let is_used = prover.plan().iter().any(|step| step.kind.starts_with("vault."));
        if !is_used || prover.steps_of(VaultInit::KIND).next().is_some() {
            return;
        }
        match VaultClient::provide(prover.client(), &Place::OWN).await {
            Ok(client) => prove::cluster::of_nodes(&prover.with(&*client)).await,
            Err(error) => prover.refused("connects", "a connection", &error),
        }
    }

    async fn health(&self, run: &Run, declared: &[Known], limit: Duration) -> Option<System> {
        let is_declared = self.settings.address.is_some() || !self.settings.nodes.is_empty();
        let is_used = is_declared || declared.iter().any(|step| step.kind.starts_with("vault."));
        match is_used {
            true => Some(health::of_cluster(run, declared, limit).await),
            false => None,
        }
    }

    /// Reads the first secret of the plan.
    async fn load(&self, prover: &Prover<'_, Run>) -> Option<Load> {
        let own = |known: &&Known| known.place == Place::OWN;
        let Some(secret) = prover.steps_of(KvSecret::KIND).find(own) else {
            prover.untried("reads under load", "a step of kind `vault.kv_secret` to read");
            return None;
        };
        let text = |field: &str| secret.fields[field].as_str().unwrap_or_default();
        let path = format!("{}/data/{}", text("mount"), text("path"));
        match VaultClient::provide(prover.client(), &Place::OWN).await {
            Ok(client) => {
                let targets = self.settings.service.as_ref();
                prove::load::measure(&prover.with(&*client), &path, targets).await
            }
            Err(error) => {
                prover.refused("connects", "a connection", &error);
                None
            }
        }
    }

    fn own_permissions(
        &self,
        command: Command,
        kept: &Kept<'_>,
        _: &Realm,
    ) -> Vec<(&'static str, Permission)> {
        own_needs::of(command, kept, self.settings.nodes.len())
    }

    fn least_policies(&self, _: &Place, needs: &[&Needs]) -> Vec<LeastPolicy> {
        least::policies(needs)
    }

    /// A server that is not there, or not initialised, has nothing to say.
    async fn lacking(&self, run: &Run, _: &Place, needs: &[&Needs]) -> Vec<Lack> {
        match VaultClient::provide(run, &Place::OWN).await {
            Ok(client) => preflight::lacking(&client, needs).await,
            Err(_) => Vec::new(),
        }
    }

    async fn forget(&self) {
        if let Some(client) = self.client.get() {
            client.reset_readiness().await;
        }
    }

    fn take_warnings(&self) -> Vec<String> {
        self.client.get().map(|client| client.warnings().take()).unwrap_or_default()
    }
}
