//! Everything is lost but a backup and what opens it: empty servers, an empty account, no journal.

use std::path::Path;

use futures::StreamExt;
use groundwork::sandbox::{OpenBao, Running, Seal, Settings, VaultServer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::restore::{declare, on_each_node, password, write_secret};
use crate::support::{Cluster, Quickstart, Ran, TestEnvironment, block_on, files, summary};

/// What must never be seen outside of Vault.
const CANARY: &str = "canary-of-the-rebuild-77c1";

/// Loses these nodes of Vault with all that they hold, and starts empty ones in their places.
fn emptied(environment: &TestEnvironment, nodes: usize) -> Running {
    for number in 1..=nodes {
        environment.lose(&format!("vault-{number}"));
    }
    environment.revive()
}

/// The same, and the account with everything in it.
fn all_emptied(environment: &TestEnvironment, nodes: usize) -> [Running; 2] {
    // One server has to run all the time, or the sandbox begins anew at other addresses.
    let vault = emptied(environment, nodes);
    environment.lose("aws");
    [vault, environment.revive()]
}

fn journal(folder: &Path) -> String {
    let found = files(&folder.join(".groundwork/journal"));
    let files = found.iter().filter(|file| file.extension().is_some_and(|end| end == "jsonl"));
    files.map(|file| std::fs::read_to_string(file).expect("readable")).collect()
}

/// What a file store of custody has. A run that is killed may leave a temporary file.
fn objects(store: &Path) -> Vec<String> {
    let names = files(store);
    let names = names.iter().map(|file| file.strip_prefix(store).expect("below").display().to_string());
    let mut names: Vec<String> = names.filter(|name| !name.contains(".writing.")).collect();
    names.sort();
    names
}

/// Nothing of a throw-away initialisation is left, and nothing shows what must not be seen.
fn assert_clean(folder: &Path, custody: &Path, ran: &[&Ran]) {
    let left: Vec<_> = objects(custody).into_iter().filter(|name| name.contains("throwaway")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!format!("{ran:?}").contains(CANARY), "{ran:?}");
    assert!(!journal(folder).contains(CANARY));
}

#[test]
fn empty_servers_get_the_backup_and_the_others_join() {
    let cluster = Cluster::with("whole", Settings { nodes: 3, ..Settings::default() });
    declare(&cluster);
    cluster.apply(&[]);
    write_secret(&cluster, CANARY);
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    write_secret(&cluster, "later");
    let _alive = emptied(&cluster.environment, 3);

    let restore = |more: &[&str]| cluster.run(&[&["restore", "plan.yaml", "--latest"], more].concat());
    let preview = restore(&["--yes"]);
    assert!(preview.stdout.contains("no server is initialised"), "{preview:?}");
    // Ended at each place where it has just written something down.
    for write in [2, 5] {
        let mut command = cluster.command(&["restore", "plan.yaml", "--latest", "--confirm", "whole"]);
        let killed =
            Ran::of(command.env("GROUNDWORK_FAULT", format!("after@{write}")).output().expect("runs"));
        assert_eq!(killed.code, -1, "{killed:?}");
    }
    // A server that dies meanwhile is named, and the run after it has come back goes on.
    cluster.environment.lose("vault-3");
    let without = restore(&["--confirm", "whole"]);
    let dead = &cluster.environment.sandbox.vault_addrs()[2];
    assert!(without.code != 0 && format!("{without:?}").contains(dead.as_str()), "{without:?}");
    let _revived = cluster.environment.revive();
    let ran = restore(&["--confirm", "whole"]);
    assert_eq!(ran.code, 0, "{without:?}\n{ran:?}");
    assert_eq!(ran.stdout.matches("has joined, and has the same tables").count(), 2, "{ran:?}");
    assert_eq!(password(&cluster), CANARY);
    assert_eq!(on_each_node(&cluster, "sys/policies/acl/reader"), [200; 3]);
    let folder = &cluster.environment.folder;
    assert!(journal(folder).contains("\"1 secrets\""), "what it brought back is recorded");
    assert_clean(folder, &folder.join("custody"), &[&preview, &ran]);
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
}

/// What the KV engine answers for each of these paths, to requests side by side.
fn each(quickstart: &Quickstart, paths: &[String], write: bool) -> Vec<Value> {
    let (token, http) = (quickstart.admin_token(), quickstart.environment.http());
    let address = quickstart.environment.sandbox.vault_addrs()[0].clone();
    let requests = paths.iter().map(|path| {
        let url = format!("{address}/v1/secret/data/{path}");
        let body = json!({ "data": { "value": format!("{CANARY}-{path}") } }).to_string();
        let request = if write { http.post(url).body(body) } else { http.get(url) };
        let request = request.header("X-Vault-Token", token.clone());
        async move {
            let answer = request.send().await.expect("an answer");
            assert!(answer.status().is_success(), "{path}: {}", answer.status());
            serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON")
        }
    });
    block_on(futures::stream::iter(requests).buffered(32).collect())
}

/// The digest of each secret.
fn digests(quickstart: &Quickstart, paths: &[String]) -> Vec<String> {
    let read = each(quickstart, paths, false).into_iter();
    read.map(|answer| hex::encode(Sha256::digest(answer["data"]["data"].to_string()))).collect()
}

fn number(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Writes secrets, takes a backup, and gives the paths of all secrets with their digests.
fn backed_up(quickstart: &Quickstart, plan: &str, more: &[&str]) -> (Vec<String>, Vec<String>) {
    let mut paths: Vec<String> =
        (0..number("REBUILD_SECRETS", 5)).map(|number| format!("app/extra-{number}")).collect();
    each(quickstart, &paths, true);
    paths.extend(more.iter().map(|path| (*path).to_owned()));
    let before = digests(quickstart, &paths);
    let taken = quickstart.run(&["backup", plan]);
    assert_eq!(taken.code, 0, "{taken:?}");
    (paths, before)
}

/// Everything is there again, and a second apply writes nothing.
fn assert_rebuilt(
    quickstart: &Quickstart,
    plan: &str,
    (paths, before): &(Vec<String>, Vec<String>),
    ran: &Ran,
) {
    println!("{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(", 0 failed") && ran.stdout.contains("in all (RTO)"), "{ran:?}");
    assert_eq!(digests(quickstart, paths), *before);
    let again = rebuilding(quickstart, &["apply", plan, "--yes", "--format", "json"]);
    assert_eq!(summary(&again.events())["api_calls"]["write"], 0, "{again:?}");
    let folder = &quickstart.environment.folder;
    assert_clean(folder, &folder.join(".groundwork/custody"), &[ran, &again]);
}

fn rebuilding(quickstart: &Quickstart, arguments: &[&str]) -> Ran {
    Ran::of(quickstart.command_with_identity(arguments).output().expect("the program starts"))
}

const KEPT: &str = "\nbackup: { stores: [ { file: backups } ] }\n";

#[test]
fn account_and_vault_are_rebuilt_from_nothing() {
    let plan = "quickstart.yaml";
    let quickstart = Quickstart::new();
    quickstart.edit("\nsteps:\n", &format!("{KEPT}\nsteps:\n"));
    quickstart.apply();
    let secrets = backed_up(&quickstart, plan, &["app/database", "app/session"]);
    let _alive = all_emptied(&quickstart.environment, 1);

    let unasked = rebuilding(&quickstart, &["rebuild", plan, "--latest"]);
    assert!(unasked.code == 1 && unasked.stdout.contains("Not brought back"), "{unasked:?}");
    assert!(!quickstart.vault_is_initialised() && quickstart.aws_keys() == 0);
    let ran = rebuilding(&quickstart, &["rebuild", plan, "--latest", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for expected in ["custody_key (alias/quickstart-custody) comes back as another key", "Vault restored"] {
        assert!(ran.stdout.contains(expected), "{expected}: {ran:?}");
    }
    assert_rebuilt(&quickstart, plan, &secrets, &ran);
}

/// The region is gone with everything in it: the plan names another one.
#[test]
fn environment_is_rebuilt_in_another_region() {
    let plan = "quickstart.yaml";
    let quickstart = Quickstart::new();
    quickstart.edit("\nsteps:\n", &format!("{KEPT}\nsteps:\n"));
    quickstart.apply();
    let secrets = backed_up(&quickstart, plan, &["app/database", "app/session"]);
    let _alive = all_emptied(&quickstart.environment, 1);
    quickstart.edit("  region: us-east-1", "  region: eu-central-1");
    let ran = rebuilding(&quickstart, &["rebuild", plan, "--latest", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_rebuilt(&quickstart, plan, &secrets, &ran);
    let aliases = |region| {
        let kms = crate::kms::kms(&quickstart.environment, region);
        crate::kms::behind(&kms, "alias/quickstart-custody")
    };
    assert!(aliases("us-east-1").is_none() && aliases("eu-central-1").is_some());
}

/// `REBUILD_NODES` and `REBUILD_SECRETS` make it as large as production.
#[test]
fn production_is_rebuilt_from_nothing() {
    let plan = "candlefish-production.yaml";
    let nodes = number("REBUILD_NODES", 3);
    let count = u8::try_from(nodes).expect("a few");
    let candlefish = Quickstart::with(plan, Settings { nodes: count, tls: true, ..Settings::default() });
    candlefish.apply();
    let secrets = backed_up(&candlefish, plan, &["candlefish/jwt/secret", "candlefish/mongodb/connection"]);
    let _alive = all_emptied(&candlefish.environment, nodes);
    let ran = rebuilding(&candlefish, &["rebuild", plan, "--latest", "--yes"]);
    // One login wants a token of Kubernetes, and is not tried.
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_rebuilt(&candlefish, plan, &secrets, &ran);
}

#[test]
fn vault_with_a_seal_in_kms_is_rebuilt_unless_the_key_is_gone() {
    let plan = "quickstart.yaml";
    let settings = Settings {
        vault: VaultServer::Pinned(OpenBao::WithKmsSeal),
        seal: Seal::AwsKms { key: "alias/groundwork-sandbox-unseal".to_owned() },
        ..Settings::default()
    };
    let quickstart = Quickstart::with(plan, settings);
    quickstart.edit("\nsteps:\n", &format!("{KEPT}\nsteps:\n"));
    quickstart.apply();
    let secrets = backed_up(&quickstart, plan, &["app/database", "app/session"]);
    let _alive = emptied(&quickstart.environment, 1);
    let ran = rebuilding(&quickstart, &["rebuild", plan, "--latest", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("opens by its own seal, awskms"), "{ran:?}");
    assert_rebuilt(&quickstart, plan, &secrets, &ran);

    let _alive = all_emptied(&quickstart.environment, 1);
    let refused = rebuilding(&quickstart, &["rebuild", plan, "--latest", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("it takes the key arn:aws:kms:"), "{refused:?}");
    assert!(!quickstart.vault_is_initialised());
}

/// A cluster with a backup, whose servers are empty then.
fn emptied_cluster(name: &'static str, stores: &Value) -> (Cluster, Running) {
    let cluster = Cluster::new(name);
    declare(&cluster);
    cluster.edit(|plan| plan["custody"]["stores"] = stores.clone());
    cluster.apply(&[]);
    write_secret(&cluster, CANARY);
    assert_eq!(cluster.run(&["backup", "plan.yaml"]).code, 0);
    cluster.edit(|plan| {
        plan["steps"]["later"] =
            json!({ "kind": "vault.policy", "name": "later", "rules": { "secret/*": ["list"] } });
    });
    cluster.apply(&[]);
    let alive = emptied(&cluster.environment, 1);
    (cluster, alive)
}

#[test]
fn journal_and_a_store_of_custody_may_be_lost() {
    let (cluster, _alive) =
        emptied_cluster("survives", &json!([{ "file": "custody" }, { "file": "second" }]));
    let folder = cluster.environment.folder.clone();
    let remove = |name: &str| std::fs::remove_dir_all(folder.join(name)).expect("removed");
    remove("second");
    remove(".groundwork");
    // Ended where it has just written something down, one time after the other.
    let (mut killed, mut told) = (0, String::new());
    for write in [1, 4, 7, 9] {
        let mut command = cluster.command(&["rebuild", "plan.yaml", "--latest", "--yes"]);
        let ran = Ran::of(command.env("GROUNDWORK_FAULT", format!("after@{write}")).output().expect("runs"));
        assert!(matches!(ran.code, 0 | -1), "{write}: {ran:?}");
        killed += usize::from(ran.code == -1);
        told += &format!("{ran:?}");
    }
    assert!(killed > 1 && told.contains("The plan's journal is gone. The backup has one of"), "{told}");
    assert!(told.contains("lines are lost"), "{told}");
    let ran = cluster.run(&["rebuild", "plan.yaml", "--latest", "--yes"]);
    assert!(ran.code == 0 && ran.stdout.contains("in all (RTO)"), "{ran:?}");
    assert_eq!(password(&cluster), CANARY);
    let [first, second] = ["custody", "second"].map(|store| objects(&folder.join(store)));
    assert_eq!(first, second, "the lost store is filled again");
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
    assert_clean(&folder, &folder.join("custody"), &[&ran]);
}

#[test]
fn nothing_is_touched_when_no_share_opens_the_backup() {
    let (cluster, _alive) = emptied_cluster("closed", &json!([{ "file": "custody" }]));
    let folder = &cluster.environment.folder;
    std::fs::remove_dir_all(folder.join("custody")).expect("removed");
    for command in ["rebuild", "restore"] {
        let ran = cluster.run(&[command, "plan.yaml", "--latest"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("it takes 2 of the 3 shares of generation sha256:"), "{ran:?}");
        assert!(ran.stderr.contains("nothing was changed"), "{ran:?}");
    }
    assert!(!cluster.environment.vault_is_initialised());
}

#[test]
fn quorum_of_the_plan_is_met_by_shares_that_people_give() {
    let (cluster, _alive) = emptied_cluster("quorum", &json!([{ "file": "custody" }]));
    cluster.edit(|plan| plan["recovery"] = json!({ "quorum": true }));
    let shares = crate::support::opened(&cluster.custody(), "keys_base64");
    for command in ["rebuild", "restore"] {
        let ran = cluster.run(&[command, "plan.yaml", "--latest"]);
        assert!(ran.code == 1 && ran.stderr.contains("only with a quorum of holders"), "{ran:?}");
    }
    let words = ["rebuild", "plan.yaml", "--latest", "--yes", "--share"];
    let ran = Ran::fed(&mut cluster.command(&words), &shares[0]);
    assert!(ran.code == 1 && ran.stderr.contains("2 of the 3 shares"), "{ran:?}");
    // One that is entered twice is one holder.
    let ran = Ran::fed(&mut cluster.command(&words), [shares[0].as_str(), &shares[0]].join("\n"));
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(!cluster.environment.vault_is_initialised());
    let ran = Ran::fed(&mut cluster.command(&words), shares[1..].join("\n"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(password(&cluster), CANARY);
    assert!(!format!("{ran:?}").contains(&shares[1]));
}

/// A plan of its own, for another cluster with other shares, which gets the first one's backup and key shares.
#[test]
fn backup_goes_into_another_cluster() {
    let (cluster, _alive) = emptied_cluster("elsewhere", &json!([{ "file": "custody" }]));
    let folder = cluster.environment.folder.clone();
    let shares = crate::support::opened(&cluster.custody(), "keys_base64").join("\n");
    std::fs::rename(folder.join("custody"), folder.join("before")).expect("renamed");
    std::fs::remove_dir_all(folder.join(".groundwork")).expect("removed");
    std::fs::remove_dir_all(cluster.environment.config()).expect("removed");
    cluster.apply(&[]);
    let backup = files(&folder.join("backups"))
        .into_iter()
        .find(|file| file.extension().is_some_and(|end| end == "snap"))
        .expect("a backup");
    let restore = |more: &[&str]| {
        let arguments = [&["restore", "plan.yaml", "--share", "--from", &backup.display().to_string()], more];
        Ran::fed(&mut cluster.command(&arguments.concat()), &shares)
    };
    let refused = restore(&["--confirm", "elsewhere"]);
    assert!(refused.code == 1 && refused.stderr.contains("is of another cluster"), "{refused:?}");
    let ran = restore(&["--confirm", "elsewhere", "--other-cluster"]);
    println!("{}\n{}", ran.stdout, ran.stderr);
    // Custody of the plan knows nothing of that cluster: what is left needs a token of it.
    assert!(matches!(ran.code, 1 | 3 | 4), "{ran:?}");
    assert!(ran.stdout.contains("restored") && ran.stdout.contains("log in with a token"), "{ran:?}");
    assert!(!format!("{refused:?}{ran:?}").contains(CANARY));
}
