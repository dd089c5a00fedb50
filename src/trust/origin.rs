//! The origin that identifies a server: scheme, host and port.

use reqwest::Url;

/// The origin of an address, `https://vault.example:8200`: lower case, no default port, names beyond
/// ASCII in Punycode. `None` when it is not the address of a server.
pub fn origin(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    let usable =
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
    usable.then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notations_of_one_server_are_one_origin() {
        for (address, expected) in [
            ("HTTPS://Vault.Example:8200/", "https://vault.example:8200"),
            ("https://vault.example:443", "https://vault.example"),
            ("http://2130706433:80", "http://127.0.0.1"),
            ("http://[0:0:0:0:0:0:0:1]:8200", "http://[::1]:8200"),
            ("https://v\u{430}ult.example", "https://xn--vult-53d.example"),
        ] {
            assert_eq!(origin(address).as_deref(), Some(expected), "{address}");
        }
        for wrong in
            ["vault.example:8200", "ftp://vault.example", "https://u:p@vault.example", "", "https://"]
        {
            assert_eq!(origin(wrong), None, "{wrong}");
        }
    }
}
