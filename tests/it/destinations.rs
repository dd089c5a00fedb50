//! Where a plan goes and who can open what it keeps: shown in every review, and what has changed of it
//! since the last apply as risks.

use serde_json::{Value, json};

use crate::support::{Cluster, Quickstart, Ran};

fn destination<'a>(changeset: &'a Value, name: &str) -> &'a Value {
    let all = changeset["where_this_goes"]["destinations"].as_array().expect("destinations");
    all.iter().find(|one| one["name"] == name).unwrap_or(&Value::Null)
}

fn risks<'a>(changeset: &'a Value, name: &str) -> Vec<&'a Value> {
    changeset["risks"].as_array().expect("risks").iter().filter(|risk| risk["step"] == name).collect()
}

#[test]
fn new_recipient_is_a_change_and_high_risk() {
    let cluster = Cluster::new("recipients");
    cluster.declare(&json!({}));
    let first = cluster.plan();
    assert_eq!(first["where_this_goes"]["recorded"], Value::Null);
    assert!(risks(&first, "custody.recipients").is_empty(), "{first:#}");
    cluster.apply(&[]);
    let quiet = cluster.plan();
    assert!(quiet["where_this_goes"]["recorded"].is_string() && quiet["risks"] == json!([]), "{quiet:#}");

    let stranger = age::x25519::Identity::generate().to_public().to_string();
    cluster.edit(|plan| {
        let custody = &mut plan["custody"];
        custody["recipients"].as_array_mut().unwrap().push(json!({ "age": stranger }));
        custody["stores"].as_array_mut().unwrap().push(json!({ "file": "elsewhere" }));
    });
    let changed = cluster.plan();
    assert_eq!(changed["summary"]["update"], 1, "{changed:#}");
    for (name, words) in [("custody.recipients", stranger.as_str()), ("custody.stores", "elsewhere")] {
        let found = risks(&changed, name);
        assert!(found.len() == 1 && found[0]["severity"] == "high", "{name}: {changed:#}");
        assert!(found[0]["message"].as_str().unwrap().contains(words), "{changed:#}");
        assert_eq!(found[0]["category"], "destination");
        assert!(destination(&changed, name)["before"].is_array(), "{changed:#}");
    }
    for format in ["human", "markdown", "html"] {
        let ran = cluster.run(&["plan", "plan.yaml", "--format", format]);
        for word in ["Where this goes", stranger.as_str(), "custody.recipients", "high"] {
            assert!(ran.stdout.contains(word), "{format} lacks {word}: {}", ran.stdout);
        }
    }
    cluster.apply(&[]);
    assert_eq!(cluster.plan()["risks"], json!([]));
    let journal = cluster.run(&["journal", "plan.yaml"]);
    assert!(journal.stdout.contains("went to") && journal.stdout.contains(&stranger), "{journal:?}");
}

/// Nothing is written, and yet shares would go to another place at the next sealing.
#[test]
fn node_change_without_writes_needs_confirmation() {
    let cluster = Cluster::new("nodes");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let address = cluster.environment.sandbox.vault_addrs()[0].clone();
    let nodes = format!("{address},{}", address.replace("127.0.0.1", "localhost"));
    let with_nodes = |arguments: &[&str]| {
        let mut command = cluster.environment.command(arguments);
        Ran::of(command.env("GROUNDWORK_VAULT_NODES", &nodes).output().expect("the program starts"))
    };
    let same = cluster.run(&["plan", "plan.yaml"]);
    assert!(!same.stdout.contains("Where this goes"), "{}", same.stdout);
    let ran = with_nodes(&["plan", "plan.yaml", "--out", "changes.json"]);
    assert!(ran.stdout.contains("Nothing to do") && ran.stdout.contains("~ vault.nodes"), "{ran:?}");
    assert!(ran.stdout.contains("high") && !ran.stdout.contains("custody.stores"), "{ran:?}");
    let elsewhere = cluster.run(&["apply", "changes.json", "--yes"]);
    assert!(
        elsewhere.code == 1 && elsewhere.stderr.contains("where this goes: vault.nodes"),
        "{elsewhere:?}"
    );
    let unasked = with_nodes(&["apply", "plan.yaml"]);
    assert!(unasked.code == 1 && unasked.stderr.contains("--yes"), "{unasked:?}");
    assert_eq!(with_nodes(&["apply", "plan.yaml", "--yes"]).code, 0);
    let after = with_nodes(&["plan", "plan.yaml"]);
    assert!(!after.stdout.contains("vault.nodes"), "{after:?}");
}

#[test]
fn review_lists_account_key_store_and_journal() {
    let quickstart = Quickstart::new();
    let before = quickstart.plan();
    let pending = destination(&before, "custody.recipients")["values"][0].clone();
    assert_eq!(pending, "kms (known after apply: custody_key.arn)");
    quickstart.apply();
    let changeset = quickstart.plan();
    let first =
        |name: &str| destination(&changeset, name)["values"][0].as_str().unwrap_or_default().to_owned();
    assert_eq!(first("aws.account_id"), "000000000000");
    assert_eq!(first("aws.region"), "us-east-1");
    assert_eq!(first("vault.address"), quickstart.environment.sandbox.vault_addrs()[0]);
    assert!(first("custody.recipients").starts_with("kms arn:aws:kms:"), "{changeset:#}");
    assert!(first("journal").contains(".groundwork/journal/"), "{changeset:#}");
    assert!(changeset["risks"] == json!([]), "{changeset:#}");
}

/// A part of a plan that leaves Vault out says nothing about where Vault is, and does not forget it.
#[test]
fn provider_that_a_part_leaves_out_keeps_its_destination() {
    let cluster = Cluster::new("part");
    cluster.declare(&json!({ "topic": { "kind": "aws.sns_topic", "name": "gw-part" } }));
    cluster.edit(|plan| plan["aws"] = json!({ "region": "us-east-1" }));
    cluster.apply(&[]);
    cluster.edit(|plan| plan["steps"]["topic"]["display_name"] = json!("Part"));
    let part = cluster.run(&["plan", "plan.yaml", "--target", "topic", "--format", "json"]);
    let part: Value = serde_json::from_str(&part.stdout).expect("a changeset");
    let address = cluster.environment.sandbox.vault_addrs()[0].clone();
    assert_eq!(destination(&part, "vault.address"), &json!({ "name": "vault.address", "values": [address] }));
    assert_eq!(part["risks"], json!([]), "{part:#}");
    cluster.apply(&["--target", "topic"]);
    assert_eq!(cluster.plan()["risks"], json!([]));
}
