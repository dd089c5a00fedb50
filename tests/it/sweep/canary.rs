//! P7: no secret that a server issued or holds is anywhere but in custody and in that server.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

use super::call::Call;
use super::http::Message;
use crate::notations::notations;

/// Shorter values are found by chance.
const SHORTEST: usize = 12;

/// Fields of JSON, at any depth, that hold a secret.
const SECRET_FIELDS: [&str; 7] =
    ["client_token", "secret_id", "key", "password", "uri", "aws_secret_access_key", "Plaintext"];

/// The secrets in a request or in an answer.
pub fn secrets_in(call: &Call, message: &Message) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    found.extend(message.header("x-vault-token").map(|token| token.as_bytes().to_vec()));
    if let Ok(body) = serde_json::from_slice::<Value>(&message.body) {
        collect(&body, &mut found);
    }
    if call.label.starts_with("iam:CreateAccessKey") {
        let text = String::from_utf8_lossy(&message.body);
        let secret = text.split("<SecretAccessKey>").nth(1).and_then(|rest| rest.split('<').next());
        found.extend(secret.map(|secret| secret.as_bytes().to_vec()));
    }
    found.retain(|secret| secret.len() >= SHORTEST);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if SECRET_FIELDS.contains(&name.as_str()) => {
                found.insert(text.as_bytes().to_vec());
                if name == "Plaintext" {
                    found.extend(STANDARD.decode(text));
                }
            }
            value => collect(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// The places, by name, in which any of the secrets is written in any notation.
pub fn leaks<'a>(
    secrets: &BTreeSet<Vec<u8>>,
    places: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Vec<String> {
    let needles: BTreeSet<Vec<u8>> = secrets.iter().flat_map(|secret| notations(secret)).collect();
    let needles: Vec<String> =
        needles.iter().map(|needle| String::from_utf8_lossy(needle).into_owned()).collect();
    let mut found = Vec::new();
    for (name, text) in places {
        let text = String::from_utf8_lossy(text);
        let leaked = needles.iter().any(|needle| text.contains(needle));
        found.extend(leaked.then(|| format!("P7: a secret is in {name}")));
    }
    found
}

#[test]
fn planted_leak_is_caught_in_every_notation() {
    let secret = b"s3cr/t+with \"quotes\"\nand a second line".to_vec();
    let secrets = BTreeSet::from([secret.clone()]);
    let second = "and a second line";
    let told = [
        String::from_utf8_lossy(&secret).into_owned(),
        STANDARD.encode(&secret),
        URL_SAFE.encode(&secret),
        hex::encode(&secret),
        hex::encode_upper(&secret),
        "s3cr%2Ft%2Bwith%20%22quotes%22%0Aand%20a%20second%20line".to_owned(),
        r#"s3cr/t+with \"quotes\"\nand a second line"#.to_owned(),
        second.to_owned(),
        STANDARD.encode(second),
        hex::encode(second),
    ];
    let every =
        notations(&secret).into_iter().map(|notation| String::from_utf8_lossy(&notation).into_owned());
    for leak in told.into_iter().chain(every) {
        let text = format!("some words {leak} and more");
        assert_eq!(leaks(&secrets, [("the log", text.as_bytes())]).len(), 1, "{leak}");
    }
    assert!(leaks(&secrets, [("the log", b"some words and more".as_slice())]).is_empty());
}
