//! Why a file is not a snapshot to rely on.

/// Why a file is not a snapshot to rely on. The text never contains a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file ends before the snapshot does.
    #[error("the file is cut off: {0}")]
    Cut(String),
    /// Something follows the snapshot.
    #[error("{0}")]
    Appended(String),
    /// The file is something else.
    #[error("the file is not a raft snapshot: {0}")]
    NotASnapshot(String),
    /// Bytes differ from those that were written.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// The keys at hand do not open it.
    #[error("the keys do not open it: {0}")]
    Foreign(String),
    /// An entry was not written by the server whose snapshot it is.
    #[error("the entry {0} is not authentic")]
    Forged(String),
    /// The file could not be read to its end.
    #[error("the file cannot be read: {0}")]
    Unreadable(String),
}

impl Flaw {
    /// One word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Cut(_) => "cut",
            Self::Appended(_) => "appended",
            Self::NotASnapshot(_) => "not_a_snapshot",
            Self::Damaged(_) => "damaged",
            Self::Foreign(_) => "foreign",
            Self::Forged(_) => "forged",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// The flaw behind an error of a reader.
    pub(super) fn of_io(error: &std::io::Error, what: &str) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Cut(format!("it ends inside {what}")),
            // The decoder and the archive say so of bytes that they cannot understand.
            ErrorKind::InvalidInput | ErrorKind::InvalidData => Self::Damaged(format!("{what}: {error}")),
            ErrorKind::Other if !error.to_string().contains("os error") => {
                Self::Damaged(format!("{what}: {error}"))
            }
            _ => Self::Unreadable(error.to_string()),
        }
    }
}
