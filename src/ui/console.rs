//! Standard output and standard error.
//!
//! Results go to standard output, everything about the way there to standard error. A closed
//! pipe is no error: the work goes on, the text is lost. Colours are stripped where the stream is
//! no terminal or `NO_COLOR` is set.

use std::fmt::Display;
use std::io::Write;

/// Prints a result, with a line end.
pub fn out(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

/// Prints a remark for people, with a line end.
pub fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}
