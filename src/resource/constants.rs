//! Constants that cannot be, in any field of any kind.

use std::net::IpAddr;

use serde_json::Value;

use crate::error::FieldError;
use crate::secret::SECRET_KEY;
use crate::template::unknown::is_unknown;

/// Visits each text below a value, with its path and the name of the closest field, except secrets.
pub fn each_text(fields: &Value, visit: &mut dyn FnMut(&str, &str, &str)) {
    visit_all("", "", fields, visit);
}

fn visit_all(path: &str, name: &str, value: &Value, visit: &mut dyn FnMut(&str, &str, &str)) {
    match value {
        Value::String(text) => visit(path, name, text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit_all(&format!("{path}[{index}]"), name, item, visit);
            }
        }
        Value::Object(fields) if !fields.contains_key(SECRET_KEY) => {
            for (key, item) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                visit_all(&path, key, item, visit);
            }
        }
        _ => {}
    }
}

/// The mistakes in the fields whose name says that they hold networks.
pub fn networks(fields: &Value, holds_networks: impl Fn(&str) -> bool) -> Vec<FieldError> {
    let mut found = Vec::new();
    each_text(fields, &mut |path, name, text| {
        let wrong = |one: &&str| !one.is_empty() && !is_unknown(one) && !is_network(one);
        if holds_networks(name)
            && let Some(one) = text.split(',').map(str::trim).find(wrong)
        {
            let mistake = FieldError::new(path, format!("`{one}` is not a network"));
            found.push(
                mistake
                    .help("an address and the length of its prefix, such as `10.20.0.0/16`, or an address"),
            );
        }
    });
    found
}

/// Whether a text is an address, or an address and the length of a prefix that it can have.
fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').unwrap_or((text, "0"));
    match (address.parse(), length.parse::<u8>()) {
        (Ok(IpAddr::V4(_)), Ok(length)) => length <= 32,
        (Ok(IpAddr::V6(_)), Ok(length)) => length <= 128,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn networks_are_judged_where_a_field_holds_them() {
        let fields = json!({
            "bound_cidrs": ["10.0.0.0/8", "10.0.0.0/33", "10.0.0.256", "::1/64", "::1/129", "2001:db8::1", "host"],
            "cidr_list": "10.0.0.0/8, 10.0.0.0/x", "name": "10.0.0.0/33",
        });
        let found = networks(&fields, |name| name.contains("cidr"));
        let paths: Vec<&str> = found.iter().map(|mistake| mistake.path.as_str()).collect();
        let expected = ["bound_cidrs[1]", "bound_cidrs[2]", "bound_cidrs[4]", "bound_cidrs[6]", "cidr_list"];
        assert_eq!(paths, expected);
    }
}
