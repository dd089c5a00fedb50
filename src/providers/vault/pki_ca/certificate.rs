//! What a certificate says of the authority that it is for (RFC 5280).

use serde_json::{Map, Value, json};

use super::der::{Item, items, pem_block};
use crate::resource::{Error, ErrorKind, Result};

/// What is read from a certificate.
pub(super) struct Read {
    /// The fields of the kind that a certificate fixes.
    pub(super) fields: Map<String, Value>,
    /// Hexadecimal bytes with colons.
    pub(super) serial_number: String,
    /// Seconds since 1970.
    pub(super) expires: i64,
}

/// How long before now the server lets a certificate begin, for clocks that are slow, in seconds.
const BACKDATED: i64 = 30;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const COUNTRY: &[u8] = &[0x55, 4, 6];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.10045.2.1
const ELLIPTIC_CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// Reads a certificate in PEM.
///
/// # Errors
/// When it is none.
pub(super) fn read(pem: &str) -> Result<Read> {
    parse(pem).ok_or_else(|| {
        Error::new(ErrorKind::Rejected, "read an authority's certificate", "the server told no certificate")
            .advice("the server's version may be newer than this program; report it")
    })
}

fn parse(pem: &str) -> Option<Read> {
    let block = pem_block(pem)?;
    let signed = items(items(&block).next()?.content).next()?;
    // The version stands first, under a tag of its own, in every certificate of an authority.
    let mut parts = items(signed.content).skip_while(|part| part.tag == 0xa0);
    let (serial, _, issuer) = (parts.next()?, parts.next()?, parts.next()?);
    let (validity, subject, key) = (parts.next()?, parts.next()?, parts.next()?);
    let extensions = parts.find(|part| part.tag == 0xa3);
    let mut times = items(validity.content).map(|time| timestamp(&time));
    let (begins, expires) = (times.next()??, times.next()??);
    let (key_type, key_bits) = key_of(key.content)?;
    let fields = json!({
        "signed_by": subject.content != issuer.content,
        "common_name": names(subject.content, COMMON_NAME).first(),
        "organization": names(subject.content, ORGANIZATION),
        "ou": names(subject.content, ORGANIZATIONAL_UNIT),
        "country": names(subject.content, COUNTRY),
        "ttl": expires - begins - BACKDATED,
        "key_type": key_type,
        "key_bits": key_bits,
        "max_path_length": extensions.and_then(|found| path_length(found.content)).unwrap_or(-1),
    });
    let Value::Object(fields) = fields else { return None };
    let bytes: Vec<String> = unsigned(serial.content).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Read { fields, serial_number: bytes.join(":"), expires })
}

/// The values of one attribute in a name, sorted: a sequence of sets of pairs.
fn names(name: &[u8], attribute: &[u8]) -> Vec<String> {
    let pairs = items(name).flat_map(|set| items(set.content)).filter_map(|pair| {
        let mut pair = items(pair.content);
        Some((pair.next()?, pair.next()?))
    });
    let values = pairs.filter(|(kind, _)| kind.content == attribute);
    let mut found: Vec<String> =
        values.map(|(_, value)| String::from_utf8_lossy(value.content).into_owned()).collect();
    found.sort();
    found
}

/// Seconds since 1970 of a `UTCTime` (two digits of the year) or a `GeneralizedTime` (four).
fn timestamp(time: &Item<'_>) -> Option<i64> {
    let text = std::str::from_utf8(time.content).ok()?;
    let text = match time.tag {
        0x17 if text < "50" => format!("20{text}"),
        0x17 => format!("19{text}"),
        _ => text.to_owned(),
    };
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second())
}

/// The type of a public key, in Vault's words, and its bits.
fn key_of(info: &[u8]) -> Option<(&'static str, Option<usize>)> {
    let mut parts = items(info);
    let (algorithm, bits) = (parts.next()?, parts.next()?);
    // A bit string begins with the number of bits that do not count, here none.
    let key = bits.content.get(1..)?;
    match items(algorithm.content).next()?.content {
        RSA => {
            let modulus = items(items(key).next()?.content).next()?;
            Some(("rsa", Some(unsigned(modulus.content).len() * 8)))
        }
        // Both coordinates after one byte; those of P-521 take 66 bytes each.
        ELLIPTIC_CURVE => match (key.len() - 1) / 2 {
            66 => Some(("ec", Some(521))),
            bytes => Some(("ec", Some(bytes * 8))),
        },
        _ => Some(("ed25519", None)),
    }
}

/// How many authorities may follow: in the extensions, a sequence of an identifier, perhaps a flag, and
/// a value, which is encoded once more.
fn path_length(extensions: &[u8]) -> Option<i64> {
    let all = items(items(extensions).next()?.content);
    let mut extensions =
        all.filter(|one| items(one.content).next().is_some_and(|id| id.content == BASIC_CONSTRAINTS));
    let value = items(extensions.next()?.content).last()?;
    let length = items(items(value.content).next()?.content).find(|part| part.tag == 2)?;
    length
        .content
        .iter()
        .try_fold(0_i64, |length, byte| length.checked_mul(256)?.checked_add(i64::from(*byte)))
}

/// A number without the zero byte that keeps it positive.
fn unsigned(number: &[u8]) -> &[u8] {
    match number {
        [0, rest @ ..] if !rest.is_empty() => rest,
        number => number,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};

    use super::*;

    fn authority(constraints: BasicConstraints) -> String {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(constraints);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Root");
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2056, 1, 1);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").pem()
    }

    #[test]
    fn the_fields_of_an_authority_are_read_from_its_certificate() {
        let found = read(&authority(BasicConstraints::Constrained(1))).expect("a certificate");
        let expected = json!({
            "signed_by": false, "common_name": "Root", "organization": ["Example"], "ou": [], "country": [],
            "ttl": 10_957 * 86_400 - 30, "key_type": "ec", "key_bits": 256, "max_path_length": 1,
        });
        assert_eq!(Value::Object(found.fields), expected);
        assert_eq!(found.expires, 2_713_910_400);
        let free = read(&authority(BasicConstraints::Unconstrained)).expect("a certificate");
        assert_eq!(free.fields["max_path_length"], -1);
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let whole = authority(BasicConstraints::Unconstrained);
        assert!(read("no certificate").is_err());
        let cut: String =
            whole.lines().take(4).chain(["-----END CERTIFICATE-----"]).collect::<Vec<_>>().join("\n");
        assert!(read(&cut).is_err());
    }
}
