//! Standard output and standard error.
//!
//! Results go to standard output, progress and errors to standard error. A closed pipe is not an
//! error: the work goes on and the text is lost. Colours are stripped if the stream is not a terminal
//! or `NO_COLOR` is set. All text passes [`visible`] on its way out, regardless of its author.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::visible::{self, on_terminal};

/// Prints a result, with a line end.
pub fn out(text: impl Display) {
    print(&on_terminal(&text.to_string()));
}

fn print(harmless: &str) {
    note_loss(writeln!(anstream::stdout(), "{harmless}"));
}

/// Whether a result could not be printed, although the reader has not gone away.
static LOST: AtomicBool = AtomicBool::new(false);

fn note_loss(printed: std::io::Result<()>) {
    let Err(error) = printed else { return };
    if error.kind() != ErrorKind::BrokenPipe && !LOST.swap(true, Ordering::Relaxed) {
        note(format_args!("error: cannot write to standard output: {error}"));
    }
}

/// Whether a part of the results is lost: the output's disk is full, for example.
pub fn has_lost_results() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints a secret that a person asked for, with a line end. The caller has made sure that standard
/// output is not a terminal.
pub fn secret_line(secret: &crate::secret::Secret) {
    let mut out = std::io::stdout().lock();
    let printed =
        out.write_all(secret.expose_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    drop(out);
    note_loss(printed);
}

/// Prints a remark for people, with a line end.
pub fn note(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{}", on_terminal(&text.to_string()));
}

/// Prints a result as indented JSON.
pub fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&visible::in_json(&text)),
        Err(error) => note(format_args!("error: cannot write JSON: {error}")),
    }
}

/// Prints a value as JSON on one line.
pub fn json_line(value: &impl serde::Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => print(&visible::in_json(&text)),
        Err(error) => note(format_args!("error: cannot write JSON: {error}")),
    }
}

/// Whether a person can be asked for confirmation before `doing`; prints an error if not.
pub fn can_ask(doing: &str) -> bool {
    let somebody = std::io::stdin().is_terminal();
    if !somebody {
        note(format_args!(
            "error: cannot ask for confirmation: stdin is not a terminal. Use --yes to {doing} without \
             confirmation"
        ));
    }
    somebody
}

/// Asks a yes-or-no question on the terminal; anything but `y` or `yes` means "no".
pub fn ask(question: impl Display) -> bool {
    matches!(answer(question).to_ascii_lowercase().as_str(), "y" | "yes")
}

/// Asks on the terminal for exactly this word.
pub fn ask_for(question: impl Display, word: &str) -> bool {
    answer(question) == word
}

/// Prints a question, without a line end.
///
/// # Errors
/// When standard error is closed.
pub fn question(text: impl Display) -> std::io::Result<()> {
    let mut terminal = anstream::stderr();
    write!(terminal, "{}", on_terminal(&text.to_string()))?;
    terminal.flush()
}

fn answer(text: impl Display) -> String {
    let _ = question(text);
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        Ok(_) => answer.trim().to_owned(),
        Err(_) => String::new(),
    }
}

/// How many columns the terminal has; 100 where there is none.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.map(|size| usize::from(size.ws_col)).ok().filter(|columns| *columns >= 40).unwrap_or(100)
}
