//! A model of places: random edits of a plan over two tenants, two zones and two spaces. Whatever is renamed,
//! moved, dropped or declared twice, nothing that the plan declares and nothing of others is removed or
//! written, and nothing that the plan made is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;

use groundwork::changeset::{Action, RemovalScope};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use super::world::{World, world};
use super::{Plan, folder};
use crate::support::block_on;

const TENANTS: [&str; 2] = ["one", "two"];
const ZONES: [&str; 2] = ["east", "west"];
const SPACES: [&str; 2] = ["", "team"];
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Edits, each followed by an apply, in one sequence.
const EDITS: usize = 8;

/// How many sequences run, and from which seed.
const SEQUENCES: &str = "MODEL_SEQUENCES";
const SEED: &str = "MODEL_SEED";

#[test]
fn random_plan_edits_never_touch_declared_or_foreign_things() {
    let asked = |name: &str, otherwise: u64| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (first, folder) = (asked(SEED, 0), folder());
    let mut counts = Counts::default();
    for seed in first..first + asked(SEQUENCES, 40) {
        block_on(sequence(seed, folder.path(), &mut counts));
    }
    println!("model: {counts:?}");
    assert!(counts.removed > 0 && counts.kept_elsewhere > 0 && counts.refused > 0, "{counts:?}");
}

/// What happened in all sequences.
#[derive(Debug, Default)]
#[allow(dead_code)]
struct Counts {
    applies: usize,
    created: usize,
    updated: usize,
    removed: usize,
    /// Plans that `validate`, or the realms, refused.
    refused: usize,
    /// Steps that were blocked, because others have such a thing.
    blocked: usize,
    /// Applies after which a thing of the plan lay in a realm that the plan did not reach.
    kept_elsewhere: usize,
}

#[derive(Clone, Debug)]
struct Step {
    id: String,
    is_note: bool,
    alias: Option<String>,
    space: Option<String>,
    name: String,
    value: u8,
}

#[derive(Clone, Debug)]
struct Model {
    own: (usize, usize),
    /// The space of the section.
    base: usize,
    aliases: BTreeMap<String, (usize, usize)>,
    steps: Vec<Step>,
    /// For names that were not used before.
    next: usize,
}

impl Model {
    fn random(rng: &mut StdRng) -> Self {
        let place = |rng: &mut StdRng| (rng.random_range(0..2), rng.random_range(0..2));
        let own = place(rng);
        let aliases = [("x".to_owned(), place(rng)), ("y".to_owned(), place(rng))].into();
        Self { own, base: 0, aliases, steps: Vec::new(), next: 0 }
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.next += 1;
        format!("{prefix}{}", self.next)
    }

    fn add(&mut self, rng: &mut StdRng) {
        let id = self.fresh("s");
        let aliases: Vec<Option<String>> = self.aliases.keys().cloned().map(Some).chain([None]).collect();
        let is_note = rng.random_bool(0.5);
        self.steps.push(Step {
            id,
            is_note,
            alias: aliases.choose(rng).cloned().flatten(),
            space: is_note.then(|| [None, Some("team".to_owned())].choose(rng).cloned().flatten()).flatten(),
            name: NAMES.choose(rng).expect("a name").to_string(),
            value: rng.random_range(0..100),
        });
    }

    fn edit(&mut self, rng: &mut StdRng) {
        let step = if self.steps.is_empty() { None } else { Some(rng.random_range(0..self.steps.len())) };
        let Some(step) = step else { return self.add(rng) };
        let aliases: Vec<String> = self.aliases.keys().cloned().collect();
        match rng.random_range(0..15) {
            0..=2 => self.add(rng),
            3 => self.steps[step].id = self.fresh("r"),
            4 => {
                let choices: Vec<Option<String>> = aliases.into_iter().map(Some).chain([None]).collect();
                self.steps[step].alias = choices.choose(rng).cloned().flatten();
            }
            5 => self.rename_alias(&aliases, rng),
            6 => {
                if let Some(name) = aliases.choose(rng) {
                    self.aliases.insert(name.clone(), (rng.random_range(0..2), rng.random_range(0..2)));
                }
            }
            7 => self.own = (rng.random_range(0..2), rng.random_range(0..2)),
            8 => self.base = 1 - self.base,
            9 => {
                self.steps.remove(step);
            }
            10 => self.drop_alias(&aliases, rng),
            11 => {
                let copy = Step { id: self.fresh("d"), ..self.steps[step].clone() };
                self.steps.push(copy);
            }
            12 => {
                let name = &mut self.steps[step].name;
                *name = if *name == name.to_lowercase() { name.to_uppercase() } else { name.to_lowercase() };
            }
            13 => self.steps.reverse(),
            _ => self.steps[step].value = rng.random_range(0..100),
        }
    }

    /// The steps follow the name, or go back to the plan's own place.
    fn rename_alias(&mut self, aliases: &[String], rng: &mut StdRng) {
        let Some(old) = aliases.choose(rng) else { return };
        let (new, follow) = (self.fresh("p"), rng.random_bool(0.7));
        let place = self.aliases.remove(old).expect("an alias");
        self.aliases.insert(new.clone(), place);
        for step in self.steps.iter_mut().filter(|step| step.alias.as_ref() == Some(old)) {
            step.alias = follow.then(|| new.clone());
        }
    }

    /// The alias goes with its steps, or alone.
    fn drop_alias(&mut self, aliases: &[String], rng: &mut StdRng) {
        let Some(old) = aliases.choose(rng) else { return };
        self.aliases.remove(old);
        if rng.random_bool(0.5) {
            self.steps.retain(|step| step.alias.as_ref() != Some(old));
        } else {
            self.steps
                .iter_mut()
                .filter(|step| step.alias.as_ref() == Some(old))
                .for_each(|step| step.alias = None);
        }
    }

    fn yaml(&self, world: &str) -> Value {
        let place =
            |(tenant, zone): (usize, usize)| json!({ "tenant": TENANTS[tenant], "zone": ZONES[zone] });
        let mut toy = place(self.own);
        toy["url"] = json!(format!("memory:{world}"));
        toy["space"] = json!(SPACES[self.base]);
        toy["aliases"] =
            self.aliases.iter().map(|(name, at)| (name.clone(), place(*at))).collect::<Map<_, _>>().into();
        let steps: Map<String, Value> =
            self.steps.iter().map(|step| (step.id.clone(), step.yaml())).collect();
        json!({ "version": 1, "name": "model", "toy": toy, "steps": steps })
    }

    /// The key of a step's thing in the world.
    fn key(&self, step: &Step) -> String {
        let (tenant, zone) = step.alias.as_ref().map_or(self.own, |name| self.aliases[name]);
        let (tenant, zone) = (TENANTS[tenant], ZONES[zone]);
        if step.is_note {
            let space = format!("{}/{}", SPACES[self.base], step.space.as_deref().unwrap_or_default());
            let space = space.trim_matches('/').replace('/', ".");
            format!("note/{tenant}/-/{space}/{}", step.name).to_lowercase()
        } else {
            format!("lamp/{tenant}/{zone}/-/{}", step.name)
        }
    }

    /// Whether the plan's connections lead to the realm of a thing.
    fn reaches(&self, key: &str) -> bool {
        let parts: Vec<&str> = key.split('/').collect();
        let mut places = self.aliases.values().chain([&self.own]);
        places.any(|(tenant, zone)| match parts[0] {
            "lamp" => parts[1] == TENANTS[*tenant] && parts[2] == ZONES[*zone],
            _ => {
                let is_below = self.base == 0 || parts[3] == "team" || parts[3].starts_with("team.");
                parts[1] == TENANTS[*tenant] && is_below
            }
        })
    }
}

impl Step {
    fn yaml(&self) -> Value {
        let mut step = match self.is_note {
            true => json!({ "kind": "toy.note", "name": self.name, "text": self.value.to_string() }),
            false => json!({ "kind": "toy.lamp", "name": self.name, "brightness": self.value }),
        };
        if let Some(alias) = &self.alias {
            step["provider"] = json!(format!("toy.{alias}"));
        }
        if let Some(space) = &self.space {
            step["namespace"] = json!(space);
        }
        step
    }

    fn holds(&self, live: &Value) -> bool {
        match self.is_note {
            true => live["text"].as_str() == Some(&self.value.to_string()),
            false => live["brightness"] == self.value,
        }
    }
}

/// Things of others: one of each name, in half of the realms.
fn strangers(rng: &mut StdRng) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for tenant in TENANTS {
        for zone in ZONES {
            if rng.random_bool(0.6) {
                continue;
            }
            let name = *NAMES.choose(rng).expect("a name");
            let lamp = json!({ "name": name, "brightness": 1, "tags": { "groundwork:plan": "another" } });
            all.insert(format!("lamp/{tenant}/{zone}/-/{name}"), lamp);
        }
        for space in ["", "team", "team.team"] {
            if rng.random_bool(0.6) {
                continue;
            }
            let name = *NAMES.choose(rng).expect("a name");
            all.insert(format!("note/{tenant}/-/{space}/{name}"), json!({ "name": name, "text": "theirs" }));
        }
    }
    all
}

async fn sequence(seed: u64, folder: &Path, counts: &mut Counts) {
    let mut rng = StdRng::seed_from_u64(seed);
    let name = format!("model-{seed}");
    let live = world(&name);
    let strangers = strangers(&mut rng);
    live.lock().unwrap().things.clone_from(&strangers);
    let folder = folder.join(&name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let plan = Plan::new(&folder, "memory:");
    let mut model = Model::random(&mut rng);
    let mut history = Vec::new();
    for _ in 0..EDITS {
        let before = model.clone();
        for _ in 0..rng.random_range(1..=3) {
            model.edit(&mut rng);
        }
        history.push(model.yaml(&name).to_string());
        let extent = if rng.random_bool(0.7) { RemovalScope::Undeclared } else { RemovalScope::Nothing };
        let is_applied = check(&plan, &model, &live, &name, extent, &strangers, counts).await;
        let is_applied =
            is_applied.unwrap_or_else(|problem| panic!("seed {seed}: {problem}\n{}", history.join("\n")));
        if !is_applied {
            model = before;
        }
    }
    // In the end the plan reaches everything again, and removes all that it has made.
    let everywhere =
        [("x", (0, 0)), ("y", (0, 1)), ("z", (1, 0))].map(|(name, place)| (name.to_owned(), place));
    let last = Model { own: (1, 1), base: 0, aliases: everywhere.into(), steps: Vec::new(), next: 0 };
    plan.write(&last.yaml(&name));
    plan.apply(RemovalScope::Undeclared).await.unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    let left = live.lock().unwrap().things.clone();
    assert_eq!(left, strangers, "seed {seed}: what the plan made is lost\n{}", history.join("\n"));
}

/// Applies the plan, and checks what has become of the world. Gives whether the plan was accepted.
async fn check(
    plan: &Plan,
    model: &Model,
    live: &Mutex<World>,
    name: &str,
    extent: RemovalScope,
    strangers: &BTreeMap<String, Value>,
    counts: &mut Counts,
) -> Result<bool, String> {
    live.lock().unwrap().writes.clear();
    let before = live.lock().unwrap().things.clone();
    plan.write(&model.yaml(name));
    let (changeset, report) = match plan.apply(extent).await {
        Ok(done) => done,
        Err(problem) => {
            counts.refused += 1;
            let is_untouched = live.lock().unwrap().things == before;
            let is_known = problem.contains("both declare");
            return if is_untouched && is_known { Ok(false) } else { Err(problem) };
        }
    };
    counts.applies += 1;
    let world = live.lock().unwrap();
    let declared: BTreeMap<String, &Step> = model.steps.iter().map(|step| (model.key(step), step)).collect();
    for (key, theirs) in strangers {
        if world.things.get(key) != Some(theirs) {
            return Err(format!("{key} is another's, and was changed"));
        }
    }
    for (method, key) in &world.writes {
        match (*method, declared.contains_key(key)) {
            ("DELETE", true) => return Err(format!("{key} is declared, and was removed")),
            ("POST" | "PUT", false) => return Err(format!("{key} is not declared, and was written")),
            ("POST", true) => counts.created += 1,
            ("PUT", true) => counts.updated += 1,
            _ => counts.removed += 1,
        }
    }
    let of = |action: Action| {
        changeset.steps.iter().filter(move |step| step.action == action).map(|step| step.id.as_str())
    };
    let blocked: BTreeSet<&str> = of(Action::Blocked).collect();
    counts.blocked += blocked.len();
    if let Some((id, error)) = report.failed.first() {
        return Err(format!("{id} failed: {error}"));
    }
    for (key, step) in &declared {
        let is_blocked = blocked.contains(step.id.as_str());
        match world.things.get(key) {
            Some(thing) if is_blocked || step.holds(thing) => {}
            thing => return Err(format!("{key} should be as declared, is {thing:?}; {changeset:?}")),
        }
        if is_blocked && !strangers.contains_key(key) {
            return Err(format!("{key} is nobody else's, and {} is blocked: {changeset:?}", step.id));
        }
    }
    let mine = world.things.keys().filter(|key| !strangers.contains_key(*key));
    let undeclared: Vec<&String> = mine.filter(|key| !declared.contains_key(*key)).collect();
    if undeclared.iter().any(|key| !model.reaches(key)) {
        counts.kept_elsewhere += 1;
    }
    match undeclared.iter().find(|key| model.reaches(key)) {
        // What a blocked step replaces stays until that step is applied.
        Some(key) if extent == RemovalScope::Undeclared && blocked.is_empty() => {
            Err(format!("{key} is no longer declared, and was not removed: {changeset:?}"))
        }
        _ => Ok(true),
    }
}
