//! Mistakes in a plan, with the place where they stand.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::secret::detect;

/// A stretch of a source file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// Which file, as an index into [`Sources`].
    pub file: usize,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// The plan file and everything it includes.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<(PathBuf, Arc<str>)>,
}

impl Sources {
    /// Adds a file and returns its index.
    pub fn add(&mut self, path: PathBuf, text: Arc<str>) -> usize {
        self.files.push((path, text));
        self.files.len() - 1
    }

    /// The path and text of a file.
    pub fn get(&self, file: usize) -> Option<(&PathBuf, &str)> {
        self.files.get(file).map(|(path, text)| (path, text.as_ref()))
    }

    /// Makes what a span covers unreadable; places in the file stay as they are.
    pub fn mask(&mut self, span: Span) {
        let Some((_, text)) = self.files.get_mut(span.file) else { return };
        let (Some(before), Some(secret), Some(after)) =
            (text.get(..span.start), text.get(span.start..span.end), text.get(span.end..))
        else {
            return;
        };
        let stars: String = secret
            .chars()
            .map(|c| if c == '\n' { "\n".to_owned() } else { "*".repeat(c.len_utf8()) })
            .collect();
        *text = format!("{before}{stars}{after}").into();
    }

    /// Makes everything unreadable that looks like a secret.
    pub fn mask_secrets(&mut self) {
        for file in 0..self.files.len() {
            for sighting in detect::sightings(&self.files[file].1) {
                self.mask(Span { file, start: sighting.start, end: sighting.end });
            }
        }
    }

    /// Every file with its text, in the order read.
    pub fn iter(&self) -> impl Iterator<Item = (&PathBuf, &str)> {
        self.files.iter().map(|(path, text)| (path, text.as_ref()))
    }

    /// Where a span begins: path, line and column, the latter two counted from one.
    pub fn locate(&self, span: Span) -> Option<(&PathBuf, usize, usize)> {
        let (path, text) = self.get(span.file)?;
        let before = text.get(..span.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((path, line, column))
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing can be done with this plan.
    Error,
    /// Allowed, but probably not meant.
    Warning,
    /// As it may well be meant, and worth knowing.
    Note,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where, if it has a place.
    pub span: Option<Span>,
    /// Another place that belongs to it, with a remark.
    pub beside: Option<Box<(Span, String)>>,
    /// What to do.
    pub help: Option<String>,
    /// The part of the plan that must never be shown, wherever the mistake is drawn.
    pub hidden: Option<Box<Span>>,
}

/// About how many mistakes are collected; further ones would not help the reader.
pub const MOST_MISTAKES: usize = 300;

impl Diagnostic {
    /// An error at `span`.
    pub fn error(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: span.into(),
            beside: None,
            help: None,
            hidden: None,
        }
    }

    /// A warning at `span`.
    pub fn warning(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(span, message) }
    }

    /// A note at `span`.
    pub fn note(span: impl Into<Option<Span>>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(span, message) }
    }

    /// Adds another place with a remark.
    #[must_use]
    pub fn beside(mut self, span: Span, remark: impl Into<String>) -> Self {
        self.beside = Some(Box::new((span, remark.into())));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Keeps what this covers from being shown.
    #[must_use]
    pub fn hiding(mut self, span: Option<Span>) -> Self {
        self.hidden = span.map(Box::new);
        self
    }

    /// Adds "did you mean …?" when there is a candidate.
    #[must_use]
    pub fn did_you_mean(self, candidate: Option<&str>) -> Self {
        match candidate {
            Some(candidate) => self.help(format!("did you mean `{candidate}`?")),
            None => self,
        }
    }
}

/// All mistakes found in one pass, with the text that they point into.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    /// The files.
    pub sources: Sources,
    /// The mistakes, in the order found.
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Joins mistakes with the files they are in.
    pub fn new(sources: Sources, list: Vec<Diagnostic>) -> Self {
        Self { sources, list }
    }

    /// Whether any of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

impl fmt::Display for Diagnostics {
    /// One line a mistake, `path:line:column: message`; `ui` draws them with excerpts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            if let Some((path, line, column)) = diagnostic.span.and_then(|span| self.sources.locate(span)) {
                write!(f, "{}:{line}:{column}: ", path.display())?;
            }
            f.write_str(&diagnostic.message)?;
            if let Some((span, remark)) = diagnostic.beside.as_deref()
                && let Some((path, line, column)) = self.sources.locate(*span)
            {
                write!(f, " ({remark}: {}:{line}:{column})", path.display())?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
