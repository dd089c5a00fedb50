//! A provider that the tests bring along goes through everything that a plan can do, without a file of the
//! program knowing it; and a model of the places that it has.

mod model;
mod proven;
mod provider;
mod smaller;
mod world;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use groundwork::apply::{Approved, Options, Report};
use groundwork::changeset::{Action, Changeset, RemovalScope, Selection};
use groundwork::environment::Environment;
use groundwork::event::Events;
use groundwork::plan::Given;
use groundwork::provider::{Registry, provider};
use groundwork::providers::{aws::Aws, file::File, vault::Vault};
use groundwork::saved::{Origin, Saved, differences};
use groundwork::session::{self, Session};
use groundwork::trust::{Grant, Subject, Trust};
use groundwork::{schema, ui};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::provider::Toy;
use self::world::World;
use crate::support::block_on;

/// One line in one list.
static REGISTRY: Registry =
    Registry::new(&[&provider::<Aws>(), &provider::<Vault>(), &provider::<File>(), &provider::<Toy>()]);

/// A folder for plans; in memory where that is possible: a journal waits for the disk at each line.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A plan file, and what its caller allows.
struct Plan {
    path: PathBuf,
    trust: Trust,
    registry: &'static Registry,
}

impl Plan {
    /// A plan in this folder, whose caller keeps the keys of plans there as well.
    fn new(folder: &Path, url: &str) -> Self {
        let grant = url.starts_with("http").then(|| Grant::new(Subject::Vault, url));
        let environment = Environment::new([("GROUNDWORK_CONFIG_DIR", folder.join("config"))]);
        let trust = Trust::new(grant).in_environment(environment);
        Self { path: folder.join("plan.yaml"), trust, registry: &REGISTRY }
    }

    fn write(&self, plan: &Value) {
        std::fs::write(&self.path, plan.to_string()).expect("written");
    }

    fn mistakes(&self) -> Vec<String> {
        match session::check_with(self.registry, &self.path, &Given::default(), &self.trust) {
            Ok(_) => Vec::new(),
            Err(found) => found.list.into_iter().map(|mistake| mistake.message).collect(),
        }
    }

    /// The session and its changeset, or the mistakes.
    async fn plan(&self, extent: RemovalScope) -> Result<(Session, Changeset), String> {
        let checked = session::check_with(self.registry, &self.path, &Given::default(), &self.trust);
        let mut checked = checked.map_err(|found| found.to_string())?;
        checked.extent = extent;
        let observed = Session::observe(checked, 4, &Events::default()).await;
        let mut session = observed.map_err(|error| error.to_string())?;
        let changeset = session.compare().await.map_err(|error| error.to_string())?;
        Ok((session, changeset))
    }

    async fn apply(&self, extent: RemovalScope) -> Result<(Changeset, Report), String> {
        let (mut session, changeset) = self.plan(extent).await?;
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        let options = Options { parallelism: 4, stop: stopped };
        let report = session.apply(Approved::by_caller(&changeset), &options, &Events::default()).await;
        Ok((changeset, report.map_err(|error| error.to_string())?))
    }

    fn origin(&self, removes: RemovalScope) -> Origin {
        let selection = Selection::default();
        Origin { plan: self.path.clone(), vars: Vec::new(), removes, selection, commit: None }
    }
}

/// The ids of the steps with this action.
fn with(changeset: &Changeset, action: Action) -> Vec<&str> {
    let steps = changeset.steps.iter().filter(|step| step.action == action);
    steps.map(|step| step.id.as_str()).collect()
}

fn keys(world: &Mutex<World>) -> Vec<String> {
    world.lock().unwrap().things.keys().cloned().collect()
}

#[test]
fn toy_provider_works_without_core_changes() {
    block_on(async {
        let (folder, world) = (folder(), Arc::new(Mutex::new(World::default())));
        let url = world::serve(Arc::clone(&world));
        let plan = Plan::new(folder.path(), &url);
        let declared = |steps: Value| {
            json!({ "version": 1, "name": "toys", "steps": steps, "toy": {
                "url": url, "tenant": "ours", "zone": "east", "tags": { "team": "toys" },
                "aliases": { "garden": { "tenant": "ours", "zone": "west" } } } })
        };
        let desk = json!({ "kind": "toy.lamp", "name": "desk", "brightness": 40 });
        let steps = json!({
            "desk": desk,
            "path": { "kind": "toy.lamp", "provider": "toy.garden", "name": "desk",
                      "brightness": 20 },
            "reminder": { "kind": "toy.note", "namespace": "kitchen", "name": "Reminder",
                          "text": "switch off {{ desk.name }} in {{ toy.zone }}" },
        });

        validates(&plan, &declared);
        plan.write(&declared(steps.clone()));
        assert!(plan.mistakes().is_empty(), "{:?}", plan.mistakes());
        let refused = Plan { trust: Trust::default(), path: plan.path.clone(), registry: &REGISTRY };
        let refused = refused.plan(RemovalScope::Nothing).await.err().expect("not allowed");
        assert!(refused.contains(&format!("the plan sends toys to {url}")), "{refused}");

        let (session, changeset) = plan.plan(RemovalScope::Nothing).await.expect("planned");
        assert_eq!(with(&changeset, Action::Create), ["desk", "path", "reminder"]);
        assert_eq!(changeset.steps[1].name, "desk (toy.garden)");
        assert_eq!(session.world.whereabouts.as_deref(), Some("namespace /, tenant uid-ours, zone east"));
        assert!(world.lock().unwrap().writes.is_empty(), "planning writes nothing");

        saved_changeset_notices_another_tenant(&plan, &session, &changeset, &declared(steps.clone())).await;
        drop(session);

        let (_, report) = plan.apply(RemovalScope::Nothing).await.expect("applied");
        assert!(report.failed.is_empty() && report.done.len() == 3, "{:?}", report.failed);
        assert_eq!(
            keys(&world),
            ["lamp/ours/east/-/desk", "lamp/ours/west/-/desk", "note/ours/-/kitchen/reminder"]
        );
        let path = world.lock().unwrap().things["lamp/ours/west/-/desk"].clone();
        assert_eq!((&path["brightness"], &path["tags"]["team"]), (&json!(20), &json!("toys")));
        let note = world.lock().unwrap().things["note/ours/-/kitchen/reminder"].clone();
        assert_eq!(note["text"], "switch off desk in east");
        let (again, _) = plan.apply(RemovalScope::Nothing).await.expect("applied again");
        assert_eq!(again.summary.none, 3, "{again:?}");

        // Somebody changes a lamp: drift, which the next run takes back.
        world.lock().unwrap().things.get_mut("lamp/ours/east/-/desk").expect("there")["brightness"] =
            json!(99);
        let (_, drift) = plan.plan(RemovalScope::Nothing).await.expect("planned");
        assert_eq!(
            (with(&drift, Action::Update), drift.steps[0].changes[0].path.as_str()),
            (vec!["desk"], "brightness")
        );

        let only_desk = declared(json!({ "desk": desk }));
        smaller::build_says_what_it_lacks(&plan, &declared(steps), &only_desk).await;
        plan.write(&only_desk);
        let (pruned, _) = plan.apply(RemovalScope::Undeclared).await.expect("pruned");
        assert_eq!(pruned.summary.delete, 2, "{pruned:?}");
        assert_eq!(keys(&world), ["lamp/ours/east/-/desk"]);
        let (destroyed, _) = plan.apply(RemovalScope::Everything).await.expect("destroyed");
        assert_eq!(with(&destroyed, Action::Delete), ["desk"]);
        assert!(keys(&world).is_empty());
    });
    described_like_any_other();
}

/// Mistakes in the section, in a kind's fields and in a place are found offline.
fn validates(plan: &Plan, declared: &impl Fn(Value) -> Value) {
    let mut wrong = declared(json!({
        "bright": { "kind": "toy.lamp", "name": "a", "brightness": 101 },
        "misspelt": { "kind": "toy.lamp", "nmae": "b" },
        "nowhere": { "kind": "toy.lamp", "provider": "toy.gardn", "name": "c" },
        "unknown": { "kind": "toy.lamb", "name": "d" },
    }));
    wrong["toy"]["zone"] = json!("north");
    plan.write(&wrong);
    let found = plan.mistakes();
    for words in [
        "there are only the zones east and west",
        "is a percentage",
        "there is no provider `toy.gardn`",
        "there is no kind `toy.lamb`",
    ] {
        assert!(found.iter().any(|message| message.contains(words)), "{words}: {found:?}");
    }
    plan.write(&declared(json!({
        "one": { "kind": "toy.note", "name": "reminder", "text": "a" },
        "two": { "kind": "toy.note", "name": "Reminder", "text": "b" },
    })));
    let found = plan.mistakes();
    assert!(found.iter().any(|message| message.contains("both declare toy.note Reminder")), "{found:?}");
}

/// A changeset of one tenant is out of date in another.
async fn saved_changeset_notices_another_tenant(
    plan: &Plan,
    session: &Session,
    changeset: &Changeset,
    declared: &Value,
) {
    let content = session.record(changeset, &plan.origin(RemovalScope::Nothing));
    let text = Saved::now(content.clone(), None, &Environment::default()).expect("sealed").text();
    let read = Saved::parse(&text).expect("read back");
    assert_eq!(read.content, content);
    let mut other = declared.clone();
    other["toy"]["tenant"] = json!("theirs");
    plan.write(&other);
    let (session, changeset) = plan.plan(RemovalScope::Nothing).await.expect("planned");
    let now = session.record(&changeset, &plan.origin(RemovalScope::Nothing));
    let found: Vec<String> = differences(&content, &now).iter().map(ToString::to_string).collect();
    let expected = "where `toy` is: expected namespace /, tenant uid-ours, zone east, is namespace /, tenant \
                    uid-theirs, zone east";
    assert!(found.iter().any(|difference| difference.contains(expected)), "{found:?}");
    plan.write(declared);
}

/// `explain` and the schema have it as they have any other.
fn described_like_any_other() {
    let schema = schema::plan_schema(&REGISTRY);
    assert_eq!(schema["properties"]["toy"]["$ref"], "#/definitions/ToySettings");
    assert!(schema["definitions"]["ToySettings"]["properties"]["aliases"].is_object());
    let kinds = &schema["definitions"]["Step"]["properties"]["kind"]["enum"];
    assert!(kinds.as_array().expect("kinds").contains(&json!("toy.note")));
    let note = ui::explain::kind_markdown(REGISTRY.find("toy.note").expect("a kind"));
    for words in ["## toy.note", "A note.", "| `namespace` |", "What it says."] {
        assert!(note.contains(words), "{words}: {note}");
    }
    assert!(ui::explain::markdown(&REGISTRY).contains("- [toy.lamp](#toylamp): A lamp."));
}
