//! A server that a drill has to itself: reached by a socket, opened by key shares, and tried with the plan's logins.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::custodian::{Admin, Custodian, Unlocked};
use super::lookup::answers;
use super::request::{Effect, Request};
use super::server::RootGeneration;
use super::{NodeClient, VaultClient};
use crate::error::{Error, ErrorKind, Result};
use crate::permit::Permit;
use crate::secret::Secret;

/// How many roles of one auth method are tried.
const ROLES: usize = 100;
/// The fields by which a role takes logins from some addresses only. A socket has none.
const BOUND: [&str; 2] = ["secret_id_bound_cidrs", "token_bound_cidrs"];

/// The attempt to log in as a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoleLogin {
    /// It got a token.
    Done,
    /// It was refused, with the reason.
    Failed(String),
    /// It was not tried, with the reason.
    Untried(String),
}

/// The progress of making a root token.
#[derive(Deserialize)]
struct Attempt {
    #[serde(default)]
    nonce: String,
    #[serde(default)]
    otp: String,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    encoded_token: String,
}

impl NodeClient {
    /// Makes a root token from key shares, where the server takes that without a token.
    ///
    /// # Errors
    /// When the server refuses, or the shares do not suffice.
    pub async fn root_token_by_shares(&self, _: &Permit, shares: &[&Secret]) -> Result<Secret> {
        let way = RootGeneration::Anybody;
        let begin = Request::new("POST", way.attempt(), Effect::Write);
        let attempt: Attempt = self.send(&begin, Some(&json!({}))).await?;
        let otp = Zeroizing::new(attempt.otp);
        for share in shares {
            let update = Request::new("POST", way.update(), Effect::Write);
            let body =
                json!({ "key": share.expose_str().unwrap_or_default().trim(), "nonce": attempt.nonce });
            let entered: Attempt = self.send(&update, Some(&body)).await?;
            if entered.complete {
                let encoded = Zeroizing::new(entered.encoded_token);
                return decoded(&encoded, &otp).ok_or_else(|| {
                    Error::new(ErrorKind::Rejected, update.to_string(), "the answer is not an encoded token")
                });
            }
        }
        let message = format!("{} shares do not suffice for a root token", shares.len());
        Err(Error::new(ErrorKind::Rejected, begin.to_string(), message))
    }
}

/// The token is combined with the one-time password, byte by byte.
fn decoded(encoded: &str, otp: &str) -> Option<Secret> {
    let bytes = Zeroizing::new(BASE64_STANDARD_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?);
    let plain: Vec<u8> = bytes.iter().zip(otp.bytes()).map(|(one, other)| one ^ other).collect();
    (bytes.len() == otp.len()).then(|| Secret::new(plain))
}

impl Custodian {
    /// Logs in to a server that has recovered a backup with what custody has of the cluster, the newest first: the
    /// admin's login, and the root token of the initialisation. Gives the login in words, and its token; `None` when
    /// the server knows none of them. The cluster itself is not asked.
    ///
    /// # Errors
    /// When no store can be listed.
    pub async fn log_in_elsewhere(&self, vault: &VaultClient) -> Result<Option<(String, Secret)>> {
        let kept = answers(&self.custody).await?;
        for which in &kept {
            if let Ok(Some(admin)) = Admin::read(&self.custody, which).await
                && let Ok(token) = admin.login(vault).await
            {
                return Ok(Some((format!("the admin's login in custody, {}", which.admin()), token)));
            }
        }
        for which in &kept {
            let Ok(Some(unlocked)) = Unlocked::read(&self.custody, which).await else { continue };
            let Ok(token) = unlocked.root_token() else { continue };
            vault.set_token(token.clone()).await;
            if vault.get("auth/token/lookup-self").await.is_ok_and(|found| found.is_some()) {
                return Ok(Some((format!("the root token in custody, {}", which.prefix()), token)));
            }
        }
        vault.clear_token().await;
        Ok(None)
    }
}

impl VaultClient {
    /// Logs in once as each AppRole role of the auth method at `mount`, with a new secret-id.
    ///
    /// # Errors
    /// When the roles cannot be listed.
    pub async fn log_in_as_roles(&self, permit: &Permit, mount: &str) -> Result<Vec<(String, RoleLogin)>> {
        let mount = mount.trim_end_matches('/');
        let listed = self.list(&format!("auth/{mount}/role")).await?.unwrap_or_default();
        let names = listed["keys"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut logins = Vec::new();
        for (index, name) in names.enumerate() {
            let login = match index < ROLES {
                true => self.log_in_as(permit, mount, name).await,
                false => RoleLogin::Untried(format!("only {ROLES} roles of a method are tried")),
            };
            logins.push((format!("{mount}/{name}"), login));
        }
        Ok(logins)
    }

    async fn log_in_as(&self, permit: &Permit, mount: &str, name: &str) -> RoleLogin {
        let role = match self.get(&format!("auth/{mount}/role/{name}")).await {
            Ok(role) => role.unwrap_or_default(),
            Err(error) => return RoleLogin::Failed(error.to_string()),
        };
        let is_bound = |field: &&str| role[*field].as_array().is_some_and(|list| !list.is_empty());
        if let Some(field) = BOUND.into_iter().find(is_bound) {
            return RoleLogin::Untried(format!("it takes logins from some addresses only ({field})"));
        }
        if role["bind_secret_id"] == json!(false) {
            return RoleLogin::Untried("it takes logins without a secret-id".to_owned());
        }
        let login = async { Admin::issue(self, permit, mount, name).await?.login(self).await };
        match login.await {
            Ok(_) => RoleLogin::Done,
            Err(error) => RoleLogin::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_decoded_with_the_one_time_password() {
        let (token, otp) = ("s.0123456789", "abcdefghijkl");
        let mixed: Vec<u8> = token.bytes().zip(otp.bytes()).map(|(one, other)| one ^ other).collect();
        let encoded = BASE64_STANDARD_NO_PAD.encode(mixed);
        assert_eq!(decoded(&encoded, otp).expect("a token").expose_str(), Some(token));
        assert_eq!(decoded(&encoded, "short"), None);
        assert_eq!(decoded("%", otp), None);
    }
}
