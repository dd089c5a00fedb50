//! Roles of the SSH engine are proven by a certificate for a minute, or by a password that is used up at once.

use std::net::IpAddr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{CREATE, LIFETIME, Vault, minted, permissions};
use crate::run::Permission;

const SIGNS: &str = "signs a key for a minute";
const OTP: &str = "makes a password for one login, which is used up";
const ADVICE: &str =
    "compare the role on the server with the plan (`groundwork plan`); `groundwork apply` sets it back";
/// The type of the keys that are signed.
const ED25519: &str = "ssh-ed25519";
/// How much longer than asked for a certificate may last: clocks differ.
const SLACK: u64 = 90;

/// The permissions of the proof of a role that declares these fields.
pub(in crate::providers::vault) fn needs(declared: &Map<String, Value>) -> Vec<Permission> {
    let path = |request: &str| {
        let text = |field: &str| declared[field].as_str().unwrap_or_default();
        format!("{}/{request}/{}", text("mount"), text("name"))
    };
    match (declared["key_type"] == "otp", is_templated(declared)) {
        (_, true) => Vec::new(),
        (true, _) => vec![permissions::write(CREATE), permissions::write(path("creds"))],
        (false, _) => vec![permissions::write(path("sign"))],
    }
}

/// Tries the role.
pub(in crate::providers::vault) async fn prove(prover: &Vault<'_>, declared: &Map<String, Value>) {
    let is_otp = declared["key_type"] == "otp";
    if is_templated(declared) {
        let needs = "a login of an entity, since the server fills in a part of the user's name for each";
        return prover.untried(if is_otp { OTP } else { SIGNS }, needs);
    }
    if is_otp { password(prover, declared).await } else { certificate(prover, declared).await }
}

/// Whether names of users depend on who asks.
fn is_templated(declared: &Map<String, Value>) -> bool {
    ["allowed_users_template", "default_user_template"].iter().any(|field| declared[*field] == true)
}

/// Has a key signed whose private half is never written. The certificate ends by itself.
async fn certificate(prover: &Vault<'_>, declared: &Map<String, Value>) {
    let text = |field: &str| declared[field].as_str().unwrap_or_default();
    let Some((kind, whom)) = principal(declared) else {
        return prover.untried(SIGNS, "a name that the role allows: it has neither a user nor a domain");
    };
    let Some(key) = public_key() else {
        return prover.untried(SIGNS, "random numbers of this machine");
    };
    let body = json!({
        "public_key": key, "cert_type": kind, "valid_principals": whom, "ttl": format!("{LIFETIME}s"),
    });
    let path = format!("{}/sign/{}", text("mount"), text("name"));
    let signed = prover.post(prover.permit(), &path, &body).await;
    let Some(signed) = prover.ask(SIGNS, &format!("a certificate for {whom}"), signed) else { return };
    let certificate = signed["signed_key"].as_str().and_then(Certificate::read);
    let Some(certificate) = certificate else {
        return prover.failed(SIGNS, "a certificate", "the answer has none that can be read", ADVICE);
    };
    let left = certificate.valid_before.saturating_sub(jiff::Timestamp::now().as_second().unsigned_abs());
    if certificate.principals != [whom.clone()] {
        let seen = certificate.principals.join(", ");
        return prover.failed(SIGNS, format!("a certificate for {whom}"), format!("one for {seen}"), ADVICE);
    }
    if left > LIFETIME + SLACK {
        let expected = format!("a certificate for {LIFETIME} s");
        return prover.failed(SIGNS, expected, format!("one for {left} s"), ADVICE);
    }
    prover.proven(SIGNS);
}

/// Whether users or hosts are certified, and one that the role allows.
fn principal(declared: &Map<String, Value>) -> Option<(&'static str, String)> {
    let names = |field: &str| {
        let names = declared[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    if declared["allow_user_certificates"] == true {
        let default = declared["default_user"].as_str().filter(|user| !user.is_empty()).map(str::to_owned);
        let user = default.into_iter().chain(names("allowed_users")).next()?;
        let any = user == "*";
        return Some(("user", if any { "groundwork-verify".to_owned() } else { user }));
    }
    let domain = names("allowed_domains").into_iter().next()?;
    let host = match (domain.as_str(), declared["allow_bare_domains"] == true) {
        ("*", _) => "groundwork-verify.example".to_owned(),
        (_, true) => domain,
        (_, false) => format!("groundwork-verify.{domain}"),
    };
    Some(("host", host))
}

/// A fresh key, as `authorized_keys` has it.
fn public_key() -> Option<String> {
    let pair = Ed25519KeyPair::generate().ok()?;
    let mut blob = Vec::new();
    for part in [ED25519.as_bytes(), pair.public_key().as_ref()] {
        blob.extend(u32::try_from(part.len()).ok()?.to_be_bytes());
        blob.extend(part);
    }
    Some(format!("{ED25519} {} groundwork-verify", STANDARD.encode(blob)))
}

/// The part of a certificate that a proof judges.
/// <https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.certkeys?annotate=HEAD>
#[derive(Debug, PartialEq, Eq)]
struct Certificate {
    principals: Vec<String>,
    /// In seconds since 1970.
    valid_before: u64,
}

impl Certificate {
    /// Reads a line with the type, the certificate in base64, and perhaps a comment.
    fn read(line: &str) -> Option<Self> {
        let blob = STANDARD.decode(line.split_whitespace().nth(1)?).ok()?;
        let mut rest = blob.as_slice();
        // The type, a nonce, the key.
        for _ in 0..3 {
            text(&mut rest)?;
        }
        let (_serial, _kind) = (take(&mut rest, 8)?, take(&mut rest, 4)?);
        text(&mut rest)?;
        let mut names = text(&mut rest)?;
        let mut principals = Vec::new();
        while !names.is_empty() {
            principals.push(String::from_utf8(text(&mut names)?.to_vec()).ok()?);
        }
        let _valid_after = take(&mut rest, 8)?;
        let valid_before = u64::from_be_bytes(take(&mut rest, 8)?.try_into().ok()?);
        Some(Self { principals, valid_before })
    }
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_be_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, usize::try_from(length).ok()?)
}

/// Has the engine make a password, and uses it up. What is left of it ends with the token that asked for it.
async fn password(prover: &Vault<'_>, declared: &Map<String, Value>) {
    let of = |field: &str| declared[field].as_str().unwrap_or_default();
    let mut networks = declared["cidr_list"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let Some(host) = networks.find_map(first_host) else {
        return prover.untried(OTP, "a host that the role allows: it has no network");
    };
    let Some((bearer, undo)) = minted(prover, OTP, &[]).await else { return };
    let body = json!({ "ip": host.to_string(), "username": of("default_user") });
    let made = bearer.ask(&format!("{}/creds/{}", of("mount"), of("name")), Some(&body)).await;
    let used = match &made {
        Ok(made) => {
            bearer.ask(&format!("{}/verify", of("mount")), Some(&json!({ "otp": made["key"] }))).await
        }
        Err(_) => Ok(Value::Null),
    };
    let ended = undo.now().await;
    if prover.ask(OTP, &format!("a password for {host}"), made).is_none() {
        return;
    }
    let Some(used) = prover.ask(OTP, "the password is good for its host", used) else { return };
    let expected = host.to_string();
    if prover.ask(OTP, "what is left of it ends", ended).is_some() {
        prover.compare(OTP, &expected.as_str(), &used["ip"].as_str().unwrap_or("no host"), ADVICE);
    }
}

/// The first address of a network that a host can have.
fn first_host(network: &str) -> Option<IpAddr> {
    let (address, bits) = network.split_once('/').unwrap_or((network, "128"));
    let bits: u8 = bits.parse().ok()?;
    match address.parse().ok()? {
        IpAddr::V4(address) if bits < 31 => Some(IpAddr::V4((u32::from(address) + 1).into())),
        IpAddr::V6(address) if bits < 127 => Some(IpAddr::V6((u128::from(address) + 1).into())),
        address => Some(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(principals: &[&str], valid_before: u64) -> String {
        let text = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("short").to_be_bytes(), bytes].concat();
        let names = principals.iter().flat_map(|name| text(name.as_bytes())).collect::<Vec<u8>>();
        let blob = [
            text(b"ssh-ed25519-cert-v01@openssh.com"),
            text(&[1; 32]),
            text(&[2; 32]),
            7_u64.to_be_bytes().to_vec(),
            1_u32.to_be_bytes().to_vec(),
            text(b"id"),
            text(&names),
            0_u64.to_be_bytes().to_vec(),
            valid_before.to_be_bytes().to_vec(),
        ]
        .concat();
        format!("ssh-ed25519-cert-v01@openssh.com {}\n", STANDARD.encode(blob))
    }

    #[test]
    fn certificate_is_read_to_its_end() {
        let read = Certificate::read(&certified(&["ubuntu", "admin"], 99)).expect("a certificate");
        let principals = vec!["ubuntu".to_owned(), "admin".to_owned()];
        assert_eq!(read, Certificate { principals, valid_before: 99 });
        assert_eq!(Certificate::read("ssh-ed25519-cert-v01@openssh.com AAAA"), None);
        assert_eq!(Certificate::read("nothing"), None);
    }

    #[test]
    fn principal_is_one_that_the_role_allows() {
        let of = |fields: Value| principal(fields.as_object().expect("fields"));
        let users = json!({ "allow_user_certificates": true, "default_user": "", "allowed_users": ["*"] });
        assert_eq!(of(users), Some(("user", "groundwork-verify".to_owned())));
        let named = json!({ "allow_user_certificates": true, "default_user": "ubuntu", "allowed_users": [] });
        assert_eq!(of(named), Some(("user", "ubuntu".to_owned())));
        let hosts = |bare: bool| json!({ "allow_user_certificates": false, "allowed_domains": ["a.example"], "allow_bare_domains": bare });
        assert_eq!(of(hosts(true)), Some(("host", "a.example".to_owned())));
        assert_eq!(of(hosts(false)), Some(("host", "groundwork-verify.a.example".to_owned())));
        assert_eq!(
            of(json!({ "allow_user_certificates": true, "default_user": "", "allowed_users": [] })),
            None
        );
    }

    #[test]
    fn host_is_the_first_of_its_network() {
        for (network, host) in
            [("10.0.0.0/8", "10.0.0.1"), ("10.1.2.3/32", "10.1.2.3"), ("fd00::/64", "fd00::1")]
        {
            assert_eq!(first_host(network).map(|host| host.to_string()).as_deref(), Some(host));
        }
        assert_eq!(first_host("x/8"), None);
    }

    #[test]
    fn fresh_keys_are_of_their_type() {
        let key = public_key().expect("a key");
        let blob = STANDARD.decode(key.split(' ').nth(1).expect("a blob")).expect("base64");
        assert_eq!((&blob[4..15], blob.len()), (ED25519.as_bytes(), 4 + 11 + 4 + 32));
    }
}
