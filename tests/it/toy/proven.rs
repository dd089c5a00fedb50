//! What proofs make goes away, whatever becomes of them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use groundwork::apply::by_command;
use groundwork::changeset::RemovalScope;
use groundwork::event::Events;
use groundwork::proof::Outcome;
use groundwork::verify::{Options, Report, verify};
use serde_json::{Value, json};

use super::world::{World, world};
use super::{Plan, folder, keys};
use crate::support::block_on;

/// Verifies the plan; a signal comes after this long.
async fn verified(plan: &Plan, signal_after: Duration) -> Report {
    let (session, changeset) = plan.plan(RemovalScope::Nothing).await.expect("planned");
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let options = Options {
        parallelism: 2,
        only: Vec::new(),
        load: false,
        credentials: BTreeMap::new(),
        stop: stopped,
    };
    let events = Events::default();
    let work = verify(&session.world, &changeset, &session.run, by_command(), options, &events);
    let signal = async {
        tokio::time::sleep(signal_after).await;
        let _ = stop.send(true);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        report = work => report,
        () = signal => unreachable!("it never ends"),
    }
}

fn lamps(names: &[&str]) -> Value {
    let lamp =
        |name: &&str| ((*name).to_owned(), json!({ "kind": "toy.lamp", "name": name, "brightness": 40 }));
    let steps: serde_json::Map<String, Value> = names.iter().map(lamp).collect();
    let toy = json!({ "url": "memory:proven", "tenant": "ours", "zone": "east" });
    json!({ "version": 1, "name": "proven", "toy": toy, "steps": steps })
}

fn tried<'r>(report: &'r Report, step: &str) -> Vec<(&'r str, &'r Outcome)> {
    let findings = report.findings().filter(|finding| finding.step == step);
    findings.map(|finding| (finding.tried.as_str(), &finding.outcome)).collect()
}

fn is_lit_alone(world: &Mutex<World>, names: &[&str]) {
    let expected: Vec<String> = names.iter().map(|name| format!("lamp/ours/east/-/{name}")).collect();
    assert_eq!(keys(world), expected, "no probe is left");
}

#[test]
fn probes_go_after_success_failure_and_signal() {
    block_on(async {
        let (folder, world) = (folder(), world("proven"));
        let plan = Plan::new(folder.path(), "memory:proven");
        plan.write(&lamps(&["desk"]));
        plan.apply(RemovalScope::Nothing).await.expect("applied");
        let ever = Duration::from_hours(1);
        let green = verified(&plan, ever).await;
        assert_eq!(
            tried(&green, "desk"),
            [("is as declared", &Outcome::Proven), ("its brightness", &Outcome::Proven)]
        );
        assert!(!green.stopped);
        is_lit_alone(&world, &["desk"]);

        // Drift, and the proof beside it.
        world.lock().unwrap().things.get_mut("lamp/ours/east/-/desk").expect("there")["brightness"] =
            json!(41);
        let found = verified(&plan, ever).await;
        let failed = |(_, outcome): &(&str, &Outcome)| matches!(outcome, Outcome::Failed { .. });
        assert_eq!(tried(&found, "desk").iter().filter(|one| failed(one)).count(), 2, "{found:?}");
        is_lit_alone(&world, &["desk"]);

        plan.write(&lamps(&["desk", "hangs"]));
        plan.apply(RemovalScope::Nothing).await.expect("applied");
        let stopped = verified(&plan, Duration::from_millis(200)).await;
        assert!(stopped.stopped);
        assert_eq!(tried(&stopped, "desk").len(), 2, "the other proof came to its end: {stopped:?}");
        assert_eq!(tried(&stopped, "hangs").len(), 1, "{stopped:?}");
        is_lit_alone(&world, &["desk", "hangs"]);
    });
}
