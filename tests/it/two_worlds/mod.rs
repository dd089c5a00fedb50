//! Two worlds that differ in secret values alone look the same to `plan`, whatever the plan says.
//!
//! A relay before the servers puts the values of a world in the place of those that the servers hold,
//! so that all else is the same to the byte: versions, times, ids. The environment and the files of a
//! world have its values, too. Hostile plans are made from a seed, which is told when one fails:
//! `TWO_WORLDS_SEED=N` begins with that plan. `TWO_WORLDS_PLANS=N` makes as many.

mod plans;
mod stage;

use serde_json::{Value, json};

use self::plans::Hostile;
use self::stage::Stage;
use crate::fuzz::Random;
use crate::support::{Ran, program, text_of};

/// Templates that read a secret, were they allowed.
const ILLEGAL: [&str; 6] = [
    "{{ (1/0) if data.password[0] in 'abcdefghijklm' else 1 }}",
    "{% if data.password < 'm' %}{{ 1/0 }}{% endif %}",
    "{{ data.password | length }}",
    "{{ 'x' * (data.password | length) }}",
    "{% for c in data.password %}{{ c }}\n{% endfor %}",
    "{{ data.password == 'correct-horse-battery' }}",
];

/// What was looked at.
#[derive(Default)]
struct Tally {
    plans: usize,
    steps: usize,
    comparisons: usize,
    bytes: usize,
    requests: usize,
}

/// Looks at hostile plans in two worlds each.
fn campaign(plans: u64, seed: u64) -> Tally {
    let stage = Stage::new();
    sees_what_differs(&stage);
    let mut tally = Tally::default();
    for seed in seed..seed + plans {
        let mut hostile = Hostile { random: Random(seed), stage: &stage };
        let (steps, count) = hostile.plan();
        let worlds = [hostile.world(true), hostile.world(false)];
        stage.cluster.declare(&steps);
        let [first, second] = worlds.each_ref().map(|world| stage.look(world));
        for ((what, one), (_, other)) in first.iter().zip(&second) {
            assert!(
                one == other,
                "TWO_WORLDS_SEED={seed}: `{what}` tells the worlds apart\n{}\n{steps:#}\n{worlds:#?}",
                difference(one, other)
            );
            tally.comparisons += 1;
            tally.bytes += one.len();
        }
        tally.requests += first.last().map_or(0, |(_, requests)| requests.lines().count());
        tally.plans += 1;
        tally.steps += count;
    }
    println!(
        "TWO WORLDS: {} hostile plans of {} steps in 2 worlds each, {} comparisons of {} bytes and {} requests: \
         none differs",
        tally.plans, tally.steps, tally.comparisons, tally.bytes, tally.requests
    );
    tally
}

/// The harness itself is not blind: a value that the trusted plan has and the server has not is told.
fn sees_what_differs(stage: &Stage) {
    stage.cluster.declare(&Value::Object(stage.steps.clone()));
    let held = stage.as_held();
    let first = stage.look(&held);
    assert!(first[1].1.contains("\"update\": 0") || first[1].1.contains("\"update\":0"), "{}", first[1].1);
    let mut drifted = held.clone();
    drifted.values.insert("W_OUTSIDE", "another".to_owned());
    let Stage { relay, .. } = stage;
    stage.set(&held);
    relay.take();
    let ran = stage.run(&drifted, &["plan", "plan.yaml", "--format", "json"]);
    assert!(ran.stdout.contains("data.outside") && !first[1].1.contains("data.outside"), "{ran:?}");
}

/// The first lines that differ.
fn difference(one: &str, other: &str) -> String {
    let differing = one.lines().zip(other.lines()).filter(|(one, other)| one != other).take(5);
    let lines: Vec<String> = differing.map(|(one, other)| format!("- {one}\n+ {other}")).collect();
    format!("{} and {} lines\n{}", one.lines().count(), other.lines().count(), lines.join("\n"))
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn hostile_plans_cannot_distinguish_two_worlds() {
    let tally = campaign(number("TWO_WORLDS_PLANS", 4), number("TWO_WORLDS_SEED", 1));
    assert!(tally.comparisons > 0 && tally.requests > 0);
}

/// The attack of old: one step beside a secret of somebody, and each letter of it in one plan.
#[test]
fn template_that_reads_a_secret_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let step = |template: &str| {
        json!({ "kind": "vault.kv_secret", "mount": "secret", "path": "prod/db",
        "data": { "password": { "generate": {} }, "probe": { "template": template } } })
    };
    for template in ILLEGAL {
        let plan = json!({ "version": 1, "name": "probe", "steps": { "s": step(template) } });
        let plan = format!("{plan:#}");
        std::fs::write(folder.path().join("plan.yaml"), &plan).expect("written");
        let mut command = program();
        command.args(["validate", "plan.yaml"]).current_dir(folder.path()).env("NO_COLOR", "1");
        let ran = Ran::of(command.output().expect("the program starts"));
        let line = plan.lines().position(|line| line.contains("\"probe\": {")).expect("a line") + 1;
        assert!(ran.code == 1 && ran.stderr.contains(&format!("plan.yaml:{line}:")), "{template}\n{ran:?}");
        let told = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("{{ data.NAME }}"), "it says what to write: {ran:?}");
    }
}

/// A right guess and a wrong one look the same, beside a secret of the plan's own and of others.
#[test]
fn guess_beside_a_secret_reveals_nothing() {
    let stage = Stage::new();
    let world = stage.as_held();
    let guesses = ["wsecret-kv-0004", "wsecret-kv-9999"];
    let look = |guess: &str, source: &dyn Fn(&str) -> Value, adopt: bool| {
        stage.cluster.environment.write("guess.txt", guess);
        let mut steps = stage.steps.clone();
        steps["own"]["data"]["outside"] = source(&guess.replace("kv-0004", "W_OUTSIDE-0001"));
        steps["text"]["value"] = source(&guess.replace("kv-0004", "W_TEXT-0001"));
        steps["parameter"]["value"] = source(&guess.replace("kv-0004", "W_PARAMETER-0001"));
        steps.insert(
            "theirs".to_owned(),
            json!({ "kind": "vault.kv_secret", "mount": "secret",
            "path": "foreign-one", "data": { "password": source(guess), "user": "app" }, "adopt": adopt }),
        );
        stage.cluster.declare(&Value::Object(steps));
        stage.set(&world);
        let ran = stage.run(&world, &["plan", "plan.yaml", "--format", "json"]);
        // What is declared is shown, and it is the plan's own text.
        let told = ran.stdout.replace(guess, "GUESS");
        let changeset: Value = serde_json::from_str(&told).expect("a changeset");
        (ran.code, changeset["steps"].clone(), changeset["summary"].clone())
    };
    let sources: [&dyn Fn(&str) -> Value; 3] =
        [&|guess| json!(guess), &|guess| json!({ "template": guess }), &|_| json!({ "file": "guess.txt" })];
    for source in sources {
        for adopt in [false, true] {
            let [right, wrong] = guesses.map(|guess| look(guess, source, adopt));
            assert_eq!(right, wrong);
            let theirs = right.1.as_array().into_iter().flatten().find(|step| step["id"] == "theirs");
            let theirs = theirs.expect("the step");
            assert_eq!(theirs["action"], if adopt { "adopt" } else { "blocked" });
            assert!(text_of(&theirs["reason"]).contains("what is in it was not compared"), "{theirs:#}");
        }
    }
}

#[test]
#[ignore = "takes minutes; `TWO_WORLDS_PLANS=N` for more of it"]
fn many_hostile_plans_cannot_distinguish_two_worlds() {
    let tally = campaign(number("TWO_WORLDS_PLANS", 200), number("TWO_WORLDS_SEED", 1000));
    assert!(tally.comparisons > 0 && tally.requests > 0);
}
