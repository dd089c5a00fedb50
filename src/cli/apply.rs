//! `groundwork apply`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::sync::watch;

use super::lock_args::{LockArgs, duration};
use super::new_nodes::NewNodes;
use super::plan::{Format, prepare_alone};
use super::plan_args::PlanArgs;
use super::select_args::SelectArgs;
use super::signals::Signals;
use super::{ENVIRONMENT, Outcome, failed, permission};
use crate::apply::{Approved, Options};
use crate::changeset::{Action, Changeset, RemovalScope, Selection};
use crate::console;
use crate::error::{Error, ErrorKind};
use crate::event::Events;
use crate::providers::PROVIDERS;
use crate::review::Review;
use crate::run::Awaited;
use crate::saved::{self, PlanRecord, Saved, SealKey};
use crate::session::{self, PARALLELISM, Purpose, Session};
use crate::ui;
use crate::visible::first_few;

/// How old a review may be, unless the caller says otherwise.
const MAX_AGE: Duration = Duration::from_hours(24);
/// How long a run that is stopped at once tries to give its lock back.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Show what will change, ask, and do it: for a plan, or for the changes that `plan --out` saved.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Remove things of this plan that are no longer declared
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    select: SelectArgs,
    /// Fail, before anything is written, when a step cannot be planned completely
    #[arg(long)]
    strict: bool,
    /// Refuse a saved changeset that is older: `30m`, `7d` [default: 24h]
    #[arg(long, value_name = "AGE", value_parser = age)]
    max_age: Option<Duration>,
    /// Refuse a saved changeset of any other plan than this
    #[arg(long = "plan", id = "expected_plan", value_name = "PLAN")]
    expected: Option<PathBuf>,
    /// Refuse a saved changeset of any other commit than this; the plan's repository may be at another one,
    /// such as the merge of it [default: the commit that is checked out]
    #[arg(long, value_name = "COMMIT", value_parser = commit)]
    commit: Option<String>,
    /// Go on although the caller lacks permissions, e.g. because the changes themselves give them
    #[arg(long)]
    no_preflight: bool,
    #[command(flatten)]
    lock: LockArgs,
    /// The plan's name, by which a complete teardown is confirmed.
    #[arg(skip)]
    confirm: Option<String>,
    /// How to report: text, or one JSON event a line
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// How many steps are written at the same time
    #[arg(long, value_name = "N", default_value_t = PARALLELISM)]
    parallelism: usize,
}

impl ApplyArgs {
    /// The same, confirmed with this name.
    pub(super) fn confirmed(self, confirm: Option<String>) -> Self {
        Self { confirm, ..self }
    }

    /// The same, for this part of the plan.
    pub(super) fn limited_to(self, part: Selection) -> Self {
        Self { select: part.into(), ..self }
    }

    /// As given on a command line.
    pub(super) fn new(plan: PlanArgs, yes: bool, lock: LockArgs, format: Format, parallelism: usize) -> Self {
        let select = SelectArgs::default();
        let (strict, max_age, expected, commit) = (false, None, None, None);
        Self {
            plan,
            yes,
            prune: false,
            select,
            strict,
            max_age,
            expected,
            commit,
            no_preflight: false,
            lock,
            confirm: None,
            format,
            parallelism,
        }
    }
}

/// Applies the plan. Steps that were deferred because something did not exist yet are planned again
/// and confirmed again, as long as each round makes progress.
pub async fn run(mut args: ApplyArgs) -> Outcome {
    if args.prune {
        args.plan = args.plan.with_extent(RemovalScope::Undeclared);
    }
    args.plan = args.plan.with_selection(args.select.selection());
    if args.format == Format::Json && !args.yes && args.confirm.is_none() {
        console::note("error: --format json does not ask: add --yes");
        return Outcome::Usage;
    }
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return failed(&error.into()),
    };
    if saved::is_saved(&args.plan.plan) {
        return apply_saved(&args, &mut signals).await;
    }
    if args.max_age.is_some() || args.expected.is_some() || args.commit.is_some() {
        console::note(
            "error: --max-age, --plan and --commit belong to changes that `plan --out` saved, and this is a plan",
        );
        return Outcome::Usage;
    }
    let mut nodes = NewNodes::default();
    loop {
        match round(&mut args, &mut nodes, &mut signals).await {
            Ok(Round::Again) => {}
            Ok(Round::Ended(outcome)) => return outcome,
            Err(error) => return failed(&error),
        }
    }
}

/// Applies exactly the changes that were saved. Steps that were deferred then have not been reviewed,
/// so they are not applied, not even with `--yes`.
async fn apply_saved(args: &ApplyArgs, signals: &mut Signals) -> Outcome {
    if args.prune || !args.select.selection().is_empty() {
        console::note(
            "error: a saved changeset says itself what it is about: leave --prune, --target and --replace out",
        );
        return Outcome::Usage;
    }
    match saved_round(args, signals).await {
        Ok(Round::Again) => {
            console::note(
                "the deferred steps can be planned now; they were not part of the review: save and review \
                 them with `groundwork plan PLAN --out FILE`",
            );
            Outcome::Stuck
        }
        Ok(Round::Ended(outcome)) => outcome,
        Err(error) => failed(&error),
    }
}

async fn saved_round(args: &ApplyArgs, signals: &mut Signals) -> Result<Round, session::Error> {
    let key = SealKey::of_caller(&ENVIRONMENT)?;
    let saved = Saved::read(&args.plan.plan, args.max_age.unwrap_or(MAX_AGE), key.as_ref())?;
    let path = saved.plan(&args.plan.plan, args.expected.as_deref())?;
    let plan = args.plan.of_saved(&saved.content.plan, path, args.commit.clone())?;
    let (checked, origin) = (plan.open(Purpose::Everything).await?, plan.origin()?);
    let now = PlanRecord::of(&origin, &checked.resolved, checked.instances.iter().map(AsRef::as_ref));
    let changed = saved.content.plan.differences(&now);
    if !changed.is_empty() {
        return Err(session::Error::Outdated(changed));
    }
    let (session, changeset) = tokio::select! {
        prepared = prepare_alone(checked, args.parallelism, args.format, args.lock) => prepared?,
        () = signals.next() => return Ok(Round::stopped_early()),
    };
    let changed = saved::differences(&saved.content, &session.record(&changeset, &origin));
    if !changed.is_empty() {
        return Err(session::Error::Outdated(changed));
    }
    carry_out(args, session, &changeset, &mut NewNodes::default(), signals).await
}

fn age(text: &str) -> Result<Duration, String> {
    let age = duration(text)?;
    if age.is_zero() { Err("a review that may not have an age is none".to_owned()) } else { Ok(age) }
}

fn commit(text: &str) -> Result<String, String> {
    let commit = text.to_ascii_lowercase();
    saved::commit::is_commit(&commit)
        .then_some(commit)
        .ok_or_else(|| "write the whole name of the commit, 40 hexadecimal digits".to_owned())
}

enum Round {
    /// Something was done or allowed, and something that had to wait may be possible now.
    Again,
    Ended(Outcome),
}

impl Round {
    /// A signal came before anything was written.
    fn stopped_early() -> Self {
        console::note("\nstopped; nothing was changed");
        Self::Ended(Outcome::Failed)
    }
}

async fn round(
    args: &mut ApplyArgs,
    nodes: &mut NewNodes,
    signals: &mut Signals,
) -> Result<Round, session::Error> {
    let prepared = async {
        let checked = args.plan.open(Purpose::Everything).await?;
        prepare_alone(checked, args.parallelism, args.format, args.lock).await
    };
    let (session, changeset) = tokio::select! {
        prepared = prepared => prepared?,
        () = signals.next() => return Ok(Round::stopped_early()),
    };
    if !args.yes && permission::can_ask() {
        let allowed = tokio::select! {
            allowed = nodes.ask(&changeset) => allowed,
            () = signals.next() => return Ok(Round::stopped_early()),
        };
        if let Some(grants) = allowed {
            args.plan.allow(grants);
            return Ok(Round::Again);
        }
    }
    carry_out(args, session, &changeset, nodes, signals).await
}

/// Shows, asks, writes.
async fn carry_out(
    args: &ApplyArgs,
    mut session: Session,
    changeset: &Changeset,
    nodes: &mut NewNodes,
    signals: &mut Signals,
) -> Result<Round, session::Error> {
    if args.strict {
        session.require_complete(changeset)?;
    }
    if args.format == Format::Human {
        let all = session.world.extent.removes_all();
        let (registry, place) = (session.world.resolved.registry, session.world.whereabouts.as_deref());
        ui::changeset::show(&Review::new(changeset, registry, place), all);
    }
    if !args.no_preflight {
        require_permissions(changeset)?;
    }
    if changeset.needs_approval() {
        let agreed = tokio::select! {
            agreed = approve(args, changeset, nodes) => agreed,
            () = signals.next() => return Ok(Round::stopped_early()),
        };
        if !agreed {
            return Ok(Round::Ended(Outcome::Failed));
        }
    }
    let report = write(args, &mut session, changeset, signals).await?;
    let outcome = Outcome::of_apply(&session.world, &report, &changeset.summary);
    let deferred = changeset.steps.iter().any(|step| step.action == Action::Deferred);
    if outcome == Outcome::Stuck && deferred && !report.done.is_empty() {
        return Ok(Round::Again);
    }
    Ok(Round::Ended(outcome))
}

/// How many missing permissions the error names; the review has all of them.
const NAMED: usize = 3;

/// Refuses a changeset that would fail halfway for lack of permissions.
pub(super) fn require_permissions(changeset: &Changeset) -> Result<(), session::Error> {
    let lacking = &changeset.lacking;
    if lacking.is_empty() {
        return Ok(());
    }
    let named = lacking.iter().map(|one| format!("{} on {} for {}", one.action, one.resource, one.step));
    let named = first_few(named, NAMED, ", ");
    let message = format!("the caller lacks permissions for these changes: {named}; nothing was written");
    let advice = "give the caller what `groundwork permissions PLAN` shows, or use other credentials; if these \
                  changes themselves give it the permissions, use --no-preflight";
    Err(Error::new(ErrorKind::Denied, "apply", message).advice(advice).into())
}

async fn approve(args: &ApplyArgs, changeset: &Changeset, nodes: &mut NewNodes) -> bool {
    if changeset.removes == RemovalScope::Teardown {
        return approve_teardown(args, &changeset.plan.name).await;
    }
    if args.yes {
        return true;
    }
    if !console::can_ask("apply") {
        return false;
    }
    if !nodes.are_confirmed(changeset).await {
        console::note("nothing was changed");
        return false;
    }
    let count = changeset.summary.writing();
    let name = removes_protected(changeset).then(|| changeset.plan.name.clone());
    let removal = changeset.removes == RemovalScope::Everything;
    let answer = tokio::task::spawn_blocking(move || match name {
        Some(name) => console::ask_for(
            format!(
                "Something is removed that is protected by default. To go on, type the plan's name, {name}: "
            ),
            &name,
        ),
        None => console::ask(match (removal, count) {
            (true, 1) => "Remove this one thing? [y/N] ".to_owned(),
            (true, _) => format!("Remove these {count} things? [y/N] "),
            (false, 0) => "Nothing else is to do. Is where this goes as you want it? [y/N] ".to_owned(),
            (false, 1) => "Apply this change? [y/N] ".to_owned(),
            (false, _) => format!("Apply these {count} changes? [y/N] "),
        }),
    })
    .await;
    let agreed = answer.unwrap_or(false);
    if !agreed {
        console::note("nothing was changed");
    }
    agreed
}

/// A complete teardown takes the plan's name, from a terminal or from the command line; `--yes` is not enough.
async fn approve_teardown(args: &ApplyArgs, name: &str) -> bool {
    let agreed = match &args.confirm {
        Some(confirmed) if confirmed == name => true,
        Some(confirmed) => {
            console::note(format_args!("error: `--confirm {confirmed}` is not the plan's name, {name}"));
            false
        }
        None if std::io::stdin().is_terminal() => {
            let question = format!("Everything goes, for good. To go on, type the plan's name, {name}: ");
            let name = name.to_owned();
            tokio::task::spawn_blocking(move || console::ask_for(question, &name)).await.unwrap_or(false)
        }
        None => {
            console::note(format_args!(
                "error: cannot ask for confirmation: stdin is not a terminal, and `--yes` is not enough for a complete \
                 teardown. Use --confirm {name}"
            ));
            false
        }
    };
    if !agreed {
        console::note("nothing was changed");
    }
    agreed
}

/// Whether a thing goes whose kind is protected, and whose protection the plan has lifted.
fn removes_protected(changeset: &Changeset) -> bool {
    let mut removals = changeset.steps.iter().filter(|step| step.action == Action::Delete);
    removals.any(|step| PROVIDERS.find(step.kind).is_some_and(|kind| kind.protected()))
}

/// Applies an approved changeset, with progress, until it ends or a signal stops it.
pub(super) async fn write(
    args: &ApplyArgs,
    session: &mut Session,
    changeset: &Changeset,
    signals: &mut Signals,
) -> Result<crate::apply::Report, session::Error> {
    let (events, receiver) = Events::channel();
    let progress = match args.format {
        Format::Human => ui::progress::apply(receiver, changeset.summary.writing()),
        Format::Json => ui::progress::json(receiver),
    };
    let (stop, stopped) = watch::channel(false);
    let options = Options { parallelism: args.parallelism.max(1), stop: stopped };
    let awaited = Arc::clone(&session.run.awaited);
    let result = tokio::select! {
        result = session.apply(Approved::by_caller(changeset), &options, &events) => Some(result),
        () = interrupts(signals, &stop, &awaited, &events) => None,
    };
    if let Some(Ok(report)) = &result
        && changeset.removes == RemovalScope::Everything
        && !report.done.is_empty()
    {
        tell_custody(session, &events);
    }
    if result.is_none() {
        // At once, but not without a word to those who wait for the lock.
        let _ = tokio::time::timeout(LAST_WORD, session.release(&events)).await;
    }
    drop(events);
    progress.finish().await;
    result.unwrap_or_else(|| Err(cut_off(session).into()))
}

/// Reports where custody is kept: its copies of once-only secrets outlive everything else.
fn tell_custody(session: &Session, events: &Events) {
    let stores = session.run.custody_settings.iter().flat_map(|settings| &settings.stores);
    let places: Vec<String> = stores.map(ToString::to_string).collect();
    if !places.is_empty() {
        events.progress(format!("custody is kept, in {}", places.join(" and ")));
    }
}

/// The first signal lets ceremonies finish and starts nothing else; the second ends the wait, save for
/// responses that come only once and would be lost: these get into custody first.
async fn interrupts(signals: &mut Signals, stop: &watch::Sender<bool>, awaited: &Awaited, events: &Events) {
    signals.next().await;
    // Without a receiver the work has already ended.
    let _ = stop.send(true);
    events.warn(
        "stopping: what is being written is finished, nothing new is started; once more to stop at once",
    );
    signals.next().await;
    let pending = awaited.pending();
    if !pending.is_empty() {
        events.warn(format!(
            "stopping as soon as a response that comes only once is safe: {}",
            pending.join(", ")
        ));
        awaited.settled().await;
    }
}

/// The error that lists the outcomes which are unknown after everything was dropped.
fn cut_off(session: &Session) -> Error {
    let mut parts: Vec<String> =
        session.run.under_way.steps().into_iter().map(|(step, action)| format!("{action} {step}")).collect();
    if parts.is_empty() {
        return Error::new(ErrorKind::Local, "apply", "stopped at once; nothing was under way");
    }
    for record in session.run.journal.open_intents() {
        if let Some((operation, target)) = record.entry.subject() {
            parts.push(format!("the intent {operation} {target}"));
        }
    }
    let message = format!("stopped at once; it is not known what became of: {}", parts.join(", "));
    Error::new(ErrorKind::Unknown, "apply", message)
        .advice("run `groundwork plan` to see what is there, and apply again")
}
