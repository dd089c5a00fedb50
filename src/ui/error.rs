//! Errors of live systems and of this machine.

use std::error::Error as _;

use super::console;
use super::style::{BAD, STRONG, paint};
use crate::resource::Error;

/// Shows an error with its causes and what to do about it.
pub fn show(error: &Error) {
    console::note(text(error));
}

fn text(error: &Error) -> String {
    let mut text = format!("{}: {error}", paint(BAD.bold(), "error"));
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!("\n  because: {source}"));
        cause = source.source();
    }
    if let Some(advice) = &error.advice {
        text.push_str(&format!("\n  {}: {advice}", paint(STRONG, "what to do")));
    }
    text
}
