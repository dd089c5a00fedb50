//! People come and go: recipients of custody and holders of key shares, each proven before anything changes hands.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use age::x25519::Identity;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, custody_in};

const PLAN: &str = "plan.yaml";

/// A plan with these recipients and holders of key shares.
fn declare(cluster: &Cluster, recipients: &[String], holders: &[(&str, String)]) {
    let recipients: Vec<Value> = recipients.iter().map(|key| json!({ "age": key })).collect();
    let holders: Vec<Value> = holders.iter().map(|(name, key)| json!({ "name": name, "age": key })).collect();
    let mut init = json!({ "kind": "vault.init", "shares": 2, "threshold": 2 });
    if !holders.is_empty() {
        init["holders"] = json!(holders);
    }
    let plan = json!({
        "version": 1, "name": "people",
        "custody": { "recipients": recipients, "stores": [{ "file": "custody" }, { "file": "more" }] },
        "steps": { "cluster": init },
    });
    cluster.environment.write(PLAN, &plan.to_string());
}

fn public(identity: &Identity) -> String {
    identity.to_public().to_string()
}

/// The content of a message in a file for the owner of an age key.
fn opened(identity: &Identity, path: &Path) -> Vec<u8> {
    let text = std::fs::read(path).expect("the file");
    let decryptor = age::Decryptor::new(age::armor::ArmoredReader::new(&text[..])).expect("age");
    let mut plain = Vec::new();
    let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).expect("opens");
    std::io::Read::read_to_end(&mut reader, &mut plain).expect("reads");
    plain
}

fn started(cluster: &Cluster, arguments: &[&str]) -> Child {
    let mut command = cluster.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the program starts")
}

/// Waits for the challenge of a run, answers it, and gives the end of the run.
fn answered(cluster: &Cluster, arguments: &[&str], file: &str, answer: impl FnOnce(&Path) -> Vec<u8>) -> Ran {
    let path = cluster.environment.folder.join(file);
    let _ = std::fs::remove_file(&path);
    let mut running = started(cluster, &[arguments, &["--challenge", file, "--yes"]].concat());
    let begun = Instant::now();
    while !std::fs::read(&path).is_ok_and(|text| text.ends_with(b"-----\n")) {
        assert!(begun.elapsed() < Duration::from_mins(1), "no challenge comes");
        assert!(running.try_wait().expect("waits").is_none(), "{:?}", running.wait_with_output());
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut input = running.stdin.take().expect("open");
    input.write_all(&answer(&path)).expect("written");
    input.write_all(b"\n").expect("written");
    drop(input);
    Ran::of(running.wait_with_output().expect("it ends"))
}

#[test]
fn recipient_proves_the_key_before_another_one_goes() {
    let cluster = Cluster::new("people");
    let (ours, lost, new) = (cluster.recipient(), Identity::generate(), Identity::generate());
    declare(&cluster, &[ours.clone(), public(&lost)], &[]);
    cluster.apply(&[]);
    let listed = cluster.run(&["custody", "holder", "list", PLAN]);
    assert!(listed.stdout.contains(&format!("all  age {}", public(&lost))), "{listed:?}");

    // The command and the plan have to say the same.
    let early = cluster.run(&["custody", "holder", "remove", PLAN, &public(&lost), "--yes"]);
    assert!(early.code == 1 && early.stderr.contains("the plan still names it"), "{early:?}");
    declare(&cluster, &[ours.clone(), public(&new)], &[]);
    let half = cluster.run(&["custody", "holder", "add", PLAN, &public(&new), "--yes"]);
    assert!(half.code == 1 && half.stderr.contains("is no longer in the plan"), "{half:?}");
    let replace = ["custody", "holder", "replace", PLAN, &public(&lost), &public(&new)];
    let unproven = cluster.run(&[&replace[..], &["--yes"]].concat());
    assert!(unproven.code == 1 && unproven.stderr.contains("--challenge FILE"), "{unproven:?}");
    let wrong = answered(&cluster, &replace, "challenge.txt", |_| b"groundwork-0123".to_vec());
    assert!(wrong.code == 1 && wrong.stderr.contains("nothing was changed"), "{wrong:?}");
    let listed = cluster.run(&["custody", "holder", "list", PLAN, "--format", "json"]);
    let standing: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let who = |standing: &Value| {
        let all = standing["recipients"].as_array().expect("recipients").clone();
        let mut all: Vec<String> =
            all.iter().map(|one| one["who"].as_str().expect("text").to_owned()).collect();
        all.sort();
        all
    };
    let sorted = |ids: &[String]| {
        let mut all: Vec<String> = ids.iter().map(|id| format!("age {id}")).collect();
        all.sort();
        all
    };
    assert_eq!(
        who(&standing),
        sorted(&[ours.clone(), public(&lost)]),
        "nothing was sealed for the unproven key"
    );

    let ran = answered(&cluster, &replace, "challenge.txt", |path| opened(&new, path));
    assert!(ran.code == 0 && ran.stderr.contains("proven by its owner"), "{ran:?}");
    assert!(ran.stderr.contains("replace the secrets"), "{ran:?}");
    let listed = cluster.run(&["custody", "holder", "list", PLAN, "--format", "json"]);
    let standing: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    assert_eq!(who(&standing), sorted(&[ours, public(&new)]));
    let shown = cluster.run(&["status", PLAN, "--no-drift"]);
    assert!(shown.stdout.contains(&format!("all  age {}", public(&new))), "{shown:?}");

    // The new one opens everything alone, and nothing of it is anywhere else.
    let secrets = custody_in(&cluster.environment.folder.join("more"), &new);
    assert!(secrets.len() > 1);
    let said = format!("{early:?}{half:?}{unproven:?}{wrong:?}{ran:?}{shown:?}");
    assert_eq!(leaks(said.as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&cluster.environment.folder, &secrets), Vec::<String>::new());
}

#[test]
fn holder_with_a_lost_key_gets_the_same_share_again() {
    let cluster = Cluster::new("people");
    let (ann, lost, found) = (Identity::generate(), Identity::generate(), Identity::generate());
    let holders = |bob: &Identity| [("ann", public(&ann)), ("bob", public(bob))];
    let ours = [cluster.recipient()];
    declare(&cluster, &ours, &holders(&lost));
    cluster.apply(&[]);
    let export = |to: &str| {
        let ran = cluster.run(&["custody", "export-share", PLAN, "--holder", "bob", "--to", to]);
        assert_eq!(ran.code, 0, "{ran:?}");
        cluster.environment.folder.join(to)
    };
    let before = opened(&lost, &export("before.age"));
    let replace = ["custody", "holder", "replace", PLAN, "bob"];
    let same = cluster.run(&replace);
    assert!(same.code == 0 && same.stdout.contains("sealed for this key already"), "{same:?}");

    declare(&cluster, &ours, &holders(&found));
    let planned = cluster.run(&["plan", PLAN]);
    assert!(planned.stdout.contains("custody holder replace"), "{planned:?}");
    let unproven = cluster.run(&[&replace[..], &["--yes"]].concat());
    assert!(unproven.code == 1 && unproven.stderr.contains("--challenge FILE"), "{unproven:?}");
    let wrong = answered(&cluster, &replace, "challenge.txt", |_| b"a guess".to_vec());
    assert!(wrong.code == 1 && opened(&lost, &export("still.age")) == before, "{wrong:?}");
    let ran = answered(&cluster, &replace, "challenge.txt", |path| opened(&found, path));
    assert!(ran.code == 0 && ran.stdout.contains("sealed for the new key"), "{ran:?}");
    assert_eq!(opened(&found, &export("after.age")), before);
    let listed = cluster.run(&["custody", "holder", "list", PLAN]);
    assert!(listed.stdout.contains(&format!("bob  age {}", public(&found))), "{listed:?}");
    assert_eq!(cluster.run(&["plan", PLAN, "--detailed-exitcode"]).code, 0);
    assert_eq!(cluster.run(&["custody", "check", PLAN]).code, 0);
    let journal = cluster.run(&["journal", PLAN]);
    assert!(journal.stdout.contains("seal a share again") && journal.stdout.contains("Nothing is open."));

    let stranger = cluster.run(&["custody", "holder", "replace", PLAN, "eve"]);
    assert!(stranger.code == 1 && stranger.stderr.contains("not one of the plan's holders"), "{stranger:?}");
    let taken = cluster.run(&["custody", "holder", "remove", PLAN, "bob", "--yes"]);
    assert!(taken.code == 1 && taken.stderr.contains("splitting the key again"), "{taken:?}");
    let secret = [("share".to_owned(), before)];
    let said = format!("{planned:?}{unproven:?}{wrong:?}{ran:?}{listed:?}{journal:?}");
    assert_eq!(leaks(said.as_bytes(), &secret), Vec::<&str>::new());
    assert_eq!(leaking_files(&cluster.environment.folder, &secret), Vec::<String>::new());
}

#[test]
fn key_on_this_machine_needs_no_challenge() {
    let cluster = Cluster::new("people");
    let second = Identity::generate();
    declare(&cluster, &[cluster.recipient()], &[]);
    cluster.apply(&[]);
    declare(&cluster, &[cluster.recipient(), public(&second)], &[]);
    let mut command = cluster.command(&["custody", "holder", "add", PLAN, &public(&second), "--yes"]);
    let file =
        command.get_envs().find(|(name, _)| *name == "GROUNDWORK_AGE_IDENTITY").and_then(|(_, path)| path);
    let both = std::fs::read_to_string(file.expect("an identity")).expect("readable");
    let both = format!("{both}\n{}\n", second.to_string().expose_secret());
    let path = cluster.environment.write("both.txt", &both);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
    let ran = Ran::of(command.env("GROUNDWORK_AGE_IDENTITY", &path).output().expect("it starts"));
    assert!(ran.code == 0 && ran.stderr.contains("proven with the key on this machine"), "{ran:?}");
    let again = cluster.run(&["custody", "holder", "add", PLAN, &public(&second)]);
    assert!(again.code == 1 && again.stderr.contains("can open everything already"), "{again:?}");
}
