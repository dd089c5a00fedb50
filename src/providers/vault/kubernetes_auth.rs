//! The configuration of a Kubernetes method:
//! <https://openbao.org/api-docs/auth/kubernetes/#configure-method>.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VaultClient;
use super::fields;
use super::mount::{refuse_blocked, refuse_existing};
use super::notation::Pem;
use super::permissions;
use crate::access::Granting;
use crate::error::{Error, ErrorKind, FieldError, Result};
use crate::place::Realm;
use crate::proof::Proof;
use crate::resource::risk::Category::{BroaderGrant, Destination, ProtectionOff};
use crate::resource::risk::{
    Risks, added, changed, identity, replaced, safe, turned_off, turned_on, unbound,
};
use crate::resource::{Blocked, Diff, Look, Partial, Requirement, Resource, Writer};
use crate::run::{Access, Permission, Use};
use crate::secret::{Input, SecretChange, SecretSource};

/// How a Kubernetes method reaches and trusts its cluster.
#[derive(Debug)]
pub struct KubernetesAuth;

/// The declared configuration.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KubernetesAuthSpec {
    /// The method's path below `auth/`.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// The address of the Kubernetes API, e.g. `https://10.0.0.1:6443`.
    pub kubernetes_host: String,
    /// The CA certificate of the API, as PEM. Empty: that of the pod in which Vault runs.
    #[serde(default)]
    pub kubernetes_ca_cert: Pem,
    /// Do not fall back to the token and CA of the pod in which Vault runs.
    #[serde(default)]
    pub disable_local_ca_jwt: bool,
    /// The token with which Vault asks the cluster to review tokens. It cannot be read back, so a
    /// new value is sent only together with another change. Not managed when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_reviewer_jwt: Option<SecretSource>,
    /// Public keys that verify service accounts' tokens, as PEM.
    #[serde(default)]
    pub pem_keys: Vec<Pem>,
    /// The issuer that tokens must have.
    #[serde(default)]
    pub issuer: String,
    /// Do not check the issuer. The server's default.
    #[serde(default = "yes")]
    pub disable_iss_validation: bool,
}

/// The live configuration.
#[derive(Clone, Debug)]
pub struct LiveKubernetesAuth {
    config: KubernetesAuthSpec,
    /// Every field that the server both reports and accepts.
    reported: Map<String, Value>,
    token_reviewer_jwt_set: bool,
}

/// The outputs for other steps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KubernetesAuthOutputs {
    /// The method's path below `auth/`.
    pub mount: String,
    /// The address of the Kubernetes API.
    pub kubernetes_host: String,
}

const OWN: [&str; 6] = [
    "kubernetes_host",
    "kubernetes_ca_cert",
    "disable_local_ca_jwt",
    "pem_keys",
    "issuer",
    "disable_iss_validation",
];

/// The server cannot delete a configuration. Removal replaces it by one without any token or key
/// and with this host, which no name server knows (RFC 2606); such a configuration counts as
/// absent.
const NOWHERE: &str = "https://deleted.invalid";

const JWT: &str = "token_reviewer_jwt";
const JWT_SET: &str = "token_reviewer_jwt_set";

const JWT_WOULD_BE_LOST: &str = "the server has a reviewer token, which cannot be read back, and every change of the \
    configuration also replaces the token; declare `token_reviewer_jwt`, so that it can be sent again";

fn default_mount() -> String {
    "kubernetes".to_owned()
}

const fn yes() -> bool {
    true
}

fn path(mount: &str) -> String {
    format!("auth/{mount}/config")
}

impl KubernetesAuthSpec {
    /// The fields that can be read back.
    fn readable(&self) -> Map<String, Value> {
        let mut all = fields::fields(self);
        all.remove(JWT);
        all
    }

    /// Every field, since the server replaces the whole configuration: the declared fields, and the
    /// others with the server's values.
    fn body(&self, mut body: Map<String, Value>) -> Result<Value> {
        body.extend(self.readable());
        body.remove("mount");
        if let Some(source) = &self.token_reviewer_jwt {
            body.insert(JWT.to_owned(), json!(self.jwt(source)?));
        }
        Ok(Value::Object(body))
    }

    fn jwt<'a>(&self, source: &'a SecretSource) -> Result<&'a str> {
        let text = source.value().and_then(|value| value.expose_str());
        text.map(str::trim).ok_or_else(|| {
            let message = format!("{source} is not text");
            Error::new(ErrorKind::Local, format!("configure auth/{}", self.mount), message)
                .advice("`token_reviewer_jwt` takes a service account's token from `env` or `file`")
        })
    }
}

fn live(mount: &str, told: &Value) -> Result<LiveKubernetesAuth> {
    let config = fields::parse(told, &OWN, [("mount", json!(mount))])?;
    let mut reported = told.as_object().cloned().unwrap_or_default();
    reported.retain(|name, value| name != JWT_SET && !value.is_null());
    Ok(LiveKubernetesAuth { config, reported, token_reviewer_jwt_set: told[JWT_SET] == true })
}

impl Resource for KubernetesAuth {
    const KIND: &'static str = "vault.kubernetes_auth";
    const GRANTS: Granting = Granting::Never("it says how logins are proven; roles say what they get");
    const ABOUT: &'static str = "How a Kubernetes auth method reaches and trusts its cluster.";
    const EXAMPLE: &'static str = "\
kubernetes:
  kind: vault.auth_method
  type: kubernetes
cluster:
  kind: vault.kubernetes_auth
  kubernetes_host: https://10.0.0.1:6443
  kubernetes_ca_cert: |
    -----BEGIN CERTIFICATE-----
    MIIBszCCAVmgAwIBAgIUQ0VSVElGSUNBVEUgRk9SIEFOIEVYQU1QTEU=
    -----END CERTIFICATE-----
  disable_local_ca_jwt: true
  token_reviewer_jwt: { env: REVIEWER_JWT }
";
    const RISKS: Risks = &[&[
        identity("mount"),
        replaced("kubernetes_host").high(Destination, "another cluster says who may log in"),
        changed("kubernetes_ca_cert").medium(Destination, "trusts another authority to be the cluster"),
        turned_off("disable_local_ca_jwt").low(BroaderGrant, "uses the token of the pod in which Vault runs"),
        safe("token_reviewer_jwt", "it opens nothing in Vault"),
        added("pem_keys").high(BroaderGrant, "takes tokens that are signed with another key"),
        unbound("issuer").low(ProtectionOff, "takes tokens of every issuer"),
        replaced("issuer").medium(BroaderGrant, "takes tokens of another issuer"),
        turned_on("disable_iss_validation").low(ProtectionOff, "takes tokens of every issuer"),
    ]];
    const PROOF: Proof = Proof::InSync("only a token of the cluster tries it; its roles are proven with one");

    type Client = VaultClient;
    type Id = String;
    type Desired = KubernetesAuthSpec;
    type Observed = LiveKubernetesAuth;
    type Outputs = KubernetesAuthOutputs;

    fn id(desired: &KubernetesAuthSpec) -> String {
        desired.mount.clone()
    }

    fn check(desired: &KubernetesAuthSpec) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let from_outside =
            |source: &SecretSource| matches!(source.input(), Input::Env(_) | Input::File(_) | Input::Step(_));
        if desired.token_reviewer_jwt.as_ref().is_some_and(|source| !from_outside(source)) {
            let help = "take it from `env` or `file`, or from another step with `secret`";
            errors.push(FieldError::new(JWT, "is a secret that the cluster issues").help(help));
        }
        if desired.disable_local_ca_jwt && desired.kubernetes_ca_cert.is_empty() {
            let help = "give the CA's certificate, or leave `disable_local_ca_jwt` false";
            errors.push(
                FieldError::new("kubernetes_ca_cert", "is needed with `disable_local_ca_jwt`").help(help),
            );
        }
        errors
    }

    /// The server cannot delete a configuration, so a removal writes another one.
    fn permissions(desired: &KubernetesAuthSpec, used: Use<'_>) -> Vec<Permission> {
        let path = path(&desired.mount);
        match used.access {
            Access::Read => vec![permissions::read(path)],
            Access::Create | Access::Update | Access::Delete => vec![permissions::write(path)],
            Access::Prove => Vec::new(),
        }
    }

    fn requires(desired: &KubernetesAuthSpec) -> Vec<Requirement> {
        vec![Requirement::Kind("vault.init"), Requirement::thing("vault.auth_method", &desired.mount)]
    }

    fn sources(desired: &mut KubernetesAuthSpec) -> Vec<&mut SecretSource> {
        desired.token_reviewer_jwt.iter_mut().collect()
    }

    async fn observe(
        client: &VaultClient,
        id: &String,
        _: Look<'_, Self>,
    ) -> Result<Option<LiveKubernetesAuth>> {
        match client.get(&path(id)).await? {
            Some(told) if told["kubernetes_host"] != NOWHERE => live(id, &told).map(Some),
            _ => Ok(None),
        }
    }

    fn diff(desired: &KubernetesAuthSpec, observed: &LiveKubernetesAuth) -> Diff {
        let mut diff = fields::compare(&observed.config.readable(), &desired.readable(), &[]);
        match (&desired.token_reviewer_jwt, observed.token_reviewer_jwt_set) {
            (Some(source), false) => {
                diff.secret(JWT, SecretChange::New, Some(source.describe()));
            }
            (Some(source), true) if !diff.is_empty() => {
                diff.secret(JWT, SecretChange::Resent, Some(source.describe()));
            }
            (None, true) if !diff.is_empty() => {
                diff.blocked.push(Blocked::new(JWT, JWT_WOULD_BE_LOST));
            }
            _ => {}
        }
        diff
    }

    async fn create(w: &Writer<'_, VaultClient>, desired: &KubernetesAuthSpec) -> Result<()> {
        // A write replaces the configuration: the server has no request that only creates one.
        refuse_existing(
            Self::observe(w, &desired.mount, Look::BARE).await?.is_some(),
            &path(&desired.mount),
        )?;
        write(w, desired, Map::new()).await
    }

    async fn update(
        w: &Writer<'_, VaultClient>,
        desired: &KubernetesAuthSpec,
        observed: &LiveKubernetesAuth,
    ) -> Result<()> {
        refuse_blocked(&Self::diff(desired, observed), Self::KIND, &desired.mount)?;
        write(w, desired, observed.reported.clone()).await
    }

    async fn delete(w: &Writer<'_, VaultClient>, id: &String) -> Result<()> {
        let nothing = json!({
            "kubernetes_host": NOWHERE, "kubernetes_ca_cert": "deleted", "disable_local_ca_jwt": true,
        });
        match w.get(&path(id)).await? {
            Some(_) => w.post(w.permit(), &path(id), &nothing).await.map(drop),
            None => Ok(()),
        }
    }

    fn outputs(observed: &LiveKubernetesAuth) -> KubernetesAuthOutputs {
        let KubernetesAuthSpec { mount, kubernetes_host, .. } = observed.config.clone();
        KubernetesAuthOutputs { mount, kubernetes_host }
    }

    fn predicted_outputs(desired: &KubernetesAuthSpec, _: &Realm) -> Partial {
        Partial::default().with("mount", &desired.mount).with("kubernetes_host", &desired.kubernetes_host)
    }
}

/// Writes the declared fields over `kept`.
async fn write(
    w: &Writer<'_, VaultClient>,
    desired: &KubernetesAuthSpec,
    kept: Map<String, Value>,
) -> Result<()> {
    w.post(w.permit(), &path(&desired.mount), &desired.body(kept)?).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> KubernetesAuthSpec {
        serde_json::from_value(value).expect("valid")
    }

    fn told(jwt: bool) -> LiveKubernetesAuth {
        let told = json!({
            "disable_iss_validation": true, "disable_local_ca_jwt": false, "issuer": "", "kubernetes_ca_cert": "CA",
            "kubernetes_host": "https://a:6443", "pem_keys": [], "token_reviewer_jwt_set": jwt,
        });
        live("kubernetes", &told).expect("valid")
    }

    #[test]
    fn unreadable_token_is_neither_compared_nor_lost() {
        let same = json!({ "kubernetes_host": "https://a:6443", "kubernetes_ca_cert": "CA\n" });
        let other = json!({ "kubernetes_host": "https://b:6443", "kubernetes_ca_cert": "CA" });
        let with_jwt = |mut value: Value| {
            value[JWT] = json!({ "env": "JWT" });
            spec(value)
        };
        assert!(KubernetesAuth::diff(&spec(same.clone()), &told(true)).is_empty());
        assert!(KubernetesAuth::diff(&with_jwt(same.clone()), &told(true)).is_empty());
        assert!(KubernetesAuth::diff(&with_jwt(same), &told(false)).touches(JWT));
        assert_eq!(KubernetesAuth::diff(&spec(other.clone()), &told(true)).blocked[0].path, JWT);
        let diff = KubernetesAuth::diff(&with_jwt(other), &told(true));
        assert!(diff.blocked.is_empty() && diff.touches(JWT) && diff.touches("kubernetes_host"));
    }

    #[test]
    fn token_in_the_plan_is_refused() {
        let errors = KubernetesAuth::check(&spec(json!({ "kubernetes_host": "https://a", JWT: "eyJ" })));
        assert_eq!(errors[0].path, JWT);
    }
}
