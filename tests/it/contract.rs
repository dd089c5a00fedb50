//! The contract that every kind keeps, run over every registered kind against real servers.
//!
//! Each kind has a fixture `tests/contract/<kind>.yaml`; see [`Fixture`].

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use groundwork::apply::{Approved, ApprovedRemoval, Options, Report};
use groundwork::changeset::{Action, Changeset};
use groundwork::event::Events;
use groundwork::providers::registry;
use groundwork::sandbox::{OpenBao, VaultServer};
use groundwork::session::{self, Session};
use groundwork::trust::{Grant, Subject as TrustSubject, Trust};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::methods::Methods;
use crate::postgres::Postgres;
use crate::stages::side_by_side;
use crate::support::{Cluster, block_on};

/// How a kind is exercised.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// Steps that are applied before, id to step.
    #[serde(default)]
    pub given: Map<String, Value>,
    /// The step under test.
    pub step: Value,
    /// Other notations of the same, which must not be a change.
    #[serde(default)]
    same: Vec<Set>,
    /// Changes that must be refused with an explanation.
    #[serde(default)]
    blocked: Vec<Shown>,
    /// Changes, each merged (RFC 7396) into the step so far, planned, applied, in sync.
    #[serde(default)]
    pub changes: Vec<Shown>,
    /// Other subjects, for what the first cannot have; each is made, changed and deleted.
    #[serde(default)]
    others: Vec<Other>,
    /// As `same`, of the step with all changes.
    #[serde(default)]
    same_at_end: Vec<Set>,
    /// As `blocked`, of the step with all changes.
    #[serde(default)]
    blocked_at_end: Vec<Shown>,
    /// Changes that the sandbox's emulator cannot make and AWS can; made when [`OTHER_AWS`] is set.
    #[serde(default)]
    not_in_sandbox: Vec<Shown>,
    /// Why the kind cannot be deleted, for those whose deletion is refused.
    #[serde(default)]
    never_deleted: Option<String>,
    /// What a plan says of a kind that the test's server does not have.
    #[serde(default)]
    pub elsewhere: Option<String>,
    /// The servers that have it all the same, by [`Server::name`].
    #[serde(default)]
    servers: Vec<String>,
    /// Why deletion leaves something that can still be observed.
    #[serde(default)]
    remains: Option<String>,
    /// Fields that no change of the fixture shows, and why.
    #[serde(default)]
    not_shown: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    pub set: Value,
    /// The paths that the plan must name, exactly, in any order.
    shows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Other {
    step: Value,
    changes: Vec<Shown>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Set {
    set: Value,
}

/// Kinds whose life is a ceremony: created once, never deleted. Their own tests go through it.
const CEREMONIES: [&str; 2] = ["vault.init", "vault.root_token"];

/// Set to the address of another emulator, the contract runs against that one, e.g. of moto:
/// `GROUNDWORK_OTHER_AWS=http://127.0.0.1:5000 CONTRACT_KIND=aws.iam_group cargo test --test it contract`.
/// `docs/EMULATORS.md` says what came of it.
const OTHER_AWS: &str = "GROUNDWORK_OTHER_AWS";

/// What plays Vault.
#[derive(Clone, Copy)]
enum Server {
    /// OpenBao as the sandbox runs it.
    Current,
    /// The line of OpenBao before it.
    Older,
    /// [`crate::methods`] before OpenBao.
    StandIn,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Older => "openbao-2.6",
            Self::StandIn => "stand-in",
        }
    }

    fn settings(self) -> groundwork::sandbox::Settings {
        let version = if matches!(self, Self::Older) { OpenBao::WithKmsSeal } else { OpenBao::Current };
        groundwork::sandbox::Settings {
            api_audit: true,
            vault: VaultServer::Pinned(version),
            ..groundwork::sandbox::Settings::default()
        }
    }
}

#[test]
fn every_kind_keeps_the_contract() {
    run(Server::Current, registry::names().collect());
}

/// What differs between servers is held in one place, `src/providers/vault/server/`; these kinds ask
/// there.
const DIFFERENT: [&str; 6] =
    ["vault.audit", "vault.auth_method", "vault.mount", "vault.namespace", "vault.policy", "vault.ssh_ca"];

#[test]
fn kinds_that_servers_differ_in_keep_the_contract_on_an_older_openbao() {
    let only_there = |kind: &str| {
        fixture(kind).is_ok_and(|fixture| fixture.servers.contains(&Server::Older.name().into()))
    };
    let kinds: Vec<&str> =
        registry::names().filter(|kind| DIFFERENT.contains(kind) || only_there(kind)).collect();
    assert!(kinds.len() > DIFFERENT.len(), "fixtures of the older server are missing: {kinds:?}");
    run(Server::Older, kinds);
}

#[test]
#[ignore = "takes as long as the contract itself; `make sweep`"]
fn every_kind_of_vault_keeps_the_contract_on_an_older_openbao() {
    // Its databases are the same plugins.
    let kinds =
        registry::names().filter(|kind| kind.starts_with("vault.") && !kind.starts_with("vault.database_"));
    run(Server::Older, kinds.collect());
}

#[test]
fn kinds_of_hashicorp_vault_keep_the_contract_with_a_stand_in() {
    let of_stand_in =
        |kind: &str| fixture(kind).is_ok_and(|fixture| fixture.servers.contains(&"stand-in".to_owned()));
    let kinds: Vec<&str> = registry::names().filter(|kind| of_stand_in(kind)).collect();
    assert!(kinds.len() >= 9, "fixtures of the stand-in are missing: {kinds:?}");
    run(Server::StandIn, kinds);
}

/// A change of any field is a change that a plan shows, or the fixture says why it is none.
#[test]
fn every_field_of_a_kind_is_changed_by_its_fixture() {
    let kinds = registry::KINDS.iter().filter(|kind| !CEREMONIES.contains(&kind.name()));
    let mut wrong = Vec::new();
    for kind in kinds {
        let fixture = fixture(kind.name()).expect("a fixture");
        // Of what no server of the tests has, documented answers are compared in unit tests.
        if fixture.elsewhere.is_some() && fixture.servers.is_empty() {
            continue;
        }
        // Fields that say which thing it is: another value is another thing.
        let identity: &[&str] =
            if kind.provider() == "vault" { &["mount", "name", "path", "namespace"] } else { &["name"] };
        let changes = [&fixture.changes, &fixture.blocked, &fixture.blocked_at_end, &fixture.not_in_sandbox];
        let of_others = fixture.others.iter().flat_map(|other| &other.changes);
        let changes = changes.into_iter().flatten().chain(of_others);
        let shown: BTreeSet<&str> = changes
            .flat_map(|change| &change.shows)
            .map(|path| path.split(['.', '[']).next().unwrap_or_default())
            .collect();
        for field in groundwork::schema::describe::fields(*kind).iter().filter(|field| field.depth == 0) {
            let excused = fixture.not_shown.contains_key(&field.path);
            match shown.contains(field.path.as_str()) {
                true if excused => {
                    wrong.push(format!("{}: `{}` is shown after all", kind.name(), field.path));
                }
                false if !excused && !identity.contains(&field.path.as_str()) => {
                    wrong.push(format!("{}: nothing shows `{}`", kind.name(), field.path));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Stages that kinds go through side by side. A kind mostly waits for its servers, so these are more
/// than there are processors.
pub const STAGES: usize = 4;

/// Takes `kinds` through their life on `server`: each stage takes the next kind that no other has taken.
fn run(server: Server, kinds: Vec<&'static str>) {
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| wanted(kind)).collect();
    let broken = side_by_side(
        kinds,
        STAGES,
        || Stage::new(server),
        |stage, kind| (!stage.keeps_the_contract(kind)).then_some(kind),
    );
    let broken: Vec<&str> = broken.into_iter().flatten().collect();
    assert!(broken.is_empty(), "these kinds break the contract, see above: {}", broken.join(", "));
}

/// Servers of their own for one kind after the other.
struct Stage {
    server: Server,
    cluster: Cluster,
    methods: Option<Methods>,
    database: OnceCell<Postgres>,
}

impl Stage {
    fn new(server: Server) -> Self {
        let cluster = Cluster::with("contract", server.settings());
        cluster.declare(&json!({}));
        cluster.apply(&[]);
        let environment = &cluster.environment;
        copy_companions(&environment.folder);
        let methods =
            matches!(server, Server::StandIn).then(|| Methods::before(&environment.sandbox.vault_addrs()[0]));
        Self { server, cluster, methods, database: OnceCell::new() }
    }

    /// Takes one kind through its life.
    fn keeps_the_contract(&self, kind: &str) -> bool {
        // The library reads its surroundings from the process, so each kind runs in one of its own.
        let mut inner = Command::new(std::env::current_exe().expect("this program"));
        inner.args(["contract::inner", "--exact", "--ignored", "--nocapture"]);
        self.cluster.lead(&mut inner);
        if let Some(other) = std::env::var_os(OTHER_AWS) {
            inner.env("AWS_ENDPOINT_URL", other);
        }
        if let Some(methods) = &self.methods {
            inner.env("VAULT_ADDR", &methods.url).env_remove("GROUNDWORK_VAULT_NODES");
        }
        if kind.starts_with("vault.database_") {
            let database = self.database.get_or_init(|| Postgres::start("contract-database-password"));
            inner.env("CONTRACT_POSTGRES_PORT", database.port.to_string());
        }
        inner.env("CONTRACT_SERVER", self.server.name()).env(KIND, kind);
        inner.env(RECIPIENT, self.cluster.recipient());
        let output = inner.env("CONTRACT_FOLDER", &self.cluster.environment.folder).output();
        let output = output.expect("the inner test starts");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        // In one piece, so that the stages' words do not mix.
        println!("{}", said.concat());
        // A filter that matches no test succeeds, too.
        output.status.success() && said[0].contains(&format!("{kind}: ok"))
    }
}

#[test]
#[ignore = "started by the tests above with a sandbox in its environment"]
fn inner() {
    let folder = PathBuf::from(std::env::var_os("CONTRACT_FOLDER").expect("started by the outer test"));
    let wanted = std::env::var(KIND).expect("started by the outer test");
    let kind = registry::names().find(|kind| *kind == wanted).expect("a kind of the registry");
    let started = std::time::Instant::now();
    if let Err(problem) = block_on(Subject::new(&folder, kind).and_then_run()) {
        panic!("{kind}: {problem}");
    }
    println!("{kind}: ok, {:.1} s", started.elapsed().as_secs_f32());
}

/// Who can open what is in custody.
const RECIPIENT: &str = "CONTRACT_RECIPIENT";

/// Names kinds, separated by commas: only these are exercised.
const KIND: &str = "CONTRACT_KIND";

/// Whether a kind is exercised.
fn wanted(kind: &str) -> bool {
    let only = std::env::var(KIND).ok();
    only.is_none_or(|only| only.split(',').any(|wanted| wanted == kind))
}

/// Templates and files that fixtures refer to.
pub fn copy_companions(folder: &Path) {
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
    /// Who can open what is in custody.
    recipient: String,
}

type Outcome<T = ()> = Result<T, String>;

impl Subject {
    fn new(folder: &Path, kind: &'static str) -> Self {
        let recipient = std::env::var(RECIPIENT).expect("started by the outer test");
        Self { folder: folder.to_owned(), kind, recipient }
    }

    async fn and_then_run(self) -> Outcome {
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
        self.deletion(&fixture, &step).await?;
        for other in &fixture.others {
            let mut step = other.step.clone();
            step["protect"] = json!(false);
            self.apply_writes(&fixture, &step, true).await?;
            self.in_sync(&fixture, &step, "after its creation").await?;
            self.changes(&fixture, &mut step, other.changes.iter()).await?;
            self.deletion(&fixture, &step).await?;
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
        apply_plan(self.plan_of(given.clone()).await?).await?;
        given.insert("subject".to_owned(), step.clone());
        let (_, changeset) = self.plan_of(given).await?;
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
        self.plan_of(steps).await
    }

    /// Observes and compares a plan of `steps`. Each kind's plan has a name, and so a journal, of its own:
    /// what other kinds have left would be looked for in every plan.
    async fn plan_of(&self, steps: Map<String, Value>) -> Outcome<(Session, Changeset)> {
        let custody = format!("custody-{}", self.kind);
        let plan = json!({
            "version": 1, "name": format!("contract-{}", self.kind),
            "vars": { "word": "contract" },
            "custody": { "recipients": [{ "age": self.recipient }], "stores": [{ "file": custody }] },
            "steps": steps,
        });
        let path = self.folder.join("plan.yaml");
        std::fs::write(&path, plan.to_string()).map_err(|error| error.to_string())?;
        let trust = Trust::of_environment().expect("grants").with([Grant::new(TrustSubject::Env, "PATH")]);
        let checked = session::check(&path, &[], &trust).map_err(|mistakes| mistakes.to_string())?;
        let session = Session::observe(checked, session::PARALLELISM, &Events::default()).await;
        let mut session = session.map_err(|error| error.to_string())?;
        let changeset = session.compare().map_err(|error| error.to_string())?;
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
        let report = apply_plan(planned).await?;
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
        let (session, changeset) = self.plan(fixture, step).await?;
        changed_paths(&changeset, Action::Create)?;
        let index = position(&session)?;
        let predicted = session.world.instances[index].predicted_outputs(&session.world.scope);
        apply_plan((session, changeset)).await?;
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

async fn apply_plan((mut session, changeset): (Session, Changeset)) -> Outcome<Report> {
    let (_stop, stop) = tokio::sync::watch::channel(false);
    let options = Options { parallelism: session::PARALLELISM, stop };
    let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
    let report = report.map_err(|error| error.to_string())?;
    match report.failed.first() {
        Some((id, error)) => Err(format!("{id}: {error} ({:?})", error.advice)),
        None => Ok(report),
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

/// How a kind is exercised.
pub fn fixture(kind: &str) -> Outcome<Fixture> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/contract/{kind}.yaml"));
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let port = std::env::var("CONTRACT_POSTGRES_PORT").unwrap_or_default();
    let vault = std::env::var("VAULT_ADDR").unwrap_or_default();
    let text = text.replace("POSTGRES_PORT", &port).replace("VAULT_ADDRESS", &vault);
    serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
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
pub fn merge(target: &mut Value, patch: &Value) {
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
