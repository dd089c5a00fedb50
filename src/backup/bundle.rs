//! The other needs of a rebuild: the plan's files, its templates, the journal, and what custody has, as an archive.

use std::io::{self, Read};

use tar::{Archive, Builder, EntryType, Header};

/// Files in the clear, none of which has a secret.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    files: Vec<(String, Vec<u8>)>,
}

impl Bundle {
    /// Adds a file under a path that begins with what it belongs to.
    pub fn add(&mut self, path: impl Into<String>, bytes: Vec<u8>) {
        self.files.push((path.into(), bytes));
    }

    /// A file of an archive; `None` if it has none of this path.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub fn file_of(archive: &[u8], path: &str) -> io::Result<Option<Vec<u8>>> {
        for entry in Archive::new(archive).entries()? {
            let mut entry = entry?;
            if entry.path()?.to_str() == Some(path) {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes)?;
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The archive. The same files give the same bytes.
    ///
    /// # Errors
    /// When a path is too long for an archive.
    pub fn to_archive(&self) -> io::Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        for (path, bytes) in &self.files {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o600);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, bytes.as_slice())?;
        }
        archive.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_every_file_and_is_reproducible() {
        let mut bundle = Bundle::default();
        bundle.add("plan/plan.yaml", b"version: 1\n".to_vec());
        bundle.add("journal.jsonl", b"{}\n".to_vec());
        let bytes = bundle.to_archive().expect("an archive");
        assert_eq!(bytes, bundle.to_archive().expect("an archive"));
        let mut archive = Archive::new(bytes.as_slice());
        let mut entries = archive.entries().expect("entries");
        let mut first = entries.next().expect("one").expect("readable");
        let mut text = String::new();
        first.read_to_string(&mut text).expect("text");
        assert_eq!(
            (first.path().expect("a path").to_str(), text.as_str()),
            (Some("plan/plan.yaml"), "version: 1\n")
        );
        assert_eq!(entries.count(), 1);
        let journal = Bundle::file_of(&bytes, "journal.jsonl").expect("readable");
        assert!(journal.is_some() && Bundle::file_of(&bytes, "other").expect("readable").is_none());
    }
}
