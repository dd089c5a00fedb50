//! Splitting the cluster's key again: other shares, another shape, other holders; and what is left when it is cut off.

use std::sync::{Arc, Mutex};

use age::x25519::Identity;
use groundwork::custody::FileStore;
use groundwork::custody::Store as _;
use groundwork::event::Events;
use groundwork::sandbox::{self, Seal, Settings};
use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::in_front::{InFront, Played};
use crate::support::{Cluster, Ran, block_on};
use crate::sweep::http::Message;

const PLAN: &str = "plan.yaml";

/// A plan with this `vault.init` step, a mount, and a place for backups.
fn declare(cluster: &Cluster, init: &Value) {
    let mut step = json!({ "kind": "vault.init" });
    step.as_object_mut().expect("a step").extend(init.as_object().expect("fields").clone());
    let nodes = cluster.environment.sandbox.vault_addrs();
    let plan = json!({
        "version": 1, "name": "rekeyed", "vault": { "address": nodes[0], "nodes": nodes },
        "custody": { "recipients": [{ "age": cluster.recipient() }], "stores": [{ "file": "custody" }, { "file": "more" }] },
        "backup": { "stores": [{ "file": "backups" }], "keep": { "last": 1, "daily": 0 } },
        "steps": { "cluster": step, "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv" } },
    });
    cluster.environment.write(PLAN, &plan.to_string());
}

fn applied(settings: Settings, init: &Value) -> Cluster {
    let cluster = Cluster::with("rekeyed", settings);
    declare(&cluster, init);
    cluster.apply(&[]);
    cluster
}

fn succeed(cluster: &Cluster, words: &[&str]) -> Ran {
    let ran = cluster.run(words);
    assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
    ran
}

fn rotate(cluster: &Cluster) -> Ran {
    succeed(cluster, &["rotate", PLAN, "--shares", "--yes"])
}

/// Present shares, in the clear.
fn shares(cluster: &Cluster, count: usize) -> Vec<String> {
    let one = |number: usize| {
        let ran =
            succeed(cluster, &["custody", "export-share", PLAN, "--index", &number.to_string(), "--to", "-"]);
        ran.stdout.trim().to_owned()
    };
    (1..=count).map(one).collect()
}

fn restart(cluster: &Cluster, node: usize) {
    let (folder, name) = (cluster.environment.sandbox.dir(), format!("vault-{node}"));
    block_on(sandbox::restart(&folder, &name, &Events::default())).expect("restarted");
}

fn with_input(cluster: &Cluster, words: &[&str], lines: &[String]) -> Ran {
    Ran::fed(&mut cluster.command(words), lines.join("\n") + "\n")
}

/// Whether the server is sealed after these shares were entered by hand.
fn sealed_after(cluster: &Cluster, lines: &[String]) -> bool {
    with_input(cluster, &["unseal", PLAN, "--share"], lines).code != 0
}

fn idle(cluster: &Cluster) {
    let (_, state) = cluster.ask("GET", "", "sys/rotate/root/init", &Value::Null);
    assert_eq!(state["data"]["started"], false, "{state}");
    let (status, backup) = cluster.ask("GET", "", "sys/rotate/root/backup", &Value::Null);
    assert_eq!(status, 400, "the server keeps no shares: {backup}");
    let journal = succeed(cluster, &["journal", PLAN]);
    assert!(journal.stdout.contains("Nothing is open."), "{journal:?}");
    succeed(cluster, &["custody", "check", PLAN]);
    assert_eq!(cluster.run(&["plan", PLAN, "--detailed-exitcode"]).code, 0);
}

#[test]
fn new_shares_open_the_cluster_and_old_ones_their_backup() {
    let cluster = applied(Settings::default(), &json!({ "shares": 3, "threshold": 2 }));
    let before = shares(&cluster, 3);
    succeed(&cluster, &["backup", PLAN]);
    declare(&cluster, &json!({ "shares": 4, "threshold": 3 }));
    let planned = cluster.run(&["plan", PLAN]);
    assert!(planned.stdout.contains("rotate PLAN --shares"), "{planned:?}");
    let shown = succeed(&cluster, &["rotate", PLAN, "--shares", "--dry-run"]);
    assert!(shown.stdout.contains("3 → 4") && shown.stdout.contains("2 → 3"), "{shown:?}");
    let refused = cluster.run(&["rotate", PLAN, "--shares"]);
    assert!(refused.code == 1 && refused.stderr.contains("--yes"), "{refused:?}");
    assert_eq!(shares(&cluster, 3), before, "nothing was changed");

    let ran = rotate(&cluster);
    let after = shares(&cluster, 4);
    assert!(before.iter().all(|share| !after.contains(share)));
    idle(&cluster);
    restart(&cluster, 1);
    assert!(sealed_after(&cluster, &before[..2]), "the old shares are of no use");
    restart(&cluster, 1);
    assert!(!sealed_after(&cluster, &after[1..]), "any three of the new ones open it");
    restart(&cluster, 1);
    succeed(&cluster, &["unseal", PLAN]);

    // The backup of before opens with what custody kept, and is the last one of its generation.
    succeed(&cluster, &["backup", PLAN]);
    succeed(&cluster, &["backup", "check", "--latest", PLAN]);
    let stored = crate::support::files(&cluster.environment.folder.join("backups"));
    let mut snapshots: Vec<_> =
        stored.iter().filter(|file| file.extension().is_some_and(|end| end == "snap")).collect();
    snapshots.sort();
    assert_eq!(snapshots.len(), 2, "the last backup of the old shares stays: {stored:?}");
    for snapshot in snapshots {
        let checked = succeed(&cluster, &["backup", "check", snapshot.to_str().expect("a name"), PLAN]);
        assert!(checked.stdout.contains("proven"), "{checked:?}");
    }

    // The command line may say another shape than the plan, which then has to follow.
    let ran_again = succeed(
        &cluster,
        &["rotate", PLAN, "--shares", "--key-shares", "2", "--key-threshold", "2", "--yes"],
    );
    assert!(ran_again.stderr.contains("the plan declares 3 of 4 shares"), "{ran_again:?}");
    assert_eq!(shares(&cluster, 2).len(), 2);
    let impossible = cluster.run(&["rotate", PLAN, "--shares", "--key-threshold", "9", "--yes"]);
    assert!(impossible.code == 1 && impossible.stderr.contains("can never be met"), "{impossible:?}");

    let secrets: Vec<(String, Vec<u8>)> =
        before.into_iter().chain(after).map(|share| ("share".to_owned(), share.into_bytes())).collect();
    let journal = succeed(&cluster, &["journal", PLAN, "--format", "json"]);
    let said = format!("{planned:?}{shown:?}{refused:?}{ran:?}{ran_again:?}{impossible:?}{journal:?}");
    assert_eq!(leaks(said.as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&cluster.environment.folder, &secrets), Vec::<String>::new());
}

/// The share in a holder's exported message.
fn share_of(cluster: &Cluster, holder: &str, identity: &Identity) -> String {
    let to = format!("{holder}.age");
    let _ = std::fs::remove_file(cluster.environment.folder.join(&to));
    succeed(cluster, &["custody", "export-share", PLAN, "--holder", holder, "--to", &to]);
    let text = std::fs::read(cluster.environment.folder.join(&to)).expect("the file");
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(&text[..])).expect("age");
    let mut plain = String::new();
    let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).expect("opens");
    std::io::Read::read_to_string(&mut reader, &mut plain).expect("reads");
    plain
}

#[test]
fn holders_change_and_present_ones_enter_their_shares() {
    let people: Vec<Identity> = (0..3).map(|_| Identity::generate()).collect();
    let holder =
        |name: &str, number: usize| json!({ "name": name, "age": people[number].to_public().to_string() });
    let split =
        |holders: Value| json!({ "shares": 2, "threshold": 2, "holders": holders, "keep_shares": false });
    let cluster = applied(Settings::default(), &split(json!([holder("ann", 0), holder("bob", 1)])));
    let before = [share_of(&cluster, "ann", &people[0]), share_of(&cluster, "bob", &people[1])];

    // Bob leaves, Carol comes. Custody has no shares: the present holders enter theirs, one of them twice.
    declare(&cluster, &split(json!([holder("ann", 0), holder("carol", 2)])));
    let shown = succeed(&cluster, &["rotate", PLAN, "--shares", "--dry-run"]);
    assert!(shown.stdout.contains("new holder carol") && shown.stdout.contains("- bob"), "{shown:?}");
    let few = with_input(&cluster, &["rotate", PLAN, "--shares", "--yes"], &before[..1]);
    assert!(few.code == 1 && few.stderr.contains("fewer than the 2 present shares"), "{few:?}");
    idle_but_blocked(&cluster);
    // After a line that is no share at all the server counts from nothing again.
    let lines: Vec<String> =
        [before[0].as_str(), &before[0], "nonsense", &before[0], &before[1]].map(str::to_owned).into();
    let ran = with_input(&cluster, &["rotate", PLAN, "--shares", "--yes"], &lines);
    assert!(ran.code == 0 && ran.stderr.contains("the server did not take it"), "{ran:?}");
    idle(&cluster);
    let after = [share_of(&cluster, "ann", &people[0]), share_of(&cluster, "carol", &people[2])];
    let gone = cluster.run(&["custody", "export-share", PLAN, "--holder", "bob", "--to", "-"]);
    assert!(gone.code == 1 && gone.stderr.contains("bob holds no share"), "{gone:?}");
    restart(&cluster, 1);
    assert!(sealed_after(&cluster, &before), "what Bob knows opens nothing");
    restart(&cluster, 1);
    assert!(!sealed_after(&cluster, &after));
    let secrets: Vec<(String, Vec<u8>)> =
        before.into_iter().chain(after).map(|share| ("share".to_owned(), share.into_bytes())).collect();
    assert_eq!(leaks(format!("{shown:?}{few:?}{ran:?}{gone:?}").as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&cluster.environment.folder, &secrets), Vec::<String>::new());
}

/// Nothing is under way, and the plan still waits for the rekey.
fn idle_but_blocked(cluster: &Cluster) {
    let (_, state) = cluster.ask("GET", "", "sys/rotate/root/init", &Value::Null);
    assert_eq!(state["data"]["started"], false, "{state}");
    let journal = succeed(cluster, &["journal", PLAN]);
    assert!(journal.stdout.contains("Nothing is open."), "{journal:?}");
}

#[test]
fn rekey_of_another_person_is_left_alone() {
    let cluster = applied(Settings::default(), &json!({ "shares": 3, "threshold": 2 }));
    let theirs = json!({ "secret_shares": 1, "secret_threshold": 1 });
    let (status, begun) = cluster.ask("POST", "", "sys/rotate/root/init", &theirs);
    assert_eq!(status, 200, "{begun}");
    for words in [&["rotate", PLAN, "--shares", "--yes"][..], &["rotate", PLAN, "--root-key", "--yes"]] {
        let ran = cluster.run(words);
        assert!(ran.code == 1 && ran.stderr.contains("another person splits the key"), "{ran:?}");
    }
    let (_, still) = cluster.ask("GET", "", "sys/rotate/root/init", &Value::Null);
    assert_eq!(still["data"]["nonce"], begun["data"]["nonce"], "{still}");
}

/// The number of answers of rekeys in custody.
fn generations(cluster: &Cluster) -> usize {
    let store = FileStore::new(cluster.environment.folder.join("custody"));
    let objects = block_on(store.objects("vault/")).expect("lists");
    objects.iter().filter(|(name, _)| name.contains("/shares/") && name.ends_with("/answer")).count()
}

#[test]
fn rekey_that_dies_at_any_write_ends_whole_or_cancelled() {
    let cluster = applied(Settings::default(), &json!({ "shares": 2, "threshold": 2 }));
    let mut met = 0;
    for position in 1.. {
        let made = generations(&cluster);
        let mut command = cluster.command(&["rotate", PLAN, "--shares", "--yes"]);
        let what = if position % 2 == 0 { "before" } else { "after" };
        let killed =
            Ran::of(command.env("GROUNDWORK_FAULT", format!("{what}@{position}")).output().expect("starts"));
        if killed.code == 0 {
            break;
        }
        met += 1;
        // Whatever it left, the shares that open the server are in custody.
        if position % 3 == 0 {
            restart(&cluster, 1);
            succeed(&cluster, &["unseal", PLAN]);
        }
        let again = rotate(&cluster);
        assert!(generations(&cluster) > made, "{position}: {killed:?} {again:?}");
        idle(&cluster);
        let present = shares(&cluster, 2);
        restart(&cluster, 1);
        assert!(!sealed_after(&cluster, &present), "{position}: {killed:?}, then {again:?}");
    }
    assert!(met > 12, "it was cut off only {met} times");
}

#[test]
fn three_nodes_take_new_shares_one_is_proven_with() {
    let cluster = applied(
        Settings { nodes: 3, tls: true, ..Settings::default() },
        &json!({ "shares": 3, "threshold": 2 }),
    );
    let before = shares(&cluster, 3);
    declare(&cluster, &json!({ "shares": 5, "threshold": 3 }));
    let ran = rotate(&cluster);
    assert!(ran.stdout.contains("5 new shares, of which 3 open it; proven"), "{ran:?}");
    assert!(ran.stderr.contains("when they are restarted"), "{ran:?}");
    assert_eq!(cluster.run(&["plan", PLAN, "--detailed-exitcode"]).code, 0, "whatever the standbys remember");
    let after = shares(&cluster, 5);
    for node in 1..=3 {
        restart(&cluster, node);
        let opened = cluster.run(&["unseal", PLAN]);
        assert_eq!(opened.code, 0, "{node}: {opened:?}");
    }
    // Of the same shape: a standby is opened with the new shares only.
    let again = rotate(&cluster);
    assert!(again.stderr.contains("opened with the new shares only"), "{again:?}");
    for node in 1..=3 {
        restart(&cluster, node);
    }
    assert!(sealed_after(&cluster, &before));
    succeed(&cluster, &["unseal", PLAN]);
    succeed(&cluster, &["custody", "check", PLAN]);
    let secrets: Vec<(String, Vec<u8>)> =
        before.into_iter().chain(after).map(|share| ("share".to_owned(), share.into_bytes())).collect();
    assert_eq!(leaking_files(&cluster.environment.folder, &secrets), Vec::<String>::new());
}

#[test]
fn recovery_key_is_split_again() {
    let settings = Settings { seal: Seal::Static, ..Settings::default() };
    let cluster = applied(settings, &json!({ "shares": 3, "threshold": 2 }));
    let before = shares(&cluster, 3);
    declare(&cluster, &json!({ "shares": 2, "threshold": 2 }));
    let shown = succeed(&cluster, &["rotate", PLAN, "--shares", "--dry-run"]);
    assert!(shown.stdout.contains("the recovery key of"), "{shown:?}");
    rotate(&cluster);
    let after = shares(&cluster, 2);
    assert!(after.iter().all(|share| !before.contains(share)));
    let checked = succeed(&cluster, &["custody", "check", PLAN]);
    assert!(checked.stdout.contains("2 shares can be obtained, 2 are needed"), "{checked:?}");
    assert_eq!(cluster.run(&["plan", PLAN, "--detailed-exitcode"]).code, 0);
}

#[test]
fn root_key_and_keyring_are_new_under_the_same_shares() {
    let cluster = applied(Settings::default(), &json!({ "shares": 3, "threshold": 2 }));
    let present = shares(&cluster, 3);
    let term =
        || cluster.ask("GET", "", "sys/key-status", &Value::Null).1["data"]["term"].as_u64().expect("a term");
    let before = term();
    let shown = succeed(&cluster, &["rotate", PLAN, "--keyring", "--dry-run"]);
    assert!(shown.stdout.contains("keyring") && term() == before, "{shown:?}");
    let ran = succeed(&cluster, &["rotate", PLAN, "--root-key", "--keyring", "--yes"]);
    assert!(ran.stdout.contains("the shares in custody open it"), "{ran:?}");
    assert!(ran.stdout.contains(&format!("number {}, before {before}", before + 1)), "{ran:?}");
    assert_eq!(term(), before + 1);
    idle(&cluster);

    // One that died after the server had done it is not done again.
    for position in 1.. {
        let now = term();
        let mut command = cluster.command(&["rotate", PLAN, "--keyring", "--yes"]);
        let killed =
            Ran::of(command.env("GROUNDWORK_FAULT", format!("before@{position}")).output().expect("starts"));
        if killed.code == 0 {
            break;
        }
        succeed(&cluster, &["rotate", PLAN, "--keyring", "--yes"]);
        assert!((now + 1..=now + 2).contains(&term()), "{position}: {killed:?}");
        idle(&cluster);
    }
    restart(&cluster, 1);
    assert!(!sealed_after(&cluster, &present[..2]));
}

/// An answer as HashiCorp Vault writes it: the fields of a rekey stand at the top.
/// <https://developer.hashicorp.com/vault/api-docs/system/rekey>
fn at_the_top(answer: Message) -> Message {
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(mut body) if body["data"].is_object() => {
            Message::reply(200, "application/json", &body["data"].take().to_string())
        }
        _ => answer,
    }
}

/// What HashiCorp Vault would do, by its API's documentation; none can be had for these tests. It splits the key at
/// `sys/rekey`, and does not know OpenBao's paths.
fn as_hashicorp(request: &Message, asked: &Mutex<Vec<String>>) -> Played {
    let mut words = request.start.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if path.starts_with("/v1/sys/rotate/root") {
        let errors = json!({ "errors": ["1 error occurred:\n\t* unsupported path\n\n"] });
        return Played::Reply(Message::reply(404, "application/json", &errors.to_string()));
    }
    let Some(rest) = path.strip_prefix("/v1/sys/rekey/") else { return Played::Forward };
    asked.lock().expect("unpoisoned").push(format!("{method} {rest}"));
    let mut other = request.clone();
    other.start = format!("{method} /v1/sys/rotate/root/{rest} HTTP/1.1");
    // A backup is read as any other data.
    Played::Other(other, if rest == "backup" { |answer| answer } else { at_the_top })
}

#[test]
fn hashicorp_paths_split_the_key_in_a_stand_in() {
    let cluster = Cluster::new("hashicorp");
    cluster.declare(&json!({}));
    cluster
        .edit(|plan| plan["steps"]["cluster"] = json!({ "kind": "vault.init", "shares": 3, "threshold": 2 }));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let vault = InFront::of(&cluster.environment.sandbox.vault_addrs()[0], move |request| {
        as_hashicorp(request, &seen)
    });
    let run = |words: &[&str]| {
        let mut command = cluster.command(words);
        command.env("VAULT_ADDR", &vault.url).env("GROUNDWORK_VAULT_NODES", &vault.url);
        let ran = Ran::of(command.output().expect("the program starts"));
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran
    };
    run(&["apply", PLAN, "--yes"]);
    let share = |number: &str| {
        run(&["custody", "export-share", PLAN, "--index", number, "--to", "-"]).stdout.trim().to_owned()
    };
    let before = share("1");
    let ran = run(&["rotate", PLAN, "--shares", "--yes"]);
    assert!(ran.stdout.contains("3 new shares, of which 2 open it; proven"), "{ran:?}");
    let after = share("1");
    assert_ne!(before, after);
    restart(&cluster, 1);
    run(&["unseal", PLAN]);
    let asked = asked.lock().expect("unpoisoned").clone();
    for wanted in ["GET init", "POST init", "POST update", "POST verify", "DELETE backup"] {
        assert!(asked.iter().any(|one| one == wanted), "{wanted}: {asked:?}");
    }
    let secrets = [before, after].map(|share| ("share".to_owned(), share.into_bytes()));
    assert_eq!(leaks(format!("{ran:?}").as_bytes(), &secrets), Vec::<&str>::new());
}
