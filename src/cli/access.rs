//! `groundwork access`

use clap::{Args, ValueEnum};

use super::plan::compare;
use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::access::Access;
use crate::console;
use crate::session::{self, PARALLELISM};
use crate::ui;
use crate::ui::access::View;

/// Show who can reach what, in AWS and in Vault.
#[derive(Debug, Args)]
pub struct AccessArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Only this principal or this target: the id of a step, a name, a path of Vault, an ARN
    #[arg(value_name = "PATH|ARN|ID")]
    about: Option<String>,
    /// Ask the live systems what the declared things are now, instead of what the plan declares
    #[arg(long)]
    live: bool,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: AccessFormat,
}

/// How the answer is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AccessFormat {
    /// For people, on a terminal
    #[default]
    Human,
    /// For programs
    Json,
    /// One page for a browser: a matrix
    Html,
}

/// Reads the plan, or the live systems, and shows who can reach what.
pub async fn run(args: AccessArgs) -> Outcome {
    match find(&args).await {
        Ok((plan, access)) => show(&args, &plan, access),
        Err(error) => failed(&error),
    }
}

/// The plan's name, and the answer.
async fn find(args: &AccessArgs) -> Result<(String, Access), session::Error> {
    if !args.live {
        let checked = args.plan.check()?;
        return Ok((checked.resolved.document.name.clone(), session::declared_access(&checked)));
    }
    let progress = match args.format {
        AccessFormat::Human => super::plan::Format::Human,
        AccessFormat::Json | AccessFormat::Html => super::plan::Format::Json,
    };
    let (session, _) = compare(&args.plan, PARALLELISM, progress).await?;
    Ok((session.world.resolved.document.name.clone(), session.live_access().await))
}

fn show(args: &AccessArgs, plan: &str, access: Access) -> Outcome {
    let access = match &args.about {
        None => access,
        Some(name) => match access.about(name) {
            Ok(access) => access,
            Err(unknown) => {
                console::note(ui::access::unknown(&unknown));
                return Outcome::Failed;
            }
        },
    };
    let view = View { plan, access: &access, is_live: args.live, about: args.about.as_deref() };
    match args.format {
        AccessFormat::Human => console::out(ui::access::human(&view, console::width()).trim_end()),
        AccessFormat::Json => console::json(&view.json()),
        AccessFormat::Html => console::out(ui::access::html(&view)),
    }
    Outcome::Done
}
