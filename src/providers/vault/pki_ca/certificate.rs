//! Reads the fields of an authority from its certificate (RFC 5280).

use serde_json::{Map, Value, json};

use super::der::{Item, items, pem_block};
use crate::error::{Error, ErrorKind, Result};

/// The contents of a certificate.
pub(super) struct Read {
    /// The fields of the kind that a certificate fixes.
    pub(super) fields: Map<String, Value>,
    /// The serial number, as hexadecimal bytes with colons.
    pub(super) serial_number: String,
    /// The end of the validity, in seconds since 1970.
    pub(super) expires: i64,
    /// The common name of the signer.
    pub(super) signer_name: String,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    /// The id of its key, and of the key that signed it.
    key_id: Option<Vec<u8>>,
    signer_key_id: Option<Vec<u8>>,
}

impl Read {
    /// Whether `other` is the authority that signed this certificate: by its name, and by its key
    /// if both certificates name one.
    pub(super) fn is_signed_by(&self, other: &Self) -> bool {
        let same_key = match (&self.signer_key_id, &other.key_id) {
            (Some(signer), Some(key)) => signer == key,
            _ => true,
        };
        self.issuer == other.subject && same_key
    }
}

/// How far in the past the server lets a certificate begin, for slow clocks, in seconds.
const BACKDATED: i64 = 30;

const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const COUNTRY: &[u8] = &[0x55, 4, 6];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const ORGANIZATIONAL_UNIT: &[u8] = &[0x55, 4, 11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 14];
const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 35];
/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.10045.2.1
const ELLIPTIC_CURVE: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// The curves that the engine supports, and their bits.
const CURVES: [(&[u8], usize); 4] = [
    (&[0x2b, 0x81, 4, 0, 33], 224),
    (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7], 256),
    (&[0x2b, 0x81, 4, 0, 34], 384),
    (&[0x2b, 0x81, 4, 0, 35], 521),
];

/// Reads a certificate in PEM.
///
/// # Errors
/// When it is not a certificate.
pub(super) fn read(pem: &str) -> Result<Read> {
    parse(pem).ok_or_else(|| {
        Error::new(
            ErrorKind::Rejected,
            "read an authority's certificate",
            "the response does not contain a certificate",
        )
        .advice("the server may be newer than this program supports; report it")
    })
}

fn parse(pem: &str) -> Option<Read> {
    let block = pem_block(pem)?;
    let signed = items(items(&block).next()?.content).next()?;
    // In every authority's certificate the version comes first, under a tag of its own.
    let mut parts = items(signed.content).skip_while(|part| part.tag == 0xa0);
    let (serial, _, issuer) = (parts.next()?, parts.next()?, parts.next()?);
    let (validity, subject, key) = (parts.next()?, parts.next()?, parts.next()?);
    let extensions = parts.find(|part| part.tag == 0xa3);
    let mut times = items(validity.content).map(|time| timestamp(&time));
    let (begins, expires) = (times.next()??, times.next()??);
    let (key_type, key_bits) = key_of(key.content)?;
    let extension = |id: &[u8]| extensions.and_then(|found| extension(found.content, id));
    let fields = json!({
        "common_name": names(subject.content, COMMON_NAME).first(),
        "organization": names(subject.content, ORGANIZATION),
        "ou": names(subject.content, ORGANIZATIONAL_UNIT),
        "country": names(subject.content, COUNTRY),
        "ttl": expires - begins - BACKDATED,
        "key_type": key_type,
        "key_bits": key_bits,
        "max_path_length": extension(BASIC_CONSTRAINTS).and_then(|value| path_length(&value)).unwrap_or(-1),
    });
    let Value::Object(fields) = fields else { return None };
    let bytes: Vec<String> = unsigned(serial.content).iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Read {
        fields,
        serial_number: bytes.join(":"),
        expires,
        signer_name: names(issuer.content, COMMON_NAME).into_iter().next().unwrap_or_default(),
        subject: subject.content.to_vec(),
        issuer: issuer.content.to_vec(),
        key_id: extension(SUBJECT_KEY_IDENTIFIER)
            .and_then(|value| items(&value).next().map(|id| id.content.to_vec())),
        signer_key_id: extension(AUTHORITY_KEY_IDENTIFIER).and_then(|value| {
            let all = items(items(&value).next()?.content).find(|part| part.tag == 0x80)?;
            Some(all.content.to_vec())
        }),
    })
}

/// The end of the validity of a certificate in DER, in seconds since 1970; `None` when it is not a certificate.
pub(in crate::providers::vault) fn expiry(certificate: &[u8]) -> Option<i64> {
    let signed = items(items(certificate).next()?.content).next()?;
    let validity = items(signed.content).skip_while(|part| part.tag == 0xa0).nth(3)?;
    timestamp(&items(validity.content).nth(1)?)
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

/// The type of a public key, by Vault's name, and its bits. An unknown type is named by its object
/// identifier, so that it is never mistaken for another one.
fn key_of(info: &[u8]) -> Option<(String, Option<usize>)> {
    let mut parts = items(info);
    let (algorithm, bits) = (parts.next()?, parts.next()?);
    // A bit string begins with the number of unused bits, here zero.
    let key = bits.content.get(1..)?;
    let mut algorithm = items(algorithm.content);
    let unknown = |what: &str, id: &[u8]| (format!("{what} {}", hex::encode(id)), None);
    Some(match algorithm.next()?.content {
        RSA => {
            let modulus = items(items(key).next()?.content).next()?;
            ("rsa".to_owned(), Some(unsigned(modulus.content).len() * 8))
        }
        ELLIPTIC_CURVE => {
            let curve = algorithm.next()?.content;
            match CURVES.iter().find(|(id, _)| *id == curve) {
                Some((_, bits)) => ("ec".to_owned(), Some(*bits)),
                None => unknown("ec on the unknown curve", curve),
            }
        }
        ED25519 => ("ed25519".to_owned(), None),
        other => unknown("the unknown algorithm", other),
    })
}

/// The value of an extension: a sequence of an identifier, an optional flag, and a value, which is
/// encoded again.
fn extension(extensions: &[u8], id: &[u8]) -> Option<Vec<u8>> {
    let mut all = items(items(extensions).next()?.content);
    let found = all.find(|one| items(one.content).next().is_some_and(|named| named.content == id))?;
    Some(items(found.content).last()?.content.to_vec())
}

/// How many levels of authorities may follow, according to the extension.
fn path_length(value: &[u8]) -> Option<i64> {
    let length = items(items(value).next()?.content).find(|part| part.tag == 2)?;
    length
        .content
        .iter()
        .try_fold(0_i64, |length, byte| length.checked_mul(256)?.checked_add(i64::from(*byte)))
}

/// A number without the leading zero byte that keeps it positive.
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
    fn authority_fields_are_read_from_certificate() {
        let found = read(&authority(BasicConstraints::Constrained(1))).expect("a certificate");
        let expected = json!({
            "common_name": "Root", "organization": ["Example"], "ou": [], "country": [],
            "ttl": 10_957 * 86_400 - 30, "key_type": "ec", "key_bits": 256, "max_path_length": 1,
        });
        assert_eq!(Value::Object(found.fields), expected);
        assert_eq!(found.expires, 2_713_910_400);
        let der = pem_block(&authority(BasicConstraints::Unconstrained)).expect("a block");
        assert_eq!(expiry(&der), Some(found.expires));
        assert_eq!(expiry(b"none"), None);
        let free = read(&authority(BasicConstraints::Unconstrained)).expect("a certificate");
        assert_eq!(free.fields["max_path_length"], -1);
    }

    #[test]
    fn signer_is_identified_by_key_not_name() {
        let (one, other) = (
            read(&authority(BasicConstraints::Unconstrained)).expect("a certificate"),
            read(&authority(BasicConstraints::Unconstrained)).expect("a certificate"),
        );
        assert!(one.is_signed_by(&one));
        assert_eq!(one.subject, other.subject);
        let below = Read { signer_key_id: other.key_id.clone(), ..read_again(&one) };
        assert!(below.is_signed_by(&other) && !below.is_signed_by(&one));
        let elsewhere = Read { issuer: vec![0x30], ..read_again(&one) };
        assert!(!elsewhere.is_signed_by(&one));
    }

    fn read_again(read: &Read) -> Read {
        Read {
            fields: read.fields.clone(),
            serial_number: read.serial_number.clone(),
            signer_name: read.signer_name.clone(),
            subject: read.subject.clone(),
            issuer: read.issuer.clone(),
            key_id: read.key_id.clone(),
            signer_key_id: read.signer_key_id.clone(),
            ..*read
        }
    }

    #[test]
    fn unknown_keys_are_never_taken_for_known() {
        let info = |algorithm: &[u8], parameters: &[u8]| {
            let item = |tag: u8, content: &[u8]| {
                [&[tag, u8::try_from(content.len()).expect("short")], content].concat()
            };
            let algorithm = [item(6, algorithm), item(6, parameters)].concat();
            [item(0x30, &algorithm), item(3, &[0, 4, 1, 2])].concat()
        };
        assert_eq!(key_of(&info(ED25519, &[])), Some(("ed25519".to_owned(), None)));
        let (_, p256) = (CURVES[1].1, CURVES[1].0);
        assert_eq!(key_of(&info(ELLIPTIC_CURVE, p256)), Some(("ec".to_owned(), Some(256))));
        // secp256k1 has the same number of bits, and ML-DSA is not a known algorithm.
        let other_curve = key_of(&info(ELLIPTIC_CURVE, &[0x2b, 0x81, 4, 0, 10])).expect("read").0;
        assert_eq!(other_curve, "ec on the unknown curve 2b8104000a");
        let (other, bits) = key_of(&info(&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 18], &[])).expect("read");
        assert!(other.starts_with("the unknown algorithm") && bits.is_none());
    }

    #[test]
    fn malformed_certificate_is_refused() {
        let whole = authority(BasicConstraints::Unconstrained);
        assert!(read("not a certificate").is_err());
        let cut: String =
            whole.lines().take(4).chain(["-----END CERTIFICATE-----"]).collect::<Vec<_>>().join("\n");
        assert!(read(&cut).is_err());
    }
}
