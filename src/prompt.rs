//! Secrets that a person types, or that come through a pipe.

use std::io::{self, BufRead, IsTerminal};

use futures::future::select_all;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::console;
use crate::secret::Secret;

/// Notified when a signal arrives that would end the program, had a hidden prompt not caught it.
static ENDED: Notify = Notify::const_new();

/// Waits for a signal to end the program that came during a hidden prompt or after one.
pub async fn interrupted() {
    ENDED.notified().await;
}

/// Reads secrets from standard input, one a line, until it ends or, on a terminal, until an empty
/// line. A terminal shows `question`, with the number of what is asked for, and nothing of what is
/// typed.
///
/// # Errors
/// When standard input cannot be read, or a signal comes meanwhile.
pub async fn secret_lines(question: &'static str) -> io::Result<Vec<Secret>> {
    unseen(move |on_terminal| {
        let mut secrets = Vec::new();
        loop {
            if on_terminal {
                ask(question, secrets.len() + 1)?;
            }
            match line()? {
                (0, _) => return Ok(secrets),
                (_, Some(secret)) => secrets.push(secret),
                (_, None) if on_terminal => return Ok(secrets),
                (_, None) => {}
            }
        }
    })
    .await
}

/// Reads one secret, a line of standard input; `None` when there is none. A terminal shows `question`
/// but not the typed text. Further lines stay for the next caller.
///
/// # Errors
/// When standard input cannot be read, or a signal comes meanwhile.
pub async fn secret_line(question: String) -> io::Result<Option<Secret>> {
    unseen(move |on_terminal| {
        if on_terminal {
            console::question(format_args!("{question}:\n"))?;
        }
        Ok(line()?.1)
    })
    .await
}

/// A line of standard input: its length, and what stands in it.
fn line() -> io::Result<(usize, Option<Secret>)> {
    // Room beforehand, so that growing leaves no copies in memory.
    let mut line = Zeroizing::new(String::with_capacity(4096));
    let read = io::stdin().lock().read_line(&mut line)?;
    let text = line.trim();
    Ok((read, (!text.is_empty()).then(|| Secret::new(text.as_bytes().to_vec()))))
}

/// Runs what reads from standard input, with whether that is a terminal; one does not show what is
/// typed meanwhile. It is as before afterwards, whether the reading ends, a signal comes, or the caller
/// waits no longer.
async fn unseen<T: Send + 'static>(
    read: impl FnOnce(bool) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if !io::stdin().is_terminal() {
        return spawn_blocking(|| read(false)).await?;
    }
    // First, because a signal that ends the program at once would leave the terminal silent.
    let mut signals = Signals::new()?;
    let hidden = Hidden::begin()?;
    let outcome = tokio::select! {
        outcome = spawn_blocking(|| read(true)) => outcome?,
        () = signals.next() => {
            ENDED.notify_one();
            Err(io::Error::new(io::ErrorKind::Interrupted, "a signal came"))
        }
    };
    drop(hidden);
    tokio::spawn(async move {
        signals.next().await;
        ENDED.notify_one();
    });
    outcome
}

/// The signals that ask the program to end. Once this has existed, none of them ends the program by
/// itself.
struct Signals(Vec<Signal>);

impl Signals {
    fn new() -> io::Result<Self> {
        let all =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()];
        all.into_iter().map(signal).collect::<io::Result<_>>().map(Self)
    }

    async fn next(&mut self) {
        select_all(self.0.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
    }
}

fn ask(question: &str, number: usize) -> io::Result<()> {
    console::question(format_args!("{question} {number}, or an empty line to end:\n"))
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
