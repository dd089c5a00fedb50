//! Mistakes in the fields of a declaration.

/// A mistake in one field of a step, found without the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// The location, as a dotted path below the step; `""` is the step itself.
    pub path: String,
    /// The mistake, as a lowercase fragment.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// Further fields whose values this judgement depends on, with all below them. It is not reported as long
    /// as one of them is not known.
    pub reads: Vec<String>,
}

impl FieldError {
    /// A mistake at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), help: None, secret: false, reads: Vec::new() }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a field whose value this judgement depends on, with all below it.
    #[must_use]
    pub fn reading(mut self, path: impl Into<String>) -> Self {
        self.reads.push(path.into());
        self
    }

    /// Marks the value as one that must not be shown.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}
