//! `rotate` of credentials that a system makes by itself: of database users, and of KMS keys. And a rotation that needs a
//! person.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::in_front::{InFront, Played};
use crate::lifecycle::{Life, changing};
use crate::postgres::Postgres;
use crate::support::{Ran, TestEnvironment, block_on, text_of};
use crate::sweep::http::Message;

const PASSWORD: &str = "engines-database-password";

/// A connection as `manager` whose own password the engine has changed, and the user `reports`.
fn database(port: u16) -> Value {
    json!({
        "engine": { "kind": "vault.mount", "path": "database", "type": "database" },
        "orders": {
            "kind": "vault.database_connection", "name": "orders", "plugin_name": "postgresql-database-plugin",
            "connection_url":
                format!("postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"),
            "username": "manager", "password": { "file": "database.password" }, "allowed_roles": ["*"],
            "rotate_root": true,
        },
        "reports": { "kind": "vault.database_static_role", "name": "reports", "db_name": "{{ orders.name }}",
                     "username": "reports", "rotation_period": "24h" },
    })
}

/// The password of `reports`, as the engine gives it.
fn of_reports(life: &Life) -> String {
    let (status, answer) = life.vault("GET", "database/static-creds/reports", &Value::Null);
    assert_eq!(status, 200, "{answer}");
    text_of(&answer["data"]["password"]).to_owned()
}

fn is_over(life: &Life, at: &str) {
    let journal = life.run(&["journal", "plan.yaml"]);
    assert!(journal.stdout.contains("Nothing is open."), "{at}: {journal:?}");
    assert_eq!(changing(&life.plan(&[])), Vec::<(&str, &str)>::new(), "{at}");
}

#[test]
fn engine_rotates_database_users_and_its_own_login() {
    let server = Postgres::start(PASSWORD);
    let life = Life::with(&json!({}));
    life.environment().write("database.password", PASSWORD);
    life.declare(&database(server.port), &json!({}));
    let applied = life.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let logs_in = |password: &str| server.query("reports", password, "SELECT 1").is_ok();
    let first = of_reports(&life);
    assert!(logs_in(&first), "the engine's password works");

    let ran = life.run(&["rotate", "plan.yaml", "reports", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let second = of_reports(&life);
    assert!(second != first && logs_in(&second) && !logs_in(&first), "{ran:?}");
    is_over(&life, "the user");

    // The engine's own password, which nothing but the engine has.
    let of_manager = || {
        let hash = "SELECT rolpassword FROM pg_authid WHERE rolname = 'manager'";
        server.query("vault", PASSWORD, hash).expect("a hash")
    };
    let before = of_manager();
    assert!(server.query("manager", PASSWORD, "SELECT 1").is_err(), "it was changed when it was made");
    let root = life.run(&["rotate", "plan.yaml", "orders", "--yes"]);
    assert_eq!(root.code, 0, "{root:?}");
    assert_ne!(of_manager(), before);
    is_over(&life, "the engine's login");
    // With its new password the engine still manages its users.
    let again = life.run(&["rotate", "plan.yaml", "reports", "--yes"]);
    let third = of_reports(&life);
    assert!(again.code == 0 && third != second && logs_in(&third), "{again:?}");

    let secrets: Vec<(String, Vec<u8>)> = [first, second, third, PASSWORD.to_owned()]
        .into_iter()
        .map(|secret| ("password".to_owned(), secret.into_bytes()))
        .collect();
    assert_eq!(leaks(format!("{ran:?}{root:?}{again:?}").as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&life.folder().join(".groundwork"), &secrets), Vec::<String>::new());
}

/// A secret-id whose predecessor may go as soon as another one is delivered.
fn login() -> Value {
    json!({
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "role": { "kind": "vault.approle_role", "name": "app", "token_policies": ["default"], "token_ttl": "1h" },
        "login": { "kind": "vault.approle_secret_id", "role": "{{ role.name }}", "name": "server-1",
                   "deliver": { "file": "login.json" }, "overlap": "1s" },
    })
}

/// The delivered credential.
fn credential(life: &Life) -> Value {
    let text = std::fs::read_to_string(life.folder().join("login.json")).expect("delivered");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn secret_id_rotates_in_phases_and_shows_none_of_them() {
    let life = Life::with(&login());
    let logs_in = |credential: &Value| {
        let body = json!({ "role_id": credential["role_id"], "secret_id": credential["secret_id"] });
        life.vault("POST", "auth/approle/login", &body).0 == 200
    };
    let first = credential(&life);
    let begun = life.run(&["rotate", "plan.yaml", "login", "--yes"]);
    assert_eq!(begun.code, 0, "{begun:?}");
    let second = credential(&life);
    assert_ne!(first["secret_id"], second["secret_id"]);
    assert!(logs_in(&first) && logs_in(&second), "both work until the users have changed over");
    let back = life.run(&["rotate", "plan.yaml", "--rollback", "login", "--yes"]);
    assert!(back.code == 3 && back.stdout.contains("no secret before this one"), "{back:?}");
    assert!(!begun.stdout.contains("--rollback"), "it is not offered: {begun:?}");
    // Who may not see the logins cannot end it, and a schedule says so.
    let blind = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"delete\", \"list\", \"sudo\"] }\n\
                 path \"auth/token/accessors\" { capabilities = [\"deny\"] }";
    life.vault("POST", "sys/policies/acl/blind", &json!({ "policy": blind }));
    let (_, token) = life.vault("POST", "auth/token/create-orphan", &json!({ "policies": ["blind"] }));
    let token = text_of(&token["auth"]["client_token"]).to_owned();
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let mut command = life.command(&["rotate", "plan.yaml", "--due", "--yes"]);
    let unseen = Ran::of(command.env("VAULT_TOKEN", token).output().expect("the program starts"));
    assert!(unseen.code == 4 && unseen.stdout.contains("its logins cannot be seen"), "{unseen:?}");
    assert!(logs_in(&first), "the old one stays");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let ended = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(!logs_in(&first) && logs_in(&second), "{ended:?}");
    is_over(&life, "ended");
    let idle = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(idle.code, 0, "nothing is due: {idle:?}");

    let secret = |credential: &Value| text_of(&credential["secret_id"]).as_bytes().to_vec();
    let secrets = [("first".to_owned(), secret(&first)), ("second".to_owned(), secret(&second))];
    let said = format!("{begun:?}{back:?}{unseen:?}{ended:?}{idle:?}");
    assert_eq!(leaks(said.as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&life.folder().join(".groundwork"), &secrets), Vec::<String>::new());
}

#[test]
fn schedule_is_told_by_exit_code_that_a_person_is_needed() {
    let steps = json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "user": { "kind": "aws.iam_user", "name": "gw-user" },
        "key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}", "rotation": { "days": 0 },
                 "deliver": [ { "vault_kv": { "mount": "secret", "path": "aws" } } ] },
    });
    let life = Life::with(&steps);
    let iam = aws_sdk_iam::Client::new(&crate::aws::config(&life.environment().sandbox));
    let delivered = || life.vault("GET", "secret/data/aws", &Value::Null).1["data"]["data"].clone();
    let first = delivered();
    let strange = block_on(iam.create_access_key().user_name("gw-user").send()).expect("made");
    let strange = strange.access_key.expect("a key");
    let stuck = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(stuck.code, 4, "another hand's key is in the way: {stuck:?}");
    assert!(stuck.stdout.contains(&strange.access_key_id), "it names the key: {stuck:?}");
    let by_id = life.run(&["rotate", "plan.yaml", "key", "--yes"]);
    assert_eq!(by_id.code, 3, "without a schedule it is blocked: {by_id:?}");
    assert_eq!(delivered(), first);

    let gone = iam.delete_access_key().user_name("gw-user").access_key_id(&strange.access_key_id).send();
    block_on(gone).expect("deleted");
    let done = life.run(&["rotate", "plan.yaml", "--due", "--yes"]);
    assert_eq!(done.code, 2, "{done:?}");
    let second = delivered();
    assert_ne!(first, second);
    let secret = |key: &Value| text_of(&key["aws_secret_access_key"]).as_bytes().to_vec();
    let secrets = [("first".to_owned(), secret(&first)), ("second".to_owned(), secret(&second))];
    assert_eq!(leaks(format!("{stuck:?}{by_id:?}{done:?}").as_bytes(), &secrets), Vec::<&str>::new());
    assert_eq!(leaking_files(&life.folder().join(".groundwork"), &secrets), Vec::<String>::new());
}

/// What KMS would do: counts rotations on demand, and lists them as the API reference says (`API_RotateKeyOnDemand`,
/// `API_ListKeyRotations`, `CurrentKeyMaterialId` of `API_KeyMetadata`). The emulator does not rotate on demand.
#[derive(Default)]
struct Kms {
    rotations: AtomicUsize,
    /// Whether the next response to a rotation is lost.
    loses: AtomicBool,
}

impl Kms {
    fn rotations(&self) -> usize {
        self.rotations.load(Ordering::SeqCst)
    }

    fn play(&self, request: &Message) -> Played {
        match request.header("x-amz-target").unwrap_or_default() {
            "TrentService.RotateKeyOnDemand" => {
                self.rotations.fetch_add(1, Ordering::SeqCst);
                match self.loses.swap(false, Ordering::SeqCst) {
                    true => Played::Lost,
                    false => Played::Reply(reply(&json!({ "KeyId": "k" }))),
                }
            }
            "TrentService.ListKeyRotations" => Played::Reply(reply(&self.listed())),
            "TrentService.DescribeKey" => {
                let material = format!("material-{}", self.rotations());
                Played::Changed(Box::new(move |answer| described(&answer, &material)))
            }
            _ => Played::Forward,
        }
    }

    /// Automatic rotations do not count.
    fn listed(&self) -> Value {
        let one = |kind: &str| json!({ "KeyId": "k", "RotationDate": 1_700_000_000, "RotationType": kind });
        let mut all = vec![one("AUTOMATIC"); 30];
        all.extend(vec![one("ON_DEMAND"); self.rotations()]);
        json!({ "Rotations": all, "Truncated": false })
    }
}

fn described(answer: &Message, material: &str) -> Message {
    let mut key: Value = serde_json::from_slice(&answer.body).expect("JSON");
    key["KeyMetadata"]["CurrentKeyMaterialId"] = json!(material);
    reply(&key)
}

fn reply(body: &Value) -> Message {
    Message::reply(200, "application/x-amz-json-1.1", &body.to_string())
}

#[test]
fn kms_key_rotates_on_demand_ten_times_in_its_life() {
    let environment = TestEnvironment::new();
    let kms = Arc::new(Kms::default());
    let played = Arc::clone(&kms);
    let aws = InFront::of(&environment.sandbox.aws_url(), move |request| played.play(request));
    let plan = json!({ "version": 1, "name": "kms", "aws": { "region": "us-east-1" }, "steps": {
        "key": { "kind": "aws.kms_key", "alias": "alias/gw-turning" },
        "signing": { "kind": "aws.kms_key", "alias": "alias/gw-signing", "key_spec": "RSA_2048",
                     "key_usage": "SIGN_VERIFY" },
    } });
    environment.write("plan.yaml", &plan.to_string());
    let run = |words: &[&str]| {
        let mut command = environment.command(words);
        Ran::of(command.env("AWS_ENDPOINT_URL", &aws.url).output().expect("the program starts"))
    };
    let is_over = |at: &str| {
        let planned = run(&["plan", "plan.yaml", "--detailed-exitcode"]);
        assert_eq!(planned.code, 0, "{at}: {planned:?}");
        let journal = run(&["journal", "plan.yaml"]);
        assert!(journal.stdout.contains("Nothing is open."), "{at}: {journal:?}");
    };
    assert_eq!(run(&["apply", "plan.yaml", "--yes"]).code, 0);
    let shown = run(&["rotate", "plan.yaml", "key", "--dry-run"]);
    assert!(shown.code == 0 && shown.stdout.contains("key_material"), "{shown:?}");
    assert_eq!(kms.rotations(), 0, "a dry run rotates nothing");
    let ran = run(&["rotate", "plan.yaml", "key", "--yes"]);
    assert_eq!((ran.code, kms.rotations()), (0, 1), "{ran:?}");
    is_over("rotated");

    // A lost response is no reason to use up another one.
    kms.loses.store(true, Ordering::SeqCst);
    let lost = run(&["rotate", "plan.yaml", "key", "--yes"]);
    assert!(lost.code != 0 && kms.rotations() == 2, "{lost:?}");
    let again = run(&["rotate", "plan.yaml", "key", "--yes"]);
    assert_eq!((again.code, kms.rotations()), (0, 2), "{again:?}");
    is_over("a lost response");

    kms.rotations.store(9, Ordering::SeqCst);
    assert_eq!(run(&["rotate", "plan.yaml", "key", "--yes"]).code, 0);
    let refused = run(&["rotate", "plan.yaml", "key", "--yes"]);
    assert!(refused.code == 1 && kms.rotations() == 10, "{refused:?}");
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(told.contains("rotated on demand 10 times") && told.contains("rotation: true"), "{refused:?}");

    let signing = run(&["rotate", "plan.yaml", "signing", "--yes"]);
    assert!(signing.code == 3 && signing.stdout.contains("cannot be rotated"), "{signing:?}");
}
