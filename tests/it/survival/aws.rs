//! The kinds of AWS, against the sandbox's emulator. What a service knows is what the service models of
//! botocore say, which the emulator brings along; see `tests/survival/aws.py`.
//!
//! Each kind has a profile `tests/survival/<kind>.yaml`; see [`Profile`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use groundwork::apply::{Approved, Options};
use groundwork::changeset::{Action, Changeset};
use groundwork::environment::Environment;
use groundwork::event::Events;
use groundwork::plan::Given;
use groundwork::providers::PROVIDERS;
use groundwork::session::{self, Session};
use groundwork::trust::Trust;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Tally;
use crate::contract::{STAGES, merge};
use crate::stages::side_by_side;
use crate::support::{TestEnvironment, block_on};

/// How a kind is exercised. `NAME` stands for a name that each case has for itself, `CASE` for the id of
/// its step.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    /// Steps that all cases share, id to step.
    #[serde(default)]
    given: Map<String, Value>,
    /// Steps that each case has for itself beside the one under test.
    #[serde(default)]
    beside: Map<String, Value>,
    /// The step under test.
    step: Value,
    /// A change that makes the next update write the thing.
    force: Value,
    /// Where the service tells the id that `FOUND` stands for: an operation, its parameters, and a
    /// JSON pointer into the answer.
    #[serde(default)]
    find: Option<(String, Value, String)>,
    /// The operations that write the thing.
    writes: Vec<Writing>,
}

/// An operation that writes the thing, and the one that reads the same.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Writing {
    /// `service.Operation`.
    operation: String,
    /// Its parameters, as a plan writes them.
    base: Value,
    /// The operation that reads what was written, and its parameters.
    read: (String, Value),
    /// Legal values where the model does not say enough to make one up; with `params`, parameters that
    /// belong together.
    #[serde(default)]
    values: BTreeMap<String, Value>,
    /// Further cases by their names, each with parameters that are set together.
    #[serde(default)]
    also: BTreeMap<String, Value>,
    /// Fields that are not tried, and why; one that ends with `*` stands for all that begin so.
    #[serde(default)]
    excused: BTreeMap<String, String>,
    /// Fields that the emulator does not keep, so that nothing can be proven of them here.
    #[serde(default)]
    not_kept: BTreeSet<String>,
    /// A text that an update must leave in a value whose other parts it changes.
    #[serde(default)]
    left: Option<String>,
    /// Another change that makes the next update write the thing, where the profile's does not.
    #[serde(default)]
    force: Option<Value>,
}

#[test]
fn undeclared_settings_of_aws_survive_or_are_shown() {
    let only = std::env::var(KIND).ok();
    let wanted = |kind: &&str| only.as_ref().is_none_or(|only| only.split(',').any(|one| one == *kind));
    let kinds = PROVIDERS.names().filter(|kind| kind.starts_with("aws.")).filter(wanted);
    let outcomes = side_by_side(kinds.collect(), STAGES, TestEnvironment::new, |stage, kind: &str| {
        (!survives(stage, kind)).then_some(kind)
    });
    let broken: Vec<&str> = outcomes.into_iter().flatten().collect();
    assert!(broken.is_empty(), "an undeclared setting was reset without a word, see above: {broken:?}");
}

/// Tries one kind on a stage's servers.
fn survives(stage: &TestEnvironment, kind: &str) -> bool {
    let (python, modules) = stage.python();
    // The library reads its surroundings from the process, so each kind runs in one of its own.
    let mut inner = Command::new(std::env::current_exe().expect("this program"));
    inner.args(["survival::aws::inner", "--exact", "--ignored", "--nocapture"]);
    stage.sandbox.apply_to(&mut inner);
    inner.env("GROUNDWORK_CONFIG_DIR", stage.config());
    inner.env("SURVIVAL_FOLDER", &stage.folder).env(KIND, kind);
    inner.env("SURVIVAL_PYTHON", python).env("SURVIVAL_MODULES", modules);
    let output = inner.output().expect("the inner test starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    // In one piece, so that the stages' words do not mix.
    println!("{}", said.concat());
    output.status.success() && said[0].contains("survival of aws")
}

/// Names kinds, separated by commas: only these are tried.
const KIND: &str = "SURVIVAL_KIND";

#[test]
#[ignore = "started by the test above with a sandbox in its environment"]
fn inner() {
    let folder = PathBuf::from(std::env::var_os("SURVIVAL_FOLDER").expect("started by the outer test"));
    let only = std::env::var(KIND).expect("started by the outer test");
    let wanted = |kind: &&str| only == *kind;
    let (mut all, mut wrong) = (Tally::default(), Vec::new());
    let mut driver = Driver::start();
    for kind in PROVIDERS.names().filter(|kind| kind.starts_with("aws.")).filter(wanted) {
        match EXCUSED.iter().find(|(name, _)| *name == kind) {
            Some((_, why)) => println!("{kind}: not tried, {why}"),
            None => match block_on(Run { folder: &folder, kind, driver: &mut driver }.all()) {
                Ok((tally, failures)) => {
                    println!("{kind}: {tally}");
                    all += tally;
                    wrong.extend(failures.into_iter().map(|failure| format!("{kind}: {failure}")));
                }
                Err(problem) => wrong.push(format!("{kind}: {problem}")),
            },
        }
    }
    println!("survival of aws: {all}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Kinds that are not tried, and why.
const EXCUSED: [(&str, &str); 3] = [
    ("aws.iam_access_key", "a key has no settings but its status, which its own tests change"),
    ("aws.iam_account_password_policy", "there is one in an account, and a plan declares each of its fields"),
    ("aws.iam_oidc_provider", "the emulator changes nothing about one"),
];

type Outcome<T = ()> = Result<T, String>;

/// One kind.
struct Run<'a> {
    folder: &'a Path,
    kind: &'static str,
    driver: &'a mut Driver,
}

/// One field set to another value.
struct Case {
    /// The step's id in the plans.
    id: String,
    name: String,
    field: String,
    params: Value,
    writing: Writing,
    /// What the service says before and after, without what changes by itself.
    before: BTreeMap<String, String>,
    after: BTreeMap<String, String>,
}

impl Case {
    /// What the other value changed.
    fn changed(&self) -> Vec<(&String, Option<&String>)> {
        let paths: BTreeSet<&String> = self.before.keys().chain(self.after.keys()).collect();
        let differs = |path: &&String| self.before.get(*path) != self.after.get(*path);
        paths.into_iter().filter(differs).map(|path| (path, self.after.get(path))).collect()
    }

    /// What of it an update has reset.
    fn reset(&self, now: &BTreeMap<String, String>) -> Vec<String> {
        let left = |value: Option<&String>| {
            self.writing.left.as_ref().is_some_and(|left| value.is_some_and(|value| value.contains(left)))
        };
        let changed = self.changed().into_iter();
        let reset = changed.filter(|(path, value)| now.get(*path) != *value && !left(now.get(*path)));
        reset.map(|(path, value)| format!("{path} is {:?} instead of {value:?}", now.get(path))).collect()
    }

    fn words(&self) -> String {
        format!("{} {}", self.writing.operation, self.field)
    }
}

impl Run<'_> {
    /// Every field of every operation: what came of it, and what must not have.
    async fn all(mut self) -> Outcome<(Tally, Vec<String>)> {
        let profile = profile(self.kind)?;
        let mut tally = Tally { kinds: 1, ..Tally::default() };
        let mut cases = self.cases(&profile, &mut tally)?;
        let (_, failed) = self.apply(&profile, cases.iter().map(|case| (case, None))).await?;
        if let Some((id, error)) = failed.iter().next() {
            return Err(format!("{id} cannot be made: {error}"));
        }
        let mut wrong = Vec::new();
        for case in &mut cases {
            if let Err(problem) = self.change(profile.find.as_ref(), case) {
                wrong.push(format!("{}: {problem}", case.words()));
            }
        }
        let (ignored, cases): (Vec<Case>, Vec<Case>) =
            cases.into_iter().partition(|case| case.changed().is_empty());
        for case in ignored {
            tally.excused += 1;
            if !case.writing.not_kept.contains(&case.field) {
                wrong.push(format!("{}: the emulator keeps nothing of it", case.words()));
            }
        }
        self.judge(&profile, cases, &mut tally, &mut wrong).await?;
        Ok((tally, wrong))
    }

    /// A case for each field that is not excused.
    fn cases(&mut self, profile: &Profile, tally: &mut Tally) -> Outcome<Vec<Case>> {
        let mut cases = Vec::new();
        for writing in &profile.writes {
            let request = json!({ "do": "variants", "operation": writing.operation, "base": writing.base,
                "values": writing.values, "excused": writing.excused });
            let variants = self.driver.ask(&request)?;
            let known: BTreeSet<&str> =
                variants.as_array().into_iter().flatten().filter_map(|it| it["field"].as_str()).collect();
            let named = writing.excused.keys().chain(writing.values.keys());
            let unknown = named.filter(|one| !known.iter().any(|field| stands_for(one, field)));
            let unknown: Vec<&String> = unknown.collect();
            if !unknown.is_empty() {
                return Err(format!("{} has no fields {unknown:?}", writing.operation));
            }
            tally.fields += known.len();
            let is_excused = |field: &str| writing.excused.keys().any(|one| stands_for(one, field));
            tally.excused += known.iter().filter(|field| is_excused(field)).count();
            let tried = variants.as_array().into_iter().flatten();
            let tried =
                tried.map(|it| (it["field"].as_str().unwrap_or_default().to_owned(), it["params"].clone()));
            let tried = tried.filter(|(field, _)| !is_excused(field));
            let also = writing.also.iter().map(|(name, params)| {
                let mut all = writing.base.clone();
                merge(&mut all, params);
                (name.clone(), all)
            });
            for (field, params) in tried.chain(also) {
                cases.push(self.case(cases.len(), writing, field, &params));
            }
        }
        Ok(cases)
    }

    fn case(&self, number: usize, writing: &Writing, field: String, params: &Value) -> Case {
        let kind = self.kind.trim_start_matches("aws.").replace('_', "-");
        let name = format!("gw-s{number}-{kind}-x");
        let id = format!("case_{number}");
        Case {
            params: replaced(&named(params, &name), "CASE", &id),
            id,
            writing: Writing {
                read: (writing.read.0.clone(), named(&writing.read.1, &name)),
                ..writing.clone()
            },
            name,
            field,
            before: BTreeMap::new(),
            after: BTreeMap::new(),
        }
    }

    /// Sets the field past the program.
    fn change(&mut self, find: Option<&(String, Value, String)>, case: &mut Case) -> Outcome {
        if let Some((operation, params, pointer)) = find {
            let request =
                json!({ "do": "call", "operation": operation, "params": named(params, &case.name) });
            let answer = self.driver.ask(&request)?;
            let found = answer.pointer(pointer).and_then(Value::as_str).ok_or("its id is not told")?;
            case.params = replaced(&case.params, "FOUND", found);
            case.writing.read.1 = replaced(&case.writing.read.1, "FOUND", found);
        }
        // What was never set may be an error to read.
        case.before = match self.read(case) {
            Err(problem) if problem.contains("NoSuch") || problem.contains("does not have") => {
                BTreeMap::new()
            }
            before => before?,
        };
        let request = json!({ "do": "call", "operation": case.writing.operation, "params": case.params });
        self.driver.ask(&request)?;
        case.after = self.read(case)?;
        Ok(())
    }

    fn read(&mut self, case: &Case) -> Outcome<BTreeMap<String, String>> {
        let (operation, params) = &case.writing.read;
        let answer = self.driver.ask(&json!({ "do": "call", "operation": operation, "params": params }))?;
        let mut flat = BTreeMap::new();
        flatten(&answer, String::new(), &mut flat);
        Ok(flat)
    }

    /// What a plan does not show must survive the next update.
    async fn judge(
        &mut self,
        profile: &Profile,
        cases: Vec<Case>,
        tally: &mut Tally,
        wrong: &mut Vec<String>,
    ) -> Outcome {
        let (_, changeset) = self.plan(profile, cases.iter().map(|case| (case, None))).await?;
        let mut silent = Vec::new();
        for case in cases {
            match changeset.step(&case.id).map(|step| (step.action, step.reason.clone())) {
                Some((Action::None, _)) => silent.push(case),
                Some((Action::Update | Action::Blocked | Action::Adopt, _)) => tally.shown += 1,
                other => wrong.push(format!("{}: planned as {other:?}", case.words())),
            }
        }
        let force = |case: &Case| case.writing.force.clone().unwrap_or_else(|| profile.force.clone());
        let forced = silent.iter().map(|case| (case, Some(force(case))));
        let (done, failed) = self.apply(profile, forced).await?;
        for case in &silent {
            let now = self.read(case)?;
            let reset = case.reset(&now);
            match (failed.get(&case.id), done.contains(&case.id), reset.is_empty()) {
                (Some(error), ..) => wrong.push(format!("{}: the update failed: {error}", case.words())),
                (None, false, _) => wrong.push(format!("{}: nothing was written", case.words())),
                (None, true, false) => wrong.push(format!("{}: {}", case.words(), reset.join(", "))),
                (None, true, true) => tally.kept += 1,
            }
        }
        Ok(())
    }

    /// Observes and compares a plan with a step for each case, some of them changed.
    async fn plan<'a>(
        &self,
        profile: &Profile,
        cases: impl Iterator<Item = (&'a Case, Option<Value>)>,
    ) -> Outcome<(Session, Changeset)> {
        let mut steps = profile.given.clone();
        for (case, change) in cases {
            let mut step = replaced(&named(&profile.step, &case.name), "CASE", &case.id);
            step["protect"] = json!(false);
            if let Some(change) = change {
                merge(&mut step, &named(&change, &case.name));
            }
            steps.insert(case.id.clone(), step);
            for (id, beside) in &profile.beside {
                steps.insert(id.replace("CASE", &case.id), named(beside, &case.name));
            }
        }
        // A journal for each kind: what other kinds have left would be looked for in every plan.
        let name = format!("survival-{}", self.kind);
        let plan = json!({ "version": 1, "name": name, "steps": steps });
        let path = self.folder.join(format!("{}.yaml", self.kind));
        std::fs::write(&path, plan.to_string()).map_err(|error| error.to_string())?;
        let checked = session::check(
            &path,
            &Given::default(),
            &Trust::of_environment(&Environment::of_process()).expect("grants"),
        )
        .map_err(|mistakes| mistakes.to_string())?;
        let session = Session::observe(checked, session::PARALLELISM, &Events::default()).await;
        let mut session = session.map_err(|error| error.to_string())?;
        let changeset = session.compare().await.map_err(|error| error.to_string())?;
        Ok((session, changeset))
    }

    /// Applies such a plan: what was written, and what failed and why.
    async fn apply<'a>(
        &self,
        profile: &Profile,
        cases: impl Iterator<Item = (&'a Case, Option<Value>)>,
    ) -> Outcome<(BTreeSet<String>, HashMap<String, String>)> {
        let (mut session, changeset) = self.plan(profile, cases).await?;
        let (_stop, stop) = tokio::sync::watch::channel(false);
        let options = Options { parallelism: session::PARALLELISM, stop };
        let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
        let report = report.map_err(|error| error.to_string())?;
        let failed = report.failed.iter().map(|(id, error)| (id.clone(), error.to_string()));
        Ok((report.done.iter().cloned().collect(), failed.collect()))
    }
}

/// Whether a name in a profile is a field's, or begins it and ends with `*`.
fn stands_for(name: &str, field: &str) -> bool {
    name == field || name.strip_suffix('*').is_some_and(|prefix| field.starts_with(prefix))
}

fn profile(kind: &str) -> Outcome<Profile> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/survival/{kind}.yaml"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The same with a case's name.
fn named(value: &Value, name: &str) -> Value {
    replaced(value, "NAME", name)
}

fn replaced(value: &Value, what: &str, with: &str) -> Value {
    let text = value.to_string().replace(what, with);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Endings of names, and names, of what changes by itself.
const MOMENTS: [&str; 4] = ["Date", "Time", "Timestamp", "Modified"];
const BY_ITSELF: [&str; 3] = ["ETag", "VersionId", "VersionIdsToStages"];

/// What an item of a list is known by, the first that it has.
const KNOWN_BY: [&str; 9] =
    ["Key", "TagKey", "ID", "Sid", "IndexName", "AttributeName", "metricName", "Name", "Permission"];

/// An answer as its single values by their paths. Items of a list are known by what they are and not by
/// where they stand, and a policy in an answer is taken apart like the answer.
fn flatten(value: &Value, path: String, flat: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter().filter(|(name, field)| !is_by_itself(&path, name, field)) {
                flatten(field, format!("{path}.{name}"), flat);
            }
        }
        Value::Array(items) => {
            for item in items {
                let name = KNOWN_BY.iter().find_map(|name| item.get(name)).unwrap_or(item);
                let alone = items.len() == 1 && item.is_object();
                let place = if alone { "0".to_owned() } else { name.to_string() };
                flatten(item, format!("{path}[{place}]"), flat);
            }
        }
        Value::String(text) if path.ends_with("olicy") => match serde_json::from_str::<Value>(text) {
            Ok(document @ Value::Object(_)) => flatten(&document, path, flat),
            _ => drop(flat.insert(path, text.clone())),
        },
        Value::String(text) => drop(flat.insert(path, text.clone())),
        scalar => drop(flat.insert(path, scalar.to_string())),
    }
}

fn is_by_itself(path: &str, name: &str, value: &Value) -> bool {
    let moment = MOMENTS.iter().any(|end| name != *end && name.ends_with(end));
    let label = name == "DisplayName" && path.ends_with(".Grantee");
    moment || label || BY_ITSELF.contains(&name) || name == "Version" && value.is_number()
}

/// The Python program that speaks to the emulator.
struct Driver {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start() -> Self {
        let variable = |name: &str| std::env::var_os(name).expect("started by the outer test");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/survival/aws.py");
        let mut child = Command::new(variable("SURVIVAL_PYTHON"))
            .arg(program)
            .env("PYTHONPATH", variable("SURVIVAL_MODULES"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        Self { child, requests: requests.expect("piped"), answers: BufReader::new(answers.expect("piped")) }
    }

    fn ask(&mut self, request: &Value) -> Outcome<Value> {
        writeln!(self.requests, "{request}").map_err(|error| error.to_string())?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It has ended already when the emulator went first.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
