//! Service accounts:
//! <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/service-account-v1/>.

use serde_json::{Map, Value, json};

use super::address::Api;
use super::meta::{META_RISKS, Meta, object_spec};
use super::object::{Kube, KubeObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::resource::risk::Category::BroaderGrant;
use crate::resource::risk::{Risks, changed, safe, turned_on};

/// A service account.
pub type ServiceAccount = Kube<ServiceAccountSpec>;

object_spec! {
    /// The declared fields of a service account.
    pub struct ServiceAccountSpec in a namespace {
        /// The IAM role that its pods get, by ARN (IRSA).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub aws_role: Option<String>,
        /// The Google service account that its pods act as, by address (Workload Identity).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub gcp_service_account: Option<String>,
        /// The client id of the Entra identity that its pods get (Workload Identity).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub azure_client_id: Option<String>,
        /// The tenant of that identity, if it is not the cluster's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub azure_tenant_id: Option<String>,
        /// Secrets with which images are pulled.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub image_pull_secrets: Vec<String>,
        /// Whether pods get a token for the API server unless they say otherwise. The server's default when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub automount_token: Option<bool>,
    }
}

/// The annotation of each identity, by the field that declares it:
/// <https://docs.aws.amazon.com/eks/latest/userguide/associate-service-account-role.html>,
/// <https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity>,
/// <https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html>.
const IDENTITIES: [(&str, &str); 4] = [
    ("aws_role", "eks.amazonaws.com/role-arn"),
    ("gcp_service_account", "iam.gke.io/gcp-service-account"),
    ("azure_client_id", "azure.workload.identity/client-id"),
    ("azure_tenant_id", "azure.workload.identity/tenant-id"),
];

impl ServiceAccountSpec {
    fn identities(&self) -> impl Iterator<Item = (&'static str, &'static str, &String)> {
        let declared =
            [&self.aws_role, &self.gcp_service_account, &self.azure_client_id, &self.azure_tenant_id];
        IDENTITIES
            .into_iter()
            .zip(declared)
            .filter_map(|((field, name), value)| Some((field, name, value.as_ref()?)))
    }
}

impl KubeObject for ServiceAccountSpec {
    const KIND: &'static str = "kubernetes.service_account";
    const ABOUT: &'static str =
        "A service account: the identity of pods, in the cluster and, by its annotations, in a cloud.";
    const EXAMPLE: &'static str = "\
worker:
  kind: kubernetes.service_account
  namespace: payments
  name: worker
  aws_role: arn:aws:iam::123456789012:role/payments-worker
";
    const GRANTS: Granting =
        Granting::Never("what it may do is in roles and bindings, and in the cloud's own policies");
    const RISKS: Risks = &[
        META_RISKS,
        &[
            changed("aws_role gcp_service_account azure_client_id azure_tenant_id")
                .low(BroaderGrant, "its pods get another identity in the cloud"),
            safe("image_pull_secrets", "it names secrets and does not give them away"),
            turned_on("automount_token").low(BroaderGrant, "pods get a token for the API server"),
        ],
    ];
    const FIELDS: &'static [(&'static str, &'static str)] = &[
        ("metadata.annotations.eks.amazonaws.com/role-arn", "aws_role"),
        ("metadata.annotations.iam.gke.io/gcp-service-account", "gcp_service_account"),
        ("metadata.annotations.azure.workload.identity/client-id", "azure_client_id"),
        ("metadata.annotations.azure.workload.identity/tenant-id", "azure_tenant_id"),
        ("imagePullSecrets", "image_pull_secrets"),
        ("automountServiceAccountToken", "automount_token"),
    ];

    fn api(&self) -> Api {
        Api::new("v1", "ServiceAccount", "serviceaccounts", true)
    }

    fn meta(&self) -> Meta<'_> {
        self.meta()
    }

    fn content(&self) -> Map<String, Value> {
        let mut content = Map::new();
        if !self.image_pull_secrets.is_empty() {
            let secrets: Vec<Value> =
                self.image_pull_secrets.iter().map(|name| json!({ "name": name })).collect();
            content.insert("imagePullSecrets".to_owned(), Value::Array(secrets));
        }
        if let Some(automount) = self.automount_token {
            content.insert("automountServiceAccountToken".to_owned(), json!(automount));
        }
        content
    }

    fn describe(&self, metadata: &mut Map<String, Value>) {
        for (_, name, value) in self.identities() {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            annotations[name] = json!(value);
        }
    }

    fn check(&self) -> Vec<FieldError> {
        let twice = self.identities().filter(|(_, name, _)| self.annotations.contains_key(*name));
        let mistake = |field: &str, name: &str| {
            FieldError::new(format!("annotations.{name}"), format!("is `{field}`, too"))
        };
        twice.map(|(field, name, _)| mistake(field, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::{body, field};
    use super::*;

    #[test]
    fn identities_become_annotations_and_are_shown_as_fields() {
        let declared = json!({ "name": "w", "namespace": "team", "aws_role": "arn:aws:iam::1:role/w" });
        let spec: ServiceAccountSpec = serde_json::from_value(declared).expect("valid");
        let body = body(&spec, "plan");
        let (_, name) = IDENTITIES[0];
        assert_eq!(body["metadata"]["annotations"][name], "arn:aws:iam::1:role/w");
        assert_eq!(field::<ServiceAccountSpec>(&format!("metadata.annotations.{name}")), "aws_role");
        assert_eq!(field::<ServiceAccountSpec>("metadata.annotations.other"), "annotations.other");
    }
}
