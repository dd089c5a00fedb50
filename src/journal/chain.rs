//! The journal's text: one JSON object per line, each bound to all lines before it.
//!
//! A line ends with `,"hash":"…"}`, the SHA-256 of the previous line's hash followed by the line's
//! text up to there. A changed byte anywhere is therefore found, except that cutting off whole
//! lines at the end leaves a valid, shorter journal. Pure functions over bytes, so that a copy of
//! the journal elsewhere is checked by the same code.
//!
//! Before the hash comes `,"signer":"…","sig":"…"`: the plan's key signs the same hash without
//! these two fields. A signature thereby covers all lines up to its own, and the last one covers all.
//! Journals of older versions of the program have no signatures.

use sha2::{Digest, Sha256};

use super::entry::Record;
use crate::signing::{Seal, Signer, SigningKey};

/// The purpose that a signature in a journal is bound to.
const PURPOSE: &str = "groundwork-journal/1";
const SIGNER: &str = ",\"signer\":\"";
const SIGNATURE: &str = "\",\"sig\":\"";
/// Length of a signature in base64.
const BASE64: usize = 88;

const MARK: &str = ",\"hash\":\"";
const END: &str = "\"}";
/// Length of the hash in hexadecimal.
const HEX: usize = 64;

/// The hash before the first line.
pub const GENESIS: [u8; 32] = [0; 32];

/// The state of a journal after its last whole line.
#[derive(Clone, Debug)]
pub struct Chain {
    /// All records, in order.
    pub records: Vec<Record>,
    /// The hash of the last line.
    pub hash: [u8; 32],
    /// The hash of each line.
    hashes: Vec<[u8; 32]>,
    /// The last line's signature, with what it signs.
    seal: Option<(Seal, [u8; 32])>,
    /// Whether any line is signed.
    was_signed: bool,
    /// Length in bytes up to the end of the last whole line. Any bytes after it are an interrupted
    /// write and are ignored.
    pub length: u64,
}

/// The first line at which a journal is damaged.
#[derive(Debug, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct Damaged {
    /// Counts from 1.
    pub line: usize,
    /// A description of the damage.
    pub problem: &'static str,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            hash: GENESIS,
            hashes: Vec::new(),
            seal: None,
            was_signed: false,
            length: 0,
        }
    }
}

impl Chain {
    /// Reads a journal. Leaves out an incomplete last line, because its append never returned success.
    ///
    /// # Errors
    /// When a line does not follow from the lines before it.
    pub fn parse(text: &[u8]) -> Result<Self, Damaged> {
        let mut chain = Self::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => chain.push(line)?,
                None => chain.check_tail(line)?,
            }
        }
        Ok(chain)
    }

    /// The line for `record`, with its line break, signed with the key of the plan of this name; the
    /// chain then ends with it.
    ///
    /// # Panics
    /// Never: a record is plain data.
    pub fn extend(&mut self, record: Record, plan: &str, key: &SigningKey) -> Vec<u8> {
        let content = body(&record);
        let digest = link(&self.hash, content.as_bytes());
        let seal = key.sign(PURPOSE, &[plan.as_bytes(), &digest]);
        let content = format!("{content}{SIGNER}{}{SIGNATURE}{}\"", seal.signer, seal.signature());
        self.close(record, &content, Some((seal, digest)))
    }

    /// A line as older versions of the program wrote it.
    #[cfg(test)]
    pub fn extend_unsigned(&mut self, record: Record) -> Vec<u8> {
        let content = body(&record);
        self.close(record, &content, None)
    }

    fn close(&mut self, record: Record, content: &str, seal: Option<(Seal, [u8; 32])>) -> Vec<u8> {
        let hash = link(&self.hash, content.as_bytes());
        let line = format!("{content}{MARK}{}{END}\n", hex::encode(hash)).into_bytes();
        self.take(record, hash, seal, line.len());
        line
    }

    /// The hash of the line with this number, counted from 1.
    pub fn hash_of(&self, seq: u64) -> Option<&[u8; 32]> {
        self.hashes.get(usize::try_from(seq).ok()?.checked_sub(1)?)
    }

    /// The signer that the last line names; not verified.
    pub fn signer(&self) -> Option<Signer> {
        self.seal.as_ref().map(|(seal, _)| seal.signer)
    }

    /// Whether the last line's signature is valid for the plan of this name.
    pub fn is_proven(&self, plan: &str) -> bool {
        self.seal.as_ref().is_some_and(|(seal, digest)| seal.proves(PURPOSE, &[plan.as_bytes(), digest]))
    }

    /// Whether any line is signed.
    pub fn was_signed(&self) -> bool {
        self.was_signed
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Damaged> {
        let Line { record, hash, seal } = self.decode(line).map_err(|problem| self.damaged(problem))?;
        self.take(record, hash, seal, line.len() + 1);
        Ok(())
    }

    fn take(&mut self, record: Record, hash: [u8; 32], seal: Option<(Seal, [u8; 32])>, length: usize) {
        self.records.push(record);
        self.hash = hash;
        self.hashes.push(hash);
        self.was_signed |= seal.is_some();
        self.seal = seal;
        self.length += length as u64;
    }

    fn decode(&self, line: &[u8]) -> Result<Line, &'static str> {
        let (content, claimed) = split(line).ok_or("has no hash at its end")?;
        let hash = link(&self.hash, content.as_bytes());
        if hex::encode(hash) != claimed {
            return Err("does not match its hash");
        }
        let record: Record =
            serde_json::from_str(&format!("{content}}}")).map_err(|_| "is not a known kind of entry")?;
        let seal = split_seal(content).map(|(content, seal)| (seal, link(&self.hash, content.as_bytes())));
        let expected = self.records.len() as u64 + 1;
        if record.seq == expected { Ok(Line { record, hash, seal }) } else { Err("is out of sequence") }
    }

    /// A whole line whose line break was changed is damage, not a line cut off while written.
    fn check_tail(&self, tail: &[u8]) -> Result<(), Damaged> {
        match tail.split_last() {
            Some((_, line)) if self.decode(line).is_ok() => Err(self.damaged("has no line break at its end")),
            _ => Ok(()),
        }
    }

    fn damaged(&self, problem: &'static str) -> Damaged {
        Damaged { line: self.records.len() + 1, problem }
    }
}

/// A line that follows from those before it.
struct Line {
    record: Record,
    hash: [u8; 32],
    seal: Option<(Seal, [u8; 32])>,
}

/// A record's text without its last brace.
fn body(record: &Record) -> String {
    let mut content = serde_json::to_string(record).expect("a record is plain data");
    content.pop();
    content
}

fn link(previous: &[u8; 32], content: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(previous).chain_update(content).finalize().into()
}

/// The text before the hash, and the hash.
fn split(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix(END)?;
    let (rest, hash) = line.split_at_checked(line.len().checked_sub(HEX)?)?;
    Some((rest.strip_suffix(MARK)?, hash))
}

/// The text before the signature, and the signature; `None` where there is none.
fn split_seal(content: &str) -> Option<(&str, Seal)> {
    let rest = content.strip_suffix('"')?;
    let (rest, signature) = rest.split_at_checked(rest.len().checked_sub(BASE64)?)?;
    let rest = rest.strip_suffix(SIGNATURE)?;
    let (rest, signer) = rest.split_at_checked(rest.len().checked_sub(HEX)?)?;
    Some((rest.strip_suffix(SIGNER)?, Seal::from_text(signer, signature)?))
}
