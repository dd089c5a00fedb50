//! The production plan from an empty AWS account and empty servers to a cluster that serves, and what
//! happens when one of its machines is lost.

use groundwork::sandbox::{OpenBao, Seal, Settings, VaultServer};
use serde_json::{Value, json};

use crate::aws::put_lock_item;
use crate::support::{Quickstart, opened, paths, step, summary, text_of};

const PLAN: &str = "candlefish-production.yaml";

/// Applies everything, tells what it took, and sees that nothing is left to do.
fn applied(candlefish: &Quickstart) {
    let events = candlefish.apply();
    let took = summary(&events);
    println!("{} from nothing: {took}", candlefish.plan()["plan"]["name"]);
    assert!(took["done"].as_u64().is_some_and(|done| done > 40), "{took}");
    is_unchanged(candlefish);
}

/// A second run writes nothing.
fn is_unchanged(candlefish: &Quickstart) {
    let again = candlefish.apply();
    assert_eq!(summary(&again)["api_calls"]["write"], 0, "{:#}", summary(&again));
    assert_eq!(summary(&again)["done"], 0, "{:#}", summary(&again));
}

/// The names of the servers that may vote; all that the cluster counts must be well.
fn voters(candlefish: &Quickstart) -> Vec<String> {
    let state = candlefish.vault("GET", "sys/storage/raft/autopilot/state", &Value::Null);
    assert_eq!(state["healthy"], true, "{state:#}");
    assert!(!text_of(&state["leader"]).is_empty(), "{state:#}");
    let voters = state["voters"].as_array().expect("voters").iter();
    let mut voters: Vec<String> = voters.map(|name| text_of(name).to_owned()).collect();
    voters.sort();
    voters
}

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("vault-{number}")).collect()
}

/// The initial secrets have their owners, types and ages, and the values that were asked for.
fn secrets_are_there(candlefish: &Quickstart) {
    for (path, kind, days) in [
        ("mongodb/connection", "database", "90"),
        ("api/smithery", "api-key", "30"),
        ("jwt/secret", "jwt", "180"),
        ("encryption/key", "encryption", "365"),
    ] {
        let metadata = candlefish.vault("GET", &format!("secret/metadata/candlefish/{path}"), &Value::Null);
        let custom = &metadata["custom_metadata"];
        assert_eq!((text_of(&custom["type"]), text_of(&custom["rotation_days"])), (kind, days), "{path}");
        assert!(text_of(&custom["owner"]).ends_with("-team"), "{path}");
    }
    let value = |path: &str| {
        candlefish.vault("GET", &format!("secret/data/candlefish/{path}"), &Value::Null)["data"].clone()
    };
    assert_eq!(text_of(&value("jwt/secret")["value"]).chars().count(), 32);
    let mongodb = value("mongodb/connection");
    assert!(text_of(&mongodb["uri"]).contains(text_of(&mongodb["password"])), "made of the other two");
}

fn rendered(candlefish: &Quickstart, file: &str) -> String {
    let path = candlefish.environment.folder.join("rendered/candlefish").join(file);
    std::fs::read_to_string(path).expect("rendered")
}

fn node(candlefish: &Quickstart, number: usize) -> String {
    candlefish.environment.sandbox.vault_addrs()[number - 1].clone()
}

#[test]
fn five_shamir_nodes_survive_losing_two_in_sequence() {
    let settings = Settings { nodes: 5, tls: true, ..Settings::default() };
    let candlefish = Quickstart::with(PLAN, settings);
    applied(&candlefish);
    assert_eq!(voters(&candlefish), names(5));
    secrets_are_there(&candlefish);
    assert!((1..=5).all(|number| !rendered(&candlefish, &format!("vault-{number}.hcl")).contains("seal \"")));
    assert!(rendered(&candlefish, "env.production").contains("JWT_SECRET=vault://secret/candlefish/jwt"));

    // The second is the one whom everybody asks first and who has led so far.
    let mut revived = Vec::new();
    for (lost, number) in [("vault-3", 3), ("vault-1", 1)] {
        candlefish.environment.lose(lost);
        let address = node(&candlefish, number);
        let ran = candlefish.run(&["plan", PLAN]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains(&format!("the node {address} does not answer")), "{ran:?}");

        revived.push(candlefish.environment.revive());
        let changeset = candlefish.plan();
        let init = step(&changeset, "vault_init");
        assert_eq!(init["action"], "update", "{init:#}");
        assert!(paths(init).contains(&format!("nodes[{address}].sealed").as_str()), "{init:#}");
        assert_eq!(changeset["summary"]["update"], 1, "{:#}", changeset["summary"]);

        candlefish.apply();
        assert_eq!(voters(&candlefish), names(5));
        is_unchanged(&candlefish);
    }
    secrets_are_there(&candlefish);
}

/// The servers as `groundwork restart` without a command shows them: address and role.
fn order(candlefish: &Quickstart) -> Vec<(String, String)> {
    let ran = candlefish.run(&["restart", PLAN]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines = ran.stdout.lines().map(words);
    lines.map(|words| (words[1].clone(), words[2].trim_end_matches(',').to_owned())).collect()
}

#[test]
fn rolling_restart_steps_down_and_restarts_leader_last() {
    let settings = Settings { nodes: 3, tls: true, ..Settings::default() };
    let candlefish = Quickstart::with(PLAN, settings);
    applied(&candlefish);
    let before = order(&candlefish);
    let roles: Vec<&str> = before.iter().map(|(_, role)| role.as_str()).collect();
    assert_eq!(roles, ["standby", "standby", "active"]);

    let sandbox = &candlefish.environment.sandbox;
    let (dir, program) = (sandbox.dir(), crate::support::BINARY);
    let script = format!(
        "echo $VAULT_ADDR >> restarted && exec {program} sandbox restart --dir {} $VAULT_ADDR",
        dir.display()
    );
    let restart = |script: &str| candlefish.run(&["restart", PLAN, "--yes", "--", "sh", "-c", script]);
    // Not beside another run, which may let another server go.
    let id = "candlefish-terraform-state/secrets-management/production/terraform.tfstate";
    let info = json!({ "ID": "of-ann", "Operation": "apply", "Info": "", "Who": "ann@build-7", "Version": "1.11.0",
                       "Created": "2026-01-02T03:04:05Z", "Path": id });
    put_lock_item(&candlefish.environment, "terraform-state-lock", id, &info.to_string());
    let held = restart(&script);
    assert!(held.code == 1 && held.stderr.contains("is locked by ann@build-7"), "{held:?}");
    assert_eq!(candlefish.run(&["unlock", PLAN, "--id", "of-ann"]).code, 0);

    let failed = restart("exit 3");
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains("sh ended with exit status: 3"), "{failed:?}");
    assert!(failed.stderr.contains("not restarted, or") && failed.stdout.lines().count() == 3, "{failed:?}");

    let done = restart(&script);
    assert_eq!(done.code, 0, "{done:?}");
    let noted = std::fs::read_to_string(candlefish.environment.folder.join("restarted")).expect("notes");
    let expected: Vec<&str> = before.iter().map(|(address, _)| address.as_str()).collect();
    assert_eq!(noted.lines().collect::<Vec<_>>(), expected, "{done:?}");
    let audit = sandbox.audit_log().and_then(|log| std::fs::read_to_string(log).ok()).unwrap_or_default();
    let asked = audit
        .lines()
        .filter(|line| line.contains("\"type\":\"request\"") && line.contains("\"path\":\"sys/step-down\""));
    assert_eq!(asked.count(), 1, "it hands over once");
    let after = order(&candlefish);
    assert_ne!(after.last(), before.last(), "another one serves now");
    assert_eq!(voters(&candlefish), names(3));
    is_unchanged(&candlefish);
}

#[test]
fn kms_unsealed_cluster_leaves_recovery_keys_in_custody() {
    let settings = Settings {
        nodes: 3,
        tls: true,
        vault: VaultServer::Pinned(OpenBao::WithKmsSeal),
        seal: Seal::AwsKms { key: "alias/groundwork-sandbox-unseal".to_owned() },
        ..Settings::default()
    };
    let candlefish = Quickstart::with(PLAN, settings);
    candlefish.edit("unseal: shamir", "unseal: awskms");
    applied(&candlefish);
    assert_eq!(voters(&candlefish), names(3));
    secrets_are_there(&candlefish);
    for number in 1..=5 {
        let text = rendered(&candlefish, &format!("vault-{number}.hcl"));
        assert!(text.contains("seal \"awskms\"") && text.contains("arn:aws:kms:us-east-1:"), "{text}");
    }

    // Three of the five recovery keys make a root token.
    let custody = candlefish.custody();
    assert_eq!(opened(&custody, "keys_base64"), [""; 0], "there is no unseal key");
    let keys = opened(&custody, "recovery_keys_base64");
    assert_eq!(keys.len(), 5);
    let attempt = candlefish.generate_root(&keys[..3]);
    assert_eq!((&attempt["complete"], &attempt["progress"]), (&json!(true), &json!(3)), "{attempt:#}");

    // A server that comes back with an empty disk joins and unseals itself; nobody is needed for it.
    candlefish.environment.lose("vault-2");
    let _revived = candlefish.environment.revive();
    candlefish.apply();
    assert_eq!(voters(&candlefish), names(3));
    is_unchanged(&candlefish);
}
