//! Objects as documents in a file, for clusters that are filled from a repository (GitOps): what the kinds of this
//! provider would apply, without the marks of a plan.

use std::borrow::Cow;
use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::manifest::{key, shown};
use super::object::{self, KubeObject};
use super::{
    ClusterRole, ClusterRoleBinding, ClusterSecretStore, ConfigMap, ExternalSecret, Manifest, Namespace,
    PushSecret, Role, RoleBinding, SecretProviderClass, SecretStore, ServiceAccount,
};
use crate::error::{FieldError, Result};
use crate::providers::file::{Documents, YamlFile};
use crate::resource::Resource;
use crate::resource::risk::{Risks, identity, safe};
use crate::secret::{LoadError, Loader};

/// A file with objects.
pub type Rendered = YamlFile<RenderedSpec>;

/// The declared objects of a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RenderedSpec {
    /// The file's path, relative to the plan's folder and inside it.
    pub path: String,
    /// The objects, each with the `kind` and the fields of a step that would apply it. Secrets have values, so they
    /// cannot be here; an external secret can.
    pub objects: Vec<Declared>,
}

type Fields<K> = <K as Resource>::Desired;

macro_rules! declared {
    ($($name:ident = $kind:literal,)*) => {
        /// The fields of one object, by the kind that would apply it.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        #[serde(tag = "kind")]
        pub enum Declared {
            $(
                #[doc = concat!("The fields of `", $kind, "`.")]
                #[serde(rename = $kind)]
                $name(Fields<$name>),
            )*
            /// The fields of `kubernetes.manifest`.
            #[serde(rename = "kubernetes.manifest")]
            Manifest(Fields<Manifest>),
        }

        /// The kinds of objects.
        const KINDS: &[&str] = &[$($kind,)* Manifest::KIND];

        impl Declared {
            /// The objects without any mark of a plan.
            fn objects(&self) -> Vec<Value> {
                match self {
                    $(Self::$name(spec) => vec![object::document(spec)],)*
                    Self::Manifest(spec) => spec.objects(),
                }
            }

            fn check(&self) -> Vec<FieldError> {
                match self {
                    $(Self::$name(spec) => mistakes(spec),)*
                    Self::Manifest(spec) => {
                        let mut found = Manifest::check(spec);
                        found.extend(only_applied(spec.force, spec.wait.is_some()));
                        found
                    }
                }
            }
        }
    };
}

declared! {
    Namespace = "kubernetes.namespace",
    ConfigMap = "kubernetes.config_map",
    ServiceAccount = "kubernetes.service_account",
    Role = "kubernetes.role",
    RoleBinding = "kubernetes.role_binding",
    ClusterRole = "kubernetes.cluster_role",
    ClusterRoleBinding = "kubernetes.cluster_role_binding",
    SecretStore = "kubernetes.secret_store",
    ClusterSecretStore = "kubernetes.cluster_secret_store",
    ExternalSecret = "kubernetes.external_secret",
    PushSecret = "kubernetes.push_secret",
    SecretProviderClass = "kubernetes.secret_provider_class",
}

/// The fields are described where the kinds are, and not once more.
impl JsonSchema for Declared {
    fn schema_name() -> Cow<'static, str> {
        "RenderedObject".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "required": ["kind"],
            "properties": { "kind": { "enum": KINDS, "description": "The kind of a step that would apply it." } },
        })
    }
}

/// Mistakes in the fields of one object.
fn mistakes<S: KubeObject>(spec: &S) -> Vec<FieldError> {
    let meta = spec.meta();
    let of_applies = only_applied(meta.force, meta.wait.is_some());
    meta.check().into_iter().chain(spec.check()).chain(of_applies).collect()
}

/// What only an apply can do has no place in a file.
fn only_applied(force: bool, wait: bool) -> impl Iterator<Item = FieldError> {
    let declared = [("force", force), ("wait", wait)].into_iter().filter(|(_, is_declared)| *is_declared);
    declared.map(|(field, _)| {
        FieldError::new(field, "is for a step that applies the object")
            .help("leave it out: a file only holds it")
    })
}

impl RenderedSpec {
    fn twice(&self) -> Vec<FieldError> {
        let mut seen = BTreeSet::new();
        let all = self.objects.iter().enumerate();
        let all = all.flat_map(|(index, one)| one.objects().into_iter().map(move |object| (index, object)));
        let again = all.filter(|(_, object)| !seen.insert(key(object)));
        again
            .map(|(index, object)| {
                FieldError::new(
                    format!("objects[{index}]"),
                    format!("`{}` is declared twice", shown(&object)),
                )
            })
            .collect()
    }
}

impl Documents for RenderedSpec {
    const KIND: &'static str = "kubernetes.rendered";
    const ABOUT: &'static str =
        "A file with objects for GitOps: the documents that the kinds of Kubernetes would apply.";
    const EXAMPLE: &'static str = "\
for_gitops:
  kind: kubernetes.rendered
  path: rendered/payments.yaml
  objects:
    - kind: kubernetes.service_account
      namespace: payments
      name: worker
    - kind: kubernetes.external_secret
      namespace: payments
      name: database
      from: { store: vault }
      data: { password: { key: payments/database, property: password } }
";
    const RISKS: Risks = &[&[
        identity("path"),
        safe("objects", "each change of a document is shown; another program applies the file"),
    ]];

    fn path(&self) -> &str {
        &self.path
    }

    fn check(&self) -> Vec<FieldError> {
        let empty = self.objects.is_empty().then(|| FieldError::new("objects", "is empty"));
        let each = self.objects.iter().enumerate().flat_map(|(index, one)| {
            one.check().into_iter().map(move |mistake| {
                let path = format!("objects[{index}].{}", mistake.path);
                FieldError { path, ..mistake }
            })
        });
        empty.into_iter().chain(each).chain(self.twice()).collect()
    }

    fn load(&mut self, loader: &Loader) -> Result<(), LoadError> {
        for one in &mut self.objects {
            if let Declared::Manifest(spec) = one {
                Manifest::load(spec, loader)?;
            }
        }
        Ok(())
    }

    fn documents(&self) -> Vec<Value> {
        self.objects.iter().flat_map(Declared::objects).collect()
    }

    fn name(document: &Value) -> String {
        let namespace = document["metadata"]["namespace"].as_str();
        namespace.map_or_else(|| shown(document), |namespace| format!("{namespace}/{}", shown(document)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(objects: Value) -> RenderedSpec {
        serde_json::from_value(json!({ "path": "x.yaml", "objects": objects })).expect("valid")
    }

    #[test]
    fn documents_have_no_mark_of_a_plan() {
        let map = json!({ "kind": "kubernetes.config_map", "namespace": "team", "name": "a", "data": { "b": "c" } });
        let manifest = json!({ "kind": "kubernetes.manifest", "name": "set", "namespace": "team", "objects": [
            { "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" } },
        ] });
        let all = spec(json!([map, manifest])).documents();
        assert_eq!(
            all[0],
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "team" }, "data": { "b": "c" } })
        );
        assert_eq!(all[1]["metadata"], json!({ "name": "s", "namespace": "team" }));
        assert_eq!(RenderedSpec::name(&all[1]), "team/Service/s");
    }

    #[test]
    fn mistakes_name_their_object() {
        let account = |more: Value| {
            let mut declared =
                json!({ "kind": "kubernetes.service_account", "namespace": "team", "name": "a" });
            declared.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            declared
        };
        let found = spec(json!([account(json!({})), account(json!({ "force": true }))])).check();
        let found: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(found, ["objects[1].force", "objects[1]"]);
        let secret =
            json!({ "kind": "kubernetes.secret", "namespace": "a", "name": "b", "data": { "c": "hunter2" } });
        let refused = serde_json::from_value::<Declared>(secret).expect_err("it has values");
        assert!(refused.to_string().contains("unknown variant") && !refused.to_string().contains("hunter2"));
    }
}
