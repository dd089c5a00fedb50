//! The AWS engine's access to an account:
//! <https://developer.hashicorp.com/vault/api-docs/secret/aws#configure-root-credentials>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::server::Plugin;
use super::{Making, Object, PlainObject};
use crate::access::Granting;
use crate::error::FieldError;
use crate::proof::Proof;
use crate::resource::Requirement;
use crate::resource::risk::Category::{BroaderGrant, Destination};
use crate::resource::risk::{Risks, changed, identity, safe};
use crate::secret::SecretSource;

/// The credentials with which the AWS engine issues other credentials.
pub type AwsRoot = Object<AwsRootSpec>;

/// The declared fields of the configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsRootSpec {
    /// The engine's path.
    #[serde(default = "mount")]
    pub mount: String,
    /// The id of the access key; when empty, the server uses the credentials of its environment.
    #[serde(default)]
    pub access_key: String,
    /// The secret access key. It cannot be read back: a new value is sent only together with another
    /// change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key: Option<SecretSource>,
    /// The region; empty is the server's.
    #[serde(default)]
    pub region: String,
    /// The endpoint of IAM; empty is AWS itself.
    #[serde(default)]
    pub iam_endpoint: String,
    /// The endpoint of STS; empty is AWS itself.
    #[serde(default)]
    pub sts_endpoint: String,
    /// How often a failed request is retried; -1 is the SDK's default.
    #[serde(default = "as_the_sdk")]
    pub max_retries: i64,
}

fn mount() -> String {
    "aws".to_owned()
}

const fn as_the_sdk() -> i64 {
    -1
}

impl PlainObject for AwsRootSpec {
    const KIND: &'static str = "vault.aws_root";
    const GRANTS: Granting = Granting::Never("the mount's own login at AWS");
    const ABOUT: &'static str = "The credentials with which Vault's AWS engine issues other credentials. HashiCorp Vault, or a plugin of OpenBao.";
    const EXAMPLE: &'static str = "\
vault_in_aws:
  kind: vault.aws_root
  access_key: AKIAIOSFODNN7EXAMPLE
  secret_key: { env: SECRETS_ENGINE_KEY }
  region: us-east-1
";
    const RISKS: Risks = &[&[
        identity("mount"),
        changed("access_key").low(BroaderGrant, "the engine works with the rights of another access key"),
        safe("secret_key", "it opens nothing in Vault"),
        changed("iam_endpoint sts_endpoint")
            .high(Destination, "credentials are asked from another server (`{field}`)"),
        safe("region max_retries", "it decides only how AWS is reached"),
    ]];
    const PROOF: Proof =
        Proof::InSync("what it issues are users or sessions in AWS, whose rights IAM decides");
    const IDENTITY: &'static [&'static str] = &["mount"];
    const MAKING: Making = Making::Unknown;
    const REPLACED_WHOLE: bool = true;
    const PERMANENT: Option<&'static str> =
        Some("the configuration is deleted with its mount; remove the step of the mount instead");
    const PLUGIN: Option<Plugin<'static>> = Some(Plugin::Secrets("aws"));

    fn path(&self) -> String {
        format!("{}/config/root", self.mount)
    }

    fn name(&self) -> &str {
        &self.mount
    }

    fn check(&self) -> Vec<FieldError> {
        let alone = self.access_key.is_empty() != self.secret_key.is_none();
        alone
            .then(|| FieldError::new("secret_key", "must be given together with `access_key`"))
            .into_iter()
            .collect()
    }

    fn requires(&self) -> Vec<Requirement> {
        vec![Requirement::thing("vault.mount", &self.mount)]
    }

    fn secrets(&mut self) -> Vec<(&'static str, &mut SecretSource)> {
        self.secret_key.iter_mut().map(|source| ("secret_key", source)).collect()
    }
}
