//! Which servers may be given real credentials and secrets without a person's say-so.

use std::net::IpAddr;

use reqwest::Url;

use crate::resource::{Error, ErrorKind, Result};

/// Set to `1`, this variable allows servers that would be refused here.
pub const ALLOW: &str = "GROUNDWORK_ALLOW_ENDPOINT";
/// The ends of Amazon's own host names.
const AMAZON: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];

/// Requires that an endpoint which takes the place of AWS is this machine or Amazon's own.
///
/// # Errors
/// `Rejected` unless [`ALLOW`] is set.
pub fn require_aws(endpoint: &str) -> Result<()> {
    let trusted = |url: &Url| is_loopback(url) || (url.scheme() == "https" && is_amazon(url));
    require(endpoint, "connect to AWS", trusted, "is neither AWS nor this machine")
}

/// Requires that what is sent to a Vault cannot be read on the way.
///
/// # Errors
/// `Rejected` unless [`ALLOW`] is set.
pub fn require_vault(address: &str) -> Result<()> {
    let trusted = |url: &Url| is_loopback(url) || url.scheme() == "https";
    require(
        address,
        "connect to Vault",
        trusted,
        "is not encrypted: tokens and secrets could be read on the way",
    )
}

fn require(address: &str, operation: &str, trusted: impl Fn(&Url) -> bool, why: &str) -> Result<()> {
    let known = Url::parse(address).is_ok_and(|url| trusted(&url));
    if known || std::env::var(ALLOW).is_ok_and(|value| value == "1") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Rejected, operation, format!("{address} {why}"))
        .advice(format!("correct the address, or set {ALLOW}=1 if that is really meant")))
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address: Result<IpAddr, _> = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn is_amazon(url: &Url) -> bool {
    url.host_str().is_some_and(|host| AMAZON.iter().any(|end| host.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_is_amazon_or_this_machine() {
        for trusted in [
            "http://127.0.0.1:4566",
            "http://[::1]:4566",
            "http://localhost:4566",
            "https://vpce-1.s3.us-east-1.vpce.amazonaws.com",
        ] {
            assert!(require_aws(trusted).is_ok(), "{trusted}");
        }
        for foreign in [
            "http://10.0.0.7:4566",
            "https://s3.example.net",
            "http://s3.us-east-1.amazonaws.com",
            "https://amazonaws.com.example.net",
            "http://127.0.0.1.example.net",
            "http://localhost@example.net",
            "nonsense",
        ] {
            let refused = require_aws(foreign).expect_err(foreign);
            assert!(refused.advice.is_some_and(|advice| advice.contains(ALLOW)));
        }
    }

    #[test]
    fn vault_is_encrypted_or_this_machine() {
        assert!(require_vault("https://vault.example.net:8200").is_ok());
        assert!(require_vault("http://127.0.0.1:8200").is_ok());
        assert!(require_vault("http://vault.example.net:8200").is_err());
    }
}
