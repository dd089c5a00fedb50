//! Which servers may be given real credentials and secrets without a person's say-so, and which never.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::trace::public;

/// Set to `1` in the caller's environment, this variable allows servers that would be refused here.
pub const ALLOW: &str = "GROUNDWORK_ALLOW_ENDPOINT";
/// The ends of Amazon's own host names.
const AMAZON: [&str; 3] = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws"];
/// Metadata services that have a name, or an address that is not link-local.
const METADATA_NAMES: [&str; 3] = ["metadata", "metadata.google.internal", "instance-data.ec2.internal"];
const METADATA_V4: [Ipv4Addr; 3] = [
    // Alibaba Cloud, Azure, Oracle Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: [Ipv6Addr; 3] = [
    // EC2, ECS on Fargate, Google Cloud.
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0023),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

/// Requires that an endpoint which takes the place of AWS is this machine or Amazon's own.
///
/// # Errors
/// `Rejected` unless [`ALLOW`] is set.
pub fn require_aws(endpoint: &str, environment: &Environment) -> Result<()> {
    let trusted = |url: &Url| is_loopback(url) || (url.scheme() == "https" && is_amazon(url));
    require(endpoint, environment, "connect to AWS", trusted, "is neither AWS nor this machine")
}

/// Requires that what is sent to a Vault cannot be read on the way.
///
/// # Errors
/// `Rejected` unless [`ALLOW`] is set.
pub fn require_vault(address: &str, environment: &Environment) -> Result<()> {
    let trusted = |url: &Url| is_loopback(url) || url.scheme() == "https";
    require(
        address,
        environment,
        "connect to Vault",
        trusted,
        "is not encrypted: tokens and secrets could be read on the way",
    )
}

/// As [`require_vault`], whatever [`ALLOW`] says.
///
/// # Errors
/// `Rejected` when the connection is not encrypted and leaves this machine.
pub fn require_vault_tls(address: &str) -> Result<()> {
    match Url::parse(address) {
        Ok(url) if is_loopback(&url) || url.scheme() == "https" => Ok(()),
        _ => {
            let message = format!("{} is not encrypted", public(address));
            Err(Error::new(ErrorKind::Rejected, "connect to Vault", message))
        }
    }
}

/// What is wrong with an address that a plan declares, before anything is asked of it.
pub fn mistake(address: &str) -> Option<&'static str> {
    match Url::parse(address) {
        Ok(url) if !["http", "https"].contains(&url.scheme()) => Some("an address begins with https://"),
        Ok(url) if is_metadata_host(&url) => {
            Some("this is the address of a metadata service, never a server's")
        }
        Ok(url) if has_user_info(&url) => Some(USER_INFO),
        Ok(_) => None,
        Err(_) => Some("not a valid address; use https://HOST:PORT"),
    }
}

/// Addresses are shown, logged and recorded, so they must not contain credentials.
const USER_INFO: &str = "an address cannot hold a user name or a password";

/// Whether there is a user name or a password before the host.
fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether a URL leads to the metadata service of a cloud machine, which gives credentials to every
/// caller, or to another link-local address.
pub fn is_metadata(address: &str) -> bool {
    Url::parse(address).is_ok_and(|url| is_metadata_host(&url))
}

/// The URL parser has already turned other notations, such as 2852039166 or 0xa9fea9fe, into addresses.
fn is_metadata_host(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    match host.trim_matches(['[', ']']).parse() {
        Ok(address) => is_metadata_address(address),
        Err(_) => METADATA_NAMES.contains(&host.trim_end_matches('.').to_ascii_lowercase().as_str()),
    }
}

fn is_metadata_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_link_local() || address.is_unspecified() || METADATA_V4.contains(&address)
        }
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || METADATA_V6.contains(&address)
                || address.is_unspecified()
                || embedded(address).is_some_and(|inner| is_metadata_address(IpAddr::V4(inner)))
        }
    }
}

/// The IPv4 address inside a mapped, compatible, translated (NAT64) or tunnelled (6to4) one.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] if high != 0 => Some(from(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(from(high, low)),
        _ => None,
    }
}

/// Looks names up as the system does, and takes none that leads to a metadata service: a name is
/// whatever its owner makes of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().find(|address| is_metadata_address(address.ip())) {
                Some(address) => {
                    let why = format!("{} leads to {}, a metadata service", name.as_str(), address.ip());
                    Err(std::io::Error::other(why).into())
                }
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}

fn require(
    address: &str,
    environment: &Environment,
    operation: &str,
    trusted: impl Fn(&Url) -> bool,
    why: &str,
) -> Result<()> {
    let shown = public(address);
    if Url::parse(address).is_ok_and(|url| has_user_info(&url)) {
        return Err(Error::new(ErrorKind::Rejected, operation, format!("{shown}: {USER_INFO}"))
            .advice("take everything before the `@` out of the address"));
    }
    if is_metadata(address) {
        let message = format!("{shown} is the address of a metadata service, never a server's");
        return Err(Error::new(ErrorKind::Rejected, operation, message).advice("correct the address"));
    }
    let known = Url::parse(address).is_ok_and(|url| trusted(&url));
    if known || environment.text(ALLOW) == Some("1") {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Rejected, operation, format!("{shown} {why}"))
        .advice(format!("correct the address, or set {ALLOW}=1 if that is really meant")))
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
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

    fn require_aws(endpoint: &str) -> Result<()> {
        super::require_aws(endpoint, &Environment::default())
    }

    fn require_vault(address: &str) -> Result<()> {
        super::require_vault(address, &Environment::default())
    }

    #[test]
    fn aws_endpoint_must_be_amazon_or_loopback() {
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
            "nonsense",
        ] {
            let refused = require_aws(foreign).expect_err(foreign);
            assert!(refused.advice.is_some_and(|advice| advice.contains(ALLOW)));
        }
    }

    #[test]
    fn caller_can_allow_another_server() {
        let allowing = |value: &str| {
            super::require_vault("http://vault.example.net:8200", &Environment::new([(ALLOW, value)]))
        };
        assert!(allowing("1").is_ok() && allowing("yes").is_err() && allowing("").is_err());
    }

    #[test]
    fn vault_address_must_be_encrypted_or_loopback() {
        assert!(require_vault("https://vault.example.net:8200").is_ok());
        assert!(require_vault("http://127.0.0.1:8200").is_ok());
        assert!(require_vault("http://vault.example.net:8200").is_err());
    }

    #[test]
    fn address_with_credentials_is_refused_and_not_quoted() {
        for address in [
            "https://admin:hunter2@vault.example.net:8200",
            "https://hunter2@vault.example.net",
            "https://:hunter2@127.0.0.1:8200",
            "http://hunter2@localhost:4566",
        ] {
            for refused in [require_vault(address), require_aws(address)] {
                let error = refused.expect_err(address);
                let text = format!("{error:?} {error}");
                assert!(text.contains("cannot hold a user name") && !text.contains("hunter2"), "{text}");
            }
            assert_eq!(mistake(address), Some(USER_INFO));
        }
    }

    #[test]
    fn metadata_services_are_refused_in_any_notation() {
        for address in [
            "https://169.254.169.254",
            "https://169.254.169.254.:443",
            "https://169.254.170.2/v2/credentials",
            "https://2852039166",
            "https://0xa9fea9fe/",
            "https://0251.0376.0251.0376",
            "https://169.254.43518",
            "https://user@169.254.169.254:8200",
            "https://[fe80::1]:8200",
            "https://[febf::1]",
            "https://[fd00:ec2::254]",
            "https://[::ffff:169.254.169.254]",
            "https://[::ffff:a9fe:a9fe]",
            "https://[64:ff9b::a9fe:a9fe]",
            "https://[2002:a9fe:a9fe::1]",
            "https://METADATA.google.internal.",
            "https://100.100.100.200",
            "https://0.0.0.0:8200",
            "https://[::]:8200",
        ] {
            assert!(require_vault(address).is_err(), "{address}");
            assert!(require_aws(address).is_err(), "{address}");
            assert!(is_metadata(address) && mistake(address).is_some(), "{address}");
        }
        for address in [
            "https://169.255.0.1",
            "https://[fec0::1]",
            "https://169.254.169.254.example.net",
            "https://10.0.0.1",
        ] {
            assert!(mistake(address).is_none(), "{address}");
        }
        assert!(mistake("vault.example.net:8200").is_some() && mistake("file:///etc/passwd").is_some());
    }

    #[tokio::test]
    async fn name_resolving_to_metadata_service_is_refused() {
        // Names that are addresses need no server to be looked up.
        let look = |name: &str| GuardedResolver.resolve(name.parse().expect("a name"));
        let refused = look("169.254.169.254").await.err().expect("refused").to_string();
        assert!(refused.contains("metadata service"), "{refused}");
        assert!(look("localhost").await.is_ok());
    }
}
