//! The public key in an X.509 certificate (RFC 5280, section 4.1), in DER.

/// The tag of a sequence.
const SEQUENCE: u8 = 0x30;
/// The tag of a certificate's version, which may be missing.
const VERSION: u8 = 0xa0;
/// Fields between the version and the key: serial number, algorithm, issuer, validity, subject.
const BEFORE_KEY: usize = 5;

/// The bytes of `subjectPublicKeyInfo`, with its tag and length.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let (_, certificate, _) = element(certificate)?;
    let (tag, mut rest, _) = element(certificate)?;
    if tag != SEQUENCE {
        return None;
    }
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _ in 0..BEFORE_KEY {
        rest = element(rest)?.2;
    }
    let (tag, _, after) = element(rest)?;
    (tag == SEQUENCE).then(|| &rest[..rest.len() - after.len()])
}

/// One element: its tag, its content, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An element with a short length.
    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        [&[tag, u8::try_from(content.len()).expect("short")], content.as_slice()].concat()
    }

    #[test]
    fn key_is_found_with_and_without_version() {
        let (number, sequence) = (der(2, &[&[7]]), der(SEQUENCE, &[&[5, 0]]));
        let key = der(SEQUENCE, &[&der(SEQUENCE, &[]), &der(3, &[&[0, 1, 2, 3]])]);
        let version = der(VERSION, &[&der(2, &[&[2]])]);
        for version in [version.as_slice(), &[]] {
            let fields: [&[u8]; 7] = [version, &number, &sequence, &sequence, &sequence, &sequence, &key];
            let certificate = der(SEQUENCE, &[&der(SEQUENCE, &fields), &sequence]);
            assert_eq!(public_key(&certificate), Some(key.as_slice()));
            for end in 0..certificate.len() {
                assert_eq!(public_key(&certificate[..end]), None, "cut at {end}");
            }
        }
    }
}
