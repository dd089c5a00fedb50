//! The names in a git index (versions 2 to 4), enough to find the tracked files.

/// Bytes that are not an index of a known form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the git index is not of a known form")]
pub struct NotUnderstood;

/// The parsed content of an index.
#[derive(Debug, PartialEq, Eq)]
pub struct Index {
    /// The paths of its entries, as git orders them. Those of a split index that replace others
    /// have none.
    pub names: Vec<Vec<u8>>,
    /// The index that this one adds to (`core.splitIndex`).
    pub base: Option<Base>,
}

/// The other half of a split index.
#[derive(Debug, PartialEq, Eq)]
pub struct Base {
    /// The end of its file's name, `sharedindex.…`.
    pub id: String,
    /// Whether all of its entries still count.
    pub is_whole: bool,
}

/// The lengths of an object's id: SHA-1, SHA-256.
const ID_LENGTHS: [usize; 2] = [20, 32];
/// An entry's times, device, mode, owner and size.
const STAT: usize = 40;
const MODE_AT: usize = 24;
/// The flag that says that two more bytes of flags follow.
const EXTENDED: u16 = 0x4000;

impl Index {
    /// Reads an index.
    ///
    /// # Errors
    /// When it is not one, or of a version that is not known.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotUnderstood> {
        ID_LENGTHS.iter().find_map(|id| parse(bytes, *id)).ok_or(NotUnderstood)
    }

    /// The first entry at or below `path`. Letter case does not count, because some file systems
    /// ignore it.
    pub fn first_below(&self, path: &[u8]) -> Option<&[u8]> {
        let is_below = |name: &&Vec<u8>| {
            name.get(..path.len()).is_some_and(|start| start.eq_ignore_ascii_case(path))
                && matches!(name.get(path.len()), None | Some(b'/'))
        };
        self.names.iter().find(is_below).map(Vec::as_slice)
    }
}

fn parse(bytes: &[u8], id: usize) -> Option<Index> {
    let body = bytes.get(..bytes.len().checked_sub(id)?)?;
    let mut rest = Reader(body);
    if rest.take(4)? != b"DIRC" {
        return None;
    }
    let version = rest.number()?;
    let count = usize::try_from(rest.number()?).ok()?;
    if !(2..=4).contains(&version) || count > body.len() / (STAT + id) {
        return None;
    }
    let mut names: Vec<Vec<u8>> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = entry(&mut rest, id, version, names.last().map_or(&[], Vec::as_slice))?;
        names.push(name);
    }
    let mut base = None;
    while !rest.0.is_empty() {
        let signature = rest.take(4)?;
        let length = usize::try_from(rest.number()?).ok()?;
        let content = rest.take(length)?;
        match signature {
            b"link" => base = Some(link(content, id)?),
            // Extensions that begin with a capital letter are optional.
            _ if signature[0].is_ascii_uppercase() || signature == b"sdir" => {}
            _ => return None,
        }
    }
    Some(Index { names, base })
}

fn entry(rest: &mut Reader<'_>, id: usize, version: u32, before: &[u8]) -> Option<Vec<u8>> {
    let start = rest.0.len();
    let fixed = rest.take(STAT + id + 2)?;
    let kind = fixed[MODE_AT + 2] >> 4;
    // A file, a link, a submodule, or a folder of a sparse index.
    if fixed[MODE_AT..MODE_AT + 2] != [0, 0] || !matches!(kind, 0x8 | 0xa | 0xe | 0x4) {
        return None;
    }
    let flags = u16::from_be_bytes([fixed[STAT + id], fixed[STAT + id + 1]]);
    if flags & EXTENDED != 0 {
        rest.take(2).filter(|_| version >= 3)?;
    }
    if version == 4 {
        let cut = rest.varint()?;
        let kept = before.get(..before.len().checked_sub(cut)?)?;
        return Some([kept, rest.until_nul()?].concat());
    }
    let name = rest.until_nul()?.to_vec();
    // The entry ends with one to eight NULs, at a multiple of eight.
    let padding = (start - rest.0.len()).next_multiple_of(8) - (start - rest.0.len());
    rest.take(padding)?.iter().all(|byte| *byte == 0).then_some(name)
}

/// The base's id, then two bitmaps: which of its entries are deleted, and which replaced.
fn link(content: &[u8], id: usize) -> Option<Base> {
    let (base, bitmaps) = content.split_at_checked(id)?;
    let is_whole = bitmaps.is_empty() || Reader(bitmaps).number()? == 0;
    Some(Base { id: hex::encode(base), is_whole })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
    }

    fn until_nul(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.take(end)?;
        self.take(1)?;
        Some(text)
    }

    /// A length as git writes it in packs: seven bits a byte, the highest first.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = self.take(1)?[0];
        let mut value = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.take(1)?[0];
            value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests;
