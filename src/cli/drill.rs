//! `groundwork drill`

use std::path::PathBuf;

use clap::Args;

use super::backup::{read_seal_key, source_of, typed_shares};
use super::plan::Format;
use super::plan_args::PlanArgs;
use super::signals::Signals;
use super::{Outcome, failed};
use crate::console;
use crate::drill::{Report, Verdict};
use crate::error::{Error, ErrorKind};
use crate::event::Events;
use crate::sandbox::{Host, OpenBao, VaultServer};
use crate::session::drill::{Options, keep, rehearse};
use crate::session::{self, Purpose};
use crate::ui;

/// Rehearse a recovery: restore the newest backup, with the real key shares, into a server of its own that reaches
/// nothing else, look at what came back, and measure it against `recovery:` of the plan. Production is only read, and
/// nothing is left on the disk but the report: 0 it passed; 3 the backup came back, and a target was missed or something
/// was wrong; 1 it did not come back.
#[derive(Debug, Args)]
pub struct DrillArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Another backup than the newest in the plan's stores: a file, or an object `s3://BUCKET/KEY`
    #[arg(long, value_name = "BACKUP")]
    from: Option<String>,
    /// Read key shares from standard input, one a line, hidden on a terminal; custody is not asked
    #[arg(long)]
    share: bool,
    /// The key of a `static` seal: a file with its 32 bytes, or with these in base64 or hexadecimal
    #[arg(long, value_name = "FILE")]
    seal_key: Option<PathBuf>,
    /// The server to restore into: a bao or vault binary, `path` for the one on PATH, or a version of OpenBao that the
    /// sandbox installs, 2.7.2 or 2.6.2
    #[arg(long, value_name = "BINARY", default_value = "2.7.2", value_parser = server)]
    vault: VaultServer,
    /// The folder in which the server has its own while the drill lasts [default: that of temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How to show the report. It is kept as JSON, Markdown and HTML in `.groundwork/drills` whatever this says
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

fn server(named: &str) -> Result<VaultServer, &'static str> {
    if named.is_empty() {
        return Err("name a program, or a version");
    }
    let pinned = [OpenBao::Current, OpenBao::WithKmsSeal].into_iter().find(|one| one.version() == named);
    Ok(match pinned {
        Some(version) => VaultServer::Pinned(version),
        None if named == "path" => VaultServer::OnPath,
        None => VaultServer::Path(named.into()),
    })
}

/// Rehearses, shows and keeps the report.
pub async fn run(args: DrillArgs) -> Outcome {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    // What is cut off ends the server and deletes its folder.
    tokio::select! {
        outcome = drill(args) => outcome.unwrap_or_else(|error| failed(&error)),
        () = signals.next() => {
            console::note("\nstopped; nothing of the drill is left, and no report was written");
            Outcome::Failed
        }
    }
}

async fn drill(args: DrillArgs) -> Result<Outcome, session::Error> {
    let mut checked = args.plan.open(Purpose::Connect).await?;
    let options = Options {
        source: source_of(args.from.as_deref())?,
        shares: if args.share { Some(typed_shares().await?) } else { None },
        seal_key: args.seal_key.as_deref().map(read_seal_key).transpose()?,
        server: args.vault,
        folder: args.dir.unwrap_or_else(std::env::temp_dir),
        host: Host::from_env(),
    };
    let told = |phase: &str| {
        if args.format == Format::Human {
            console::note(format_args!("{phase} …"));
        }
    };
    let report = rehearse(&mut checked, options, &Events::default(), &told).await?;
    show(&report, args.format)?;
    let others = [("md", ui::drill::markdown(&report)), ("html", ui::drill::html(&report))];
    let kept = keep(&checked, &report, &others)?;
    console::note(format_args!("kept as {}", kept.display()));
    Ok(match report.verdict {
        Verdict::Passed => Outcome::Done,
        Verdict::Missed => Outcome::Stuck,
        Verdict::Failed => Outcome::Failed,
    })
}

fn show(report: &Report, format: Format) -> Result<(), Error> {
    match format {
        Format::Human => console::out(ui::drill::human(report)),
        Format::Json => console::json(
            &serde_json::to_value(report)
                .map_err(|error| Error::new(ErrorKind::Local, "show the report", error.to_string()))?,
        ),
    }
    Ok(())
}
