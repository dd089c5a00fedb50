//! `groundwork permissions`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::plan_args::PlanArgs;
use super::{Outcome, failed};
use crate::console;
use crate::run::{Command, LeastPolicy};
use crate::session;
use crate::ui;

/// Show the least policies of AWS and Vault, and roles of Kubernetes, with which a command can run on a plan.
#[derive(Debug, Args)]
pub struct PermissionsArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The command that is to run
    #[arg(long = "for", value_name = "COMMAND", value_enum, default_value_t)]
    command: ForCommand,
    /// How to show them
    #[arg(long, value_enum, default_value_t)]
    format: PermissionsFormat,
    /// Write each policy into a file of its own in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A command that needs permissions.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ForCommand {
    /// Read what is there
    Plan,
    /// Read it, and make and change what is declared
    #[default]
    Apply,
    /// Read it, and remove what the plan has made
    Destroy,
    /// Read it, and prove that it works
    Verify,
    /// Take a backup of Vault
    Backup,
    /// Restore a whole backup of Vault
    Restore,
    /// Rotate secrets, with every phase of it
    Rotate,
}

/// A form of the policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum PermissionsFormat {
    /// For people: every policy, with remarks
    #[default]
    Human,
    /// For programs: every policy, with remarks
    Json,
    /// The policy of Vault by itself, as `vault policy write NAME -` takes it
    Hcl,
    /// Steps that make the policies, for a file that a plan includes
    Plan,
}

/// Derives the policies from the plan; asks no server.
pub fn run(args: &PermissionsArgs) -> Outcome {
    let command = match args.command {
        ForCommand::Plan => Command::Plan,
        ForCommand::Apply => Command::Apply,
        ForCommand::Destroy => Command::Destroy,
        ForCommand::Verify => Command::Verify,
        ForCommand::Backup => Command::Backup,
        ForCommand::Restore => Command::Restore,
        ForCommand::Rotate => Command::Rotate,
    };
    let found = args.plan.check().and_then(|checked| {
        let policies = session::least_policies(&checked, command)?;
        Ok((checked.resolved.document.name.clone(), policies))
    });
    let (plan, policies) = match found {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let named = ui::permissions::named(&plan, command, &policies);
    if let Some(folder) = &args.out {
        return save(folder, &named);
    }
    match args.format {
        PermissionsFormat::Human => console::out(ui::permissions::human(&plan, command, &named)),
        PermissionsFormat::Json => console::json(&ui::permissions::json(&plan, command, &named)),
        PermissionsFormat::Plan => console::out(ui::permissions::steps(&plan, command, &named)),
        PermissionsFormat::Hcl => match named.iter().find(|(_, policy)| policy.ending == "hcl") {
            Some((_, policy)) => console::out(&policy.text),
            None => {
                console::note("the plan needs no policy of Vault for this");
            }
        },
    }
    Outcome::Done
}

fn save(folder: &Path, named: &[(String, &LeastPolicy)]) -> Outcome {
    if let Err(error) = std::fs::create_dir_all(folder) {
        console::note(format_args!("error: cannot make the folder {}: {error}", folder.display()));
        return Outcome::Failed;
    }
    for (name, policy) in named {
        let path = folder.join(format!("{name}.{}", policy.ending));
        let written = File::create(&path).and_then(|mut file| writeln!(file, "{}", policy.text));
        if let Err(error) = written {
            console::note(format_args!("error: cannot write {}: {error}", path.display()));
            return Outcome::Failed;
        }
        console::out(path.display());
        for note in &policy.notes {
            console::note(format_args!("  {note}"));
        }
    }
    Outcome::Done
}
