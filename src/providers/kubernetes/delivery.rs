//! A Secret as a destination of secrets.
//!
//! The fields are applied under a manager of their own: an apply says nothing about keys that it has never had, so
//! others' keys stay as they are, and a repeated delivery replaces the values of the one before.

use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::address::{Address, name_mistake, namespace_mistake};
use super::client::{Applied, Dial, KubernetesClient, Mode};
use super::config_map::key_mistake;
use super::{live, object, secret};
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::permit::Permit;
use crate::place::Place;
use crate::providers::sink::{KeyFields, Sink};
use crate::resource::{Provided, Requirement};
use crate::run::{Access, Permission};
use crate::secret::{Fields, Secret};
use crate::template::unknown::is_unknown;

/// Characters of the digest in the manager's name.
const DIGEST: usize = 8;

/// A Secret of the plan's own cluster, and the names of the two fields of an access key in it. It is made where there
/// is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SecretDelivery {
    /// The namespace.
    pub namespace: String,
    /// The Secret.
    pub name: String,
    /// The names of the fields.
    #[serde(default)]
    pub fields: KeyFields,
}

impl SecretDelivery {
    fn address(&self) -> Address {
        secret::address(&self.namespace, &self.name)
    }

    /// Its name in a plan's differences.
    pub fn name(&self) -> String {
        self.address().to_string()
    }

    /// Mistakes, with paths below it.
    pub fn check(&self) -> Vec<FieldError> {
        let known = |text: &&String| !is_unknown(text);
        let namespace = Some(&self.namespace).filter(known).and_then(|name| namespace_mistake(name));
        let namespace = namespace.map(|mistake| FieldError::new("namespace", mistake));
        let name = Some(&self.name).filter(known).and_then(|name| name_mistake(name));
        let name = name.map(|mistake| FieldError::new("name", mistake));
        let keys = [&self.fields.id, &self.fields.secret];
        let keys = keys.into_iter().filter_map(|key| key_mistake("fields", key));
        namespace.into_iter().chain(name).chain(keys).collect()
    }

    /// The steps that it depends on, if the plan declares them.
    pub fn requires(&self) -> Vec<Requirement> {
        let whole = Requirement::thing("kubernetes.secret", self.name());
        object::namespace(Some(&self.namespace)).into_iter().chain([whole]).collect()
    }

    /// The permissions that a delivery needs.
    pub fn permissions(&self, access: Access) -> Vec<Permission> {
        // What is delivered stays when its step goes.
        let needed = match access {
            Access::Delete => Vec::new(),
            _ => object::permissions(&self.address(), access),
        };
        needed.into_iter().map(|one| one.at(KubernetesClient::PROVIDER, Place::OWN)).collect()
    }

    /// The destination.
    pub fn sink(&self, dial: Arc<Dial>) -> SecretSink {
        let KeyFields { id, secret } = self.fields.clone();
        SecretSink { dial, address: self.address(), keys: vec![id, secret] }
    }
}

/// Some keys of one Secret.
pub struct SecretSink {
    dial: Arc<Dial>,
    address: Address,
    keys: Vec<String>,
}

impl SecretSink {
    /// The object with only these values.
    fn object(&self, fields: &Fields) -> Value {
        let encoded = |(key, value): (&String, &Secret)| {
            (key.clone(), Value::from(BASE64_STANDARD.encode(value.expose_bytes())))
        };
        let data: Map<String, Value> = fields.iter().map(encoded).collect();
        json!({
            "apiVersion": "v1", "kind": "Secret", "data": data,
            "metadata": { "name": self.address.name, "namespace": self.address.namespace },
        })
    }

    async fn apply(&self, mode: Mode<'_>, fields: &Fields) -> Result<Applied> {
        let client = self.dial.client().await?;
        let object = self.object(fields);
        let applied =
            client.apply_as(&manager(client.manager(), &self.keys), mode, &self.address, &object, true).await;
        match applied {
            Ok(Applied::Refused { error, conflicts }) => {
                Ok(Applied::Refused { error: secret::without_values(error, &object), conflicts })
            }
            Ok(done) => Ok(done),
            Err(error) => Err(secret::without_values(error, &object)),
        }
    }
}

/// The manager of delivered keys. Deliveries of other keys, and a step for the whole Secret, have other managers: an
/// apply removes what its own manager no longer names.
fn manager(plan: &str, keys: &[String]) -> String {
    format!("{plan}-{}", &hex::encode(Sha256::digest(keys.join("\n")))[..DIGEST])
}

#[async_trait]
impl Sink for SecretSink {
    async fn holds(&self, expected: &Fields) -> Result<bool> {
        let client = self.dial.client().await?;
        // A Secret that does not exist holds nothing.
        let Some(object) = client.get_now(&self.address).await? else { return Ok(false) };
        let live = secret::values(&object);
        Ok(expected.iter().all(|(key, value)| live.get(key) == Some(value)))
    }

    /// A dry run: it meets the namespace, the caller's rights, admission, and a Secret that is immutable.
    async fn prove(&self) -> Result<()> {
        let nothing = self.keys.iter().map(|key| (key.clone(), Secret::from("not a value".to_owned())));
        let Applied::Refused { error, .. } = self.apply(Mode::DryRun, &nothing.collect()).await? else {
            return Ok(());
        };
        if live::has_no_dry_run(&error) {
            return Ok(());
        }
        let advice = match &error.advice {
            Some(advice) => advice.clone(),
            None if error.is("NotFound") => "declare the namespace as a step, or make it first".to_owned(),
            None => "the server refuses such a Secret; deliver to another one".to_owned(),
        };
        Err(error.advice(format!("{advice}; the credential was not made")))
    }

    async fn deliver(&self, permit: &Permit, fields: &Fields) -> Result<()> {
        match self.apply(Mode::Real(permit), fields).await? {
            Applied::Done { .. } => Ok(()),
            // The namespace may have been made a moment ago.
            Applied::Refused { error, .. } if error.is("NotFound") => {
                Err(Error::new(ErrorKind::Eventual, error.operation.to_string(), error.message.clone())
                    .code(Some("NotFound"))
                    .advice("declare the namespace as a step, or make it first; then apply again"))
            }
            Applied::Refused { error, .. } => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(more: Value) -> SecretDelivery {
        let mut declared = json!({ "namespace": "team", "name": "aws" });
        declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(declared).expect("valid")
    }

    #[test]
    fn each_set_of_keys_has_a_manager_of_its_own() {
        let of = |keys: [&str; 2]| manager("groundwork-p", &keys.map(str::to_owned));
        assert_eq!(of(["a", "b"]), of(["a", "b"]));
        assert_ne!(of(["a", "b"]), of(["a", "c"]));
        assert!(of(["a", "b"]).starts_with("groundwork-p-"));
    }

    #[test]
    fn names_that_no_server_takes_are_mistakes() {
        assert!(delivery(json!({})).check().is_empty());
        let wrong = delivery(json!({ "namespace": "Team", "name": "a/b", "fields": { "id": "a b" } }));
        let paths: Vec<String> = wrong.check().into_iter().map(|mistake| mistake.path).collect();
        assert_eq!(paths, ["namespace", "name", "fields.a b"]);
    }
}
