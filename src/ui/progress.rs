//! Events as they happen: a live display on a terminal, plain lines elsewhere, or JSON.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::console;
use crate::event::{Event, Summary};
use crate::visible::on_terminal;

/// A display that runs until its events end.
#[must_use]
pub struct Progress(JoinHandle<()>);

impl Progress {
    /// Waits until everything has been shown. The senders must have been dropped.
    pub async fn finish(self) {
        // A display that panicked has shown what it could.
        let _ = self.0.await;
    }
}

/// How often progress is reported without a terminal to draw on.
const EVERY: Duration = Duration::from_secs(10);

/// Shows what is being read: on a terminal as a spinner that is cleared at the end; elsewhere as a line
/// now and then.
pub fn quiet(mut events: UnboundedReceiver<Event>, wanted: bool) -> Progress {
    Progress(tokio::spawn(async move {
        let bar = (wanted && is_live()).then(spinner);
        let mut told = Instant::now();
        while let Some(event) = events.recv().await {
            match (event, &bar) {
                (Event::Progress { message }, Some(bar)) => {
                    bar.set_message(on_terminal(&message).into_owned());
                }
                (Event::Progress { message }, None) if wanted && told.elapsed() >= EVERY => {
                    told = Instant::now();
                    console::note(message);
                }
                (Event::Warning { message }, _) => warn(&message),
                _ => {}
            }
        }
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }))
}

/// Steps as they are written, `total` of them.
pub fn apply(mut events: UnboundedReceiver<Event>, total: usize) -> Progress {
    Progress(tokio::spawn(async move {
        let mut live = Live::new(total);
        while let Some(event) = events.recv().await {
            live.show(&event);
        }
    }))
}

/// One JSON object a line.
pub fn json(mut events: UnboundedReceiver<Event>) -> Progress {
    Progress(tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            console::json_line(&event);
        }
    }))
}

/// Whether lines may be drawn over: on a terminal, unless every request is reported there too.
fn is_live() -> bool {
    std::io::stderr().is_terminal() && !crate::trace::is_on()
}

fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn warn(message: &str) {
    console::note(format_args!("{}: {message}", paint(CHANGE.bold(), "warning")));
}

/// One spinner for each step that is being written, above them the finished ones as lines.
struct Live {
    bars: Option<MultiProgress>,
    running: HashMap<String, ProgressBar>,
    total: usize,
    ended: usize,
}

impl Live {
    fn new(total: usize) -> Self {
        let bars = is_live().then(MultiProgress::new);
        Self { bars, running: HashMap::new(), total, ended: 0 }
    }

    fn show(&mut self, event: &Event) {
        match event {
            Event::StepStarted { id, action } => self.start(id, action),
            Event::StepFinished { id, action, ms } => {
                let line = format!("{}  {} {}", paint(GOOD, "✓"), past(action), paint(STRONG, id));
                self.end(id, &format!("{line}  {}", paint(FAINT, seconds(*ms))));
            }
            Event::StepFailed { id, action, place, error, advice, .. } => {
                let mut line = format!("{}  {action} {}: {error}", paint(BAD.bold(), "✗"), paint(STRONG, id));
                if let Some(place) = place {
                    line.push_str(&format!("\n     {}: {place}", paint(STRONG, "declared in")));
                }
                if let Some(advice) = advice {
                    line.push_str(&format!("\n     {}: {advice}", paint(STRONG, "what to do")));
                }
                self.end(id, &line);
            }
            Event::StepSkipped { id, reason } => {
                self.line(&format!("{}  {id}: {reason}", paint(CHANGE, "–")));
            }
            Event::StepRetried { id, error } => {
                self.line(&format!("{}  {id} again, after: {error}", paint(CHANGE, "↻")));
            }
            Event::Progress { message } => self.line(&paint(FAINT, message)),
            Event::Warning { message } => {
                self.line(&format!("{}: {message}", paint(CHANGE.bold(), "warning")));
            }
            Event::Summary(counts) => self.line(&summary(counts)),
        }
    }

    fn start(&mut self, id: &str, action: &str) {
        if let Some(bars) = &self.bars {
            let bar = bars.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("{spinner}  {msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.set_message(on_terminal(&format!("{action} {id}")).into_owned());
            bar.enable_steady_tick(Duration::from_millis(100));
            self.running.insert(id.to_owned(), bar);
        }
    }

    fn end(&mut self, id: &str, line: &str) {
        if let Some(bar) = self.running.remove(id) {
            bar.finish_and_clear();
        }
        self.ended += 1;
        let count = paint(FAINT, format_args!("[{:>3}/{}]", self.ended, self.total.max(self.ended)));
        self.line(&format!("{count} {line}"));
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) if !self.running.is_empty() => bars.suspend(|| console::note(line)),
            _ => console::note(line),
        }
    }
}

fn past(action: &str) -> &str {
    match action {
        "create" => "created",
        "update" => "updated",
        "adopt" => "adopted",
        "replace" => "replaced",
        "delete" => "deleted",
        other => other,
    }
}

#[expect(clippy::cast_precision_loss, reason = "durations of runs are far below 2^52 milliseconds")]
fn seconds(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1000.0)
}

fn summary(counts: &Summary) -> String {
    let mut parts = vec![format!("{} done", counts.done), format!("{} unchanged", counts.unchanged)];
    if counts.failed > 0 {
        parts.push(paint(BAD.bold(), format_args!("{} failed", counts.failed)));
    }
    if counts.skipped > 0 {
        parts.push(paint(CHANGE, format_args!("{} not started", counts.skipped)));
    }
    let calls = counts.api_calls;
    let mut text = format!(
        "\n{} in {}; API calls: {} reading, {} writing",
        parts.join(", "),
        seconds(counts.ms),
        calls.read,
        calls.write
    );
    if calls.login > 0 {
        text.push_str(&format!(", {} login{}", calls.login, if calls.login == 1 { "" } else { "s" }));
    }
    text
}
