//! A reader of DER, the encoding of certificates (ITU-T X.690): items of a tag, a length and a
//! content.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item<'a> {
    /// The tag's byte.
    pub(super) tag: u8,
    /// The content of the item; it consists of items again for constructed types.
    pub(super) content: &'a [u8],
}

/// The consecutive items in `bytes`. A truncated item ends the iteration.
pub(super) fn items(bytes: &[u8]) -> impl Iterator<Item = Item<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (item, after) = split(rest)?;
        rest = after;
        Some(item)
    })
}

fn split(bytes: &[u8]) -> Option<(Item<'_>, &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let mut length = usize::from(first);
    // From 128 on, the byte gives the number of length bytes that follow.
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        let (digits, after) = rest.split_at_checked(count)?;
        length = digits
            .iter()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))?;
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((Item { tag, content }, after))
}

/// The bytes of the first block in a PEM text (RFC 7468).
pub(super) fn pem_block(text: &str) -> Option<Vec<u8>> {
    let lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN"));
    let base64: String = lines.skip(1).take_while(|line| !line.starts_with("-----END")).collect();
    (!base64.is_empty()).then(|| STANDARD.decode(base64).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_end_at_their_length() {
        let long = [[0x04, 0x81, 0x80].as_slice(), &[7; 128], &[0x05, 0x00]].concat();
        let found: Vec<Item<'_>> = items(&long).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].tag, found[0].content.len()), (4, 128));
        assert_eq!(found[1], Item { tag: 5, content: &[] });
        assert_eq!(items(&[0x30, 0x05, 1]).count(), 0);
        assert_eq!(items(&[0x30, 0xff]).count(), 0);
    }
}
