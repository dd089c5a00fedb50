//! Tests of access keys against an AWS emulator, found through `AWS_ENDPOINT_URL` and the other standard
//! variables, and a real OpenBao server, whose binary `BAO_BIN` names. Run them with `cargo test
//! access_key -- --ignored`.

use std::sync::Arc;

use serde_json::json;

use super::client::AwsClient;
use super::iam_access_key::{Desired, IamAccessKey, KeyCustodian};
use crate::custody::envelope::SealingKey;
use crate::custody::testing::custody;
use crate::custody::{Keyring, Recipient};
use crate::journal::Entry;
use crate::permit::Permit;
use crate::place::Place;
use crate::plan::settings::RecipientSettings;
use crate::provider::Provider;
use crate::providers::aws::Aws;
use crate::providers::aws::settings::AwsSettings;
use crate::providers::vault::Vault;
use crate::providers::vault::settings::VaultSettings;
use crate::providers::vault::testing::{Server, initialise};
use crate::resource::{Look, Provided, Resource, Writer};
use crate::run::{Run, testing};
use crate::secret::Secret;
use crate::trust::{Grant, Subject, Trust};

/// A machine, a server that is ready, and a user for the test.
struct Surroundings {
    folder: tempfile::TempDir,
    identity: age::x25519::Identity,
    server: Server,
    permit: Permit,
    desired: Desired,
    user: String,
}

impl Surroundings {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), "");
        let user = format!("key-{}", uuid::Uuid::new_v4());
        let kv = json!({ "mount": "secret", "path": "team/aws" });
        let desired = json!({ "user": user, "deliver": [{ "vault_kv": kv }] });
        let new = Self {
            folder,
            identity: age::x25519::Identity::generate(),
            server,
            permit: Permit::mint(),
            desired: serde_json::from_value(desired).unwrap(),
            user,
        };
        let run = new.run();
        // Boxed, because the compiler cannot handle futures nested this deeply.
        Box::pin(initialise(&run)).await;
        let aws = Box::pin(AwsClient::provide(&run, &Place::OWN)).await.unwrap();
        aws.write(&new.permit).iam.create_user().user_name(&new.user).send().await.unwrap();
        new
    }

    fn run(&self) -> Run {
        let vault = VaultSettings { address: Some(self.server.address.clone()), ..VaultSettings::default() };
        let trust = Trust::new([Grant::new(Subject::Vault, self.server.address.as_str())]);
        testing::run(self.folder.path(), trust)
            .with(Arc::new(Aws::open(AwsSettings::default())))
            .with(Arc::new(Vault::open(vault)))
            .with_custody(custody(self.folder.path(), self.identity.clone()))
    }

    /// The custodian that a new run would create.
    async fn client(&self) -> Arc<KeyCustodian> {
        KeyCustodian::provide(&self.run(), &Place::OWN).await.unwrap()
    }

    async fn apply(&self) {
        let client = self.client().await;
        let writer = Writer::new(&*client, &self.permit, "key");
        match IamAccessKey::observe(&client, &IamAccessKey::id(&self.desired), Look::BARE).await.unwrap() {
            None => IamAccessKey::create(&writer, &self.desired).await.unwrap(),
            Some(observed) => IamAccessKey::update(&writer, &self.desired, &observed).await.unwrap(),
        }
        assert_eq!(self.pending().await, Vec::<String>::new());
        assert_eq!(self.live().await.len(), 1, "one key per user");
    }

    async fn pending(&self) -> Vec<String> {
        let client = self.client().await;
        match IamAccessKey::observe(&client, &IamAccessKey::id(&self.desired), Look::BARE).await.unwrap() {
            None => vec!["create".to_owned()],
            Some(observed) => {
                let diff = IamAccessKey::diff(&self.desired, &observed);
                diff.changes.into_iter().map(|change| change.path).collect()
            }
        }
    }

    async fn live(&self) -> Vec<String> {
        let aws = AwsClient::provide(&self.run(), &Place::OWN).await.unwrap();
        let listed = aws.read().iam.list_access_keys().user_name(&self.user).send().await.unwrap();
        listed.access_key_metadata.into_iter().filter_map(|key| key.access_key_id).collect()
    }

    /// Creates a key and discards its secret.
    async fn make_and_forget(&self) -> String {
        let aws = AwsClient::provide(&self.run(), &Place::OWN).await.unwrap();
        let made = aws.write(&self.permit).iam.create_access_key().user_name(&self.user).send().await;
        made.unwrap().access_key.unwrap().access_key_id
    }

    async fn write_intent(&self, baseline: Vec<String>) {
        let run = self.run();
        let intent = Entry::Intent {
            step: "key".into(),
            operation: "iam:CreateAccessKey".into(),
            target: self.user.clone(),
            detail: baseline,
        };
        run.journal.append(&self.permit, intent).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn key_is_created_once_delivered_and_verified() {
    let around = Surroundings::new().await;
    assert_eq!(around.pending().await, ["create"]);
    around.apply().await;
    let first = around.live().await;
    around.apply().await;
    assert_eq!(around.live().await, first);
    let vault = crate::providers::vault::VaultClient::provide(&around.run(), &Place::OWN).await.unwrap();
    let delivered = vault.get("secret/data/team/aws").await.unwrap().unwrap();
    assert_eq!(delivered["data"]["aws_access_key_id"], json!(first[0]));
    // A value lost at the destination is delivered again; its neighbours stay.
    let spoilt = json!({ "data": { "aws_secret_access_key": "x", "note": "kept" } });
    vault.post(&around.permit, "secret/data/team/aws", &spoilt).await.unwrap();
    assert_eq!(around.pending().await, ["deliver.vault_kv.secret/team/aws"]);
    around.apply().await;
    let delivered = vault.get("secret/data/team/aws").await.unwrap().unwrap();
    assert_eq!(delivered["data"]["note"], json!("kept"));
    vault.delete(&around.permit, "secret/data/team/aws").await.unwrap();
    around.apply().await;
    assert_eq!(around.live().await, first);
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn key_with_lost_secret_is_replaced() {
    let around = Surroundings::new().await;
    around.write_intent(Vec::new()).await;
    let lost = around.make_and_forget().await;
    assert_eq!(around.pending().await, ["access_key_id"]);
    around.apply().await;
    assert!(!around.live().await.contains(&lost));
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn undelivered_request_is_sent_again() {
    let around = Surroundings::new().await;
    around.write_intent(Vec::new()).await;
    around.apply().await;
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn next_run_finishes_after_secret_was_stored() {
    let around = Surroundings::new().await;
    let client = around.client().await;
    let made = client.make(&around.permit, "key", &around.desired).await.map(drop);
    made.unwrap();
    let first = around.live().await;
    assert_eq!(around.pending().await, ["deliver.vault_kv.secret/team/aws", "proven"]);
    around.apply().await;
    assert_eq!(around.live().await, first);
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn foreign_key_is_never_touched() {
    let around = Surroundings::new().await;
    let theirs = around.make_and_forget().await;
    let client = around.client().await;
    let observed = IamAccessKey::observe(&client, &IamAccessKey::id(&around.desired), Look::BARE)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(IamAccessKey::diff(&around.desired, &observed).blocked.len(), 1);
    let writer = Writer::new(&*client, &around.permit, "key");
    let refused = IamAccessKey::update(&writer, &around.desired, &observed).await.unwrap_err();
    assert!(refused.message.contains(&theirs), "{refused}");
    assert_eq!(around.live().await, [theirs]);
}

#[tokio::test]
#[ignore = "needs an AWS emulator and a server binary in BAO_BIN"]
async fn secret_is_never_stored_in_plain_text() {
    let around = Surroundings::new().await;
    around.apply().await;
    let vault = crate::providers::vault::VaultClient::provide(&around.run(), &Place::OWN).await.unwrap();
    let delivered = vault.get("secret/data/team/aws").await.unwrap().unwrap();
    let secret = delivered["data"]["aws_secret_access_key"].as_str().unwrap().to_owned();
    let mut folders = vec![around.folder.path().to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned();
            assert!(!text.contains(&secret), "{}", entry.path().display());
            files += 1;
        }
    }
    assert!(files > 6, "custody and journal were looked through");
}

#[tokio::test]
#[ignore = "needs an AWS emulator"]
async fn kms_key_opens_only_envelopes_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let aws = Aws::open(AwsSettings::default());
    let run = testing::run(folder.path(), Trust::default()).with(Arc::new(aws));
    let aws = AwsClient::provide(&run, &Place::OWN).await.unwrap();
    let made = aws.write(&Permit::mint()).kms.create_key().send().await.unwrap();
    let key = made.key_metadata.unwrap().key_id;
    let keyring = Keyring { service: Some(aws), ..Keyring::default() };
    let settings = RecipientSettings::Kms(key.clone());
    let recipient = Recipient::from_settings(&settings, std::path::Path::new("."), &keyring).unwrap();
    let secret = Secret::from("x".to_owned());
    let (sealing, failures) = SealingKey::wrap("a", &[recipient]).await;
    assert!(failures.is_empty());
    let envelope = sealing.seal("a", 1, &secret).unwrap();
    assert_eq!(envelope.header.recipients[0].id, key);
    assert_eq!(envelope.open("a", 1, &keyring).await.unwrap(), secret);
    assert!(envelope.open("b", 1, &keyring).await.is_err());
}
