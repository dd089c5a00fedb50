//! Secrets: <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>.
//!
//! Values are sent as `data`: the server would keep `stringData` among the managed fields, where a reader
//! never finds it, and two managers of one key would not see each other. No dry run is made: a value would
//! leave this machine before a person has approved the plan.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::address::{Address, Api};
use super::client::{KubernetesClient, Mode};
use super::compare;
use super::config_map::key_mistake;
use super::live::{self, Live};
use super::meta::{META_RISKS, object_spec};
use super::object;
use super::wait;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::{Risks, identity, safe};
use crate::resource::{Blocked, Diff, Look, Partial, Replacement, Requirement, Resource, Tags, Writer};
use crate::run::{Permission, Use};
use crate::secret::{Fields, Secret, SecretChange, SecretSource, check_templates, path_of, render};

/// A Secret.
#[derive(Debug)]
pub struct KubeSecret;

object_spec! {
    /// The declared fields of a Secret.
    pub struct KubeSecretSpec in a namespace {
        /// The keys and where their values come from.
        #[serde(default)]
        pub data: BTreeMap<String, SecretSource>,
        /// The type, such as `kubernetes.io/tls`. It decides which keys there must be.
        #[serde(default = "opaque")]
        pub r#type: String,
        /// Whether it can never be changed again.
        #[serde(default)]
        pub immutable: bool,
    }
}

fn opaque() -> String {
    "Opaque".to_owned()
}

/// The type of a Secret that the server fills with the token of a service account.
const TOKEN: &str = "kubernetes.io/service-account-token";

/// The outputs that other steps may refer to; never a value.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KubeSecretOutputs {
    /// The name.
    pub name: String,
    /// The namespace.
    pub namespace: String,
    /// The uid, which another Secret of the same name does not have.
    pub uid: String,
}

impl KubeSecretSpec {
    fn address(&self) -> Address {
        address(&self.namespace, &self.name)
    }

    /// The object without its values.
    fn frame(&self, plan: &str) -> Value {
        let mut object = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": self.meta().metadata(plan), "type": self.r#type,
        });
        if self.immutable {
            object["immutable"] = json!(true);
        }
        object
    }

    /// The object with its values, made where they are not live yet.
    fn object(&self, plan: &str, live: &Fields) -> Result<Value> {
        let failed =
            |message: String| Error::new(ErrorKind::Local, format!("write {}", self.address()), message);
        let rendered = render(&self.data, live, true).map_err(|error| failed(error.to_string()))?;
        let mut data = Map::new();
        for (key, value) in rendered {
            let value = value.ok_or_else(|| failed(format!("the value of `{key}` is not there")))?;
            data.insert(key, Value::from(BASE64_STANDARD.encode(value.expose_bytes())));
        }
        let mut object = self.frame(plan);
        object["data"] = Value::Object(data);
        Ok(object)
    }

    async fn waited(&self, w: &Writer<'_, KubernetesClient>) -> Result<()> {
        match &self.wait {
            Some(wait) => wait::until_true(w, &self.address(), wait).await,
            None => Ok(()),
        }
    }
}

/// Where a Secret is.
pub(super) fn address(namespace: &str, name: &str) -> Address {
    let api = Api::new("v1", "Secret", "secrets", true);
    Address { api, namespace: Some(namespace.to_owned()), name: name.to_owned() }
}

/// The values of a live Secret.
pub(super) fn values(object: &Value) -> Fields {
    let data = object["data"].as_object().into_iter().flatten();
    let decoded = data.filter_map(|(key, value)| {
        Some((key.clone(), Secret::new(BASE64_STANDARD.decode(value.as_str()?).ok()?)))
    });
    decoded.collect()
}

/// Why a live Secret cannot become as declared.
fn blocked(desired: &KubeSecretSpec, live: &Live, is_data_changed: bool) -> Vec<Blocked> {
    let again = "use `--replace` to delete and create it again, or declare another name";
    let live_type = live.object["type"].as_str().unwrap_or("Opaque");
    let mut found = Vec::new();
    if live_type != desired.r#type {
        found.push(Blocked::new("type", &format!("a Secret keeps its type; {again}")));
    }
    if live.object["immutable"] == true {
        let why = format!("the live Secret is immutable; {again}");
        let thawed = (!desired.immutable).then_some("immutable");
        let data = is_data_changed.then_some("data");
        found.extend(thawed.into_iter().chain(data).map(|field| Blocked::new(field, &why)));
    }
    found
}

/// A refusal without any value that it may repeat.
pub(super) fn without_values(mut error: Error, object: &Value) -> Error {
    let data = object["data"].as_object().into_iter().flatten();
    for encoded in data.filter_map(|(_, value)| value.as_str()).filter(|encoded| !encoded.is_empty()) {
        let plain = BASE64_STANDARD.decode(encoded).unwrap_or_default();
        for text in [encoded.to_owned(), String::from_utf8_lossy(&plain).into_owned()] {
            if !text.is_empty() {
                error.message = error.message.replace(&text, "(masked)");
            }
        }
    }
    error
}

impl Resource for KubeSecret {
    const KIND: &'static str = "kubernetes.secret";
    const ABOUT: &'static str =
        "A Secret, its values generated once, or taken from variables, files and other steps.";
    const EXAMPLE: &'static str = "\
database:
  kind: kubernetes.secret
  namespace: payments
  name: database
  data:
    username: payments
    password: { generate: { length: 40 } }
";
    const PROTECTED: bool = true;
    const HOLDS_VALUES: bool = true;
    const REMOVAL: Option<&'static str> = Some("with its values, for good");
    const REPLACEMENT: Replacement = Replacement::Renewed;
    const GRANTS: Granting = Granting::Never("who may read it is in roles and bindings");
    const RISKS: Risks = &[
        META_RISKS,
        &[
            identity("namespace"),
            safe("data", "the change of each value is shown, and one that is removed is always a risk"),
            safe("type", "a live one never changes"),
            safe("immutable", "a live one is never changed back"),
        ],
    ];
    const PROOF: Proof = Proof::InSync("its values are read back and compared with the declared ones");

    type Client = KubernetesClient;
    type Id = Address;
    type Desired = KubeSecretSpec;
    type Observed = Live;
    type Outputs = KubeSecretOutputs;

    fn id(desired: &KubeSecretSpec) -> Address {
        desired.address()
    }

    fn check(desired: &KubeSecretSpec) -> Vec<FieldError> {
        let mut found = desired.meta().check();
        found.extend(desired.data.keys().filter_map(|key| key_mistake("data", key)));
        if desired.data.is_empty() && desired.r#type != TOKEN {
            found.push(FieldError::new("data", "is empty").help("declare at least one key").reading("type"));
        }
        let templates = check_templates(&desired.data).into_iter();
        found.extend(
            templates.map(|(name, error)| FieldError::new(format!("data.{name}"), error.to_string())),
        );
        found
    }

    fn requires(desired: &KubeSecretSpec) -> Vec<Requirement> {
        object::namespace(Some(&desired.namespace)).into_iter().collect()
    }

    fn permissions(desired: &KubeSecretSpec, used: Use<'_>) -> Vec<Permission> {
        object::permissions(&desired.address(), used.access)
    }

    fn sources(desired: &mut KubeSecretSpec) -> Vec<&mut SecretSource> {
        desired.data.values_mut().collect()
    }

    fn secrets(observed: &Live) -> Fields {
        let values = values(&observed.object).into_iter();
        values.map(|(name, value)| (path_of("data", &name), value)).collect()
    }

    fn compared(desired: &mut KubeSecretSpec) -> (&'static str, BTreeMap<String, &mut SecretSource>) {
        ("data", desired.data.iter_mut().map(|(name, source)| (name.clone(), source)).collect())
    }

    /// The server has no way to read only a part; values that are not asked for are dropped.
    async fn observe(client: &KubernetesClient, id: &Address, look: Look<'_, Self>) -> Result<Option<Live>> {
        let found = client.get(Self::KIND, id).await?;
        Ok(found.map(|mut object| {
            if !look.values {
                object["data"] = Value::Null;
            }
            Live::new(client, object)
        }))
    }

    fn diff(desired: &KubeSecretSpec, observed: &Live) -> Diff {
        let mut diff = Diff::none();
        if let Some(blocked) = observed.deletion() {
            diff.blocked.push(blocked);
            return diff;
        }
        diff.secrets("data", &desired.data, &values(&observed.object), false);
        let owned = compare::managed_names(&observed.object, &observed.manager, "data");
        for name in owned.iter().filter(|name| !desired.data.contains_key(*name)) {
            diff.secret(&path_of("data", name), SecretChange::Removed, None);
        }
        let is_data_changed = !diff.is_empty();
        for one in compare::declared(&desired.frame(&observed.plan), &observed.object, &observed.manager) {
            if one.path != "data" && !one.path.starts_with("data.") {
                let path = one.path.strip_prefix("metadata.").unwrap_or(&one.path);
                diff.push(path, one.before, one.after);
            }
        }
        diff.blocked.extend(blocked(desired, observed, is_data_changed));
        object::awaited(&mut diff, desired.wait.as_ref(), observed);
        diff
    }

    async fn create(w: &Writer<'_, KubernetesClient>, desired: &KubeSecretSpec) -> Result<()> {
        let body = desired.object(w.plan(), &Fields::new())?;
        let created = object::create(w, &desired.address(), &body, desired.force).await;
        created.map_err(|error| without_values(error, &body))?;
        desired.waited(w).await
    }

    async fn update(
        w: &Writer<'_, KubernetesClient>,
        desired: &KubeSecretSpec,
        observed: &Live,
    ) -> Result<()> {
        let address = desired.address();
        if let Some(blocked) = Self::diff(desired, observed).blocked.iter().find(|blocked| !blocked.waits) {
            let message = format!("{}: {}", blocked.path, blocked.why);
            return Err(Error::new(ErrorKind::Rejected, format!("PATCH {}", address.path()), message));
        }
        let body = desired.object(w.plan(), &values(&observed.object))?;
        let applied = w.apply(Mode::Real(w.permit()), &address, &body, desired.force).await?;
        live::into_result(applied).map_err(|error| without_values(error, &body))?;
        desired.waited(w).await
    }

    async fn delete(w: &Writer<'_, KubernetesClient>, id: &Address) -> Result<()> {
        object::delete(w, id).await
    }

    fn outputs(observed: &Live) -> KubeSecretOutputs {
        let object::ObjectOutputs { name, namespace, uid } = object::ObjectOutputs::of(observed);
        KubeSecretOutputs { name, namespace, uid }
    }

    fn predicted_outputs(desired: &KubeSecretSpec, _: &Realm) -> Partial {
        object::ObjectOutputs::predicted(&desired.name, Some(&desired.namespace))
    }

    fn revision(observed: &Live) -> Option<String> {
        observed.object["metadata"]["resourceVersion"].as_str().map(str::to_owned)
    }

    fn tags(observed: &Live) -> Option<&Tags> {
        Some(observed.tags())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(declared: Value) -> KubeSecretSpec {
        let mut all = json!({ "name": "x", "namespace": "team" });
        all.as_object_mut().unwrap().extend(declared.as_object().unwrap().clone());
        serde_json::from_value(all).expect("valid")
    }

    #[test]
    fn values_are_sent_as_data_and_never_as_string_data() {
        let mut spec = spec(json!({ "data": { "a": "one" } }));
        for source in spec.data.values_mut() {
            source.load(&crate::secret::Loader::default()).expect("loads");
        }
        let object = spec.object("plan", &Fields::new()).expect("an object");
        assert_eq!(object["data"]["a"], "b25l");
        assert!(object.get("stringData").is_none());
        assert!(spec.frame("plan").get("data").is_none());
    }

    #[test]
    fn refusal_does_not_repeat_a_value() {
        let error = Error::new(ErrorKind::Rejected, "PATCH x", "invalid value hunter2 (aHVudGVyMg==)");
        let error = without_values(error, &json!({ "data": { "a": "aHVudGVyMg==" } }));
        assert_eq!(error.message, "invalid value (masked) ((masked))");
    }

    #[test]
    fn only_tokens_of_service_accounts_may_be_empty() {
        assert_eq!(KubeSecret::check(&spec(json!({})))[0].path, "data");
        assert!(KubeSecret::check(&spec(json!({ "type": TOKEN }))).is_empty());
    }
}
