//! One kind on its way through the contract.

use std::path::{Path, PathBuf};

use groundwork::apply::{self, Approved, Options, Report};
use groundwork::changeset::{Action, Changeset, RemovalScope};
use groundwork::environment::Environment;
use groundwork::event::Events;
use groundwork::journal::target;
use groundwork::plan::Given;
use groundwork::providers::PROVIDERS;
use groundwork::removal::Orphan;
use groundwork::session::{self, Checked, Session};
use groundwork::trust::{Grant, Subject as TrustSubject, Trust};
use serde_json::{Map, Value, json};

use super::fixture::{Fixture, Set, Shown, fixture, merge};
use super::{CEREMONIES, OTHER_AWS, RECIPIENT};

/// One kind on its way through the contract.
pub struct Subject {
    folder: PathBuf,
    kind: &'static str,
    /// Who can open what is in custody.
    recipient: String,
}

type Outcome<T = ()> = Result<T, String>;

impl Subject {
    pub fn new(folder: &Path, kind: &'static str) -> Self {
        let recipient = std::env::var(RECIPIENT).expect("started by the outer test");
        Self { folder: folder.to_owned(), kind, recipient }
    }

    pub async fn and_then_run(self) -> Outcome {
        if CEREMONIES.contains(&self.kind) {
            return Ok(());
        }
        let fixture = fixture(self.kind)?;
        let mut step = fixture.step.clone();
        step["protect"] = json!(false);

        let server = std::env::var("CONTRACT_SERVER").unwrap_or_default();
        if let Some(words) = fixture.elsewhere.as_ref().filter(|_| !fixture.servers.contains(&server)) {
            return self.elsewhere(&fixture, &step, words).await;
        }
        self.outputs_are_as_predicted(&fixture, &step).await?;
        self.apply_writes(&fixture, &step, fixture.never_deleted.is_none()).await?;
        self.in_sync(&fixture, &step, "after its creation").await?;
        self.apply_writes(&fixture, &step, false).await?;
        self.notations(&fixture, &step, &fixture.same, &fixture.blocked).await?;
        let elsewhere = fixture.not_in_sandbox.iter().filter(|_| std::env::var_os(OTHER_AWS).is_some());
        self.changes(&fixture, &mut step, fixture.changes.iter().chain(elsewhere)).await?;
        self.notations(&fixture, &step, &fixture.same_at_end, &fixture.blocked_at_end).await?;
        self.removal_leaves_nothing(&fixture, &step).await?;
        for other in &fixture.others {
            let mut step = other.step.clone();
            step["protect"] = json!(false);
            self.apply_writes(&fixture, &step, true).await?;
            self.in_sync(&fixture, &step, "after its creation").await?;
            self.changes(&fixture, &mut step, other.changes.iter()).await?;
            self.removal_leaves_nothing(&fixture, &step).await?;
        }
        Ok(())
    }

    /// Each change is planned, as exactly what it is, applied and in sync.
    async fn changes<'a>(
        &self,
        fixture: &Fixture,
        step: &mut Value,
        changes: impl Iterator<Item = &'a Shown>,
    ) -> Outcome {
        for change in changes {
            merge(step, &change.set);
            let planned = self.plan(fixture, step).await?;
            same_paths(&changed_paths(&planned.1, Action::Update)?, &change.shows, &change.set)?;
            self.applied(planned, true).await?;
            self.in_sync(fixture, step, &format!("after {}", change.set)).await?;
        }
        Ok(())
    }

    /// A kind that the server lacks is deferred, with what is missing.
    async fn elsewhere(&self, fixture: &Fixture, step: &Value, words: &str) -> Outcome {
        let mut given = fixture.given.clone();
        apply_plan(self.plan_of(given.clone(), RemovalScope::Nothing).await?).await?;
        given.insert("subject".to_owned(), step.clone());
        let (_, changeset) = self.plan_of(given, RemovalScope::Nothing).await?;
        let subject = changeset.step("subject").ok_or("the subject is not in the plan")?;
        let reason = subject.reason.clone().unwrap_or_default();
        if subject.action == Action::Deferred && reason.contains(words) {
            return Ok(());
        }
        Err(format!("expected deferred with {words:?}, planned {:#}", json!(subject)))
    }

    /// What must not be a change, and what must be refused.
    async fn notations(&self, fixture: &Fixture, step: &Value, same: &[Set], blocked: &[Shown]) -> Outcome {
        for notation in same {
            let mut step = step.clone();
            merge(&mut step, &notation.set);
            self.in_sync(fixture, &step, &format!("as {}", notation.set)).await?;
        }
        for change in blocked {
            let mut step = step.clone();
            merge(&mut step, &change.set);
            let shown = self.expect(fixture, &step, Action::Blocked).await?;
            same_paths(&shown, &change.shows, &change.set)?;
        }
        Ok(())
    }

    /// Observes and compares a plan of the fixture's steps and `step`.
    async fn plan(&self, fixture: &Fixture, step: &Value) -> Outcome<(Session, Changeset)> {
        let mut steps = fixture.given.clone();
        steps.insert("subject".to_owned(), step.clone());
        self.plan_of(steps, RemovalScope::Nothing).await
    }

    /// Observes and compares a plan of `steps`. Each kind's plan has a name, and so a journal, of its own:
    /// what other kinds have left would be looked for in every plan.
    async fn plan_of(
        &self,
        mut steps: Map<String, Value>,
        extent: RemovalScope,
    ) -> Outcome<(Session, Changeset)> {
        // A plan without any step is refused.
        let path = format!("rendered/{}-stays.txt", self.kind);
        let stays = json!({ "kind": "file.template", "path": path, "content": "stays\n" });
        steps.insert("stays".to_owned(), stays);
        let custody = format!("custody-{}", self.kind);
        let plan = json!({
            "version": 1, "name": format!("contract-{}", self.kind),
            "vars": { "word": "contract" },
            "custody": { "recipients": [{ "age": self.recipient }], "stores": [{ "file": custody }] },
            "steps": steps,
        });
        let path = self.folder.join("plan.yaml");
        std::fs::write(&path, plan.to_string()).map_err(|error| error.to_string())?;
        let trust = Trust::of_environment(&Environment::of_process())
            .expect("grants")
            .with([Grant::new(TrustSubject::Env, "PATH")]);
        let checked =
            session::check(&path, &Given::default(), &trust).map_err(|mistakes| mistakes.to_string())?;
        let checked = Checked { extent, ..checked };
        let session = Session::observe(checked, session::PARALLELISM, &Events::default()).await;
        let mut session = session.map_err(|error| error.to_string())?;
        let changeset = session.compare().await.map_err(|error| error.to_string())?;
        Ok((session, changeset))
    }

    /// The changed paths, when the subject's action is `action`.
    async fn expect(&self, fixture: &Fixture, step: &Value, action: Action) -> Outcome<Vec<String>> {
        changed_paths(&self.plan(fixture, step).await?.1, action)
    }

    async fn in_sync(&self, fixture: &Fixture, step: &Value, when: &str) -> Outcome {
        self.expect(fixture, step, Action::None)
            .await
            .map(drop)
            .map_err(|problem| format!("{when}: {problem}"))
    }

    /// Plans and applies; see [`Subject::applied`].
    async fn apply_writes(&self, fixture: &Fixture, step: &Value, wanted: bool) -> Outcome {
        self.applied(self.plan(fixture, step).await?, wanted).await
    }

    /// Applies what was planned; `wanted` tells whether the subject must be written. If not, no
    /// request that writes may be sent at all.
    async fn applied(&self, planned: (Session, Changeset), wanted: bool) -> Outcome {
        let (_, report) = apply_plan(planned).await?;
        let written = report.done.iter().any(|id| id == "subject");
        match (wanted, written, report.summary.api_calls.write) {
            (true, false, _) => Err("nothing was written".to_owned()),
            (false, true, _) => Err("it was written without a change".to_owned()),
            (false, _, requests) if requests > 0 => {
                Err(format!("{requests} writing requests without a change"))
            }
            _ => Ok(()),
        }
    }

    /// What is said of a thing before it exists must hold once it does, and outputs must be the
    /// kind's. Compared against what the second plan observes.
    async fn outputs_are_as_predicted(&self, fixture: &Fixture, step: &Value) -> Outcome {
        let planned = self.plan(fixture, step).await?;
        changed_paths(&planned.1, Action::Create)?;
        let index = position(&planned.0)?;
        let predicted = planned.0.world.predicted_outputs(index);
        apply_plan(planned).await?;
        let (session, _) = self.plan(fixture, step).await?;
        let outputs = session.world.instances[index].outputs().ok_or("it was made and is not there")?;
        let names = PROVIDERS.find(self.kind).map(|kind| kind.output_names()).unwrap_or_default();
        for (name, value) in &predicted {
            if !names.contains(name) || outputs.get(name) != Some(value) {
                return Err(format!("predicted {name} = {value}, observed {:?}", outputs.get(name)));
            }
        }
        // The rest of the contract begins with nothing.
        self.removal(fixture).await
    }

    /// The thing is removed once its step is gone from the plan. From then on only the journal knows
    /// where it is.
    async fn removal(&self, fixture: &Fixture) -> Outcome {
        let planned = self.plan_of(fixture.given.clone(), RemovalScope::Undeclared).await?;
        let address = recalled(&planned.0, self.kind)?.thing.address.clone();
        if fixture.never_deleted.is_some() {
            return stays(&planned).await;
        }
        let (session, report) = apply_plan(planned).await.map_err(|error| format!("pruning: {error}"))?;
        if report.done != ["subject"] {
            return Err(format!("pruned {:?}, skipped {:?}", report.done, report.skipped));
        }
        if session.run.journal.things().iter().any(|thing| thing.step == "subject") {
            return Err("pruned, and the journal still has it".to_owned());
        }
        // An attempt whose outcome is not known is repeated.
        let gone = PROVIDERS.find(self.kind).and_then(|kind| kind.recall(&address)).ok_or("not recalled")?;
        let again = gone.delete(&session.run, &apply::by_command(), "subject").await;
        again.map_err(|error| format!("deleting again: {error}"))
    }

    /// As [`Subject::removal`]; afterwards the step is to be created, or restored.
    async fn removal_leaves_nothing(&self, fixture: &Fixture, step: &Value) -> Outcome {
        self.removal(fixture).await?;
        if fixture.never_deleted.is_some() {
            return Ok(());
        }
        let (_, changeset) = self.plan(fixture, step).await?;
        let action = changeset.step("subject").map(|subject| subject.action);
        let expected = if fixture.remains.is_some() { Action::Update } else { Action::Create };
        match action == Some(expected) {
            true => Ok(()),
            false => Err(format!("pruned, then planned as {action:?}")),
        }
    }
}

/// The subject as the journal leads to it: it has the recorded name and exists.
fn recalled<'a>(session: &'a Session, kind: &str) -> Outcome<&'a Orphan> {
    let mut orphans = session.world.orphans.iter();
    let orphan = orphans.find(|orphan| orphan.thing.step == "subject");
    let orphan = orphan.ok_or("the journal does not lead to it")?;
    let (recorded, name) = (target(kind, &orphan.recorded.id()), &orphan.thing.target);
    match &orphan.hidden {
        Some(error) => Err(format!("recalled, but not observed: {error}")),
        None if recorded != *name => Err(format!("the address of {name} leads to {recorded}")),
        None if !orphan.recorded.exists() => Err(format!("recalled as {name}, but it does not exist")),
        None => Ok(orphan),
    }
}

/// A thing that is part of another one is never removed by itself.
async fn stays((session, changeset): &(Session, Changeset)) -> Outcome {
    let subject = changeset.undeclared.iter().find(|step| step.id == "subject");
    let subject = subject.ok_or_else(|| format!("not undeclared: {:#}", json!(changeset)))?;
    let reason = subject.reason.as_deref().unwrap_or_default();
    if subject.action != Action::None || !reason.starts_with("stays: ") {
        return Err(format!("its removal should be refused, planned {:#}", json!(subject)));
    }
    let orphan = session.world.orphans.iter().find(|orphan| orphan.id == "subject");
    let recorded = &orphan.ok_or("the journal does not lead to it")?.recorded;
    match recorded.delete(&session.run, &apply::by_command(), "subject").await {
        Ok(()) => Err("its deletion should be refused".to_owned()),
        Err(_) => Ok(()),
    }
}

async fn apply_plan((mut session, changeset): (Session, Changeset)) -> Outcome<(Session, Report)> {
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let options = Options { parallelism: session::PARALLELISM, stop };
    let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
    let report = report.map_err(|error| error.to_string())?;
    match report.failed.first() {
        Some((id, error)) => Err(format!("{id}: {error} ({:?})", error.advice)),
        None => Ok((session, report)),
    }
}

/// The changed paths of the subject, when its action is `action`.
fn changed_paths(changeset: &Changeset, action: Action) -> Outcome<Vec<String>> {
    let subject = changeset.step("subject").ok_or("the subject is not in the plan")?;
    if subject.action != action {
        return Err(format!("expected {}, planned {:#}", action.name(), json!(subject)));
    }
    if action == Action::Blocked && subject.reason.as_deref().unwrap_or_default().len() < 20 {
        return Err(format!("blocked without an explanation: {:#}", json!(subject)));
    }
    Ok(subject.changes.iter().map(|change| change.path.clone()).collect())
}

fn position(session: &Session) -> Outcome<usize> {
    let steps = &session.world.resolved.steps;
    steps
        .iter()
        .position(|step| step.id == "subject")
        .ok_or_else(|| "the subject is not in the plan".to_owned())
}

fn same_paths(shown: &[String], wanted: &[String], set: &Value) -> Outcome {
    let sorted = |paths: &[String]| {
        let mut paths = paths.to_vec();
        paths.sort();
        paths
    };
    if sorted(shown) == sorted(wanted) {
        Ok(())
    } else {
        Err(format!("{set} shows {shown:?}, not {wanted:?}"))
    }
}
