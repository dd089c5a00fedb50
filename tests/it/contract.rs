//! The contract that every kind keeps, run over every registered kind against real servers.
//!
//! Each kind has a fixture `tests/contract/<kind>.yaml`; see [`Fixture`].

use std::path::{Path, PathBuf};
use std::process::Command;

use groundwork::apply::{Approved, ApprovedRemoval, Options, Report};
use groundwork::changeset::{Action, Changeset};
use groundwork::event::Events;
use groundwork::resource::registry;
use groundwork::session::{self, Session};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::support::{TestEnvironment, block_on};

/// How a kind is exercised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fixture {
    /// Steps that are applied before, id to step.
    #[serde(default)]
    given: Map<String, Value>,
    /// The step under test.
    step: Value,
    /// Other notations of the same, which must not be a change.
    #[serde(default)]
    same: Vec<Set>,
    /// Changes that must be refused with an explanation.
    #[serde(default)]
    blocked: Vec<Shown>,
    /// Changes, each merged (RFC 7396) into the step so far, planned, applied, in sync.
    #[serde(default)]
    changes: Vec<Shown>,
    /// As `same`, of the step with all changes.
    #[serde(default)]
    same_at_end: Vec<Set>,
    /// As `blocked`, of the step with all changes.
    #[serde(default)]
    blocked_at_end: Vec<Shown>,
    /// Why the kind cannot be deleted, for those whose deletion is refused.
    #[serde(default)]
    never_deleted: Option<String>,
    /// Why deletion leaves something that can still be observed.
    #[serde(default)]
    remains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    set: Value,
    /// The paths that the plan must name, exactly, in any order.
    shows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    set: Value,
}

/// Kinds whose life is a ceremony: created once, never deleted. Their own tests go through it.
const CEREMONIES: [&str; 2] = ["vault.init", "vault.root_token"];

#[test]
fn every_kind_keeps_the_contract() {
    let environment = TestEnvironment::with(groundwork::sandbox::Settings {
        api_audit: true,
        ..groundwork::sandbox::Settings::default()
    });
    // The library reads its surroundings from the process, so the contract runs in one of its own.
    let mut inner = Command::new(std::env::current_exe().expect("this program"));
    inner.args(["contract::inner", "--exact", "--ignored", "--nocapture"]);
    environment.sandbox.apply_to(&mut inner);
    let status = inner.env("CONTRACT_FOLDER", &environment.folder).status().expect("the inner test starts");
    assert!(status.success(), "a kind breaks the contract; see above");
}

#[test]
#[ignore = "started by every_kind_keeps_the_contract with a sandbox in its environment"]
fn inner() {
    let folder = PathBuf::from(std::env::var_os("CONTRACT_FOLDER").expect("started by the outer test"));
    let only = std::env::var("CONTRACT_KIND").ok();
    copy_companions(&folder);
    let mut broken = Vec::new();
    for kind in registry::names()
        .filter(|kind| only.as_deref().is_none_or(|only| only.split(',').any(|one| one == *kind)))
    {
        let started = std::time::Instant::now();
        match block_on(Subject::new(&folder, kind).and_then_run()) {
            Ok(()) => println!("{kind}: ok, {:.1} s", started.elapsed().as_secs_f32()),
            Err(problem) => {
                println!("{kind}: {problem}");
                broken.push(kind);
            }
        }
    }
    assert!(broken.is_empty(), "these kinds break the contract: {}", broken.join(", "));
}

/// Templates and files that fixtures refer to.
fn copy_companions(folder: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    for entry in std::fs::read_dir(fixtures).expect("the fixtures").flatten() {
        if entry.path().extension().is_none_or(|extension| extension != "yaml") {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
    }
}

/// One kind on its way through the contract.
struct Subject {
    folder: PathBuf,
    kind: &'static str,
}

type Outcome<T = ()> = Result<T, String>;

impl Subject {
    fn new(folder: &Path, kind: &'static str) -> Self {
        Self { folder: folder.to_owned(), kind }
    }

    async fn and_then_run(self) -> Outcome {
        if CEREMONIES.contains(&self.kind) {
            return Ok(());
        }
        let fixture = self.fixture()?;
        let mut step = fixture.step.clone();
        step["protect"] = json!(false);

        self.expect(&fixture, &step, Action::Create).await?;
        self.outputs_are_as_predicted(&fixture, &step).await?;
        self.apply_writes(&fixture, &step, fixture.never_deleted.is_none()).await?;
        self.in_sync(&fixture, &step, "after its creation").await?;
        self.apply_writes(&fixture, &step, false).await?;
        self.notations(&fixture, &step, &fixture.same, &fixture.blocked).await?;
        for change in &fixture.changes {
            merge(&mut step, &change.set);
            let shown = self.expect(&fixture, &step, Action::Update).await?;
            same_paths(&shown, &change.shows, &change.set)?;
            self.apply_writes(&fixture, &step, true).await?;
            self.in_sync(&fixture, &step, &format!("after {}", change.set)).await?;
        }
        self.notations(&fixture, &step, &fixture.same_at_end, &fixture.blocked_at_end).await?;
        self.deletion(&fixture, &step).await
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

    fn fixture(&self) -> Outcome<Fixture> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/contract/{}.yaml", self.kind));
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Observes and compares a plan of the fixture's steps and `step`.
    async fn plan(&self, fixture: &Fixture, step: &Value) -> Outcome<(Session, Changeset)> {
        let mut steps = fixture.given.clone();
        steps.insert(
            "contract_vault".to_owned(),
            json!({ "kind": "vault.init", "shares": 1, "threshold": 1 }),
        );
        steps.insert(
            "contract_key".to_owned(),
            json!({ "kind": "aws.kms_key", "alias": "alias/contract-custody" }),
        );
        steps.insert("subject".to_owned(), step.clone());
        let plan = json!({
            "version": 1, "name": "contract",
            "vars": { "word": "contract" },
            "custody": { "recipients": [{ "kms": "{{ contract_key.arn }}" }], "stores": [{ "file": "custody" }] },
            "steps": steps,
        });
        let path = self.folder.join("plan.yaml");
        std::fs::write(&path, plan.to_string()).map_err(|error| error.to_string())?;
        let checked = session::check(&path, &[]).map_err(|mistakes| mistakes.to_string())?;
        let session = Session::observe(checked, session::PARALLELISM, &Events::default()).await;
        let mut session = session.map_err(|error| error.to_string())?;
        let changeset = session.compare().map_err(|error| error.to_string())?;
        Ok((session, changeset))
    }

    /// The changed paths, when the subject's action is `action`.
    async fn expect(&self, fixture: &Fixture, step: &Value, action: Action) -> Outcome<Vec<String>> {
        let (_, changeset) = self.plan(fixture, step).await?;
        let subject = changeset.step("subject").ok_or("the subject is not in the plan")?;
        if subject.action != action {
            return Err(format!("expected {}, planned {:#}", action.name(), json!(subject)));
        }
        if action == Action::Blocked && subject.reason.as_deref().unwrap_or_default().len() < 20 {
            return Err(format!("blocked without an explanation: {:#}", json!(subject)));
        }
        Ok(subject.changes.iter().map(|change| change.path.clone()).collect())
    }

    async fn in_sync(&self, fixture: &Fixture, step: &Value, when: &str) -> Outcome {
        self.expect(fixture, step, Action::None)
            .await
            .map(drop)
            .map_err(|problem| format!("{when}: {problem}"))
    }

    /// Applies; `wanted` tells whether the subject must be written. If not, no request that
    /// writes may be sent at all.
    async fn apply_writes(&self, fixture: &Fixture, step: &Value, wanted: bool) -> Outcome {
        let report = self.apply_plan(fixture, step).await?;
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

    async fn apply_plan(&self, fixture: &Fixture, step: &Value) -> Outcome<Report> {
        let (mut session, changeset) = self.plan(fixture, step).await?;
        let (_stop, stop) = tokio::sync::watch::channel(false);
        let options = Options { parallelism: session::PARALLELISM, stop };
        let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
        let report = report.map_err(|error| error.to_string())?;
        match report.failed.first() {
            Some((id, error)) => Err(format!("{id}: {error} ({:?})", error.advice)),
            None => Ok(report),
        }
    }

    /// What is said of a thing before it exists must hold once it does, and outputs must be the
    /// kind's. Compared against what the second plan observes.
    async fn outputs_are_as_predicted(&self, fixture: &Fixture, step: &Value) -> Outcome {
        let (session, _) = self.plan(fixture, step).await?;
        let index = position(&session)?;
        let predicted = session.world.instances[index].predicted_outputs(&session.world.scope);
        drop(session);
        self.apply_plan(fixture, step).await?;
        let (session, _) = self.plan(fixture, step).await?;
        let outputs = session.world.instances[index].outputs().ok_or("it was made and is not there")?;
        let names = registry::find(self.kind).map(|kind| kind.output_names()).unwrap_or_default();
        for (name, value) in &predicted {
            if !names.contains(name) || outputs.get(name) != Some(value) {
                return Err(format!("predicted {name} = {value}, observed {:?}", outputs.get(name)));
            }
        }
        // The rest of the contract begins with nothing.
        session.remove(ApprovedRemoval::by_caller("subject")).await.map(drop).or_else(|error| {
            if fixture.never_deleted.is_some() { Ok(()) } else { Err(format!("deleting: {error}")) }
        })
    }

    async fn deletion(&self, fixture: &Fixture, step: &Value) -> Outcome {
        let mut protected = step.clone();
        protected["protect"] = json!(true);
        let (session, _) = self.plan(fixture, &protected).await?;
        if session.remove(ApprovedRemoval::by_caller("subject")).await.is_ok() {
            return Err("a protected thing was deleted".to_owned());
        }
        let (session, _) = self.plan(fixture, step).await?;
        let removed = session.remove(ApprovedRemoval::by_caller("subject")).await;
        match (&fixture.never_deleted, removed) {
            (Some(_), Ok(())) => return Err("its deletion should be refused".to_owned()),
            (Some(_), Err(_)) => return Ok(()),
            (None, removed) => removed.map_err(|error| format!("deleting: {error}"))?,
        }
        let (session, changeset) = self.plan(fixture, step).await?;
        let action = changeset.step("subject").map(|subject| subject.action);
        if action != Some(Action::Create) && fixture.remains.is_none() {
            return Err(format!("deleted, yet planned as {action:?}"));
        }
        // A thing that is gone is gone: deleting again is no error.
        session
            .remove(ApprovedRemoval::by_caller("subject"))
            .await
            .map_err(|error| format!("deleting again: {error}"))
    }
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

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match target.as_object_mut() {
            Some(fields) if value.is_null() => {
                fields.remove(key);
            }
            Some(fields) => merge(fields.entry(key.clone()).or_insert(Value::Null), value),
            None => {}
        }
    }
}
