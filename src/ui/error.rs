//! Errors of live systems and of this machine.

use super::console;
use super::style::{BAD, STRONG, paint};
use crate::resource::Error;

/// Shows an error with its causes and what to do about it.
pub fn show(error: &Error) {
    console::note(text(error));
}

/// Shows an error that says itself what to do about it, with its causes.
pub fn show_plain(error: &dyn std::error::Error) {
    console::note(with_causes(error));
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = format!("{}: {error}", paint(BAD.bold(), "error"));
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!("\n  because: {source}"));
        cause = source.source();
    }
    text
}

fn text(error: &Error) -> String {
    let mut text = with_causes(error);
    if let Some(advice) = &error.advice {
        text.push_str(&format!("\n  {}: {advice}", paint(STRONG, "what to do")));
    }
    text
}
