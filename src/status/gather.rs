//! Asks the parts of a report at the same time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::judge::{self, Limits};
use super::report::{Drift, LastDrill, Locks, Report, Seen};
use super::{backups, custody, places};
use crate::backup::Keys;
use crate::changeset::{Action, PlanIdentity};
use crate::custody::examine::Object;
use crate::drill;
use crate::error;
use crate::event::Events;
use crate::health::{Due, System};
use crate::net::timeout::at_most;
use crate::plan::Section;
use crate::proof::Known;
use crate::run::{Run, StoreAnswer};
use crate::session::{self, Backups, Checked, PARALLELISM, Reach, Session};
use crate::workspace::Workspace;

/// How much longer what has to read everything may take than another part.
const LONGER: u32 = 4;

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long each part may take.
    pub limit: Duration,
    /// Whether the live systems are compared with the plan.
    pub drift: bool,
    /// Whether the newest backup of each generation of keys is opened.
    pub prove: bool,
    /// From when on something needs a person.
    pub limits: Limits,
}

/// Asks all parts. `check` reads and checks the plan, for each part once more, so that none of them waits for what
/// another one needs.
///
/// # Errors
/// When the plan is wrong, or lacks a permission of the caller.
pub async fn gather(
    check: &dyn Fn() -> Result<Checked, session::Error>,
    options: Options,
    events: &Events,
) -> Result<Report, session::Error> {
    let first = check()?;
    first.require_allowed(session::Purpose::Connect)?;
    let document = &first.resolved.document;
    let plan = PlanIdentity {
        name: document.name.clone(),
        stage: document.stage_name().map(str::to_owned),
        digest: document.digest.clone(),
    };
    let (command_line, folder) = (document.command_line.clone(), document.folder.clone());
    // One login, and one client of each system, for all parts.
    let connections = first.resolved.providers.clone();
    let again = || {
        let mut checked = check()?;
        checked.resolved.providers = connections.clone();
        Ok::<_, session::Error>(checked)
    };
    let has = |section| first.resolved.document.section(section).is_some();
    let (has_custody, has_backups, has_targets) =
        (has(Section::Custody), has(Section::Backup), has(Section::Recovery));
    // A mistake in the section is one of the plan, which was checked.
    let rpo = first.resolved.recovery(&first.outputs).ok().and_then(|recovery| recovery.rpo);
    let (near, kept, far, drift) = futures::join!(
        near(again(), options.limit),
        async { if has_backups { Some(kept(again(), &options).await) } else { None } },
        far(again(), options.limit),
        async { if options.drift { Some(drift(again(), &options, events).await) } else { None } },
    );
    let (systems, answers, objects) = near;
    let obtainable = objects.as_ref().ok().map(|objects| custody::obtainable(objects));
    let backups = match kept {
        None => Seen::Absent,
        Some(Ok((listed, proofs))) => Seen::Known(backups::backups(listed, &proofs, obtainable.as_ref())),
        Some(Err(why)) => Seen::Unseen(why),
    };
    let custody = match objects {
        _ if !has_custody => Seen::Absent,
        Ok(objects) => Seen::Known(custody::custody(answers, &objects)),
        // The stores are asked one by one before anything is opened.
        Err(_) if !answers.is_empty() && answers.iter().all(|answer| answer.silent.is_some()) => {
            Seen::Known(custody::custody(answers, &[]))
        }
        Err(why) => Seen::Unseen(why),
    };
    let (everywhere, outcomes) = far;
    let here = places::here(Workspace::of(&folder), &plan.name);
    let drill = Workspace::of(&folder).and_then(|workspace| drill::latest(&workspace, &plan.name));
    let drill = match drill {
        Ok(None) if !has_backups && !has_targets => Seen::Absent,
        Ok(report) => Seen::Known(report.map(LastDrill::from)),
        Err(error) => Seen::Unseen(live(&error)),
    };
    let (drift, due) = match drift {
        None => (Seen::Absent, Seen::Absent),
        Some(Ok((drift, due))) => (Seen::Known(drift), Seen::Known(due)),
        Some(Err(why)) => (Seen::Unseen(why.clone()), Seen::Unseen(why)),
    };
    let mut report = Report {
        plan,
        command_line,
        at: Timestamp::now(),
        systems,
        custody,
        backups,
        drill,
        has_targets,
        rpo,
        due,
        locks: Locks { here, everywhere },
        outcomes,
        drift,
        findings: Vec::new(),
    };
    report.findings = judge::judge(&report, &options.limits);
    Ok(report)
}

/// An answer, or why there is none in time.
pub(super) async fn within<T>(
    limit: Duration,
    answer: impl Future<Output = error::Result<T>>,
) -> Result<T, String> {
    in_time(limit, async { answer.await.map_err(|error| live(&error)) }).await
}

async fn in_time<T>(limit: Duration, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let limit = at_most(limit);
    timeout(limit, answer)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs_f32())))
}

fn live(error: &error::Error) -> String {
    match &error.advice {
        Some(advice) => format!("{error}; {advice}"),
        None => error.to_string(),
    }
}

fn in_words(error: &session::Error) -> String {
    match error {
        session::Error::Live(error) => live(error),
        other => other.to_string(),
    }
}

/// The servers and custody, which have to be there when nothing else is.
async fn near(
    checked: Result<Checked, session::Error>,
    limit: Duration,
) -> (Vec<System>, Vec<StoreAnswer>, Result<Vec<Object>, String>) {
    let made = match checked {
        Ok(checked) => run_of(checked, limit).await,
        Err(error) => Err(in_words(&error)),
    };
    let (mut run, declared) = match made {
        Ok(made) => made,
        Err(why) => return (Vec::new(), Vec::new(), Err(why)),
    };
    let answers = run.leave_out_silent_stores(limit).await;
    let run = &run;
    let systems = run.connections.iter().map(|connection| connection.health(run, &declared, limit));
    let objects = within(limit, async { run.custody().await?.examine("", true).await });
    let (systems, objects) = futures::join!(futures::future::join_all(systems), objects);
    (systems.into_iter().flatten().collect(), answers, objects)
}

/// A run that reaches the servers, whatever else cannot be reached.
async fn run_of(mut checked: Checked, limit: Duration) -> Result<(Run, Vec<Known>), String> {
    let connected = timeout(at_most(limit), session::connect(&mut checked, Reach::Custody)).await;
    let run = match connected {
        Ok(Ok(run)) => run,
        _ => session::bare(&checked).map_err(|error| in_words(&error))?,
    };
    let steps = checked.resolved.steps.iter().zip(&checked.instances);
    let known = steps.map(|(step, instance)| Known {
        id: step.id.clone(),
        kind: step.kind.name(),
        place: instance.place().clone(),
        fields: instance.fields(),
        outputs: None,
    });
    Ok((run, known.collect()))
}

/// The manifests of the backups, and how they open if that is asked for.
async fn kept(
    checked: Result<Checked, session::Error>,
    options: &Options,
) -> Result<(backups::Listed, backups::Proofs), String> {
    let mut checked = checked.map_err(|error| in_words(&error))?;
    let connected = async { Backups::connect(&mut checked).await.map_err(|error| in_words(&error)) };
    let found = in_time(options.limit, connected).await?;
    let listed = backups::listed(found.places(), found.run.journal.authority(), options.limit).await;
    let mut proofs = backups::Proofs::new();
    if options.prove {
        let mut keys = Keys::default();
        // Without keys the backups show that they do not open.
        let _ = within(options.limit, session::backups::add_keys(&found.run, &mut keys)).await;
        proofs = backups::prove(&listed, found.places(), &keys, options.limit.saturating_mul(LONGER)).await;
    }
    Ok((listed, proofs))
}

/// The lock that other machines see, and the journal with what they have added.
async fn far(
    checked: Result<Checked, session::Error>,
    limit: Duration,
) -> (Seen<Option<super::LockHeld>>, Seen<Vec<super::OpenOutcome>>) {
    let mut checked = match checked {
        Ok(checked) => checked,
        Err(error) => return (Seen::Unseen(in_words(&error)), Seen::Unseen(in_words(&error))),
    };
    let has_lock = checked.resolved.document.section(Section::Lock).is_some();
    let has_copy = checked.resolved.document.section(Section::Journal).is_some();
    let connected =
        async { session::connect(&mut checked, Reach::Everything).await.map_err(|error| in_words(&error)) };
    let run = match in_time(limit, connected).await {
        Ok(run) => run,
        Err(why) => {
            let lock = if has_lock { Seen::Unseen(why.clone()) } else { Seen::Absent };
            let outcomes = match session::journal_here(&checked) {
                Err(error) => Seen::Unseen(in_words(&error)),
                Ok(_) if has_copy => Seen::Unseen(why),
                Ok(journal) => believed(&journal),
            };
            return (lock, outcomes);
        }
    };
    let (lock, pulled) = futures::join!(
        within(limit, places::everywhere(run.lock.as_ref())),
        within(limit, run.journal.pull())
    );
    let lock = match lock {
        _ if !has_lock => Seen::Absent,
        Ok(held) => Seen::Known(held),
        Err(why) => Seen::Unseen(why),
    };
    let outcomes = match pulled {
        Ok(_) => believed(&run.journal),
        Err(why) => Seen::Unseen(format!("the journal's copy cannot be read: {why}")),
    };
    (lock, outcomes)
}

fn believed(journal: &crate::journal::Journal) -> Seen<Vec<super::OpenOutcome>> {
    match journal.require_believed() {
        Ok(()) => Seen::Known(places::outcomes(journal)),
        Err(error) => Seen::Unseen(live(&error)),
    }
}

/// The difference between the plan and the live systems, and what of these is due.
async fn drift(
    checked: Result<Checked, session::Error>,
    options: &Options,
    events: &Events,
) -> Result<(Drift, Vec<Due>), String> {
    let checked = checked.map_err(|error| in_words(&error))?;
    let compared = async {
        let mut session = Session::observe(checked, PARALLELISM, events).await?;
        let changeset = session.compare().await?;
        Ok::<_, session::Error>((session, changeset))
    };
    let compared = async { compared.await.map_err(|error| in_words(&error)) };
    let (session, changeset) = in_time(options.limit.saturating_mul(LONGER), compared).await?;
    let steps = changeset.steps.iter().filter(|step| step.action != Action::None);
    let drift = Drift {
        counts: changeset.summary,
        steps: steps.map(|step| (step.id.clone(), step.action.name())).collect(),
        undeclared: changeset.undeclared.len(),
    };
    let world = &session.world;
    let due = world.resolved.steps.iter().zip(world.instances.iter()).flat_map(|(step, instance)| {
        instance
            .due()
            .into_iter()
            .chain(instance.pending().map(|pending| Due::under_way(pending.since, pending.until)))
            .map(|due| Due { of: step.id.clone(), ..due }.at_most(options.limits.key_age))
    });
    let mut due: Vec<Due> = due.collect();
    due.sort_by_key(|due| (due.by.is_none(), due.by, due.since));
    Ok((drift, due))
}
