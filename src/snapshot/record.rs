//! The entries of `state.bin`: a length, then a message with a key and a value, again and again.

use std::io::Read;

use super::wire::{Value, fields};
use super::{Flaw, Visit};

/// No server stores a larger entry, and the memory for one is bounded.
const LONGEST: u64 = 64 << 20;

/// Reads every entry to the last byte of `state`, which are in the order of their keys, each once.
/// Returns how many there are.
pub(super) fn each(state: &mut impl Read, visit: &mut Visit<'_>) -> Result<u64, Flaw> {
    let (mut count, mut message, mut before) = (0, Vec::new(), String::new());
    while let Some(length) = length(state)? {
        if length > LONGEST {
            return Err(broken("an entry is longer than 64 MiB"));
        }
        message.clear();
        let read = state.take(length).read_to_end(&mut message);
        if read.map_err(|error| Flaw::of_io(&error, "state.bin"))? as u64 != length {
            return Err(broken("the last entry is not whole"));
        }
        let (key, value) = entry(&message).ok_or_else(|| broken("an entry cannot be understood"))?;
        if count > 0 && *key <= *before {
            return Err(broken("the entries are not in order"));
        }
        visit(key, value)?;
        before.clear();
        before.push_str(key);
        count += 1;
    }
    Ok(count)
}

fn entry(message: &[u8]) -> Option<(&str, &[u8])> {
    let (mut key, mut value) = (None, &[][..]);
    for field in fields(message)? {
        match field {
            (1, Value::Bytes(bytes)) if key.is_none() => key = Some(std::str::from_utf8(bytes).ok()?),
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => return None,
        }
    }
    Some((key.filter(|key| !key.is_empty())?, value))
}

/// The next entry's length; `None` at the end.
fn length(state: &mut impl Read) -> Result<Option<u64>, Flaw> {
    let mut length = 0_u64;
    for position in 0..10 {
        let mut byte = [0];
        match state.read(&mut byte).map_err(|error| Flaw::of_io(&error, "state.bin"))? {
            0 if position == 0 => return Ok(None),
            0 => return Err(broken("the last entry is not whole")),
            _ => length |= u64::from(byte[0] & 0x7f) << (7 * position).min(63),
        }
        if byte[0] < 0x80 {
            return Ok(Some(length));
        }
    }
    Err(broken("an entry has no length"))
}

fn broken(why: &str) -> Flaw {
    Flaw::Damaged(format!("state.bin: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(state: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Flaw> {
        let mut found = Vec::new();
        each(&mut &*state, &mut |key, value| {
            found.push((key.to_owned(), value.to_owned()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn entries_are_read_to_the_last_byte() {
        let state = [6, 0x0a, 1, b'a', 0x12, 1, 7, 3, 0x0a, 1, b'b'];
        let expected = [("a".to_owned(), vec![7]), ("b".to_owned(), vec![])];
        assert_eq!(read(&state).expect("whole"), expected);
        for length in (1..7).chain(8..state.len()) {
            assert!(matches!(read(&state[..length]), Err(Flaw::Damaged(_))), "{length} bytes");
        }
    }

    #[test]
    fn unordered_and_endless_entries_are_refused() {
        let twice = [3, 0x0a, 1, b'a', 3, 0x0a, 1, b'a'];
        let nameless = [2, 0x0a, 0];
        for state in [&twice[..], &nameless, &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0x7f], &[2, 0x18, 1]] {
            assert!(matches!(read(state), Err(Flaw::Damaged(_))), "{state:?}");
        }
    }
}
