//! The few messages of protocol buffers that a snapshot has, read field by field.
//! <https://protobuf.dev/programming-guides/encoding/>

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// A number.
    Number(u64),
    /// Bytes: a text, or another message.
    Bytes(&'a [u8]),
}

/// The fields of a message in their order; `None` if it is not one.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = number(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Number(number(&mut message)?),
            1 => Value::Number(u64::from_le_bytes(take(&mut message, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(number(&mut message)?).ok()?;
                Value::Bytes(take(&mut message, length)?)
            }
            5 => Value::Number(u32::from_le_bytes(take(&mut message, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        found.push((tag >> 3, value));
    }
    Some(found)
}

/// The last field with this number, if it has bytes.
pub(super) fn bytes<'a>(fields: &[(u64, Value<'a>)], number: u64) -> Option<&'a [u8]> {
    fields.iter().rev().find_map(|(found, value)| match value {
        Value::Bytes(bytes) if *found == number => Some(*bytes),
        _ => None,
    })
}

/// The last field with this number, if it is a number; zero is left out on the wire.
pub(super) fn integer(fields: &[(u64, Value<'_>)], number: u64) -> u64 {
    let found = fields.iter().rev().find_map(|(found, value)| match value {
        Value::Number(value) if *found == number => Some(*value),
        _ => None,
    });
    found.unwrap_or_default()
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// A number of variable length.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for position in 0..10 {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f).checked_shl(7 * position)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind_are_read() {
        let message =
            [0x08, 0x96, 0x01, 0x12, 0x02, b'a', b'b', 0x1d, 1, 0, 0, 0, 0x21, 2, 0, 0, 0, 0, 0, 0, 0];
        let found = fields(&message).expect("a message");
        assert_eq!(found[0], (1, Value::Number(150)));
        assert_eq!((bytes(&found, 2), integer(&found, 3), integer(&found, 4)), (Some(&b"ab"[..]), 1, 2));
        assert_eq!((bytes(&found, 1), integer(&found, 9)), (None, 0));
    }

    #[test]
    fn broken_messages_are_refused() {
        for broken in [&[0x12, 0x05, b'a'][..], &[0x80], &[0x0b], &[0xff; 11], &[0x1d, 1]] {
            assert!(fields(broken).is_none(), "{broken:?}");
        }
    }
}
