//! Shows a rebuild to people: what is lost, the order, and how long it took.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::style::{BAD, CHANGE, FAINT, GOOD, STRONG, paint};
use crate::rebuild::{Outlook, Part, Times, VaultPhase};
use crate::session::LostJournal;

/// The outlook on a rebuild, with the losses first.
pub fn outlook(outlook: &Outlook) -> String {
    let mut text = paint(STRONG, "Not brought back");
    match (&outlook.vault, outlook.taken) {
        (VaultPhase::Kept { .. }, _) => {}
        (_, Some(taken)) => {
            let _ = write!(
                text,
                "\n  {}  everything that was written to Vault since the backup, {}, {} ago",
                paint(BAD, "lost"),
                taken.strftime("%Y-%m-%d %H:%M:%S UTC"),
                length(age(taken))
            );
        }
        (_, None) => {
            let _ = write!(
                text,
                "\n  {}  everything that was written to Vault since the backup; nothing says when it was taken",
                paint(BAD, "lost")
            );
        }
    }
    if outlook.vault.is_restored() {
        let _ = write!(
            text,
            "\n  {}  what was revoked since the backup is good again, and leases issued since are forgotten",
            paint(CHANGE, "back")
        );
    }
    for loss in &outlook.losses {
        let _ =
            write!(text, "\n  {}  {} ({}) comes back {}", paint(BAD, "lost"), loss.step, loss.name, loss.how);
    }
    if outlook.losses.is_empty() && !outlook.vault.is_restored() {
        text.push_str("\n  nothing is lost");
    }
    let _ = write!(text, "\n{}", paint(STRONG, "In this order"));
    let _ = write!(
        text,
        "\n  1  AWS and files: {} steps, of which {} are missing",
        outlook.first.len(),
        outlook.first_missing
    );
    let _ = write!(text, "\n  2  {}", vault(outlook));
    let _ = write!(text, "\n  3  the rest of the plan: {} steps that wait for Vault", outlook.behind);
    if outlook.has_custody {
        text.push_str("\n  4  custody: sealed for the recipients of then, and copied to every store");
    }
    text.push_str("\n  5  verify");
    for (step, why) in &outlook.blocked {
        let _ = write!(text, "\n  {}  {step}: {why}", paint(BAD, "blocked"));
    }
    text
}

fn vault(outlook: &Outlook) -> String {
    match &outlook.vault {
        VaultPhase::Kept { address } => {
            format!("Vault is still there, at {address}: its data are younger than the backup and stay")
        }
        VaultPhase::Restored { address, others, opens, begun } => {
            let begun = if *begun { " (an earlier rebuild has begun it)" } else { "" };
            let joining = match others {
                0 => String::new(),
                1 => "; 1 server joins it".to_owned(),
                others => format!("; {others} servers join it"),
            };
            format!(
                "Vault: {address} is initialised, gets the backup and opens {opens}{joining}{begun}\n     {}",
                paint(FAINT, outlook.brings.join(", "))
            )
        }
    }
}

/// A journal that is gone, and the one that takes its place.
pub fn lost_journal(lost: &LostJournal) -> String {
    let seen = match lost.seen {
        Some(seen) if seen > lost.lines => format!(
            "; this machine has seen {seen}, so {} lines are lost, and with them what was made since is not known as \
             the plan's",
            seen - lost.lines
        ),
        _ => String::new(),
    };
    format!("The plan's journal is gone. The backup has one of {} lines{seen}.", lost.lines)
}

/// How long the phases took, and how old the data are.
pub fn times(times: &Times, outlook: &Outlook) -> String {
    let mut text = paint(STRONG, "How long it took");
    for part in &times.parts {
        line(&mut text, part, 2);
    }
    let _ = write!(text, "\n  {:>9}  {}", seconds(times.total()), paint(GOOD, "in all (RTO)"));
    if let Some(taken) = outlook.taken.filter(|_| outlook.vault.is_restored()) {
        let _ = write!(text, "\n  {:>9}  the age of the backup now (RPO)", length(age(taken)));
    }
    text
}

fn line(text: &mut String, part: &Part, indent: usize) {
    let _ = write!(text, "\n{:indent$}{:>9}  {}", "", seconds(part.took), part.name);
    for inner in &part.parts {
        line(text, inner, indent + 4);
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

fn age(taken: Timestamp) -> i64 {
    (Timestamp::now().as_second() - taken.as_second()).max(0)
}

fn length(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
