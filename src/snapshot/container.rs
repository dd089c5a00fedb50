//! The file: a compressed archive of four members, and nothing else.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Cursor, Read};

use aws_lc_rs::digest::{Context, SHA256};
use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};
use tar::{Archive, Entry, EntryType};

use super::{Flaw, Visit, record};

/// The first bytes of the file: gzip without name, time or comment, as Go writes it.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const META: &str = "meta.json";
const STATE: &str = "state.bin";
const SUMS: &str = "SHA256SUMS";
const SEALED: &str = "SHA256SUMS.sealed";
/// The members in their order.
const MEMBERS: [&str; 4] = [META, STATE, SUMS, SEALED];
/// No member but `state.bin` is longer.
const SHORT: u64 = 1 << 20;
/// An archive ends with some blocks of zeros.
const LONGEST_END: usize = 1 << 16;
/// How much is read at once.
const AT_ONCE: usize = 64 << 10;

/// A server in the configuration of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its node id.
    #[serde(rename(deserialize = "ID"))]
    pub id: String,
    /// Its cluster address.
    #[serde(rename(deserialize = "Address"))]
    pub address: String,
}

/// The snapshot's description of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Meta {
    /// The place in the log of the cluster.
    pub index: u64,
    /// The term of the leader.
    pub term: u64,
    size: u64,
    configuration: Configuration,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    servers: Vec<Server>,
}

impl Meta {
    /// The servers of the cluster at that time.
    pub fn servers(&self) -> &[Server] {
        &self.configuration.servers
    }
}

/// A file that is a whole snapshot.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Its own description.
    pub meta: Meta,
    /// How many entries it has.
    pub entries: u64,
    /// Length of the file.
    pub bytes: u64,
    /// Digest of the file, in hexadecimal.
    pub sha256: String,
    pub(super) sums: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

/// Reads a snapshot to the end of the file and passes each entry to `visit`. What `visit` got counts only
/// when this succeeds.
///
/// # Errors
/// When the file is not whole, has more, differs from its checksums, or is something else.
pub fn scan(file: impl Read, visit: &mut Visit<'_>) -> Result<Frame, Flaw> {
    let mut source = BufReader::with_capacity(AT_ONCE, Digesting::new(file));
    let header = header(&mut source)?;
    let mut archive = Archive::new(GzDecoder::new(Cursor::new(header).chain(source)));
    let members = members(&mut archive, visit)?;
    let (_, mut source) = end(archive.into_inner())?.into_inner().into_inner();
    if !source.fill_buf().map_err(|error| Flaw::of_io(&error, "the file"))?.is_empty() {
        return Err(Flaw::Appended("bytes follow the end of the snapshot".to_owned()));
    }
    let (bytes, sha256) = source.into_inner().finish();
    members.checked(bytes, sha256)
}

/// The members of the archive beside the entries.
#[derive(Default)]
struct Members {
    short: BTreeMap<&'static str, Vec<u8>>,
    digests: BTreeMap<&'static str, String>,
    state: u64,
    entries: u64,
}

impl Members {
    fn checked(mut self, bytes: u64, sha256: String) -> Result<Frame, Flaw> {
        let mut take = |name| self.short.remove(name).unwrap_or_default();
        let (meta, sums, sealed) = (take(META), take(SUMS), take(SEALED));
        let stated = stated(&sums).ok_or_else(|| damaged("SHA256SUMS cannot be understood"))?;
        for name in [META, STATE] {
            if stated.get(name).map(String::as_str) != self.digests.get(name).map(String::as_str) {
                return Err(damaged(&format!("the checksum of {name} differs")));
            }
        }
        let meta: Meta =
            serde_json::from_slice(&meta).map_err(|_| damaged("meta.json cannot be understood"))?;
        if meta.size != self.state {
            return Err(damaged("state.bin has another length than meta.json says"));
        }
        Ok(Frame { meta, entries: self.entries, bytes, sha256, sums, sealed })
    }
}

fn members<R: Read>(archive: &mut Archive<R>, visit: &mut Visit<'_>) -> Result<Members, Flaw> {
    let (mut members, mut expected) = (Members::default(), MEMBERS.iter());
    let entries = archive.entries().map_err(|error| Flaw::of_io(&error, "the archive"))?;
    for entry in entries {
        let entry = entry.map_err(|error| Flaw::of_io(&error, "the archive"))?;
        let Some(name) = expected.next().filter(|name| is_member(&entry, name)) else {
            return Err(Flaw::NotASnapshot("its members are not those of a snapshot".to_owned()));
        };
        let size = entry.size();
        let mut entry = Digesting::new(entry);
        if *name == STATE {
            members.state = size;
            members.entries = record::each(&mut BufReader::with_capacity(AT_ONCE, &mut entry), visit)?;
        } else if size <= SHORT {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(|error| Flaw::of_io(&error, name))?;
            members.short.insert(name, bytes);
        } else {
            return Err(Flaw::NotASnapshot(format!("{name} is too long")));
        }
        let (read, digest) = entry.finish();
        if read != size {
            return Err(Flaw::Cut(format!("it ends inside {name}")));
        }
        members.digests.insert(name, digest);
    }
    match expected.next() {
        None => Ok(members),
        Some(name) => Err(Flaw::NotASnapshot(format!("{name} is missing"))),
    }
}

fn is_member<R: Read>(entry: &Entry<'_, R>, name: &str) -> bool {
    entry.header().entry_type() == EntryType::Regular && *entry.path_bytes() == *name.as_bytes()
}

/// Reads the first bytes, which must be those of a snapshot.
fn header(source: &mut impl Read) -> Result<[u8; 10], Flaw> {
    let mut header = Vec::new();
    source.take(10).read_to_end(&mut header).map_err(|error| Flaw::of_io(&error, "the file"))?;
    match <[u8; 10]>::try_from(header.as_slice()) {
        Ok(header) if header == HEADER => Ok(header),
        Ok(header) if header[..2] == HEADER[..2] => {
            Err(damaged("it does not begin as the server writes a snapshot"))
        }
        Err(_) if HEADER.starts_with(&header) => Err(Flaw::Cut(format!("it has {} bytes", header.len()))),
        _ => Err(Flaw::NotASnapshot("it is not compressed".to_owned())),
    }
}

/// Reads what follows the last member, to the checksum of the compression.
fn end<R: BufRead>(mut decoder: GzDecoder<R>) -> Result<GzDecoder<R>, Flaw> {
    let (mut block, mut length) = ([0; 4096], 0);
    loop {
        match decoder.read(&mut block).map_err(|error| Flaw::of_io(&error, "its end"))? {
            0 => return Ok(decoder),
            read if block[..read].iter().any(|byte| *byte != 0) => {
                return Err(Flaw::Appended("something follows the last member of the archive".to_owned()));
            }
            read => length += read,
        }
        if length > LONGEST_END {
            return Err(Flaw::Appended("the end of the archive is too long".to_owned()));
        }
    }
}

/// The digests by member: one line each, in any order.
pub(super) fn stated(sums: &[u8]) -> Option<BTreeMap<String, String>> {
    let text = std::str::from_utf8(sums).ok()?;
    let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
    let found: BTreeMap<String, String> = lines
        .iter()
        .map(|line| line.split_once("  ").map(|(digest, name)| (name.to_owned(), digest.to_owned())))
        .collect::<Option<_>>()?;
    (lines.len() == 2 && found.len() == 2).then_some(found)
}

fn damaged(why: &str) -> Flaw {
    Flaw::Damaged(why.to_owned())
}

/// A reader that knows how much it has read, and the digest of that.
struct Digesting<R> {
    inner: R,
    bytes: u64,
    digest: Context,
}

impl<R: Read> Digesting<R> {
    fn new(inner: R) -> Self {
        Self { inner, bytes: 0, digest: Context::new(&SHA256) }
    }

    fn finish(self) -> (u64, String) {
        (self.bytes, hex::encode(self.digest.finish()))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.digest.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}
