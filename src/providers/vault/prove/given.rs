//! Roles of methods whose credentials only others have: the caller may give one for each.

use serde_json::{Map, Value, json};

use super::{Vault, token};
use crate::error::Result;
use crate::providers::vault::client::Issued;
use crate::secret::Secret;

const LOGIN: &str = "logs in";

/// The credential of a role.
#[derive(Clone, Copy, Debug)]
pub(in crate::providers::vault) enum Credential {
    /// A signed token: of a service account, or of the issuer of a JWT method.
    Jwt,
    /// The password of a user.
    Password,
    /// A certificate with its key, in PEM.
    Certificate,
}

/// Logs in as the role of a method at `mount`, which declares these fields.
pub(in crate::providers::vault) async fn prove(
    prover: &Vault<'_>,
    kind: Credential,
    mount: &str,
    declared: &Map<String, Value>,
) {
    let Some(given) = prover.credential() else {
        return prover.untried(LOGIN, needs(kind, prover.step()));
    };
    match log_in(prover, kind, mount, declared, given).await {
        Ok(issued) => token::prove(prover, declared, issued).await,
        Err(error) => {
            let advice = "see whether the credential that was given is still good, and is the one that the role asks for";
            prover.failed(LOGIN, "the login is accepted", error.to_string(), advice);
        }
    }
}

fn needs(kind: Credential, step: &str) -> String {
    let what = match kind {
        Credential::Jwt => {
            "a token of one whom the role lets in (for Kubernetes, `kubectl create token NAME -n NAMESPACE`)"
        }
        Credential::Password => "the user's password",
        Credential::Certificate => "a certificate that the role lets in, with its key, in PEM",
    };
    format!("{what}: `--credential {step}=FILE`, or `--credential {step}=env:NAME`")
}

async fn log_in(
    prover: &Vault<'_>,
    kind: Credential,
    mount: &str,
    declared: &Map<String, Value>,
    given: &Secret,
) -> Result<Issued> {
    let name = &declared["name"];
    let text = given.expose_str().unwrap_or_default();
    match kind {
        Credential::Jwt => {
            let body = json!({ "role": name, "jwt": text });
            prover.log_in(&format!("auth/{mount}/login"), &body).await
        }
        Credential::Password => {
            let user = name.as_str().unwrap_or_default();
            prover.log_in(&format!("auth/{mount}/login/{user}"), &json!({ "password": text })).await
        }
        Credential::Certificate => {
            prover
                .log_in_by_certificate(&format!("auth/{mount}/login"), &json!({ "name": name }), given)
                .await
        }
    }
}
