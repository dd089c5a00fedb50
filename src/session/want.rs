//! A permission that a plan needs of the caller.

use crate::plan::{Diagnostic, Span};
use crate::trust::Grant;

/// One thing that a plan wants to use and that is the caller's to allow.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The permission that it takes.
    pub grant: Grant,
    /// Where in the plan it is asked for.
    pub span: Option<Span>,
    /// The consequence of allowing it, as a sentence: `the plan sends … to …`.
    pub why: String,
}

impl Wanted {
    /// That `grant` is wanted, because of what stands at `span`.
    pub fn new(grant: Grant, span: impl Into<Option<Span>>, why: impl Into<String>) -> Self {
        Self { grant, span: span.into(), why: why.into() }
    }

    /// The refusal, at its place in the plan, with what to do.
    pub fn refusal(&self) -> Diagnostic {
        Diagnostic::error(self.span, format!("{}, which you have not allowed", self.why))
            .help(self.grant.advice())
    }

    /// The same for a command that only reports it.
    pub fn note(&self) -> Diagnostic {
        let message = format!("{}; `plan` and `apply` refuse that until you allow it", self.why);
        Diagnostic::note(self.span, message).help(self.grant.advice())
    }
}
