//! Namespaces: <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/namespace-v1/>.

use serde_json::{Map, Value};

use super::address::{Api, namespace_mistake};
use super::meta::{META_RISKS, Meta, object_spec};
use super::object::{Kube, KubeObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::risk::Risks;
use crate::template::unknown::is_unknown;

/// A namespace.
pub type Namespace = Kube<NamespaceSpec>;

object_spec! {
    /// The declared fields of a namespace.
    pub struct NamespaceSpec of the cluster {}
}

impl KubeObject for NamespaceSpec {
    const KIND: &'static str = "kubernetes.namespace";
    const ABOUT: &'static str = "A namespace of a cluster.";
    const EXAMPLE: &'static str = "\
payments:
  kind: kubernetes.namespace
  name: payments
  labels: { pod-security.kubernetes.io/enforce: restricted }
";
    const PROTECTED: bool = true;
    const REMOVAL: Option<&'static str> = Some("with every object in it, also those of others");
    const GRANTS: Granting = Granting::Never("who may reach what in it is in roles and bindings");
    const RISKS: Risks = &[META_RISKS];
    const FIELDS: &'static [(&'static str, &'static str)] = &[];

    fn api(&self) -> Api {
        Api::new("v1", "Namespace", "namespaces", false)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        Map::new()
    }

    fn check(&self) -> Vec<FieldError> {
        let mistake = namespace_mistake(&self.name).filter(|_| !is_unknown(&self.name));
        let help = "lowercase letters, digits and `-`, at most 63";
        mistake.map(|mistake| FieldError::new("name", mistake).help(help)).into_iter().collect()
    }
}
