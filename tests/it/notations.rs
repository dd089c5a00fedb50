//! The ways in which a secret may have been written down.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Shorter pieces turn up by chance.
const SHORTEST: usize = 8;

/// The secret and each line of it: as they are, encoded, and escaped.
pub fn notations(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let lines = secret.split(|byte| matches!(byte, b'\n' | b'\r')).filter(|line| line.len() >= SHORTEST);
    let mut found: BTreeSet<Vec<u8>> = lines.chain([secret]).flat_map(of_one).collect();
    found.retain(|notation| notation.len() >= SHORTEST);
    found
}

fn of_one(text: &[u8]) -> Vec<Vec<u8>> {
    let base64 =
        [STANDARD.encode(text), URL_SAFE.encode(text)].map(|text| text.trim_end_matches('=').to_owned());
    let hex = [hex::encode(text), hex::encode_upper(text)];
    let mut all: Vec<Vec<u8>> = base64.into_iter().chain(hex).map(String::into_bytes).collect();
    all.extend([text.to_vec(), json_escaped(text)]);
    all.extend([url_escaped(text, |byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))]);
    all.extend([url_escaped(text, |_| false)]);
    all
}

fn url_escaped(text: &[u8], plain: impl Fn(u8) -> bool) -> Vec<u8> {
    let escaped = |byte: u8| if plain(byte) { vec![byte] } else { format!("%{byte:02X}").into_bytes() };
    text.iter().flat_map(|&byte| escaped(byte)).collect()
}

fn json_escaped(text: &[u8]) -> Vec<u8> {
    let quoted = serde_json::Value::from(String::from_utf8_lossy(text)).to_string();
    quoted.trim_matches('"').as_bytes().to_vec()
}
