//! `groundwork answer`

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::confined_path;
use crate::console;
use crate::error::{Error, ErrorKind, Result};
use crate::prompt;
use crate::relay::Request;
use crate::ui;
use crate::visible::sanitize;

/// The longest request.
const LIMIT: u64 = 64 * 1024;

/// Give a key share to a person who breaks glass on another machine: show who asks and why, read the share, hidden, and
/// print one line that only their run can open.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The file with the request, as `groundwork break-glass --request` wrote it
    request: PathBuf,
    /// Who you are; shown to the one who asks
    #[arg(long = "as", value_name = "NAME")]
    name: String,
}

/// Shows the request, reads the share, prints the answer.
pub async fn run(args: AnswerArgs) -> Outcome {
    match answer(&args).await {
        Ok(line) => {
            console::out(line);
            Outcome::Done
        }
        Err(error) => {
            ui::error::show(&error);
            Outcome::Failed
        }
    }
}

async fn answer(args: &AnswerArgs) -> Result<String> {
    let local = |error: std::io::Error| {
        Error::new(ErrorKind::Local, format!("read {}", args.request.display()), error.to_string())
    };
    let request = Request::parse(&confined_path::read_caller_file(&args.request, LIMIT).map_err(local)?)?;
    let fields = [
        ("plan", &request.plan),
        ("server", &request.address),
        ("reason", &request.reason),
        ("asked by", &request.asked_by),
        ("at", &request.asked_at.to_string()),
    ];
    for (name, value) in fields {
        console::note(format_args!("{name:>9}  {}", sanitize(value)));
    }
    console::note("ask that person, over another way than the one this file came by, whether it is theirs");
    let share = prompt::secret_line("Your share".to_owned()).await.map_err(local)?;
    let share = share.ok_or_else(|| Error::new(ErrorKind::Local, "read the share", "there was none"))?;
    request.answer(&share, &args.name)
}
