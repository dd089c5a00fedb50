//! `groundwork rotate`

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::apply::{self, ApplyArgs};
use super::lock_args::LockArgs;
use super::plan::{Format, for_review, observed};
use super::plan_args::PlanArgs;
use super::rotate_keys::{self, How, KeyArgs};
use super::signals::Signals;
use super::{Outcome, ending_on_signal, failed};
use crate::changeset::{Action, Changeset};
use crate::console;
use crate::review::Review;
use crate::session::rotate::{Rotated, Standing, waiting};
use crate::session::{self, PARALLELISM, Purpose, Session};
use crate::ui;

/// Give secrets in use new values: by step, those whose date has come, or the keys of the cluster itself. The old value goes when its users have the
/// new one; where that takes time, a later run goes on, and `status` shows what is pending. Without a step and without
/// `--due`, show what can be rotated and when it is due. Exit codes: 0 done; 1 it failed; 3 something is blocked;
/// 4 an outcome is unknown. With `--due`: 0 nothing was due; 2 something was rotated; 4 a person is needed; 1 it failed.
#[derive(Debug, Args)]
pub struct RotateArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// The steps to rotate; `ID[KEY]` is one instance of a repeated step
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Rotate what is due, and go on with every rotation that is under way
    #[arg(long, conflicts_with_all = ["ids", "rollback"])]
    due: bool,
    /// Go back to the secret that this step had before, as long as it is not deleted
    #[arg(long, value_name = "ID", conflicts_with = "ids")]
    rollback: Option<String>,
    #[command(flatten)]
    keys: KeyArgs,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Go on although the caller seems to lack permissions
    #[arg(long)]
    no_preflight: bool,
    #[command(flatten)]
    lock: LockArgs,
    /// How to report: text, or JSON
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How many steps are written at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

impl RotateArgs {
    fn wanted(&self) -> Rotated {
        match (&self.rollback, self.due, self.ids.is_empty()) {
            (Some(id), ..) => Rotated::Back(id.clone()),
            (None, true, _) => Rotated::Due,
            (None, false, true) => Rotated::Nothing,
            (None, false, false) => Rotated::Steps(self.ids.clone()),
        }
    }

    /// The exit code: a schedule has to know whether something was done, and whether a person is needed.
    fn outcome(&self, outcome: Outcome, rotated: bool) -> Outcome {
        match outcome {
            outcome if !self.due => outcome,
            Outcome::Stuck => Outcome::Unknown,
            Outcome::Done if rotated => Outcome::Pending,
            outcome => outcome,
        }
    }
}

/// Shows, asks, rotates.
pub async fn run(args: RotateArgs) -> Outcome {
    if args.keys.is_any() {
        return ending_on_signal(keys_of_cluster(&args)).await;
    }
    let writes = !args.dry_run && !matches!(args.wanted(), Rotated::Nothing);
    if args.format == Format::Json && writes && !args.yes {
        console::note("error: --format json does not ask: add --yes or --dry-run");
        return Outcome::Usage;
    }
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    rotate(&args, &mut signals).await.unwrap_or_else(|error| failed(&error))
}

async fn keys_of_cluster(args: &RotateArgs) -> Outcome {
    let how = How { plan: &args.plan, lock: &args.lock, yes: args.yes, dry_run: args.dry_run };
    rotate_keys::run(&args.keys, &how).await.unwrap_or_else(|error| failed(&error))
}

async fn rotate(args: &RotateArgs, signals: &mut Signals) -> Result<Outcome, session::Error> {
    let wanted = args.wanted();
    let (session, changeset) = tokio::select! {
        prepared = prepare(args, &wanted) => prepared?,
        () = signals.next() => {
            console::note("\nstopped; nothing was changed");
            return Ok(Outcome::Failed);
        }
    };
    let Some(changeset) = changeset else {
        show_standings(args.format, &session.standings());
        return Ok(Outcome::Done);
    };
    show(args, &session, &changeset);
    let waits_for_person = waiting(&changeset, &session.standings()).iter().any(needs_person);
    let stuck = changeset.summary.stuck() > 0 || args.due && waits_for_person;
    let nothing = changeset.summary.writing() == 0 && !session.completes_rotation();
    if args.dry_run || nothing {
        let outcome = if stuck { Outcome::Stuck } else { Outcome::Done };
        return Ok(args.outcome(outcome, !nothing));
    }
    carry_out(args, session, &changeset, signals).await
}

/// The changeset of the rotation; none where only the standings are asked for.
async fn prepare(
    args: &RotateArgs,
    wanted: &Rotated,
) -> Result<(Session, Option<Changeset>), session::Error> {
    let checked = args.plan.open(Purpose::Everything).await?;
    let only_looks = args.dry_run || matches!(wanted, Rotated::Nothing);
    let lock = (!only_looks).then_some(args.lock);
    let mut session = observed(checked, args.parallelism, args.format, lock).await?;
    if matches!(wanted, Rotated::Nothing) {
        return Ok((session, None));
    }
    let changeset = session.rotation(wanted, Timestamp::now()).await?;
    let (session, changeset) = for_review((session, changeset)).await;
    Ok((session, Some(changeset)))
}

async fn carry_out(
    args: &RotateArgs,
    mut session: Session,
    changeset: &Changeset,
    signals: &mut Signals,
) -> Result<Outcome, session::Error> {
    if !args.no_preflight {
        apply::require_permissions(changeset)?;
    }
    let agreed = tokio::select! {
        agreed = approve(args, changeset) => agreed,
        () = signals.next() => false,
    };
    if !agreed {
        console::note("nothing was changed");
        return Ok(Outcome::Failed);
    }
    let parts = ApplyArgs::new(args.plan.clone(), args.yes, args.lock, args.format, args.parallelism);
    let report = apply::write(&parts, &mut session, changeset, signals).await?;
    let outcome = match Outcome::of_apply(&session.world, &report, &changeset.summary) {
        Outcome::Done if args.due && session.standings().iter().any(needs_person) => Outcome::Stuck,
        outcome => outcome,
    };
    tell_pending(args, &session, &report.done);
    Ok(args.outcome(outcome, !report.done.is_empty() || session.completes_rotation()))
}

fn needs_person(standing: &Standing) -> bool {
    standing.pending.as_ref().is_some_and(|pending| pending.needs_person)
}

async fn approve(args: &RotateArgs, changeset: &Changeset) -> bool {
    let count = changeset.summary.writing();
    if args.yes || count == 0 {
        return true;
    }
    if !console::can_ask("rotate") {
        return false;
    }
    let question = match count {
        1 => "Carry out this change? [y/N] ".to_owned(),
        _ => format!("Carry out these {count} changes? [y/N] "),
    };
    tokio::task::spawn_blocking(move || console::ask(question)).await.unwrap_or(false)
}

fn show(args: &RotateArgs, session: &Session, changeset: &Changeset) {
    let waiting = waiting(changeset, &session.standings());
    let review =
        Review::new(changeset, session.world.resolved.registry, session.world.whereabouts.as_deref());
    match args.format {
        Format::Human if changeset.steps.iter().all(|step| step.action == Action::None) => {
            console::out(ui::rotate::nothing(&waiting));
        }
        Format::Human => {
            ui::changeset::show(&review, false);
            if !waiting.is_empty() {
                console::out(ui::rotate::waiting(&waiting));
            }
        }
        Format::Json if args.dry_run => {
            console::json(&json!({ "changeset": review.json(), "waiting": waiting }));
        }
        Format::Json => {}
    }
}

fn show_standings(format: Format, standings: &[Standing]) {
    match format {
        Format::Human => console::out(ui::rotate::standings(standings, Timestamp::now())),
        Format::Json => console::json(&json!({ "format_version": "1", "steps": standings })),
    }
}

/// Shows the rotations that a later run goes on with.
fn tell_pending(args: &RotateArgs, session: &Session, done: &[String]) {
    let standings = session.standings();
    let pending: Vec<Standing> =
        standings.into_iter().filter(|one| one.pending.is_some() && session.rotates(&one.id)).collect();
    match args.format {
        Format::Human if pending.is_empty() => {}
        Format::Human => console::out(ui::rotate::waiting(&pending)),
        Format::Json => {
            console::json_line(&json!({ "event": "rotation", "done": done, "pending": pending }));
        }
    }
}
