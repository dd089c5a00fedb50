//! The only place that makes HTTP clients, and with it the rule of which requests may go through a
//! proxy: those over TLS, to another machine. A proxy of a plain request reads the token in it, and
//! a server on this machine needs no proxy. Responses of AWS have a limit here, see [`bounded`].

mod bounded;

use aws_smithy_http_client::{Builder, ConnectorBuilder, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use reqwest::{NoProxy, Url};

use super::endpoint;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};

/// Hosts on this machine, in the notation of `NO_PROXY`.
const LOOPBACK: &str = "localhost,localhost.,127.0.0.0/8,::1,::ffff:127.0.0.0/104";
/// The same for other programs, not all of which know networks.
const LOOPBACK_HOSTS: &str = "localhost,127.0.0.1,::1";
/// Where the address of a proxy is looked for, as curl does it.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
/// Which hosts are reached without one.
const EXCEPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// A builder of clients that follow the rule.
///
/// # Errors
/// When the environment names a proxy that cannot be used.
pub fn client(environment: &Environment) -> Result<reqwest::ClientBuilder> {
    let builder = direct();
    Ok(match Proxy::of(environment)? {
        Some(proxy) => builder.proxy(proxy.for_reqwest()?),
        None => builder,
    })
}

/// A builder of clients that use no proxy, for servers that this program runs itself.
pub fn direct() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy()
}

/// The HTTP client of AWS's SDK. It is made once and shared by all services, so that the system's
/// certificates are loaded once and connections are pooled.
///
/// # Errors
/// When the environment names a proxy that cannot be used.
pub fn aws_client(environment: &Environment) -> Result<SharedHttpClient> {
    let proxy = Proxy::of(environment)?.map(|proxy| proxy.for_aws()).transpose()?;
    Ok(aws_client_through(proxy.unwrap_or_else(ProxyConfig::disabled)))
}

/// As [`aws_client`], for an AWS that this program runs itself.
pub fn direct_aws_client() -> SharedHttpClient {
    aws_client_through(ProxyConfig::disabled())
}

fn aws_client_through(proxy: ProxyConfig) -> SharedHttpClient {
    let shared = Builder::new().build_with_connector_fn(move |settings, components| {
        let provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);
        let mut connector = ConnectorBuilder::default().tls_provider(provider);
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.set_proxy_config(Some(proxy.clone()));
        connector.build()
    });
    SharedHttpClient::new(OnFirstRequest(shared))
}

/// Makes a connector for the first request. The SDK's own client makes one whenever a client of a service
/// is made, to load the system's certificates early, and throws it away: that takes longer than most plans,
/// because each reads all certificates again. Responses have a limit.
#[derive(Debug)]
struct OnFirstRequest(SharedHttpClient);

impl HttpClient for OnFirstRequest {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        bounded::connector(self.0.http_connector(settings, components))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

/// The variables that keep another program from sending requests for this machine through a proxy.
pub fn no_proxy_variables(environment: &Environment) -> [(&'static str, String); 2] {
    without_proxy(LOOPBACK_HOSTS.to_owned(), environment)
}

/// The same for requests to `address` by the rule of this module; none when they may use a proxy.
pub fn no_proxy_variables_for(address: &str, environment: &Environment) -> Vec<(&'static str, String)> {
    let url = Url::parse(address).ok().filter(|url| url.scheme() == "http" || endpoint::is_loopback(url));
    let host = url.as_ref().and_then(Url::host_str).map(|host| host.trim_matches(['[', ']']));
    host.map(|host| without_proxy(format!("{LOOPBACK_HOSTS},{host}"), environment).into()).unwrap_or_default()
}

fn without_proxy(own: String, environment: &Environment) -> [(&'static str, String); 2] {
    let value = match first(&EXCEPT, environment) {
        // Together with other words some programs do not understand it.
        Some((_, all)) if all.trim() == "*" => all.to_owned(),
        Some((_, others)) => format!("{others},{own}"),
        None => own,
    };
    EXCEPT.map(|name| (name, value.clone()))
}

/// A proxy, and which hosts are reached without it.
#[derive(Clone, PartialEq, Eq)]
struct Proxy {
    /// May hold a password.
    address: String,
    variable: &'static str,
    except: String,
}

impl Proxy {
    fn of(environment: &Environment) -> Result<Option<Self>> {
        let Some((name, text)) = first(&VARIABLES, environment) else { return Ok(None) };
        let address = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let usable = |url: Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
        if !Url::parse(&address).is_ok_and(usable) {
            return Err(unusable(name));
        }
        let except = match first(&EXCEPT, environment) {
            Some((_, others)) => format!("{LOOPBACK},{others}"),
            None => LOOPBACK.to_owned(),
        };
        Ok(Some(Self { address, variable: name, except }))
    }

    fn for_reqwest(&self) -> Result<reqwest::Proxy> {
        let proxy = reqwest::Proxy::https(&self.address).map_err(|_| unusable(self.variable))?;
        Ok(proxy.no_proxy(NoProxy::from_string(&self.except)))
    }

    fn for_aws(&self) -> Result<ProxyConfig> {
        let proxy = ProxyConfig::https(self.address.as_str()).map_err(|_| unusable(self.variable))?;
        Ok(proxy.no_proxy(&self.except))
    }
}

/// The first of these variables that is set and not empty.
fn first<'a>(names: &[&'static str], environment: &'a Environment) -> Option<(&'static str, &'a str)> {
    names.iter().find_map(|name| Some((*name, environment.text(name)?)))
}

/// Does not quote the address, because there may be a password in it.
fn unusable(variable: &str) -> Error {
    let message = format!("{variable} is not the address of an HTTP proxy");
    Error::new(ErrorKind::Local, "use a proxy", message)
        .advice("set HTTPS_PROXY, which goes first, to http://HOST:PORT; or unset the variable")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Proxy>> {
        Proxy::of(&Environment::new(variables.iter().copied()))
    }

    #[test]
    fn proxy_for_plain_requests_is_ignored() {
        assert!(found(&[("HTTP_PROXY", "http://p:1"), ("http_proxy", "http://p:1")]).unwrap().is_none());
        let proxy = found(&[("all_proxy", "p:1"), ("no_proxy", "x.example")]).unwrap().unwrap();
        assert_eq!(proxy.address, "http://p:1");
        assert_eq!(proxy.except, format!("{LOOPBACK},x.example"));
        let first = found(&[("ALL_PROXY", "http://a"), ("HTTPS_PROXY", "http://b")]).unwrap().unwrap();
        assert_eq!((first.address.as_str(), first.except.as_str()), ("http://b", LOOPBACK));
    }

    #[test]
    fn child_programs_bypass_proxy_for_plain_requests() {
        let none = Environment::default();
        let names = |address| no_proxy_variables_for(address, &none).into_iter().map(|(name, _)| name);
        for direct in ["http://vault.example:8200", "https://127.0.0.1:8200", "https://localhost"] {
            assert_eq!(names(direct).collect::<Vec<_>>(), EXCEPT, "{direct}");
        }
        assert_eq!(names("https://vault.example:8200").count(), 0);
        let (_, hosts) = no_proxy_variables_for("http://vault.example:8200", &none).remove(0);
        assert!(hosts.ends_with("localhost,127.0.0.1,::1,vault.example"), "{hosts}");
    }

    #[test]
    fn unusable_proxy_is_named_without_its_password() {
        for address in ["socks5://user:hunter2@p", "http://", "http://user:hunter2@", "://user:hunter2@p"] {
            let error = found(&[("HTTPS_PROXY", address)]).err().expect(address);
            let text = format!("{error:?} {error}");
            assert!(text.contains("HTTPS_PROXY") && !text.contains("hunter2"), "{text}");
        }
    }
}
