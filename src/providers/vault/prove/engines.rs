//! Engines are proven by taking one of each thing that they issue: a ciphertext, a certificate, a database user, a password.

use serde_json::{Map, Value, json};

use super::{CREATE, LIFETIME, Vault, minted, permissions};
use crate::proof::days_in;
use crate::run::Permission;
use crate::secret::random_bytes;

const SEE_ENGINE: &str =
    "see the message of the server, and compare the engine with the plan (`groundwork plan`)";

/// How long an authority's certificate must still be good, in days, to count as healthy.
const RENEW_WITHIN: i64 = 30;

/// Encrypts and decrypts with a transit key, or signs and verifies; `report` is the server's report of the key.
pub(in crate::providers::vault) async fn transit(
    prover: &Vault<'_>,
    mount: &str,
    name: &str,
    report: &Value,
) {
    let input = base64(&random_bytes(16));
    let mut body = Map::from_iter([("plaintext".to_owned(), json!(input))]);
    if report["derived"] == true {
        body.insert("context".to_owned(), json!(base64(&random_bytes(16))));
    }
    if report["supports_encryption"] == true && report["supports_decryption"] == true {
        let tried = "encrypts and decrypts";
        let sealed =
            prover.client().ask(&format!("{mount}/encrypt/{name}"), &Value::Object(body.clone())).await;
        let Some(sealed) = prover.ask(tried, "a ciphertext", sealed) else { return };
        body.remove("plaintext");
        body.insert("ciphertext".to_owned(), sealed.unwrap_or_default()["ciphertext"].take());
        let opened = prover.client().ask(&format!("{mount}/decrypt/{name}"), &Value::Object(body)).await;
        let Some(opened) = prover.ask(tried, "the plaintext", opened) else { return };
        match opened.unwrap_or_default()["plaintext"] == input {
            true => prover.proven(tried),
            false => prover.failed(tried, "the same text", "another text", SEE_ENGINE),
        }
        return;
    }
    let (make, field) =
        if report["supports_signing"] == true { ("sign", "signature") } else { ("hmac", "hmac") };
    let tried = if make == "sign" { "signs and verifies" } else { "makes an HMAC and verifies it" };
    let mut body = Map::from_iter([("input".to_owned(), json!(input))]);
    let made = prover.client().ask(&format!("{mount}/{make}/{name}"), &Value::Object(body.clone())).await;
    let Some(made) = prover.ask(tried, "a signature", made) else { return };
    body.insert(field.to_owned(), made.unwrap_or_default()[field].take());
    let good = prover.client().ask(&format!("{mount}/verify/{name}"), &Value::Object(body)).await;
    let Some(good) = prover.ask(tried, "a verdict", good) else { return };
    match good.unwrap_or_default()["valid"] == true {
        true => prover.proven(tried),
        false => prover.failed(tried, "the signature is valid", "it is not", SEE_ENGINE),
    }
}

/// The permissions to use a transit key of this type.
pub(in crate::providers::vault) fn transit_needs(mount: &str, name: &str, of_type: &str) -> Vec<Permission> {
    let requests = match of_type {
        "hmac" => ["hmac", "verify"],
        of_type if of_type.starts_with("ecdsa") || of_type.starts_with("ed") => ["sign", "verify"],
        _ => ["encrypt", "decrypt"],
    };
    requests.map(|request| permissions::write(format!("{mount}/{request}/{name}"))).into()
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Judges the certificate of an authority by its end, in seconds since 1970.
pub(in crate::providers::vault) fn authority(prover: &Vault<'_>, expires: i64) {
    let tried = "its certificate is good for a while";
    let days = days_in(expires - jiff::Timestamp::now().as_second());
    match days >= RENEW_WITHIN {
        true => prover.proven(format!("its certificate is good for {days} days")),
        false => {
            let advice =
                "make the next authority before this one ends, and give it to those who trust this one";
            prover.failed(tried, format!("at least {RENEW_WITHIN} days"), format!("{days} days"), advice);
        }
    }
}

/// Has a PKI role issue a certificate for a minute, and revokes it.
pub(in crate::providers::vault) async fn certificate(prover: &Vault<'_>, declared: &Map<String, Value>) {
    let text = |field: &str| declared[field].as_str().unwrap_or_default().to_owned();
    let (mount, name) = (text("mount"), text("name"));
    let tried = "issues a certificate for a minute";
    let Some(host) = host(declared) else {
        return prover.untried(tried, "a name that the role allows: it has no domain without a wildcard");
    };
    let body = json!({ "common_name": host, "ttl": format!("{LIFETIME}s") });
    let issued = prover.post(prover.permit(), &format!("{mount}/issue/{name}"), &body).await;
    let Some(mut issued) = prover.ask(tried, &format!("a certificate for {host}"), issued) else { return };
    if let Some(Value::String(key)) = issued.get_mut("private_key") {
        zeroize::Zeroize::zeroize(key);
    }
    prover.proven(tried);
    if declared["no_store"] == true {
        return;
    }
    let tried = "revokes it";
    let body = json!({ "serial_number": issued["serial_number"] });
    let (client, permit) = (prover.another(), prover.lasting_permit());
    let undo = prover.undo("a certificate for a minute", move || {
        let (client, permit, body) = (client.another(), permit.clone(), body.clone());
        let path = format!("{mount}/revoke");
        async move { client.post(&permit, &path, &body).await.map(drop) }
    });
    let revoked = undo.now().await;
    if prover.ask(tried, "the certificate is revoked", revoked).is_some() {
        prover.proven(tried);
    }
}

/// The permissions to have a certificate issued, and revoked where the engine keeps it.
pub(in crate::providers::vault) fn certificate_needs(
    mount: &str,
    name: &str,
    no_store: bool,
) -> Vec<Permission> {
    let revoked = (!no_store).then(|| permissions::write(format!("{mount}/revoke")));
    std::iter::once(permissions::write(format!("{mount}/issue/{name}"))).chain(revoked).collect()
}

/// A name for which a role issues certificates.
fn host(declared: &Map<String, Value>) -> Option<String> {
    let is = |field: &str| declared[field] == true;
    let domains = declared["allowed_domains"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let domain = domains.clone().find(|domain| !domain.contains(['*', '{']));
    match domain {
        Some(domain) if is("allow_subdomains") => Some(format!("groundwork-verify.{domain}")),
        Some(domain) if is("allow_bare_domains") => Some(domain.to_owned()),
        _ if is("allow_any_name") => Some("groundwork-verify.example".to_owned()),
        _ if is("allow_localhost") => Some("localhost".to_owned()),
        _ if is("allow_glob_domains") => domains
            .clone()
            .find(|domain| domain.contains('*'))
            .map(|domain| domain.replace('*', "groundwork-verify")),
        _ => None,
    }
}

/// Has a database role make a user, which ends with the token that asked for it.
pub(in crate::providers::vault) async fn database(prover: &Vault<'_>, path: &str) {
    let tried = "makes a user of the database, who ends again";
    let Some((bearer, undo)) = minted(prover, tried, &[]).await else { return };
    let made = bearer.ask(path, None).await;
    // The lease ends with the token, and the user with the lease.
    let ended = undo.now().await;
    let Some(made) = prover.ask(tried, "a user and a password", made) else { return };
    if prover.ask(tried, "the user's lease ends", ended).is_none() {
        return;
    }
    let has = |field: &str| made[field].as_str().is_some_and(|text| !text.is_empty());
    let credential = ["password", "rsa_private_key", "private_key"].iter().any(|field| has(field));
    match has("username") && credential {
        true => prover.proven(tried),
        false => prover.failed(tried, "a user and a credential", "the answer lacks them", SEE_ENGINE),
    }
}

/// The permissions to have a user made. The token for it has the policies of the run's own.
pub(in crate::providers::vault) fn database_needs(path: &str) -> Vec<Permission> {
    vec![permissions::write(CREATE), permissions::read(path)]
}

/// Reads the credential of a database's static role.
pub(in crate::providers::vault) async fn static_user(prover: &Vault<'_>, path: &str) {
    let tried = "gives the user's credential";
    let found = prover.get(path).await;
    let Some(found) = prover.ask(tried, "a credential", found) else { return };
    match found.is_some_and(|found| found["username"].is_string()) {
        true => prover.proven(tried),
        false => prover.failed(tried, "a credential", "there is none", SEE_ENGINE),
    }
}

/// Reads a code of a TOTP key. Only a code that is checked is used up.
pub(in crate::providers::vault) async fn code(prover: &Vault<'_>, path: &str, digits: u8) {
    let tried = format!("gives a code of {digits} digits");
    let found = prover.get(path).await;
    let Some(found) = prover.ask(&tried, "a code", found) else { return };
    let mut code = found.unwrap_or_default()["code"].take();
    let is_good = code.as_str().is_some_and(|code| {
        code.len() == usize::from(digits) && code.chars().all(|digit| digit.is_ascii_digit())
    });
    if let Value::String(code) = &mut code {
        zeroize::Zeroize::zeroize(code);
    }
    match is_good {
        true => prover.proven(tried),
        false => prover.failed(tried, format!("{digits} digits"), "something else", SEE_ENGINE),
    }
}

/// Has the server make a password by a policy.
pub(in crate::providers::vault) async fn password(prover: &Vault<'_>, name: &str) {
    let tried = "makes a password";
    let made = prover.get(&format!("sys/policies/password/{name}/generate")).await;
    let Some(made) = prover.ask(tried, "a password", made) else { return };
    match made.is_some_and(|made| made["password"].as_str().is_some_and(|text| !text.is_empty())) {
        true => prover.proven(tried),
        false => prover.failed(tried, "a password", "the answer has none", SEE_ENGINE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_of(declared: Value) -> Option<String> {
        host(declared.as_object().expect("fields"))
    }

    #[test]
    fn certificate_is_asked_for_a_name_that_the_role_allows() {
        let domains = json!(["*.a.example", "b.example"]);
        let rows = [
            (json!({ "allow_subdomains": true }), Some("groundwork-verify.b.example")),
            (json!({ "allow_bare_domains": true }), Some("b.example")),
            (json!({ "allow_any_name": true }), Some("groundwork-verify.example")),
            (json!({ "allow_localhost": true }), Some("localhost")),
            (json!({ "allow_glob_domains": true }), Some("groundwork-verify.a.example")),
            (json!({}), None),
        ];
        for (mut declared, expected) in rows {
            declared["allowed_domains"] = domains.clone();
            for flag in [
                "allow_subdomains",
                "allow_bare_domains",
                "allow_any_name",
                "allow_localhost",
                "allow_glob_domains",
            ] {
                if declared.get(flag).is_none() {
                    declared[flag] = json!(false);
                }
            }
            assert_eq!(host_of(declared.clone()).as_deref(), expected, "{declared}");
        }
    }
}
