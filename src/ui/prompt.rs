//! Secrets that a person types, or that come through a pipe.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Reads secrets from standard input, one a line, until it ends or, on a terminal, until an empty
/// line. A terminal shows `question`, with the number of what is asked for, and nothing of what is
/// typed.
///
/// # Errors
/// When standard input cannot be read.
pub fn secret_lines(question: &str) -> io::Result<Vec<Secret>> {
    let stdin = io::stdin();
    let hidden = stdin.is_terminal().then(Hidden::begin).transpose()?;
    let mut secrets = Vec::new();
    loop {
        if hidden.is_some() {
            ask(question, secrets.len() + 1)?;
        }
        // Room beforehand, so that growing leaves no copies in memory.
        let mut line = Zeroizing::new(String::with_capacity(4096));
        let read = stdin.lock().read_line(&mut line)?;
        let text = line.trim();
        match (read, text.is_empty()) {
            (0, _) => return Ok(secrets),
            (_, true) if hidden.is_some() => return Ok(secrets),
            (_, true) => {}
            (_, false) => secrets.push(Secret::new(text.as_bytes().to_vec())),
        }
    }
}

/// Reads one secret, a line of standard input; `None` when there is none. A terminal shows `question`
/// and nothing of what is typed. Further lines stay for whoever asks next.
///
/// # Errors
/// When standard input cannot be read.
pub fn secret_line(question: &str) -> io::Result<Option<Secret>> {
    let stdin = io::stdin();
    let hidden = stdin.is_terminal().then(Hidden::begin).transpose()?;
    if hidden.is_some() {
        let mut terminal = anstream::stderr();
        writeln!(terminal, "{question}:")?;
        terminal.flush()?;
    }
    let mut line = Zeroizing::new(String::with_capacity(4096));
    stdin.lock().read_line(&mut line)?;
    let text = line.trim();
    Ok((!text.is_empty()).then(|| Secret::new(text.as_bytes().to_vec())))
}

fn ask(question: &str, number: usize) -> io::Result<()> {
    let mut terminal = anstream::stderr();
    writeln!(terminal, "{question} {number}, or an empty line to end:")?;
    terminal.flush()
}

/// A terminal that does not show what is typed, until dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
