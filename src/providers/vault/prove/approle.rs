//! An AppRole role is proven by a login with a secret-id of one use.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{LIFETIME, Vault, end, permissions, token};
use crate::error::{Error, ErrorKind, Result};
use crate::proof::Undo;
use crate::run::Permission;

const LOGIN: &str = "logs in";

/// Logs in as the role at this path, which declares these fields.
pub(in crate::providers::vault) async fn prove(
    prover: &Vault<'_>,
    path: &str,
    declared: &Map<String, Value>,
) {
    let Some((method, _)) = path.split_once("/role/") else { return };
    let role_id = prover.get(&format!("{path}/role-id")).await;
    let Some(role_id) = prover.ask(LOGIN, "a role-id", role_id) else { return };
    let mut body = json!({ "role_id": role_id.unwrap_or_default()["role_id"] });
    let mut made = None;
    if declared["bind_secret_id"] == true {
        match secret_id(prover, path, declared).await {
            Ok((secret_id, undo)) => {
                body["secret_id"] = secret_id;
                made = Some(undo);
            }
            Err(error) => return prover.refused(LOGIN, "a secret-id", &error),
        }
    }
    let issued = prover.log_in(&format!("{method}/login"), &body).await;
    wipe(&mut body);
    match issued {
        Ok(issued) => {
            // Its one use was this.
            if let Some(undo) = made {
                undo.is_gone();
            }
            token::prove(prover, declared, issued).await;
        }
        Err(error) => {
            if let Some(undo) = made {
                end(undo).await;
            }
            refused(prover, declared, &error);
        }
    }
}

/// The permissions of the proof.
pub(in crate::providers::vault) fn needs(path: &str, declared: &Map<String, Value>) -> Vec<Permission> {
    let bound = (declared["bind_secret_id"] == true).then(|| permissions::write(format!("{path}/secret-id")));
    let role_id = permissions::read(format!("{path}/role-id"));
    std::iter::once(role_id).chain(bound).chain(token::needs(declared)).collect()
}

/// Overwrites the secret-id, of which the request had the only other copy.
fn wipe(body: &mut Value) {
    if let Some(Value::String(text)) = body.get_mut("secret_id") {
        zeroize::Zeroize::zeroize(text);
    }
}

/// A secret-id of one use, and how it is destroyed if it was not used.
async fn secret_id<'a>(
    prover: &Vault<'a>,
    path: &str,
    declared: &Map<String, Value>,
) -> Result<(Value, Undo<'a>)> {
    let lifetime = match declared["secret_id_ttl"].as_u64() {
        Some(limit @ 1..) => limit.min(LIFETIME),
        _ => LIFETIME,
    };
    let body = json!({
        "num_uses": 1, "ttl": format!("{lifetime}s"), "metadata": r#"{"groundwork":"verify"}"#,
    });
    let mut made = prover.post(prover.permit(), &format!("{path}/secret-id"), &body).await?;
    let body = json!({ "secret_id_accessor": made["secret_id_accessor"] });
    let (client, permit) = (prover.another(), prover.lasting_permit());
    let destroy = format!("{path}/secret-id-accessor/destroy");
    let undo = prover.undo("a secret-id of one use", move || {
        let (client, permit) = (client.another(), Arc::clone(&permit));
        let (destroy, body) = (destroy.clone(), body.clone());
        async move {
            match client.post(&permit, &destroy, &body).await {
                // It was used or has expired.
                Err(error) if error.message.contains("failed to find accessor") => Ok(()),
                destroyed => destroyed.map(drop),
            }
        }
    });
    let secret_id = made["secret_id"].take();
    match secret_id.is_string() {
        true => Ok((secret_id, undo)),
        false => {
            let message = "the answer has no secret-id";
            Err(Error::new(ErrorKind::Rejected, format!("POST {path}/secret-id"), message))
        }
    }
}

/// A login that is refused because of where this machine is, says nothing against the role.
fn refused(prover: &Vault<'_>, declared: &Map<String, Value>, error: &Error) {
    let bound = ["secret_id_bound_cidrs", "token_bound_cidrs"];
    let bound: Vec<String> = bound
        .iter()
        .flat_map(|name| declared[*name].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if !bound.is_empty() && (error.message.contains("address") || error.message.contains("CIDR")) {
        return prover.untried(LOGIN, format!("to be run from an address in {}: {error}", bound.join(", ")));
    }
    let advice = error.advice.clone().unwrap_or_default();
    prover.failed(LOGIN, "the login is accepted", error.to_string(), advice);
}
