//! The fields of Vault's kinds, by OpenBao's own description of its API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use groundwork::apply::{Approved, Options, by_command};
use groundwork::environment::Environment;
use groundwork::event::Events;
use groundwork::plan::Given;
use groundwork::providers::PROVIDERS;
use groundwork::resource::erased::View;
use groundwork::session::{self, Session};
use groundwork::trust::Trust;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Tally;
use super::server::{Described, Place, Server, described, same};
use super::values::candidates;
use crate::contract::{Fixture, STAGES, copy_companions, fixture, merge};
use crate::postgres::Postgres;
use crate::stages::side_by_side;
use crate::support::{Cluster, block_on};

/// `tests/survival/vault.yaml`: how the things of each kind are reached past the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    kinds: BTreeMap<String, Profile>,
    /// Kinds that are not tried, and why.
    not_tried: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    /// Where the thing of the kind's fixture is read; `{subject.id}` is its output of that name, and
    /// `{member.id}` that of another step.
    read: String,
    /// Other paths that report fields of it.
    #[serde(default)]
    pub(super) also: Vec<String>,
    /// Where its fields are written; where it is read, unless said otherwise.
    #[serde(default)]
    write: Option<String>,
    /// Fields that every write must have.
    #[serde(default)]
    pub(super) with: Map<String, Value>,
    /// Whether a write keeps what it leaves out, and what is reported cannot be sent back as it is.
    #[serde(default)]
    pub(super) merges: bool,
    /// Legal values that the description does not give away.
    #[serde(default)]
    values: Map<String, Value>,
    /// Fields that must be set together with one.
    #[serde(default)]
    pub(super) together: BTreeMap<String, Map<String, Value>>,
    /// Fields that the description leaves out, with legal values.
    #[serde(default)]
    more: Map<String, Value>,
    /// Fields of the step, beside those of the fixture.
    #[serde(default)]
    step: Map<String, Value>,
    /// Steps that are applied before, beside those of the fixture.
    #[serde(default)]
    given: Map<String, Value>,
    /// Fields that cannot be tried, and why: the server ignores them, never reports them, or they do
    /// something instead of being something.
    #[serde(default)]
    excused: BTreeMap<String, String>,
    /// Fields that the server sets by itself with every write.
    #[serde(default)]
    pub(super) moving: Vec<String>,
    /// The declared change that makes an update necessary; the first of the fixture's, unless said
    /// otherwise.
    #[serde(default)]
    change: Option<Value>,
}

#[test]
fn vault_fields_survive_an_update_or_are_shown() {
    let cluster = Cluster::new("survival");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let folder = &cluster.environment.folder;
    let database = Postgres::start("contract-database-password");
    // The library reads its surroundings from the process, so the test runs in one of its own.
    let mut inner = Command::new(std::env::current_exe().expect("this program"));
    inner.args(["survival::vault::inner", "--exact", "--ignored", "--nocapture"]);
    cluster.lead(&mut inner);
    inner.env("CONTRACT_POSTGRES_PORT", database.port.to_string());
    let status = inner.env("SURVIVAL_FOLDER", folder).status().expect("the inner test starts");
    assert!(status.success(), "fields are reset without a word; see above");
}

#[test]
#[ignore = "started by the test above with a sandbox in its environment"]
fn inner() {
    let folder = PathBuf::from(std::env::var_os("SURVIVAL_FOLDER").expect("started by the outer test"));
    let Profiles { kinds, not_tried } = profiles();
    complete(&kinds, &not_tried);
    let wanted = |kind: &str| {
        let only = std::env::var("SURVIVAL_KIND").ok();
        only.is_none_or(|only| only.split(',').any(|wanted| wanted == kind))
    };
    let subjects: Vec<Subject> = kinds
        .into_iter()
        .filter(|(kind, _)| wanted(kind))
        .map(|(kind, profile)| Subject::new(&folder, kind, profile))
        .collect();
    let made = side_by_side(
        subjects,
        STAGES,
        || (),
        |(), mut subject| {
            let made = block_on(subject.apply(false));
            (subject, made)
        },
    );
    let server = Server::here();
    let description = block_on(server.description());
    let outcomes = side_by_side(
        made,
        STAGES,
        || (),
        |(), (mut subject, made)| {
            let started = std::time::Instant::now();
            let outcome = match made {
                Ok(()) => block_on(subject.run(&server, &description)),
                Err(problem) => (Tally::default(), vec![format!("cannot be made: {problem}")]),
            };
            (subject.kind, outcome, started.elapsed())
        },
    );
    let mut total = Tally::default();
    let mut problems = Vec::new();
    for (kind, (tally, wrong), took) in outcomes {
        println!("{kind}: {tally} ({:.1} s)", took.as_secs_f32());
        total += tally;
        problems.extend(wrong.into_iter().map(|problem| format!("{kind}: {problem}")));
    }
    println!("survival of Vault's fields: {total}");
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn profiles() -> Profiles {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/survival/vault.yaml");
    let text = std::fs::read_to_string(path).expect("the profiles");
    serde_saphyr::from_str(&text).expect("profiles")
}

/// Every kind that the server has is tried, or has a reason why not.
fn complete(kinds: &BTreeMap<String, Profile>, not_tried: &BTreeMap<String, String>) {
    let of_vault = PROVIDERS.names().filter(|kind| kind.starts_with("vault."));
    let here = of_vault.filter(|kind| fixture(kind).expect("a fixture").elsewhere.is_none());
    let missing: Vec<&str> =
        here.filter(|kind| kinds.contains_key(*kind) == not_tried.contains_key(*kind)).collect();
    assert!(missing.is_empty(), "neither tried nor excused in tests/survival/vault.yaml: {missing:?}");
}

/// The thing of one kind.
struct Subject {
    kind: String,
    folder: PathBuf,
    profile: Profile,
    given: Map<String, Value>,
    /// The step as its fixture has it, and with a change.
    steps: [Value; 2],
    /// Which of the steps was applied last.
    changed: bool,
    session: Option<Session>,
}

impl Subject {
    fn new(folder: &Path, kind: String, profile: Profile) -> Self {
        let Fixture { mut given, mut step, changes, .. } = fixture(&kind).expect("a fixture");
        merge(&mut step, &Value::Object(profile.step.clone()));
        given.extend(profile.given.clone());
        let folder = folder.join(kind.replace('.', "-"));
        std::fs::create_dir_all(&folder).expect("a folder");
        copy_companions(&folder);
        let change = profile.change.clone().or_else(|| changes.first().map(|change| change.set.clone()));
        let mut changed = step.clone();
        merge(&mut changed, &change.expect("a change"));
        Self { kind, folder, profile, given, steps: [step, changed], changed: false, session: None }
    }

    /// Applies the step, with the change or without it.
    async fn apply(&mut self, changed: bool) -> Result<(), String> {
        self.changed = changed;
        let mut steps = self.given.clone();
        let mut step = self.steps[usize::from(changed)].clone();
        step["protect"] = json!(false);
        // What was changed behind the program's back is taken over.
        step["adopt"] = json!(true);
        steps.insert("subject".to_owned(), step);
        let name = format!("survival-{}", self.kind.replace(['.', '_'], "-"));
        let plan = json!({ "version": 1, "name": name, "vars": { "word": "contract" }, "steps": steps });
        let path = self.folder.join("plan.yaml");
        std::fs::write(&path, plan.to_string()).map_err(|error| error.to_string())?;
        self.session = None;
        let checked = session::check(
            &path,
            &Given::default(),
            &Trust::of_environment(&Environment::of_process()).expect("grants"),
        )
        .map_err(|mistakes| mistakes.to_string())?;
        let session = Session::observe(checked, session::PARALLELISM, &Events::default()).await;
        let mut session = session.map_err(|error| error.to_string())?;
        let changeset = session.compare().await.map_err(|error| error.to_string())?;
        let (_stop, stop) = tokio::sync::watch::channel(false);
        let options = Options { parallelism: session::PARALLELISM, stop };
        let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
        let report = report.map_err(|error| error.to_string())?;
        self.session = Some(session);
        match (report.failed.first(), changeset.step("subject")) {
            (Some((id, error)), _) => Err(format!("{id}: {error} ({:?})", error.advice)),
            (None, Some(step)) if step.action == groundwork::changeset::Action::Blocked => {
                Err(format!("{BLOCKED}: {:?}", step.reason))
            }
            _ => Ok(()),
        }
    }

    /// Puts outputs of steps where the profile names them.
    fn fill_in(&mut self) {
        let session = self.session.as_ref().expect("applied");
        let mut outputs = Vec::new();
        for (step, instance) in session.world.resolved.steps.iter().zip(session.world.instances.iter()) {
            for (name, value) in instance.outputs().unwrap_or_default() {
                let text = value.as_str().unwrap_or_default().to_owned();
                outputs.push((format!("{{{}.{name}}}", step.id), text));
            }
        }
        let fill = |text: &str| {
            outputs.iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
        };
        let profile = &mut self.profile;
        profile.read = fill(&profile.read);
        profile.write = profile.write.as_deref().map(fill);
        for value in profile.values.values_mut().filter(|value| value.to_string().contains('{')) {
            *value = serde_json::from_str(&fill(&value.to_string())).expect("still JSON");
        }
    }

    /// The paths that a plan would show now.
    async fn differences(&mut self) -> Result<Vec<String>, String> {
        let session = self.session.as_mut().expect("applied");
        session.run.forget().await;
        let index = position(session);
        let (world, run) = (&mut session.world, &session.run);
        let instance = &mut world.instances[index];
        instance.recognise(true);
        instance.observe(run).await.map_err(|error| error.to_string())?;
        // What is not there any more is shown as to be made.
        let Some(diff) = instance.diff(View::Approved(&by_command())) else { return Ok(vec![String::new()]) };
        Ok(diff.changes.into_iter().map(|change| change.path).collect())
    }

    /// Tries every field. Gives what was counted, and what is wrong.
    async fn run(&mut self, server: &Server, description: &Value) -> (Tally, Vec<String>) {
        let mut tally = Tally { kinds: 1, ..Tally::default() };
        self.fill_in();
        let read = self.profile.read.clone();
        let write = self.profile.write.clone().unwrap_or_else(|| read.clone());
        let Some(Described { method, mut fields }) = described(description, &write) else {
            return (tally, vec![format!("the server does not describe {write}")]);
        };
        fields
            .extend(self.profile.more.iter().map(|(name, value)| (name.clone(), json!({ "enum": [value] }))));
        let place = Place { server, read, write, method };
        let reported = match place.read(&self.profile).await {
            Ok(reported) => reported,
            Err(refused) => return (tally, vec![format!("cannot be read: {refused}")]),
        };
        let names: BTreeSet<&String> = fields.keys().chain(reported.keys()).collect();
        let unknown = self.profile.excused.keys().filter(|name| !names.contains(name));
        let mut problems: Vec<String> =
            unknown.map(|name| format!("`{name}` is excused and not known to the server")).collect();
        for name in names {
            if self.profile.excused.contains_key(name) {
                (tally.fields, tally.excused) = (tally.fields + 1, tally.excused + 1);
                continue;
            }
            match self.try_field(&place, name, fields.get(name)).await {
                Ok(Outcome::Reported) => {}
                Ok(Outcome::Shown) => (tally.fields, tally.shown) = (tally.fields + 1, tally.shown + 1),
                Ok(Outcome::Kept) => (tally.fields, tally.kept) = (tally.fields + 1, tally.kept + 1),
                Err(problem) => problems.push(format!("`{name}`: {problem}")),
            }
        }
        (tally, problems)
    }

    async fn try_field(
        &mut self,
        place: &Place<'_>,
        name: &str,
        described: Option<&Value>,
    ) -> Result<Outcome, String> {
        self.settle().await?;
        let before = place.read(&self.profile).await?;
        // Of an old name the new one is what counts.
        let new_name = format!("token_{name}");
        let live = before.get(&new_name).or_else(|| before.get(name)).cloned().unwrap_or_default();
        let values = match self.profile.values.get(name) {
            Some(value) => vec![value.clone()],
            None => candidates(described.unwrap_or(&Value::Null), &live),
        };
        let Some(after) = place.set(&self.profile, &before, name, values).await? else {
            return match described {
                Some(_) => Err(format!("no other value than {live} was taken; give one, or a reason")),
                None => Ok(Outcome::Reported),
            };
        };
        let set: Vec<&String> = after.keys().filter(|key| !same(after.get(*key), before.get(*key))).collect();
        if !self.differences().await?.is_empty() {
            return self.restore(place, &before).await.map(|()| Outcome::Shown);
        }
        match self.apply(!self.changed).await {
            Err(why) if why.starts_with(BLOCKED) => {
                self.changed = !self.changed;
                return self.restore(place, &before).await.map(|()| Outcome::Shown);
            }
            applied => applied?,
        }
        let updated = place.read(&self.profile).await?;
        match set.iter().find(|key| !same(updated.get(**key), after.get(**key))) {
            None => Ok(Outcome::Kept),
            Some(key) => {
                let (was, is) = (&after[*key], updated.get(*key).unwrap_or(&Value::Null));
                Err(format!("an update reset `{key}` without a word: it was {was} and is {is}"))
            }
        }
    }

    /// Nothing differs from what is declared.
    async fn settle(&mut self) -> Result<(), String> {
        if self.differences().await.is_ok_and(|found| found.is_empty()) {
            return Ok(());
        }
        self.apply(self.changed).await?;
        match self.differences().await? {
            none if none.is_empty() => Ok(()),
            left => Err(format!("what an earlier field left cannot be put right: {left:?}")),
        }
    }

    /// Takes a value back that a plan shows, by the server's own means: there may be none in the plan's.
    async fn restore(&mut self, place: &Place<'_>, before: &Map<String, Value>) -> Result<(), String> {
        let _ = place.write(&self.profile, before.clone()).await;
        if self.differences().await.is_ok_and(|found| found.is_empty()) {
            return Ok(());
        }
        if self.apply(self.changed).await.is_ok() && self.differences().await?.is_empty() {
            return Ok(());
        }
        place.server.ask("DELETE", &place.read, &Value::Null).await?;
        self.apply(self.changed).await
    }
}

/// How the error of an update begins that the plan blocks.
const BLOCKED: &str = "blocked";

enum Outcome {
    /// The server reports the field, and it cannot be written.
    Reported,
    /// A plan shows another value.
    Shown,
    /// An update keeps another value.
    Kept,
}

fn position(session: &Session) -> usize {
    let steps = &session.world.resolved.steps;
    steps.iter().position(|step| step.id == "subject").expect("the subject is in the plan")
}
