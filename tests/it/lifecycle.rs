//! What no longer belongs: steps that are gone, renamed, taken over, and whole plans.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::aws::{create_user, tables, user_tags, users};
use crate::canary::leaks;
use crate::support::{
    Ran, TestEnvironment, block_on, custody_in, files, paths, root_token, step, summary, text_of,
};

/// A sandbox with a Vault that the plan `life` has initialised, and somebody who can open custody.
pub struct Life {
    environment: TestEnvironment,
    identity: age::x25519::Identity,
}

impl Life {
    /// Applied once, with these steps beside the server.
    pub fn with(steps: &Value) -> Self {
        use age::secrecy::ExposeSecret;
        let life = Self { environment: TestEnvironment::new(), identity: age::x25519::Identity::generate() };
        let file = life.environment.write("identity.txt", life.identity.to_string().expose_secret());
        let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, owner).expect("for the owner alone");
        life.declare(steps, &json!({}));
        life.apply(&[]);
        life
    }

    /// Writes the plan: these steps beside the server, and these sections.
    pub fn declare(&self, steps: &Value, sections: &Value) {
        let mut plan = json!({
            "version": 1, "name": "life", "aws": { "region": "us-east-1" },
            "custody": {
                "recipients": [ { "age": self.identity.to_public().to_string() } ],
                "stores": [ { "file": "custody" } ],
            },
            "steps": { "server": { "kind": "vault.init", "shares": 1, "threshold": 1 } },
        });
        merge(&mut plan["steps"], steps);
        merge(&mut plan, sections);
        self.environment.write("plan.yaml", &plan.to_string());
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// The program with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.command(arguments);
        command.env("GROUNDWORK_AGE_IDENTITY", self.environment.folder.join("identity.txt"));
        command
    }

    /// The sandbox.
    pub fn environment(&self) -> &TestEnvironment {
        &self.environment
    }

    /// Where the plan is.
    pub fn folder(&self) -> &Path {
        &self.environment.folder
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = self.command(arguments);
        command.envs(variables.iter().copied());
        Ran::of(command.output().expect("the program starts"))
    }

    /// The changeset, with these flags.
    pub fn plan(&self, flags: &[&str]) -> Value {
        let ran = self.run(&[&["plan", "plan.yaml", "--format", "json"], flags].concat());
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// Applies, successfully: the events.
    fn apply(&self, flags: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["apply", "plan.yaml", "--yes", "--format", "json"], flags].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.events()
    }

    fn token(&self) -> String {
        root_token(&custody_in(&self.environment.folder.join("custody"), &self.identity))
    }

    /// A request to Vault past the program: the status, and what was answered.
    pub fn vault(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.environment.sandbox.vault_addrs()[0]);
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = reqwest::Client::new().request(method, url).header("X-Vault-Token", self.token());
        block_on(async {
            let answer = request.body(body.to_string()).send().await.expect("an answer");
            let (status, text) = (answer.status().as_u16(), answer.text().await.expect("a body"));
            (status, serde_json::from_str(&text).unwrap_or_default())
        })
    }

    /// The names of Vault's policies.
    fn policies(&self) -> Vec<String> {
        let (_, answer) = self.vault("LIST", "sys/policies/acl", &Value::Null);
        let names = answer["data"]["keys"].as_array().expect("policies");
        names.iter().map(|name| text_of(name).to_owned()).collect()
    }

    /// The entries of the journal.
    fn journal(&self) -> Vec<Value> {
        let path = self.environment.folder.join(".groundwork/journal/life.jsonl");
        let text = std::fs::read_to_string(path).expect("a journal");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// Every file beside the plan, with what is in it.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let all = files(&self.environment.folder).into_iter();
        all.map(|file| (file.clone(), std::fs::read(file).expect("readable"))).collect()
    }
}

fn merge(target: &mut Value, more: &Value) {
    for (key, value) in more.as_object().expect("a map") {
        target[key] = value.clone();
    }
}

/// `steps` without these.
pub fn without(steps: &Value, ids: &[&str]) -> Value {
    let mut steps = steps.clone();
    for id in ids {
        steps.as_object_mut().expect("a map").remove(*id).expect("there");
    }
    steps
}

fn policy(name: &str) -> Value {
    json!({ "kind": "vault.policy", "name": name, "rules": { "secret/data/app/*": ["read"] } })
}

/// A mount with a secret in it, policies, a user, a table, a file.
fn steps() -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2, "protect": false },
        "database": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "app/database", "protect": false,
            "data": { "user": "app", "password": { "generate": { "length": 32 } } },
        },
        "reader": policy("reader"),
        "teams": {
            "kind": "vault.policy", "for_each": ["red", "blue"], "name": "team-{{ each.key }}",
            "rules": { "secret/data/{{ each.key }}/*": ["read"] },
        },
        "user": { "kind": "aws.iam_user", "name": "gw-user" },
        "table": { "kind": "aws.dynamodb_table", "name": "gw-table", "preset": "terraform_lock" },
        "note": { "kind": "file.template", "path": "rendered/note.txt", "content": "made by {{ plan.name }}\n" },
    })
}

/// Ids and actions, sorted.
fn actions(steps: &Value) -> Vec<(&str, &str)> {
    let steps = steps.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told: Vec<(&str, &str)> =
        steps.iter().map(|step| (text_of(&step["id"]), text_of(&step["action"]))).collect();
    told.sort_unstable();
    told
}

/// Those of a changeset's steps that are to be changed.
pub fn changing(changeset: &Value) -> Vec<(&str, &str)> {
    let mut told = actions(&changeset["steps"]);
    told.retain(|(_, action)| *action != "none");
    told
}

/// The files that are not the same in both.
fn differing<'a>(
    one: &'a BTreeMap<PathBuf, Vec<u8>>,
    other: &'a BTreeMap<PathBuf, Vec<u8>>,
) -> Vec<&'a PathBuf> {
    let mut paths: Vec<&PathBuf> = one.keys().chain(other.keys()).collect();
    paths.retain(|path| one.get(*path) != other.get(*path));
    paths.dedup();
    paths
}

fn position(changeset: &Value, id: &str) -> usize {
    let steps = changeset["steps"].as_array().expect("steps");
    steps.iter().position(|step| step["id"] == id).unwrap_or_else(|| panic!("no {id} in {changeset:#}"))
}

#[test]
fn undeclared_things_are_shown_and_pruned_exactly() {
    let life = Life::with(&steps());
    let password =
        life.vault("GET", "secret/data/app/database", &Value::Null).1["data"]["data"]["password"].clone();
    let secrets = vec![("password".to_owned(), text_of(&password).as_bytes().to_vec())];
    assert!(secrets[0].1.len() == 32, "the canary is there");

    // Things of the same kinds that are nobody's, and those of another plan.
    let foreign = json!({ "policy": "path \"x\" { capabilities = [\"read\"] }" });
    assert_eq!(life.vault("PUT", "sys/policies/acl/foreign", &foreign).0, 204);
    create_user(&life.environment.sandbox, "gw-foreign");
    let other = json!({
        "version": 1, "name": "other", "aws": { "region": "us-east-1" },
        "steps": { "user": { "kind": "aws.iam_user", "name": "gw-other" }, "reader": policy("other-reader") },
    });
    life.environment.write("other.yaml", &other.to_string());
    let applied = life.run_with(&["apply", "other.yaml", "--yes"], &[("VAULT_TOKEN", &life.token())]);
    assert_eq!(applied.code, 0, "{applied:?}");

    let mut left = without(&steps(), &["database", "kv", "reader", "user", "table", "note"]);
    left["teams"]["for_each"] = json!(["red"]);
    life.declare(&left, &json!({}));
    let before = life.files();
    let mut texts = Vec::new();
    let shown = life.run(&["plan", "plan.yaml", "--detailed-exitcode"]);
    assert_eq!(shown.code, 0, "told, and no change: {shown:?}");
    for told in
        ["No longer declared", "--prune", "gw-user", "secret/app/database", "teams[blue]", "protected"]
    {
        assert!(shown.stdout.contains(told), "{told} in {shown:?}");
    }
    texts.push(shown);
    let changeset = life.plan(&[]);
    assert_eq!(changing(&changeset), []);
    let gone = [
        ("database", "delete"),
        ("kv", "delete"),
        ("note", "delete"),
        ("reader", "delete"),
        ("table", "blocked"),
        ("teams[blue]", "delete"),
        ("user", "delete"),
    ];
    assert_eq!(actions(&changeset["undeclared"]), gone);
    assert_eq!(differing(&before, &life.files()), Vec::<&PathBuf>::new(), "a plan writes nothing");
    life.apply(&[]);
    assert_eq!(actions(&life.plan(&[])["undeclared"]), gone, "nothing is removed that was not asked for");
    let before = life.files();

    let ran = life.run(&["plan", "plan.yaml", "--prune", "--format", "json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let changeset: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    assert_eq!(changing(&changeset), gone);
    assert_eq!((&changeset["summary"]["delete"], &changeset["summary"]["blocked"]), (&json!(6), &json!(1)));
    assert!(position(&changeset, "database") < position(&changeset, "kv"), "what lies in it goes first");
    assert_eq!(step(&changeset, "kv")["needs"], json!(["database"]));
    assert!(text_of(&step(&changeset, "table")["reason"]).contains("protected"), "{changeset:#}");
    assert_eq!(
        step(&changeset, "kv")["reason"],
        "no longer declared; also deletes all of its content, including content from other sources"
    );
    texts.push(ran);
    texts.push(life.run(&["plan", "plan.yaml", "--prune"]));
    assert_eq!(differing(&before, &life.files()), Vec::<&PathBuf>::new(), "nor does one with --prune");
    assert_eq!(users(&life.environment), ["gw-foreign", "gw-other", "gw-user"]);

    let pruned = life.run(&["apply", "plan.yaml", "--prune", "--yes"]);
    assert_eq!(pruned.code, 3, "the protected one remains: {pruned:?}");
    texts.push(pruned);
    assert_eq!(users(&life.environment), ["gw-foreign", "gw-other"]);
    assert_eq!(life.policies(), ["default", "foreign", "other-reader", "team-red", "root"]);
    assert_eq!(tables(&life.environment), ["gw-table"]);
    assert_eq!(life.vault("GET", "sys/mounts/secret", &Value::Null).0, 400, "the mount is gone");
    assert!(!life.environment.folder.join("rendered/note.txt").exists());

    life.declare(&left, &json!({ "removed": { "table": { "protect": false } } }));
    assert_eq!(changing(&life.plan(&["--prune", "--out", "reviewed.json"])), [("table", "delete")]);
    let saved = life.run(&["apply", "reviewed.json", "--yes"]);
    assert_eq!(saved.code, 0, "a review covers removals: {saved:?}");
    texts.push(saved);
    assert_eq!(tables(&life.environment), Vec::<String>::new());
    let last = life.apply(&["--prune"]);
    assert_eq!(
        (summary(&last)["done"].as_u64(), &summary(&last)["api_calls"]["write"]),
        (Some(0), &json!(0))
    );
    assert!(life.plan(&[]).get("undeclared").is_none());
    texts.push(life.run(&["journal", "plan.yaml"]));
    for ran in &texts {
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(leaks(all.as_bytes(), &secrets).is_empty(), "{ran:?}");
    }
    let kept = life.files();
    let leaking = kept.iter().filter(|(_, text)| !leaks(text, &secrets).is_empty());
    assert_eq!(leaking.map(|(path, _)| path).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}

#[test]
fn thing_that_is_still_needed_stays() {
    let life = Life::with(&steps());
    life.declare(&without(&steps(), &["kv"]), &json!({}));
    let ran = life.run(&["apply", "plan.yaml", "--prune", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("`database` still needs it"), "{ran:?}");
    assert_eq!(life.vault("GET", "secret/data/app/database", &Value::Null).0, 200);

    // What is retained is forgotten, and what it needs stays with it.
    let mut retained = steps();
    retained["database"]["retain"] = json!(true);
    life.declare(&retained, &json!({}));
    life.apply(&[]);
    life.declare(&without(&steps(), &["kv", "database"]), &json!({}));
    let changeset = life.plan(&["--prune"]);
    assert_eq!(actions(&changeset["undeclared"]), [("database", "none")]);
    assert!(text_of(&step(&changeset, "kv")["reason"]).contains("`database`, which stays"), "{changeset:#}");
    assert_eq!(life.run(&["apply", "plan.yaml", "--prune", "--yes"]).code, 3);
    assert_eq!(life.vault("GET", "secret/data/app/database", &Value::Null).0, 200);
    let forgotten = life.plan(&[]);
    assert_eq!(actions(&forgotten["undeclared"]), [("kv", "delete")], "the secret is known no more");
}

#[test]
fn renamed_step_keeps_its_thing() {
    let life = Life::with(&steps());
    let rename = |old: &str, new: &str, thing: Value| {
        let mut renamed = without(&steps(), &[old]);
        renamed[new] = thing;
        renamed
    };
    let (reader, user) = (steps()["reader"].clone(), steps()["user"].clone());
    life.declare(&rename("reader", "viewer", reader.clone()), &json!({}));
    let changeset = life.plan(&["--prune"]);
    assert_eq!(changing(&changeset), [], "the same thing under another id");
    assert_eq!(step(&changeset, "viewer")["reason"], "was the step `reader`");
    life.apply(&["--prune"]);
    assert!(life.policies().contains(&"reader".to_owned()));
    assert!(step(&life.plan(&[]), "viewer")["reason"].is_null(), "the journal knows the new id");
    let quiet = life.journal().len();
    life.apply(&[]);
    assert_eq!(life.journal().len(), quiet, "and is told once");

    // With `moved`, the other way round: with another name it would be another thing.
    life.declare(&steps(), &json!({ "moved": { "viewer": "reader" } }));
    assert_eq!(changing(&life.plan(&["--prune"])), []);
    life.declare(
        &rename("reader", "watcher", policy("watcher")),
        &json!({ "moved": { "viewer": "watcher" } }),
    );
    let changeset = life.plan(&["--prune"]);
    assert_eq!(changing(&changeset), [("viewer", "blocked"), ("watcher", "create")]);
    assert!(text_of(&step(&changeset, "viewer")["reason"]).contains("`moved`"), "{changeset:#}");

    // In AWS the tag that names the step follows.
    life.declare(&rename("user", "person", user), &json!({ "moved": { "user": "person" } }));
    let changeset = life.plan(&["--prune"]);
    assert_eq!(changing(&changeset), [("person", "update")]);
    assert_eq!(paths(step(&changeset, "person")), ["tags.groundwork:step"]);
    life.apply(&["--prune"]);
    assert!(user_tags(&life.environment, "gw-user").contains(&"groundwork:step=person".to_owned()));

    // Another name in the same step: the old thing is left, and told apart.
    let mut named = rename("user", "person", steps()["user"].clone());
    named["reader"] = policy("viewer");
    life.declare(&named, &json!({}));
    assert_eq!(changing(&life.plan(&["--prune"])), [("reader", "create"), ("reader@reader", "delete")]);
    life.apply(&["--prune"]);
    let policies = life.policies();
    assert!(policies.contains(&"viewer".to_owned()) && !policies.contains(&"reader".to_owned()));
}

#[test]
fn adoption_is_shown_and_recorded_by_apply_only() {
    let life = Life::with(&json!({}));
    let rules = |path: &str| json!({ "policy": format!("path \"{path}\" {{ capabilities = [\"read\"] }}") });
    life.vault("PUT", "sys/policies/acl/reader", &rules("other/*"));
    life.vault("PUT", "sys/policies/acl/same", &rules("secret/data/app/*"));
    create_user(&life.environment.sandbox, "gw-user");
    let mut wanted = json!({
        "reader": policy("reader"), "same": policy("same"),
        "user": { "kind": "aws.iam_user", "name": "gw-user", "tags": { "Team": "platform" } },
    });
    life.declare(&wanted, &json!({}));
    let changeset = life.plan(&[]);
    assert_eq!(changing(&changeset), [("reader", "blocked"), ("user", "blocked")]);
    assert!(text_of(&step(&changeset, "reader")["reason"]).contains("adopt: true"), "{changeset:#}");
    assert_eq!(life.run(&["apply", "plan.yaml", "--yes"]).code, 3);

    for id in ["reader", "same", "user"] {
        wanted[id]["adopt"] = json!(true);
    }
    life.declare(&wanted, &json!({}));
    let (journal, tags) = (life.journal(), user_tags(&life.environment, "gw-user"));
    let changeset = life.plan(&[]);
    assert_eq!(changing(&changeset), [("reader", "adopt"), ("same", "adopt"), ("user", "adopt")]);
    assert_eq!(paths(step(&changeset, "reader")), ["rules"]);
    assert_eq!(paths(step(&changeset, "same")), Vec::<&str>::new());
    assert_eq!(
        paths(step(&changeset, "user")),
        ["tags.Team", "tags.groundwork:plan", "tags.groundwork:step"]
    );
    life.run(&["plan", "plan.yaml", "--prune"]);
    assert_eq!(
        (life.journal(), user_tags(&life.environment, "gw-user")),
        (journal, tags),
        "a plan records nothing"
    );
    let (_, live) = life.vault("GET", "sys/policies/acl/reader", &Value::Null);
    assert!(text_of(&live["data"]["policy"]).contains("other/*"), "a plan writes nothing: {live}");

    life.apply(&[]);
    assert!(user_tags(&life.environment, "gw-user").contains(&"groundwork:plan=life".to_owned()));
    let again = life.apply(&[]);
    assert_eq!((&summary(&again)["done"], &summary(&again)["api_calls"]["write"]), (&json!(0), &json!(0)));
    for id in ["reader", "same", "user"] {
        assert_eq!(step(&life.plan(&[]), id)["action"], "none", "`adopt: true` has no effect any more");
    }
    life.declare(&json!({}), &json!({}));
    let gone = [("reader", "delete"), ("same", "delete"), ("user", "delete")];
    assert_eq!(changing(&life.plan(&["--prune"])), gone, "what was taken over is the plan's");
}

#[test]
fn built_in_things_are_never_removed() {
    let token = json!({ "token": { "kind": "vault.auth_method", "path": "token", "type": "token", "adopt": true,
        "protect": false, "description": "token based credentials" } });
    let life = Life::with(&token);
    // The server was not there yet when the first run was planned.
    assert!(summary(&life.apply(&[]))["done"] == 1, "taken over, as it says");
    life.declare(&json!({}), &json!({}));
    let changeset = life.plan(&["--prune"]);
    assert_eq!(changing(&changeset), []);
    let told = &changeset["undeclared"][0];
    assert!(told["action"] == "none" && text_of(&told["reason"]).contains("Vault itself"), "{changeset:#}");
    life.apply(&["--prune"]);
    assert_eq!(life.vault("GET", "sys/auth/token", &Value::Null).0, 200);
}

#[test]
fn destroy_removes_only_what_the_plan_created() {
    let mut all = steps();
    all["keep"] = policy("keep");
    all["keep"]["retain"] = json!(true);
    all["existing"] = policy("existing");
    let life = Life::with(&without(&all, &["existing"]));
    life.vault(
        "PUT",
        "sys/policies/acl/existing",
        &json!({ "policy": "path \"secret/data/app/*\" { capabilities = [\"read\"] }" }),
    );
    life.declare(&without(&all, &["reader"]), &json!({}));

    let asked = life.run(&["destroy", "plan.yaml"]);
    assert_eq!(asked.code, 1, "nobody to ask: {asked:?}");
    assert_eq!(users(&life.environment), ["gw-user"], "nothing was removed");
    for told in ["table", "protect: false", "retain: true", "is not in this plan's journal", "uninitialised"]
    {
        assert!(asked.stdout.contains(told), "{told} in {asked:?}");
    }
    let changeset = life.plan(&["--destroy"]);
    assert_eq!(changeset["removes"], "everything");
    assert_eq!(
        changing(&changeset),
        [
            ("database", "delete"),
            ("kv", "delete"),
            ("note", "delete"),
            ("reader", "delete"),
            ("table", "blocked"),
            ("teams[blue]", "delete"),
            ("teams[red]", "delete"),
            ("user", "delete"),
        ]
    );
    let ran = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("custody is kept, in custody"), "{ran:?}");
    assert_eq!(users(&life.environment), Vec::<String>::new());
    assert_eq!(life.policies(), ["default", "existing", "keep", "root"]);
    assert_eq!(tables(&life.environment), ["gw-table"]);
    assert!(!custody_in(&life.environment.folder.join("custody"), &life.identity).is_empty());

    let mut unprotected = all.clone();
    unprotected["table"]["protect"] = json!(false);
    life.declare(&without(&unprotected, &["reader"]), &json!({}));
    let ran = life.run(&["destroy", "plan.yaml", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(tables(&life.environment), Vec::<String>::new());
    let again = life.run(&["destroy", "plan.yaml", "--yes"]);
    assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{again:?}");
    let deleted: Vec<Value> = life
        .journal()
        .iter()
        .filter(|entry| entry["operation"] == "delete" && entry["entry"] == "committed")
        .map(|entry| entry["target"].clone())
        .collect();
    assert_eq!(deleted.len(), 8, "each is in the journal: {deleted:?}");

    let mut anew =
        changing(&life.plan(&[])).iter().map(|(id, action)| format!("{action} {id}")).collect::<Vec<_>>();
    anew.retain(|line| !line.starts_with("create"));
    assert_eq!(anew, Vec::<String>::new());
    life.apply(&[]);
    assert_eq!(users(&life.environment), ["gw-user"]);
}

#[test]
fn same_name_in_another_cluster_is_not_removed() {
    let steps = json!({ "reader": policy("reader"), "keep": policy("keep") });
    let (life, other) = (Life::with(&steps), Life::with(&steps));
    let write = |steps: Value| {
        let plan = json!({ "version": 1, "name": "life", "steps": steps });
        life.environment.write("plan.yaml", &plan.to_string());
    };
    // The same plan and journal, led to somebody else's servers or to its own.
    let run = |place: &Life, arguments: &[&str]| {
        let (address, token) = (place.environment.sandbox.vault_addrs()[0].clone(), place.token());
        let variables =
            [("VAULT_ADDR", address.as_str()), ("GROUNDWORK_VAULT_NODES", &address), ("VAULT_TOKEN", &token)];
        life.run_with(arguments, &variables)
    };
    let shown = |place: &Life, flag: &str| -> Value {
        let ran = run(place, &["plan", "plan.yaml", "--format", "json", flag]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    };
    write(steps.clone());
    let changeset = shown(&other, "--destroy");
    for id in ["reader", "keep"] {
        let step = step(&changeset, id);
        assert_eq!(step["action"], "none", "{changeset:#}");
        assert!(
            text_of(&step["reason"]).contains("journal has one of this name in cluster"),
            "{changeset:#}"
        );
    }

    // Nothing of the plan is in Vault any more: the leftovers are looked for, and found to be elsewhere.
    write(json!({ "note": { "kind": "file.template", "path": "note.txt", "content": "x" } }));
    let changeset = shown(&other, "--prune");
    let realms = changeset["elsewhere"].as_array().expect("things elsewhere").iter();
    let things: Vec<&Value> = realms.flat_map(|realm| realm["things"].as_array().expect("things")).collect();
    for named in ["vault.policy reader", "vault.policy keep"] {
        assert!(things.iter().any(|thing| **thing == named), "{named}: {changeset:#}");
    }

    write(without(&steps, &["reader"]));
    assert!(changing(&shown(&other, "--prune")).is_empty());
    let ran = run(&other, &["apply", "plan.yaml", "--prune", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(other.policies().contains(&"reader".to_owned()), "somebody else's is there still");
    // The server itself cannot be looked for, as this plan has no custody: it stays in any case.
    assert_eq!(changing(&shown(&life, "--prune")), [("reader", "delete"), ("server", "deferred")]);
    assert_eq!(run(&life, &["apply", "plan.yaml", "--prune", "--yes"]).code, 3);
    assert!(!life.policies().contains(&"reader".to_owned()));
}

#[test]
fn interrupted_destroy_is_resumed() {
    let mut all = steps();
    all["table"]["protect"] = json!(false);
    let life = Life::with(&all);
    for place in ["before@2", "after@2", "after@3", "before@5", "torn@6", "after@9"] {
        let broken = life.run_with(&["destroy", "plan.yaml", "--yes"], &[("GROUNDWORK_FAULT", place)]);
        assert_eq!(broken.code, -1, "{place}: {broken:?}");
        let resumed = life.run(&["destroy", "plan.yaml", "--yes"]);
        assert_eq!(resumed.code, 0, "{place}: {resumed:?}");
        assert_eq!((users(&life.environment), tables(&life.environment)), (vec![], vec![]), "{place}");
        assert_eq!(life.policies(), ["default", "root"], "{place}");
        let again = life.run(&["destroy", "plan.yaml", "--yes"]);
        assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{place}: {again:?}");
        let journal = life.run(&["journal", "plan.yaml"]);
        assert!(journal.stdout.contains("Nothing is open."), "{place}: {journal:?}");
        life.apply(&[]);
        assert_eq!(users(&life.environment), ["gw-user"], "{place}");
    }
}
