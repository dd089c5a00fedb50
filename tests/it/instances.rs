//! The stages of one plan: instances that share a file and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_sns::types::Tag;
use groundwork::plan::{Given, StageChoice, given};
use groundwork::session;
use groundwork::trust::Trust;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::aws::{config_with, credentials};
use crate::support::{Cluster, Ran, TestEnvironment, block_on, step};

/// How many orders of actions the model tries with each kind of journal, and from which seed.
const ORDERS: &str = "STAGE_ORDERS";
const SEED: &str = "STAGE_SEED";

fn sns(environment: &TestEnvironment) -> aws_sdk_sns::Client {
    let sandbox = &environment.sandbox;
    aws_sdk_sns::Client::new(&config_with(sandbox, credentials(sandbox), "us-east-1"))
}

/// All topics with their tags, by name.
fn topics(environment: &TestEnvironment) -> BTreeMap<String, BTreeSet<String>> {
    let client = sns(environment);
    block_on(async {
        let listed = client.list_topics().send().await.expect("listed");
        let mut topics = BTreeMap::new();
        for arn in listed.topics().iter().filter_map(|topic| topic.topic_arn()) {
            let tags = client.list_tags_for_resource().resource_arn(arn).send().await.expect("tags");
            let tags = tags.tags().iter().map(|tag| format!("{}={}", tag.key(), tag.value())).collect();
            topics.insert(arn.rsplit(':').next().unwrap_or_default().to_owned(), tags);
        }
        topics
    })
}

fn of_stage(environment: &TestEnvironment, stage: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mine = format!("gw-{stage}-");
    topics(environment).into_iter().filter(|(name, _)| name.starts_with(&mine)).collect()
}

fn plan(steps: &Value) -> Value {
    json!({
        "version": 1, "name": "gw", "aws": { "region": "us-east-1" },
        "vars": { "size": { "type": "integer", "default": 1, "one_of": [1, 3] } },
        "stages": { "dev": { "protect": false }, "production": { "vars": { "size": 3 }, "protect": true } },
        "steps": steps,
    })
}

fn topic(name: &str) -> Value {
    json!({ "kind": "aws.sns_topic", "name": format!("gw-{{{{ stage }}}}-{name}"), "tags": { "Size": "{{ size }}" } })
}

fn run(environment: &TestEnvironment, arguments: &[&str], code: i32) -> Ran {
    let ran = environment.run(arguments);
    assert_eq!(ran.code, code, "{arguments:?}: {ran:?}");
    ran
}

#[test]
fn stages_have_own_things_journals_and_protection() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&json!({ "a": topic("a"), "b": topic("b") })).to_string());
    run(&environment, &["apply", "plan.yaml", "--stage", "dev", "--yes"], 0);
    let first = of_stage(&environment, "dev");
    run(&environment, &["apply", "plan.yaml", "--stage", "production", "--yes", "--prune"], 0);
    assert_eq!(of_stage(&environment, "dev"), first, "pruning production leaves dev");
    assert!(first["gw-dev-a"].contains("groundwork:plan=gw-dev") && first["gw-dev-a"].contains("Size=1"));
    assert!(of_stage(&environment, "production")["gw-production-a"].contains("Size=3"));
    for file in ["journal/gw-dev.jsonl", "journal/gw-production.jsonl", "gw-dev.lock"] {
        assert!(environment.folder.join(".groundwork").join(file).exists(), "{file}");
    }

    // What leaves the plan leaves a stage only when that stage is applied.
    environment.write("plan.yaml", &plan(&json!({ "a": topic("a") })).to_string());
    let shown = run(&environment, &["plan", "plan.yaml", "--stage", "dev", "--format", "json"], 0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!((&shown["plan"]["name"], &shown["plan"]["stage"]), (&json!("gw-dev"), &json!("dev")));
    assert_eq!(shown["undeclared"].as_array().map(Vec::len), Some(1), "{shown:#}");
    run(&environment, &["apply", "plan.yaml", "--stage", "dev", "--yes", "--prune"], 0);
    assert_eq!(of_stage(&environment, "dev").len(), 1);
    assert_eq!(of_stage(&environment, "production").len(), 2);

    let refused = run(&environment, &["destroy", "plan.yaml", "--stage", "production", "--yes"], 3);
    assert!(refused.stdout.contains("protected"), "{refused:?}");
    let mut chosen = environment.command(&["destroy", "plan.yaml", "--yes"]);
    let destroyed = Ran::of(chosen.env("GROUNDWORK_STAGE", "dev").output().expect("starts"));
    assert_eq!(destroyed.code, 0, "{destroyed:?}");
    assert_eq!((of_stage(&environment, "dev").len(), of_stage(&environment, "production").len()), (0, 2));
}

#[test]
fn command_without_a_stage_lists_the_stages() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&json!({ "a": topic("a") })).to_string());
    let commands: [&[&str]; 6] = [
        &["plan"],
        &["apply", "--yes"],
        &["destroy", "--yes"],
        &["journal"],
        &["unlock", "--id", "x"],
        &["trust"],
    ];
    for command in commands {
        let arguments = [&command[..1], &["plan.yaml"], &command[1..]].concat();
        let ran = run(&environment, &arguments, 1);
        assert!(ran.stderr.contains("choose a stage"), "{command:?}: {ran:?}");
        assert!(ran.stderr.contains("dev, production"), "{command:?}: {ran:?}");
    }
    let ran = run(&environment, &["plan", "plan.yaml", "--stage", "prodction"], 1);
    assert!(ran.stderr.contains("did you mean `production`?"), "{ran:?}");
    assert!(topics(&environment).is_empty());
}

#[test]
fn stages_are_compared_side_by_side() {
    let environment = TestEnvironment::new();
    let mut only_production = topic("b");
    only_production["when"] = json!("{{ stage == 'production' }}");
    environment.write("plan.yaml", &plan(&json!({ "a": topic("a"), "b": only_production })).to_string());
    run(&environment, &["apply", "plan.yaml", "--stage", "dev", "--yes"], 0);
    let shown = run(
        &environment,
        &["plan", "plan.yaml", "--all-stages", "--detailed-exitcode", "--format", "json"],
        2,
    );
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(shown["stages"], json!(["dev", "production"]));
    assert_eq!(
        shown["steps"],
        json!([
            { "id": "a", "kind": "aws.sns_topic", "actions": ["none", "create"] },
            { "id": "b", "kind": "aws.sns_topic", "actions": [null, "create"] },
        ])
    );
    let size = json!({ "id": "a", "path": "tags.Size", "values": ["1", "3"] });
    assert!(shown["values"].as_array().is_some_and(|rows| rows.contains(&size)), "{shown:#}");
    let human = run(&environment, &["plan", "plan.yaml", "--all-stages"], 0);
    assert!(human.stdout.contains("Declared values that differ"), "{human:?}");
    run(&environment, &["plan", "plan.yaml", "--all-stages", "--stage", "dev"], 64);
}

#[test]
fn saved_changeset_applies_only_to_its_stage() {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(&json!({ "a": topic("a") })).to_string());
    run(&environment, &["plan", "plan.yaml", "--stage", "dev", "--out", "dev.json"], 0);
    for (arguments, words) in [
        (vec!["apply", "dev.json", "--yes"], "no stage is chosen"),
        (vec!["apply", "dev.json", "--yes", "--stage", "production"], "`production` is chosen"),
    ] {
        let ran = run(&environment, &arguments, 1);
        assert!(ran.stderr.contains("are of stage `dev`") && ran.stderr.contains(words), "{ran:?}");
        assert!(topics(&environment).is_empty());
    }
    run(&environment, &["apply", "dev.json", "--yes", "--stage", "dev"], 0);
    assert_eq!(topics(&environment).keys().collect::<Vec<_>>(), ["gw-dev-a"]);
}

#[test]
fn stage_with_the_old_name_keeps_its_journal() {
    let environment = TestEnvironment::new();
    let fixed = json!({ "kind": "aws.sns_topic", "name": "gw-a" });
    let before =
        json!({ "version": 1, "name": "orchard", "aws": { "region": "us-east-1" }, "steps": { "a": fixed } });
    environment.write("plan.yaml", &before.to_string());
    environment.apply("plan.yaml");
    let mut after = before.clone();
    after["stages"] = json!({ "dev": null, "production": { "name": "orchard" } });
    after["steps"]["a"]["name"] = json!("{{ 'gw-a' if stage == 'production' else 'gw-dev-a' }}");
    environment.write("plan.yaml", &after.to_string());
    let shown = run(&environment, &["plan", "plan.yaml", "--stage", "production", "--format", "json"], 0);
    let shown: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(step(&shown, "a")["action"], "none", "{shown:#}");
}

/// The machines that people work on, each with a checkout of its own.
const CLONES: [&str; 2] = ["one", "two"];

/// One order of actions on dev, with production applied from the other machine in between.
struct Model<'a> {
    cluster: &'a Cluster,
    /// Where the checkouts are.
    folder: &'static str,
    base: Value,
    /// Names of topics by step id, as the repository has them now.
    steps: BTreeMap<String, String>,
    next: usize,
}

impl Model<'_> {
    fn plan(&self, clone: &str) -> String {
        format!("{}/{clone}/plan.yaml", self.folder)
    }

    fn check_out(&self, clone: &str) {
        let steps: Map<String, Value> =
            self.steps.iter().map(|(id, name)| (id.clone(), topic(name))).collect();
        let mut text = self.base.clone();
        text["steps"] = Value::Object(steps);
        self.cluster.environment.write(&self.plan(clone), &text.to_string());
    }

    /// Runs the program over a stage; nothing of the other stage and of strangers may change.
    fn act(&self, clone: &str, stage: &str, command: &[&str]) {
        let environment = &self.cluster.environment;
        let theirs = |topics: BTreeMap<String, BTreeSet<String>>| -> BTreeMap<String, BTreeSet<String>> {
            topics.into_iter().filter(|(name, _)| !name.starts_with(&format!("gw-{stage}-"))).collect()
        };
        let before = theirs(topics(environment));
        let plan = self.plan(clone);
        let arguments = [&command[..1], &[plan.as_str(), "--stage", stage], &command[1..]].concat();
        let ran = self.cluster.run(&arguments);
        assert!(!ran.stderr.contains("separate ways"), "{arguments:?}: {ran:?}");
        assert!(matches!(ran.code, 0 | 3), "{arguments:?}: {ran:?}");
        assert_eq!(theirs(topics(environment)), before, "{arguments:?}: {ran:?}");
        if command == ["apply", "--yes", "--prune"] {
            let declared = self.steps.values().map(|name| format!("gw-{stage}-{name}"));
            let there = of_stage(environment, stage).into_keys().collect::<BTreeSet<_>>();
            assert!(declared.collect::<BTreeSet<_>>().is_subset(&there), "{arguments:?}: {there:?} {ran:?}");
        }
    }

    fn run(&mut self, order: &[&str], rng: &mut StdRng) {
        for action in order {
            let clone = CLONES[rng.random_range(0..2)];
            self.check_out(clone);
            match *action {
                "plan" => self.act(clone, "dev", &["plan"]),
                "apply" => self.act(clone, "dev", &["apply", "--yes"]),
                "prune" => self.act(clone, "dev", &["apply", "--yes", "--prune"]),
                _ => {
                    // A step gets another id, another one goes, and a new one comes.
                    self.next += 1;
                    let name = self.steps.remove("a").expect("always there");
                    self.steps.retain(|id, _| id == "keep");
                    self.steps.insert("a".to_owned(), format!("n{}", self.next));
                    self.steps.insert(format!("b{}", self.next), name);
                }
            }
        }
        let other = CLONES[rng.random_range(0..2)];
        self.check_out(other);
        self.act(other, "production", &["apply", "--yes", "--prune"]);
    }
}

fn orders() -> Vec<Vec<&'static str>> {
    let actions = ["plan", "apply", "prune", "rename"];
    let mut all = vec![Vec::new()];
    for _ in actions {
        all = all
            .into_iter()
            .flat_map(|order: Vec<&str>| {
                let rest =
                    actions.iter().filter(|action| !order.contains(action)).copied().collect::<Vec<_>>();
                rest.into_iter().map(move |action| [order.clone(), vec![action]].concat()).collect::<Vec<_>>()
            })
            .collect();
    }
    all
}

#[test]
fn no_order_of_actions_touches_another_stage() {
    let asked = |name: &str, otherwise: usize| {
        std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let cluster = Cluster::new("gw");
    let environment = &cluster.environment;
    crate::aws::versioned_bucket(environment, "gw-state");
    let stranger = Tag::builder().key("groundwork:plan").value("gw-other").build().expect("a tag");
    block_on(sns(environment).create_topic().name("gw-other-a").tags(stranger).send()).expect("a topic");
    let with_custody = |folder: &str| {
        let mut base = plan(&json!({}));
        base["custody"] = json!({
            "recipients": [{ "age": cluster.recipient() }],
            "stores": [{ "file": "custody" }, { "s3": format!("s3://gw-state/{folder}") }],
        });
        base
    };
    let mut shared = with_custody("shared");
    shared["journal"] = json!({ "s3": "s3://gw-state/journal" });
    shared["lock"] = json!({ "s3": true });
    let mut rng = StdRng::seed_from_u64(asked(SEED, 0) as u64);
    for (folder, base) in [("local", with_custody("local")), ("shared", shared)] {
        let steps = [("keep", "keep"), ("a", "a")].map(|(id, name)| (id.to_owned(), name.to_owned()));
        let mut model = Model { cluster: &cluster, folder, base, steps: steps.into(), next: 0 };
        let mut orders = orders();
        assert_eq!(orders.len(), 24);
        orders.shuffle(&mut rng);
        for order in orders.into_iter().take(asked(ORDERS, 3)) {
            model.run(&order, &mut rng);
        }
        for stage in ["dev", "production"] {
            // What is left is removed, so that the other kind of journal begins with nothing.
            model.steps.clear();
            let steps = [("keep", "keep"), ("a", "a")].map(|(id, name)| (id.to_owned(), name.to_owned()));
            model.steps.extend(steps);
            model.base["stages"]["production"]["protect"] = json!(false);
            for clone in CLONES {
                model.check_out(clone);
                model.act(clone, stage, &["destroy", "--yes"]);
            }
        }
    }
}

/// The plan in a stage, checked offline: its name, or the first mistake.
fn checked(text: &str, stage: Option<&str>, vars: Vars<'_>) -> Result<session::Checked, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.yaml");
    std::fs::write(&path, text).expect("written");
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), given::of_argument(value))).collect();
    let stage = stage.map(|stage| StageChoice::Option(stage.to_owned()));
    session::check(&path, &Given { stage, vars, ..Given::default() }, &Trust::default())
        .map_err(|mistakes| mistakes.list[0].message.clone())
}

/// Names of variables with their values.
type Vars<'a> = &'a [(&'a str, &'a str)];

fn name(text: &str, stage: Option<&str>, vars: Vars<'_>) -> Result<String, String> {
    checked(text, stage, vars).map(|checked| checked.resolved.document.name)
}

#[test]
fn instance_name_comes_from_stage_or_expression() {
    let named = |name: &str, stages: &str| {
        format!("version: 1\nname: {name}\nvars: {{ org: acme }}\nstages: {stages}\n")
    };
    let rows = [
        (named("gw", "{ dev: null, production: {} }"), "gw-dev"),
        (named("gw", "[ dev, production ]"), "gw-dev"),
        (named("\"{{ org }}-{{ stage }}\"", "[ dev, production ]"), "acme-dev"),
        (named("gw", "{ dev: { name: \"{{ org }}-test\" }, production: {} }"), "acme-test"),
        (named("gw", "{ dev: { vars: { org: b } , name: \"{{ org }}\" }, production: {} }"), "b"),
    ];
    for (text, expected) in rows {
        assert_eq!(name(&text, Some("dev"), &[]).as_deref(), Ok(expected), "{text}");
    }
    let by_variable = "version: 1\nname: \"gw-{{ stage }}\"\nvars: { stage: dev }\n";
    assert_eq!(name(by_variable, None, &[]).as_deref(), Ok("gw-dev"));
    assert_eq!(name(by_variable, None, &[("stage", "qa")]).as_deref(), Ok("gw-qa"));
}

#[test]
fn wrong_stages_are_mistakes_of_the_plan() {
    let rows = [
        (
            "name: gw\nstages: { dev: null, production: { name: gw-dev } }",
            "stage `production` has the name `gw-dev` too",
        ),
        ("name: \"{{ org }}\"\nstages: [ dev, production ]", "stage `production` has the name `acme` too"),
        ("name: \"a/{{ stage }}\"\nstages: [ dev ]", "`a/dev` cannot be a plan's name"),
        ("name: \"{{ nothing }}\"\nstages: [ dev ]", "there is no variable or step `nothing`"),
        ("name: gw\nstages: { dev: { var: {} } }", "unknown key `var`"),
        (
            "name: gw\nstages: { dev: { protect: maybe } }",
            "`protect` of a stage is true or false, found a string",
        ),
        ("name: gw\nstages: { Dev: null }", "`Dev` cannot be a stage's name"),
        ("name: gw\nstages: [ dev, dev ]", "stage `dev` is declared already"),
        ("name: gw\nstages: {}", "`stages` is a map from a stage's name to its variables"),
        ("name: gw\nstages: { dev: { vars: { ogr: b } } }", "the plan declares no variable `ogr`"),
    ];
    for (text, message) in rows {
        let text = format!("version: 1\nvars: {{ org: acme }}\n{text}\n");
        assert_eq!(name(&text, Some("dev"), &[]).as_ref().err().map(String::as_str), Some(message), "{text}");
    }
    let taken = "version: 1\nname: gw\nstages: [ dev ]\nvars: { stage: x }\n";
    assert_eq!(
        name(taken, Some("dev"), &[]).as_ref().err().map(String::as_str),
        Some("a variable cannot be called `stage` in a plan with `stages`")
    );
    let none = "version: 1\nname: gw\n";
    assert!(name(none, Some("dev"), &[]).is_err_and(|message| message.contains("has no stages")));
}

#[test]
fn protection_follows_step_then_stage_then_kind() {
    let steps = "steps:\n  \
        plain: { kind: aws.sns_topic, name: a }\n  \
        bucket: { kind: aws.s3_bucket, name: gw-bucket }\n  \
        own: { kind: aws.sns_topic, name: b, protect: \"{{ size > 1 }}\", retain: \"{{ stage == 'dev' }}\" }\n";
    let text = format!(
        "version: 1\nname: gw\nvars: {{ size: 1 }}\nstages: {{ dev: {{ protect: false }}, qa: {{ retain: true }}, production: {{ protect: true, vars: {{ size: 3 }} }} }}\n{steps}"
    );
    let of = |stage: &str| {
        let checked = checked(&text, Some(stage), &[]).unwrap_or_else(|message| panic!("{message}"));
        let steps = checked.resolved.steps.iter();
        steps
            .map(|step| (step.protect.unwrap_or_else(|| step.kind.protected()), step.retain))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("dev"), [(false, false), (false, false), (false, true)]);
    assert_eq!(of("qa"), [(false, true), (true, true), (false, false)]);
    assert_eq!(of("production"), [(true, false), (true, false), (true, false)]);
    let wrong =
        "version: 1\nname: gw\nsteps:\n  a: { kind: aws.sns_topic, name: a, protect: \"{{ 'x' }}\" }\n";
    assert!(checked(wrong, None, &[]).is_err_and(|message| message.contains("`protect` is true or false")));
}

#[test]
fn typed_variable_is_held_to_its_declaration() {
    let text = "version: 1\nname: gw\nvars:\n  \
        size: { type: integer, default: 3, one_of: [ 1, 3, 5 ] }\n  \
        region: { type: string, pattern: \"[a-z]+-[a-z]+-[0-9]\", default: us-east-1 }\n  \
        odd: { type: integer, default: 1, conditions: [ { check: \"{{ odd is odd }}\", message: choose an odd number } ] }\n  \
        teams: { type: list, default: [ a ], min: 1 }\n";
    let rows: [(Vars<'_>, Option<&str>); 7] = [
        (&[], None),
        (&[("size", "5"), ("teams", "[\"b\"]"), ("odd", "7")], None),
        (&[("size", "2")], Some("variable `size` must be one of 1, 3, 5")),
        (
            &[("size", "big")],
            Some("variable `size` is an integer in the plan, and the value given is a string"),
        ),
        (&[("region", "moon")], Some("variable `region` must match `[a-z]+-[a-z]+-[0-9]`")),
        (&[("odd", "2")], Some("variable `odd`: choose an odd number")),
        (&[("teams", "[]")], Some("variable `teams` must be at least 1 entries long")),
    ];
    for (vars, message) in rows {
        assert_eq!(name(text, None, vars).err().as_deref(), message, "{vars:?}");
    }
}
