//! The ceremonies against a real OpenBao server, whose binary `BAO_BIN` names. Run them with
//! `cargo test ceremony -- --ignored`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::custodian::Custodian;
use super::init::Desired;
use super::testing::{LossyProxy, Server};
use super::{Vault, VaultClient, VaultInit, VaultRootToken};
use crate::custody::testing;
use crate::error::ErrorKind;
use crate::permit::Permit;
use crate::place::Place;
use crate::provider::Provider;
use crate::providers::vault::settings::VaultSettings;
use crate::resource::{Look, Provided, Resource, Writer};
use crate::run;
use crate::trust::{Grant, Subject, Trust};

const SHAMIR: &str = "";
const STATIC: &str = r#"seal "static" {
  current_key_id = "k1"
  current_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
}"#;
const DESIRED: Desired = Desired { shares: 5, threshold: 3, holders: Vec::new(), keep_shares: true };

/// A person's machine: runs come and go, the plan's folder and the age identity stay.
struct Machine {
    folder: tempfile::TempDir,
    identity: age::x25519::Identity,
    permit: Permit,
}

impl Machine {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            identity: age::x25519::Identity::generate(),
            permit: Permit::mint(),
        }
    }

    /// The clients of a new run.
    async fn client(&self, nodes: &[&Server]) -> Arc<Custodian> {
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.clone()).collect();
        self.client_at(&addresses).await
    }

    async fn client_at(&self, addresses: &[String]) -> Arc<Custodian> {
        let settings = VaultSettings {
            address: Some(addresses[0].clone()),
            nodes: addresses.to_vec(),
            ..VaultSettings::default()
        };
        let trust = Trust::new(addresses.iter().map(|node| Grant::new(Subject::Vault, node.as_str())));
        let run = run::testing::run(self.folder.path(), trust)
            .with(Arc::new(Vault::open(settings)))
            .with_custody(testing::custody(self.folder.path(), self.identity.clone()));
        Custodian::provide(&run, &Place::OWN).await.unwrap()
    }

    fn writer<'a>(&'a self, client: &'a Custodian) -> Writer<'a, Custodian> {
        Writer::new(client, &self.permit, "vault")
    }

    async fn apply_init(&self, nodes: &[&Server]) {
        let client = self.client(nodes).await;
        let writer = self.writer(&client);
        match VaultInit::observe(&client, &VaultInit::id(&DESIRED), Look::BARE).await.unwrap() {
            None => VaultInit::create(&writer, &DESIRED).await.unwrap(),
            Some(observed) => VaultInit::update(&writer, &DESIRED, &observed).await.unwrap(),
        }
        assert_eq!(self.pending(nodes).await, Vec::<String>::new());
    }

    /// What a new run would change.
    async fn pending(&self, nodes: &[&Server]) -> Vec<String> {
        let client = self.client(nodes).await;
        match VaultInit::observe(&client, &VaultInit::id(&DESIRED), Look::BARE).await.unwrap() {
            None => vec!["create".to_owned()],
            Some(observed) => {
                let diff = VaultInit::diff(&DESIRED, &observed);
                diff.changes.into_iter().map(|change| change.path).collect()
            }
        }
    }
}

async fn policies(vault: &VaultClient) -> serde_json::Value {
    // The moment after unsealing answers with errors that pass.
    for _ in 0..50 {
        match vault.lookup_self().await {
            Ok(found) => return found["policies"].clone(),
            Err(error) if error.is_retriable() => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the server does not come up")
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn cluster_is_initialised_once_and_unsealed_from_custody() {
    let machine = Machine::new();
    let server = Server::start(machine.folder.path(), SHAMIR);
    assert_eq!(machine.pending(&[&server]).await, ["create"]);
    assert!(!machine.folder.path().join(".groundwork").exists(), "looking leaves no trace");
    machine.apply_init(&[&server]).await;
    let client = machine.client(&[&server]).await;
    assert_eq!(policies(&client.vault).await, json!(["root"]));
    client.vault.put(&machine.permit, "sys/seal", &json!({})).await.unwrap();
    let sealed = format!("nodes[{}].sealed", server.address);
    assert_eq!(machine.pending(&[&server]).await, [sealed]);
    machine.apply_init(&[&server]).await;
    assert_eq!(policies(&machine.client(&[&server]).await.vault).await, json!(["root"]));
    // One store is enough to unseal, even when the other one is broken and cannot be written.
    client.vault.put(&machine.permit, "sys/seal", &json!({})).await.unwrap();
    let broken = machine.folder.path().join("one");
    std::fs::remove_dir_all(&broken).unwrap();
    std::fs::write(&broken, "no folder").unwrap();
    machine.apply_init(&[&server]).await;
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn next_run_finishes_an_interrupted_initialisation() {
    let machine = Machine::new();
    let server = Server::start(machine.folder.path(), SHAMIR);
    let cut = machine.client(&[&server]).await;
    cut.initialise(&machine.permit, "vault", &DESIRED).await.unwrap();
    std::fs::remove_dir_all(machine.folder.path().join("one")).unwrap();
    let pending = machine.pending(&[&server]).await;
    assert_eq!(pending, [format!("nodes[{}].sealed", server.address), "custody.proven".to_owned()]);
    machine.apply_init(&[&server]).await;
    let which = cut.initialisation().await.unwrap().unwrap();
    let completed = machine.folder.path().join("one").join(format!("{}.1.json", which.answer()));
    assert!(completed.exists(), "the store that was lost has the answer again");
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn lost_init_response_is_never_requested_again() {
    let machine = Machine::new();
    let server = Server::start(machine.folder.path(), SHAMIR);
    let proxy = LossyProxy::start(&server);
    let client = machine.client_at(std::slice::from_ref(&proxy.address)).await;
    let error = VaultInit::create(&machine.writer(&client), &DESIRED).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    for _ in 0..2 {
        let client = machine.client_at(std::slice::from_ref(&proxy.address)).await;
        let error = VaultInit::observe(&client, &VaultInit::id(&DESIRED), Look::BARE).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown);
        assert!(error.message.contains("gone for good") && error.advice.is_some(), "{error}");
        let error = VaultInit::create(&machine.writer(&client), &DESIRED).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Conflict, "not even when told to");
    }
    assert_eq!(proxy.inits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn foreign_cluster_is_left_untouched() {
    let (ours, theirs) = (Machine::new(), Machine::new());
    let server = Server::start(ours.folder.path(), SHAMIR);
    theirs.apply_init(&[&server]).await;
    let client = ours.client(&[&server]).await;
    let error = VaultInit::observe(&client, &VaultInit::id(&DESIRED), Look::BARE).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown);
    assert!(error.message.contains("no shares"), "{error}");
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn auto_unseal_server_gives_recovery_keys() {
    let machine = Machine::new();
    let server = Server::start(machine.folder.path(), STATIC);
    machine.apply_init(&[&server]).await;
    assert_eq!(policies(&machine.client(&[&server]).await.vault).await, json!(["root"]));
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn further_nodes_join_and_are_unsealed() {
    let machine = Machine::new();
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(machine.folder.path(), SHAMIR)).collect();
    let nodes: Vec<&Server> = nodes.iter().collect();
    machine.apply_init(&nodes).await;
    let client = machine.client(&nodes).await;
    for node in client.vault.nodes() {
        assert!(!node.seal_status().await.unwrap().sealed, "{node:?}");
    }
}

#[tokio::test]
#[ignore = "needs a server binary in BAO_BIN"]
async fn root_token_is_revoked_only_with_capable_admin() {
    let machine = Machine::new();
    let server = Server::start(machine.folder.path(), SHAMIR);
    machine.apply_init(&[&server]).await;
    let desired = serde_json::from_value(json!({ "admin": { "approle": { "role": "admin" } } })).unwrap();
    let client = machine.client(&[&server]).await;
    policies(&client.vault).await;
    let write =
        async |path: &str, body| client.vault.post(&machine.permit, path, &body).await.map(drop).unwrap();
    write("sys/auth/approle", json!({ "type": "approle" })).await;
    let weak = "path \"sys/policies/acl/*\" { capabilities = [\"create\", \"update\"] }";
    write("sys/policies/acl/admin", json!({ "policy": weak })).await;
    write("auth/approle/role/admin", json!({ "token_policies": ["admin"] })).await;

    let error = VaultRootToken::create(&machine.writer(&client), &desired).await.unwrap_err();
    assert!(error.message.contains("sys/generate-root-token/attempt"), "{error}");
    let client = machine.client(&[&server]).await;
    assert_eq!(policies(&client.vault).await, json!(["root"]), "the root token is still there");

    let strong = format!(
        "{weak}\npath \"auth/approle/role/admin/secret-id\" {{ capabilities = [\"create\", \"update\"] }}\n\
         path \"sys/generate-root-token/*\" {{ capabilities = [\"create\", \"read\", \"update\", \"delete\", \"sudo\"] }}"
    );
    client.vault.post(&machine.permit, "sys/policies/acl/admin", &json!({ "policy": strong })).await.unwrap();
    VaultRootToken::create(&machine.writer(&client), &desired).await.unwrap();
    assert_eq!(policies(&client.vault).await, json!(["admin", "default"]));

    let client = machine.client(&[&server]).await;
    assert_eq!(policies(&client.vault).await, json!(["admin", "default"]), "later runs log in as the admin");
    let observed =
        VaultRootToken::observe(&client, &VaultRootToken::id(&desired), Look::BARE).await.unwrap().unwrap();
    assert!(VaultRootToken::diff(&desired, &observed).is_empty());
    // A run that was cut off after the revocation is finished by the next.
    let which = client.initialisation().await.unwrap().unwrap();
    for store in ["one", "two"] {
        let receipt = machine.folder.path().join(store).join(format!("{}.1.json", which.revoked()));
        std::fs::remove_file(receipt).unwrap();
    }
    let client = machine.client(&[&server]).await;
    let id = VaultRootToken::id(&desired);
    assert!(VaultRootToken::observe(&client, &id, Look::BARE).await.unwrap().is_none());
    VaultRootToken::create(&machine.writer(&client), &desired).await.unwrap();
    assert!(VaultRootToken::observe(&client, &id, Look::BARE).await.unwrap().is_some());
    // The way back that was proven leads there.
    client.vault.post(&machine.permit, "sys/generate-root-token/attempt", &json!({})).await.unwrap();
}
