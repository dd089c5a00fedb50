//! Emergency access: a quorum of shares, an access that ends, nothing left behind, and what a run that dies leaves.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::in_front::{InFront, Played};
use crate::support::{Cluster, Quickstart, Ran, block_on, text_of};

const PLAN: &str = "quickstart.yaml";
/// Leaves the token for the test, and waits until it may end.
const WAITS: &str = "printf %s \"$VAULT_TOKEN\" > token && while [ ! -e end ]; do sleep 0.05; done; exit 7";

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn share(quickstart: &Quickstart, number: usize) -> String {
    let index = number.to_string();
    let ran = quickstart.run(&["custody", "export-share", PLAN, "--index", &index, "--to", "-"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.trim().to_owned()
}

fn begin(quickstart: &Quickstart, arguments: &[&str]) -> Child {
    let _ = std::fs::remove_file(quickstart.environment.folder.join("token"));
    let arguments = [&["break-glass", PLAN, "--reason", "the admin is lost"], arguments].concat();
    let mut command = quickstart.environment.command(&[&arguments[..], &["--", "sh", "-c", WAITS]].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// The token that the command got.
fn token(folder: &Path) -> String {
    until("the token", || std::fs::read_to_string(folder.join("token")).ok().filter(|text| !text.is_empty()))
}

/// The server's record of a token; the status where it has none.
fn lookup(quickstart: &Quickstart, token: &str) -> Result<Value, u16> {
    let environment = &quickstart.environment;
    let url = format!("{}/v1/auth/token/lookup-self", environment.sandbox.vault_addrs()[0]);
    block_on(async {
        let answer =
            environment.http().get(url).header("X-Vault-Token", token).send().await.expect("an answer");
        match answer.status().as_u16() {
            200 => Ok(answer.json::<Value>().await.expect("JSON")["data"].clone()),
            status => Err(status),
        }
    })
}

fn ended(mut running: Child) -> Ran {
    drop(running.stdin.take());
    Ran::of(running.wait_with_output().expect("it ends"))
}

/// Kills a run as a lost machine would; the command, which would stay, ends too.
fn killed(mut running: Child, folder: &Path) {
    running.kill().expect("killed");
    std::fs::write(folder.join("end"), "").expect("written");
    assert_eq!(ended(running).code, -1);
    std::fs::remove_file(folder.join("end")).expect("removed");
}

#[test]
fn holders_get_in_and_the_access_ends() {
    let quickstart = Quickstart::applied();
    let folder = quickstart.environment.folder.clone();
    let shares: Vec<String> = (1..=3).map(|number| share(&quickstart, number)).collect();
    let mut secrets: Vec<(String, Vec<u8>)> =
        shares.iter().map(|share| ("share".to_owned(), share.clone().into_bytes())).collect();

    // One holder is here, the others answer from elsewhere; a line that is no share stops nothing.
    let mut running = begin(&quickstart, &["--ttl", "10m", "--request", "request.json"]);
    let request = until("the request", || {
        std::fs::read(folder.join("request.json")).ok().filter(|it| it.ends_with(b"}\n"))
    });
    let request: Value = serde_json::from_slice(&request).expect("JSON");
    assert_eq!((text_of(&request["reason"]), text_of(&request["plan"])), ("the admin is lost", "quickstart"));
    let mut lines = vec![shares[0].clone(), "groundwork-share:AAAA".to_owned()];
    for (holder, share) in [("bob", &shares[1]), ("carol", &shares[2])] {
        let mut answering = quickstart
            .environment
            .command(&["answer", "request.json", "--as", holder])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        writeln!(answering.stdin.take().expect("open"), "{share}").expect("written");
        let answered = ended(answering);
        assert!(answered.code == 0 && answered.stderr.contains("the admin is lost"), "{answered:?}");
        lines.push(answered.stdout.trim().to_owned());
    }
    writeln!(running.stdin.as_mut().expect("open"), "{}", lines.join("\n")).expect("written");
    let given = token(&folder);
    let about = lookup(&quickstart, &given).expect("it works");
    assert_eq!((&about["orphan"], &about["explicit_max_ttl"]), (&json!(true), &json!(600)), "{about}");
    assert_eq!(
        (&about["policies"], &about["meta"]["reason"]),
        (&json!(["root"]), &json!("the admin is lost"))
    );
    assert_eq!(about["renewable"], false, "{about}");
    std::fs::write(folder.join("end"), "").expect("written");
    let ran = ended(running);
    assert_eq!(ran.code, 7, "the command's own: {ran:?}");
    for told in [
        "2 of 3 shares: a share of an unknown holder, given by bob",
        "the root token is revoked",
        "the server refuses it since",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {ran:?}");
    }
    assert_eq!(lookup(&quickstart, &given), Err(403));

    // The journal says who, why and how it ended; nothing secret is anywhere.
    std::fs::remove_file(folder.join("token")).expect("removed");
    secrets.push(("token".to_owned(), given.into_bytes()));
    let journal = quickstart.run(&["journal", PLAN, "--format", "json"]);
    for told in ["the admin is lost", "the root token is revoked", "revoked, and refused since"] {
        assert!(journal.stdout.contains(told), "{told}: {journal:?}");
    }
    assert_eq!(leaks(format!("{ran:?}{}", journal.stdout).as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&folder, &secrets), Vec::<String>::new());

    // An answer is of no use to another run, and too few shares open nothing.
    let mut again = begin(&quickstart, &[]);
    writeln!(again.stdin.as_mut().expect("open"), "{}\n{}", lines[2], shares[0]).expect("written");
    let refused = ended(again);
    assert!(refused.code == 1 && refused.stderr.contains("does not answer this request"), "{refused:?}");
    assert!(refused.stderr.contains("fewer than the 3 shares"), "{refused:?}");
    let swept = quickstart.run(&["break-glass", PLAN, "--sweep"]);
    assert!(swept.code == 0 && swept.stdout.contains("no root token without an end"), "{swept:?}");

    // A root token that another person made and left is named.
    quickstart.generate_root(&shares);
    let swept = quickstart.run(&["break-glass", PLAN, "--sweep"]);
    assert!(swept.code == 3 && swept.stdout.contains("a root token without an end: accessor"), "{swept:?}");
}

#[test]
fn access_of_a_run_that_died_ends() {
    let quickstart = Quickstart::applied();
    let folder = quickstart.environment.folder.clone();
    let policy = ["--shares-in-custody", "--policy", "groundwork"];

    // The server ends it.
    let running = begin(&quickstart, &[&policy[..], &["--ttl", "2s"]].concat());
    let given = token(&folder);
    killed(running, &folder);
    until("the end", || lookup(&quickstart, &given).is_err().then_some(()));
    let swept = quickstart.run(&["break-glass", PLAN, "--sweep"]);
    assert!(swept.code == 0 && swept.stdout.contains("ended by itself"), "{swept:?}");

    // The next run does.
    let running = begin(&quickstart, &[&policy[..], &["--ttl", "1h"]].concat());
    let given = token(&folder);
    let about = lookup(&quickstart, &given).expect("it works");
    assert!(!about["policies"].to_string().contains("root"), "{about}");
    killed(running, &folder);
    assert!(lookup(&quickstart, &given).is_ok());
    let swept = quickstart.run(&["break-glass", PLAN, "--sweep"]);
    assert!(swept.code == 0 && swept.stdout.contains("revoked now"), "{swept:?}");
    assert_eq!(lookup(&quickstart, &given), Err(403));

    // One that died over its shares has its attempt given up; another person's attempt is not touched.
    let mut running = begin(&quickstart, &[]);
    writeln!(running.stdin.as_mut().expect("open"), "{}", share(&quickstart, 1)).expect("written");
    until("the attempt", || {
        let attempt = quickstart.vault("GET", "sys/generate-root-token/attempt", &Value::Null);
        (attempt["progress"] == 1).then_some(())
    });
    killed(running, &folder);
    std::fs::write(folder.join("end"), "").expect("written");
    let ran = ended(begin(&quickstart, &policy));
    assert_eq!(ran.code, 7, "{ran:?}");
    quickstart.vault("POST", "sys/generate-root-token/attempt", &json!({}));
    let refused = ended(begin(&quickstart, &policy));
    assert!(refused.code == 1 && refused.stderr.contains("another person makes a root token"), "{refused:?}");
}

/// What the server answers a token of the admin's, which is the same one each time: a login makes a token more.
fn asked(quickstart: &Quickstart, token: &str, method: &str, path: &str, body: &Value) -> Value {
    let environment = &quickstart.environment;
    let url = format!("{}/v1/{path}", environment.sandbox.vault_addrs()[0]);
    let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
    let request =
        environment.http().request(method, url).header("X-Vault-Token", token).body(body.to_string());
    block_on(async {
        request.send().await.expect("an answer").json::<Value>().await.expect("JSON")["data"].clone()
    })
}

/// The root tokens that live and have no end.
fn roots(quickstart: &Quickstart, token: &str) -> usize {
    let listed = asked(quickstart, token, "LIST", "auth/token/accessors", &Value::Null);
    let accessors = listed["keys"].as_array().expect("accessors").clone();
    let is_root = |accessor: &&Value| {
        let body = json!({ "accessor": accessor });
        let about = asked(quickstart, token, "POST", "auth/token/lookup-accessor", &body);
        about["path"] == "auth/token/root" && about["ttl"] == 0
    };
    accessors.iter().filter(is_root).count()
}

#[test]
fn run_killed_at_any_write_leaves_nothing_after_the_sweep() {
    let quickstart = Quickstart::applied();
    let admin = quickstart.admin_token();
    assert_eq!(roots(&quickstart, &admin), 0);
    let (mut met, mut stray) = (0, 0);
    for (position, what) in (1..).flat_map(|position| ["before", "after"].map(|what| (position, what))) {
        let words =
            ["break-glass", PLAN, "--reason", "a drill", "--ttl", "1h", "--shares-in-custody", "--", "true"];
        let mut command = quickstart.environment.command(&words);
        let killed =
            Ran::of(command.env("GROUNDWORK_FAULT", format!("{what}@{position}")).output().expect("starts"));
        if killed.code == 0 {
            break;
        }
        met += 1;
        stray += roots(&quickstart, &admin);
        let case = format!("{what} {position}: {killed:?}");
        let swept = quickstart.run(&["break-glass", PLAN, "--sweep"]);
        assert!(
            swept.code == 0 && swept.stdout.contains("no root token without an end"),
            "{case}: {swept:?}"
        );
        assert_eq!(roots(&quickstart, &admin), 0, "{case}, then {swept:?}");
        let attempt = asked(&quickstart, &admin, "GET", "sys/generate-root-token/attempt", &Value::Null);
        if what == "before" && position == 1 {
            // The journal does not know of it yet, and it has no share: it is ended like that of another person.
            assert_eq!(attempt["progress"], 0, "{case}: {attempt}");
            quickstart.vault("DELETE", "sys/generate-root-token/attempt", &Value::Null);
        } else {
            assert_eq!(attempt["started"], false, "{case}: {attempt}");
        }
        let journal = quickstart.run(&["journal", PLAN]);
        assert!(journal.stdout.contains("Nothing is open."), "{case}: {journal:?}");
    }
    assert!(met >= 8 && stray > 0, "{met} kills, of which {stray} left a root token");
}

#[test]
fn root_token_of_another_person_survives_the_clean_up() {
    let quickstart = Quickstart::applied();
    let shares: Vec<String> = (1..=3).map(|number| share(&quickstart, number)).collect();
    quickstart.generate_root(&shares);
    let words = ["break-glass", PLAN, "--reason", "a drill", "--shares-in-custody", "--", "true"];
    // It dies with the attempt begun and no share entered.
    let mut command = quickstart.environment.command(&words);
    let killed = Ran::of(command.env("GROUNDWORK_FAULT", "after@1").output().expect("starts"));
    assert_ne!(killed.code, 0, "{killed:?}");
    let ran = quickstart.run(&words);
    let admin = quickstart.admin_token();
    assert_eq!((ran.code, roots(&quickstart, &admin)), (0, 1), "{ran:?}");
}

#[test]
fn others_are_told_of_the_beginning_and_the_end() {
    let quickstart = Quickstart::applied();
    let folder = quickstart.environment.folder.clone();
    let program = quickstart
        .environment
        .write("tell.sh", "#!/bin/sh\nset -eu\n: \"${VAULT_TOKEN-}\"\ncat >> told.jsonl\n");
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let words = ["break-glass", PLAN, "--reason", "a drill", "--shares-in-custody", "--policy", "groundwork"];
    let program = program.to_str().expect("a path");
    let ran = quickstart.run(&[&words[..], &["--notify", program, "--", "true"]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = std::fs::read_to_string(folder.join("told.jsonl")).expect("told");
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((text_of(&told[0]["event"]), text_of(&told[1]["event"])), ("begin", "end"));
    for notice in &told {
        assert_eq!((text_of(&notice["reason"]), text_of(&notice["plan"])), ("a drill", "quickstart"));
        assert_eq!(notice["policies"], json!(["groundwork"]));
    }
    assert!(told[0]["accessor"].is_null() && told[1]["accessor"].is_string(), "{told:?}");
    assert_eq!(text_of(&told[1]["outcome"]), "revoked, and refused since");
    assert_eq!(leaks(format!("{told:?}").as_bytes(), &quickstart.secrets()), Vec::<&str>::new());

    // One that fails is a warning; too few shares are an end too.
    let failing = quickstart.run(&[&words[..], &["--notify", "/bin/false", "--", "true"]].concat());
    assert!(
        failing.code == 0 && failing.stderr.contains("did not get the notice of the begin"),
        "{failing:?}"
    );
    std::fs::remove_file(folder.join("told.jsonl")).expect("removed");
    let few = ended(begin(&quickstart, &["--notify", program]));
    let told = std::fs::read_to_string(folder.join("told.jsonl")).expect("told");
    assert!(few.code == 1 && told.contains("fewer than the 3 shares"), "{few:?} {told}");
}

#[test]
fn topic_of_the_plan_hears_of_the_beginning_and_the_end() {
    let cluster = Cluster::new("told");
    cluster.declare(&json!({ "topic": { "kind": "aws.sns_topic", "name": "gw-emergencies" } }));
    cluster.edit(|plan| {
        plan["aws"] = json!({ "region": "us-east-1", "account_id": "000000000000" });
        plan["notify"] = json!({ "sns": "{{ topic.arn }}" });
    });
    cluster.apply(&[]);
    let published = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&published);
    let aws = InFront::of(&cluster.environment.sandbox.aws_url(), move |request| {
        if request.field("Action").as_deref() == Some("Publish") {
            kept.lock().expect("unpoisoned").push(request.body.clone());
        }
        Played::Forward
    });
    let glass = |endpoint: &str| {
        let words = ["break-glass", "plan.yaml", "--reason", "a drill", "--shares-in-custody", "--", "true"];
        let mut command = cluster.command(&words);
        Ran::of(command.env("AWS_ENDPOINT_URL", endpoint).output().expect("the program starts"))
    };
    let ran = glass(&aws.url);
    assert!(ran.code == 0 && !ran.stderr.contains("did not get"), "{ran:?}");
    let notices: Vec<(String, Value)> = published
        .lock()
        .expect("unpoisoned")
        .iter()
        .map(|body| {
            let query = format!("http://sns/?{}", String::from_utf8_lossy(body));
            let url = reqwest::Url::parse(&query).expect("a form");
            let fields: std::collections::BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            (fields["TopicArn"].clone(), serde_json::from_str(&fields["Message"]).expect("JSON"))
        })
        .collect();
    let events: Vec<&str> = notices.iter().map(|(_, notice)| text_of(&notice["event"])).collect();
    assert_eq!(events, ["begin", "end"], "{notices:?}");
    for (topic, notice) in &notices {
        assert_eq!(topic, "arn:aws:sns:us-east-1:000000000000:gw-emergencies");
        assert_eq!(text_of(&notice["reason"]), "a drill");
    }
    assert_eq!(text_of(&notices[1].1["outcome"]), "revoked, and refused since");
    let secrets = [("root".to_owned(), cluster.root_token().into_bytes())];
    assert_eq!(leaks(format!("{notices:?}{ran:?}").as_bytes(), &secrets), Vec::<&str>::new());

    // Without AWS the emergency goes on, and says that the topic was not reached.
    let alone = glass("http://127.0.0.1:1");
    assert!(alone.code == 0 && alone.stderr.contains("did not get the notice of the begin"), "{alone:?}");
    // A topic that is none is a mistake of the plan.
    cluster.edit(|plan| plan["notify"] = json!({ "sns": "emergencies" }));
    let refused = cluster.run(&["validate", "plan.yaml"]);
    assert!(refused.code == 1 && refused.stderr.contains("is not the ARN of a topic"), "{refused:?}");
}
