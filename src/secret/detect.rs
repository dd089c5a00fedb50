//! Finds what looks like a secret in text that should have none: known formats, private keys, passwords
//! in addresses, and text that is too random to be written by a person.

use std::ops::Range;

use super::connection;

/// A stretch of text that looks like a secret, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
    /// The kind of secret that it looks like, such as `a Vault token`.
    pub what: &'static str,
    /// Whether it is a secret beyond doubt: neither an identifier nor merely random.
    pub certain: bool,
}

/// A format that is known by how it begins.
struct Format {
    what: &'static str,
    prefix: &'static str,
    /// Fewest and most characters after the prefix.
    length: (usize, usize),
    charset: fn(u8) -> bool,
}

const fn format(
    what: &'static str,
    prefix: &'static str,
    length: (usize, usize),
    charset: fn(u8) -> bool,
) -> Format {
    Format { what, prefix, length, charset }
}

const MANY: usize = usize::MAX;
/// Worth nothing without its secret half.
const KEY_ID: &str = "an AWS access key id";

/// Longer prefixes stand before those that they begin with.
static FORMATS: [Format; 33] = [
    format(KEY_ID, "AKIA", (16, 16), is_upper),
    format(KEY_ID, "ASIA", (16, 16), is_upper),
    format("a Vault token", "hvs.", (20, MANY), is_url_safe),
    format("a Vault token", "hvb.", (20, MANY), is_url_safe),
    format("a Vault token", "hvr.", (20, MANY), is_url_safe),
    // OpenBao's, and Vault's before 1.10.
    format("a Vault token", "s.", (24, 24), is_alphanumeric),
    format("a Vault token", "b.AAAA", (80, MANY), is_url_safe),
    format("a GitHub token", "github_pat_", (60, MANY), is_word),
    format("a GitHub token", "ghp_", (36, MANY), is_alphanumeric),
    format("a GitHub token", "gho_", (36, MANY), is_alphanumeric),
    format("a GitHub token", "ghu_", (36, MANY), is_alphanumeric),
    format("a GitHub token", "ghs_", (36, MANY), is_alphanumeric),
    format("a GitHub token", "ghr_", (36, MANY), is_alphanumeric),
    format("a GitLab token", "glpat-", (20, MANY), is_url_safe),
    format("a GitLab token", "gldt-", (20, MANY), is_url_safe),
    format("a GitLab token", "glrt-", (20, MANY), is_url_safe),
    format("a Slack token", "xoxb-", (20, MANY), is_url_safe),
    format("a Slack token", "xoxp-", (20, MANY), is_url_safe),
    format("a Slack token", "xapp-", (20, MANY), is_url_safe),
    format("a Stripe key", "sk_live_", (24, MANY), is_alphanumeric),
    format("a Stripe key", "rk_live_", (24, MANY), is_alphanumeric),
    format("a Google API key", "AIza", (35, 35), is_url_safe),
    format("an npm token", "npm_", (36, 36), is_alphanumeric),
    format("a PyPI token", "pypi-AgEI", (50, MANY), is_url_safe),
    format("a SendGrid key", "SG.", (60, MANY), is_dotted),
    format("a DigitalOcean token", "dop_v1_", (64, 64), is_alphanumeric),
    format("a Databricks token", "dapi", (32, 32), is_hex),
    format("an Anthropic key", "sk-ant-", (40, MANY), is_url_safe),
    format("an OpenAI key", "sk-proj-", (40, MANY), is_url_safe),
    format("a HashiCorp Terraform token", "atlasv1.", (60, MANY), is_url_safe),
    format("a Doppler token", "dp.pt.", (40, MANY), is_alphanumeric),
    format("an age private key", "AGE-SECRET-KEY-1", (50, 60), is_upper),
    format("a JSON Web Token", "eyJ", (40, MANY), is_dotted),
];

/// Fewest characters of text that can be called random.
const RANDOM: usize = 20;
/// Fewest hexadecimal digits that can be called random.
const RANDOM_HEX: usize = 32;

/// Everything in `text` that looks like a secret, in the order of the text, none within another.
pub fn sightings(text: &str) -> Vec<Sighting> {
    let blocks = armoured(text);
    let mut found: Vec<Sighting> = blocks.iter().filter_map(|block| block.secret).collect();
    let in_block = |start: usize| blocks.iter().any(|block| (block.start..block.end).contains(&start));
    let mut end = 0;
    for (start, token) in tokens(text) {
        if start < end || in_block(start) {
            continue;
        }
        let sighting = known(text, start, token).or_else(|| random(text, start, token));
        if let Some(sighting) = sighting {
            end = sighting.end;
            found.push(sighting);
        }
    }
    let is_new = |found: &[Sighting], one: &Sighting| {
        !found.iter().any(|other| one.start < other.end && other.start < one.end)
    };
    for Range { start, end } in connection::passwords(text) {
        let one = Sighting { start, end, what: "a password in an address", certain: true };
        if is_new(&found, &one) {
            found.push(one);
        }
    }
    found.sort_by_key(|sighting| sighting.start);
    found
}

/// A PEM or OpenPGP block.
struct Block {
    start: usize,
    end: usize,
    /// The sighting, when what it holds is private.
    secret: Option<Sighting>,
}

fn armoured(text: &str) -> Vec<Block> {
    const BEGIN: &str = "-----BEGIN ";
    let mut blocks = Vec::new();
    let mut from = 0;
    while let Some(start) = text[from..].find(BEGIN).map(|at| from + at) {
        let label_start = start + BEGIN.len();
        let label = text[label_start..].split("-----").next().unwrap_or_default();
        let label = label.lines().next().unwrap_or_default();
        let close = format!("-----END {label}-----");
        let end = text[start..].find(&close).map_or(label_start + label.len(), |at| start + at + close.len());
        let secret = label.contains("PRIVATE KEY").then_some(Sighting {
            start,
            end,
            what: "a private key",
            certain: true,
        });
        blocks.push(Block { start, end, secret });
        from = end.max(label_start);
    }
    blocks
}

/// Stretches without the characters that end a word, with their places.
fn tokens(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_end = |c: char| !(c.is_ascii_alphanumeric() || "+/=_-.".contains(c));
    let mut from = 0;
    text.split(is_end).filter_map(move |token| {
        let start = text[from..].find(token).map_or(from, |at| from + at);
        from = start + token.len();
        (token.len() >= RANDOM).then_some((start, token))
    })
}

/// A known format anywhere in a token, where a word begins.
fn known(text: &str, start: usize, token: &str) -> Option<Sighting> {
    let bytes = token.as_bytes();
    FORMATS.iter().find_map(|format| {
        token.match_indices(format.prefix).find_map(|(at, _)| {
            let begins = at == 0 || !bytes[at - 1].is_ascii_alphanumeric();
            let rest = &bytes[at + format.prefix.len()..];
            let length = rest.iter().take_while(|byte| (format.charset)(**byte)).count();
            let fits = (format.length.0..=format.length.1).contains(&length);
            let end = at + format.prefix.len() + length;
            // A JSON Web Token has three parts.
            let whole = format.prefix != "eyJ" || token[at..end].matches('.').count() == 2;
            let (start, end) = (start + at, start + end);
            (begins && fits && whole && text.is_char_boundary(end)).then_some(Sighting {
                start,
                end,
                what: format.what,
                certain: format.what != KEY_ID,
            })
        })
    })
}

/// A token that no person would write.
fn random(text: &str, start: usize, token: &str) -> Option<Sighting> {
    let body = token.trim_matches(['.', '-', '/']);
    let at = start + token.find(body)?;
    let sighting = |what| Some(Sighting { start: at, end: at + body.len(), what, certain: false });
    if is_public(&text[..at], body) {
        return None;
    }
    if body.len() >= RANDOM_HEX && body.bytes().all(is_hex) {
        let varied = entropy(body) >= 3.0 && changes(body) * 4 >= body.len();
        return if varied { sighting("random hexadecimal digits") } else { None };
    }
    // Words that are joined by dots, dashes or underlines are names.
    let body_only = body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
    let count = |class: fn(&u8) -> bool| body.bytes().filter(class).count();
    let classes =
        [count(u8::is_ascii_lowercase) > 1, count(u8::is_ascii_uppercase) > 1, count(u8::is_ascii_digit) > 1];
    let slashes = count(|byte| b"+/=".contains(byte));
    let mixed = classes.iter().all(|class| *class) && slashes * 6 <= body.len();
    let is_random = body_only
        && mixed
        && body.len() >= RANDOM
        && entropy(body) >= 3.7
        && changes(body) * 5 >= body.len() * 2;
    if is_random { sighting("random text") } else { None }
}

/// Random text that is not a secret: digests, public keys, ciphertext, identifiers.
fn is_public(before: &str, body: &str) -> bool {
    const BEFORE: [&str; 10] = [
        "sha256:",
        "sha512:",
        "sha1:",
        "md5:",
        "sha256-",
        "sha384-",
        "sha512-",
        "urn:uuid:",
        "commit/",
        "SHA256:",
    ];
    // OpenSSH's public keys, and what KMS and age have encrypted.
    const BEGINNINGS: [&str; 6] = ["AAAA", "AQICAH", "YWdlLWVuY3J5cHRpb24", "sha256-", "sha384-", "sha512-"];
    let line = before.rsplit('\n').next().unwrap_or_default();
    let key = line.trim_start().trim_start_matches("- ").split(':').next().unwrap_or_default();
    let names_digest = ["digest", "sha256", "checksum", "fingerprint", "thumbprint", "commit", "revision"]
        .iter()
        .any(|name| key.to_ascii_lowercase().contains(name));
    names_digest
        || BEFORE.iter().any(|end| before.ends_with(end))
        || BEGINNINGS.iter().any(|start| body.starts_with(start))
}

/// Ends of names that secrets have, without dashes and underscores.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "secretkey",
    "accesskey",
    "credentials",
    "clientsecret",
];

/// Whether a field or a variable of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let compact: String = name.chars().filter(|c| !"-_.".contains(*c)).collect();
    let compact = compact.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|end| compact.ends_with(end))
}

/// Bits of information in a character, by how often each occurs in the text.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    text.bytes().for_each(|byte| counts[usize::from(byte)] += 1);
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let share = |count: &u32| f64::from(*count) / length;
    counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

/// How often two neighbours are of different classes: seldom in words, often in random text.
fn changes(text: &str) -> usize {
    let class = |byte: &u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let bytes = text.as_bytes();
    bytes.windows(2).filter(|pair| class(&pair[0]) != class(&pair[1])).count()
}

fn is_upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_hexdigit()
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_url_safe(byte: u8) -> bool {
    is_word(byte) || byte == b'-'
}

fn is_dotted(byte: u8) -> bool {
    is_url_safe(byte) || byte == b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Vec<(&str, &'static str)> {
        sightings(text).into_iter().map(|one| (&text[one.start..one.end], one.what)).collect()
    }

    #[test]
    fn known_secret_formats_are_located() {
        // Put together here, so that secret scanners do not report this repository.
        let cases = [
            ("AKIA", "IOSFODNN7EXAMPLE", "an AWS access key id"),
            ("hvs.", "CAESIJ5aBcDeFgHiJkLmNoPq", "a Vault token"),
            ("s.", "aBcDeFgHiJkLmNoPqRsTuVwX", "a Vault token"),
            ("ghp_", "aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789", "a GitHub token"),
            ("glpat-", "aBcDeFgHiJkLmNoPqRsT", "a GitLab token"),
            (
                "AGE-SECRET-KEY-1",
                "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54KHCE",
                "an age private key",
            ),
        ];
        for (prefix, rest, what) in cases {
            let secret = format!("{prefix}{rest}");
            for text in [secret.clone(), format!("key: \"{secret}\"\n"), format!("# x={secret}, y")] {
                assert_eq!(seen(&text), [(secret.as_str(), what)], "{text}");
            }
        }
    }

    #[test]
    fn only_private_keys_count_as_secrets() {
        let body = "MIIBgDCCASWgAwIBAgIUYPNsWgHMZg7wTnF3FBwOjXuFSswCgYIKoZIzj0EAwIw";
        let block = |label: &str| format!("-----BEGIN {label}-----\n  {body}\n-----END {label}-----");
        assert!(seen(&format!("ca: |\n  {}\n", block("CERTIFICATE"))).is_empty());
        assert!(seen(&block("PGP PUBLIC KEY BLOCK")).is_empty());
        let key = block("EC PRIVATE KEY");
        assert_eq!(seen(&format!("x: |\n{key}\ny: 1")), [(key.as_str(), "a private key")]);
        assert_eq!(seen("-----BEGIN RSA PRIVATE KEY-----").len(), 1, "even when it is cut off");
    }

    #[test]
    fn random_text_is_distinguished_from_names() {
        for secret in [
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzK4pLq8RtV",
            "q7Xc2Vb9Nm4Kp1Zt8Ls5",
            "3f9a1c7e5b2d8046ea9b7c1d3f5e8a20",
        ] {
            assert_eq!(seen(&format!("value: {secret}\n")).len(), 1, "{secret}");
        }
        for name in [
            "arn:aws:iam::aws:policy/SecretsManagerReadWrite",
            "AWSReservedSSO_AdministratorAccess_2024",
            "candlefish/mongodb/connection",
            "https://vpce-0a1b2c3d4e5f.s3.us-east-1.vpce.amazonaws.com",
            "1f0c4a52-7e1d-4b43-9f20-3c5d8e6a7b90",
            "sha256:3f9a1c7e5b2d8046ea9b7c1d3f5e8a203f9a1c7e5b2d8046ea9b7c1d3f5e8a20",
            "digest: 3f9a1c7e5b2d8046ea9b7c1d3f5e8a20",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5aBcDeFgHiJkLmNoPqRsTuVwX",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
            "kubernetesServiceAccountTokenReviewer2",
            "{{ custody_key.arn }}",
        ] {
            assert!(seen(name).is_empty(), "{name}: {:?}", seen(name));
        }
    }

    #[test]
    fn passwords_in_urls_are_detected_except_references() {
        assert_eq!(
            seen("uri: \"postgres://app:hunter2@db.example.net/app\""),
            [("hunter2", "a password in an address")]
        );
        assert!(seen("postgres://{{ data.user }}:{{ data.password }}@db/app").is_empty());
        assert!(seen("postgres://app:${PASSWORD}@db/app https://a:b").is_empty());
        assert!(seen("https://example.net/a:b@c").is_empty());
    }

    #[test]
    fn any_text_can_be_scanned() {
        for text in
            ["", "ä://ö:ü@", "-----BEGIN ", "-----BEGIN PRIVATE KEY", "éééééééééééééééééééééééé", "s."]
        {
            let _ = sightings(text);
        }
    }
}
