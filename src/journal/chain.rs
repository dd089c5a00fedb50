//! The journal's text: one JSON object a line, each bound to all lines before it.
//!
//! A line ends with `,"hash":"…"}`, the SHA-256 of the previous line's hash followed by the line's
//! text up to there. A changed byte anywhere is therefore found, except that cutting off whole
//! lines at the end leaves a valid, shorter journal. Pure functions over bytes, so that a copy of
//! the journal elsewhere is checked by the same code.

use sha2::{Digest, Sha256};

use super::entry::Record;

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
    /// Length in bytes up to the end of the last whole line; what lies beyond was cut off while
    /// it was being written and counts for nothing.
    pub length: u64,
}

/// Why a journal is not to be trusted.
#[derive(Debug, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct Damaged {
    /// Counts from 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Default for Chain {
    fn default() -> Self {
        Self { records: Vec::new(), hash: GENESIS, length: 0 }
    }
}

impl Chain {
    /// Reads a journal. An incomplete last line was never acknowledged to anybody and is left out.
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

    /// The line for `record`, with its line break; the chain then ends with it.
    ///
    /// # Panics
    /// Never: a record is plain data.
    pub fn extend(&mut self, record: Record) -> Vec<u8> {
        let content = serde_json::to_string(&record).expect("a record is plain data");
        let content = content.strip_suffix('}').unwrap_or(&content);
        self.hash = link(&self.hash, content.as_bytes());
        self.records.push(record);
        let line = format!("{content}{MARK}{}{END}\n", hex::encode(self.hash)).into_bytes();
        self.length += line.len() as u64;
        line
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Damaged> {
        let (record, hash) = self.decode(line).map_err(|problem| self.damaged(problem))?;
        self.records.push(record);
        self.hash = hash;
        self.length += line.len() as u64 + 1;
        Ok(())
    }

    fn decode(&self, line: &[u8]) -> Result<(Record, [u8; 32]), &'static str> {
        let (content, claimed) = split(line).ok_or("has no hash at its end")?;
        let hash = link(&self.hash, content.as_bytes());
        if hex::encode(hash) != claimed {
            return Err("does not match its hash");
        }
        let record: Record =
            serde_json::from_str(&format!("{content}}}")).map_err(|_| "is not a known kind of entry")?;
        let expected = self.records.len() as u64 + 1;
        if record.seq == expected { Ok((record, hash)) } else { Err("is out of sequence") }
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

fn link(previous: &[u8; 32], content: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(previous).chain_update(content).finalize().into()
}

/// The text before the hash, and the hash.
fn split(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix(END)?;
    let (rest, hash) = line.split_at_checked(line.len().checked_sub(HEX)?)?;
    Some((rest.strip_suffix(MARK)?, hash))
}
