//! Journals and custody that somebody else has made, changed or put back.

use std::path::PathBuf;

use groundwork::environment::Environment;
use groundwork::journal::{Chain, Entry, Record, Who};
use groundwork::secret::Secret;
use groundwork::signing::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Cluster, Ran, block_on, files, step};

/// A plan of these policies.
fn policies(names: &[&str]) -> String {
    let step = |name: &&str| {
        let rules = json!({ "secret/data/app": ["read"] });
        ((*name).to_owned(), json!({ "kind": "vault.policy", "name": name, "rules": rules }))
    };
    let steps: serde_json::Map<String, Value> = names.iter().map(step).collect();
    json!({ "version": 1, "name": "demo", "steps": steps }).to_string()
}

/// The same plan in several folders, as clones are, of a Vault that another plan has initialised.
struct Clones {
    cluster: Cluster,
    token: String,
}

impl Clones {
    fn new() -> Self {
        let cluster = Cluster::new("boot");
        cluster.declare(&json!({}));
        cluster.apply(&[]);
        let token = cluster.root_token();
        Self { cluster, token }
    }

    /// The person on the machine that made the key.
    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_as("config", arguments)
    }

    fn apply(&self, plan: &str) {
        let ran = self.run(&["apply", plan, "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    fn plan(&self, folder: &str, names: &[&str]) -> String {
        let name = format!("{folder}/plan.yaml");
        self.cluster.environment.write(&name, &policies(names));
        name
    }

    fn journal(&self, folder: &str) -> PathBuf {
        self.cluster.environment.folder.join(folder).join(".groundwork/journal/demo.jsonl")
    }

    fn text(&self, folder: &str) -> String {
        std::fs::read_to_string(self.journal(folder)).expect("a journal")
    }

    fn put(&self, folder: &str, text: &str) {
        self.cluster.environment.write(&format!("{folder}/.groundwork/journal/demo.jsonl"), text);
    }

    /// As a person on another machine, or a pipeline, whose configuration folder is this one.
    fn run_as(&self, caller: &str, arguments: &[&str]) -> Ran {
        let mut command = self.cluster.environment.command(arguments);
        command
            .env("VAULT_TOKEN", &self.token)
            .env("GROUNDWORK_CONFIG_DIR", self.cluster.environment.config().with_file_name(caller));
        Ran::of(command.output().expect("the program starts"))
    }

    fn has_policy(&self, name: &str) -> bool {
        let plan = self.plan("look", &[name]);
        let ran = self.run(&["plan", &plan, "--format", "json"]);
        let changeset: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
        step(&changeset, name)["action"] != "create"
    }

    fn key(&self) -> SigningKey {
        let keys = self.cluster.environment.config().join("keys").read_dir().expect("keys").flatten();
        let files =
            keys.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|one| one == "json"));
        let read = |path: PathBuf| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
        let file = files.map(read).find(|file| file["plan"] == "demo").expect("a key of the plan");
        SigningKey::from_secret(&Secret::from(file["key"].as_str().unwrap().to_owned())).expect("a key")
    }
}

/// The same journal as a stranger can write it, who has no key; and older versions of the program.
fn unsigned(text: &str) -> String {
    let mut hash = vec![0; 32];
    let line = |line: &str| {
        let content = line.split(",\"signer\":\"").next().expect("a beginning");
        hash = Sha256::new().chain_update(&hash).chain_update(content).finalize().to_vec();
        format!("{content},\"hash\":\"{}\"}}\n", hex::encode(&hash))
    };
    text.lines().map(line).collect()
}

#[test]
fn forged_journal_grants_no_ownership_and_prunes_nothing() {
    let clones = Clones::new();
    let theirs = clones.plan("theirs", &["one", "two"]);
    clones.apply(&theirs);
    let plan = clones.plan("checkout", &["one"]);
    clones.put("checkout", &unsigned(&clones.text("theirs")));
    let planned = clones.run(&["plan", &plan, "--prune"]);
    assert_eq!(planned.code, 1, "a plan without the journal would mislead: {planned:?}");
    assert!(planned.stderr.contains("is not signed") && planned.stderr.contains("--adopt"), "{planned:?}");
    assert!(!planned.stdout.contains("two"), "{planned:?}");
    for arguments in [&["apply", &plan, "--yes", "--prune"][..], &["destroy", &plan, "--yes"]] {
        let refused = clones.run(arguments);
        assert!(refused.code == 1 && refused.stderr.contains("is not signed"), "{refused:?}");
    }
    assert!(clones.has_policy("one") && clones.has_policy("two"));
    // Signed by a stranger, it says what the stranger's key is.
    let key = SigningKey::generate().expect("a key");
    let chain = Chain::parse(clones.text("theirs").as_bytes()).expect("whole");
    let mut forged = Chain::default();
    let lines = chain.records.into_iter().flat_map(|record| forged.extend(record, "demo", &key));
    let lines: Vec<u8> = lines.collect();
    clones.put("checkout", &String::from_utf8(lines).unwrap());
    let refused = clones.run(&["apply", &plan, "--yes", "--prune"]);
    let flag = format!("--trust signer={}", key.signer());
    assert!(refused.code == 1 && refused.stderr.contains(&flag), "{refused:?}");
    assert!(clones.has_policy("two"));
}

#[test]
fn older_journal_is_adopted_once() {
    let clones = Clones::new();
    let plan = clones.plan("here", &["one", "two"]);
    clones.apply(&plan);
    clones.put("here", &unsigned(&clones.text("here")));
    let old = "upgraded";
    let refused = clones.run_as(old, &["apply", &plan, "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("journal PLAN --adopt"), "{refused:?}");
    let asked = clones.run_as(old, &["journal", &plan, "--adopt"]);
    assert!(asked.code == 1 && asked.stderr.contains("--yes"), "nobody is there to ask: {asked:?}");
    let adopted = clones.run_as(old, &["journal", &plan, "--adopt", "--yes"]);
    assert_eq!(adopted.code, 0, "{adopted:?}");
    assert!(adopted.stdout.contains("vault.policy two belongs to the step two"), "{adopted:?}");
    let again = clones.run_as(old, &["journal", &plan, "--adopt", "--yes"]);
    assert!(again.code == 0 && again.stdout.contains("nothing to adopt"), "{again:?}");
    let plan = clones.plan("here", &["one"]);
    let pruned = clones.run_as(old, &["apply", &plan, "--yes", "--prune"]);
    assert_eq!(pruned.code, 0, "{pruned:?}");
    assert!(clones.has_policy("one") && !clones.has_policy("two"));
}

#[test]
fn another_machine_ignores_journal_until_it_trusts_signer() {
    let clones = Clones::new();
    let plan = clones.plan("here", &["one", "two"]);
    clones.apply(&plan);
    let plan = clones.plan("here", &["one"]);
    let shown = clones.run(&["journal", &plan]);
    let signer = clones.key().signer().to_string();
    assert!(shown.stdout.contains(&signer), "{shown:?}");
    let planned = clones.run_as("ci", &["plan", &plan, "--prune"]);
    let grant = format!("signer={signer}");
    assert!(planned.code == 1 && planned.stderr.contains(&format!("--trust {grant}")), "{planned:?}");
    let planned = clones.run_as("ci", &["plan", &plan, "--prune", "--trust", &grant]);
    assert!(planned.code == 0 && planned.stdout.contains("two"), "{planned:?}");
    let refused = clones.run_as("ci", &["apply", &plan, "--prune", "--yes", "--trust", &grant]);
    assert!(refused.code == 1 && refused.stderr.contains("signing key"), "{refused:?}");
    assert!(clones.has_policy("two"));
    let asked = clones.run_as("third", &["trust", &plan]);
    assert!(asked.code == 1 && asked.stdout.contains(&format!("{grant}  not allowed")), "{asked:?}");
    let remembered = clones.run_as("third", &["trust", &plan, "--trust", &grant]);
    assert!(
        remembered.code == 0 && remembered.stdout.contains(&format!("{grant}  allowed")),
        "{remembered:?}"
    );
    let planned = clones.run_as("third", &["plan", &plan, "--prune"]);
    assert!(planned.code == 0 && planned.stdout.contains("two"), "{planned:?}");
    assert!(!clones.run(&["trust", &plan]).stdout.contains("signer="), "its own key needs no permission");
    // Another folder of the same person is no other machine.
    let clone = clones.plan("clone", &["one"]);
    clones.put("clone", &clones.text("here"));
    let pruned = clones.run(&["apply", &clone, "--prune", "--yes"]);
    assert!(pruned.code == 0 && !clones.has_policy("two"), "{pruned:?}");
}

#[test]
fn older_copy_of_the_journal_is_refused() {
    let clones = Clones::new();
    let plan = clones.plan("here", &["one", "two"]);
    clones.apply(&plan);
    let old = clones.text("here");
    let plan = clones.plan("here", &["one"]);
    clones.run(&["apply", &plan, "--prune", "--yes"]);
    // Somebody else has made one of this name since.
    clones.apply(&clones.plan("theirs", &["two"]));
    clones.put("here", &old);
    let refused = clones.run(&["apply", &plan, "--prune", "--yes"]);
    assert!(refused.code == 1 && refused.stderr.contains("this machine has seen"), "{refused:?}");
    std::fs::remove_file(clones.journal("here")).expect("removed");
    let warned = clones.run(&["apply", &plan, "--prune", "--yes"]);
    assert!(warned.code == 0 && warned.stderr.contains("is gone"), "{warned:?}");
    assert!(clones.has_policy("two"));
}

#[test]
fn record_with_another_things_address_removes_nothing() {
    let clones = Clones::new();
    let plan = clones.plan("here", &["one", "two"]);
    clones.apply(&plan);
    clones.apply(&clones.plan("theirs", &["victim"]));
    let mut chain = Chain::parse(clones.text("here").as_bytes()).expect("whole");
    let owned = |record: &Record| match &record.entry {
        Entry::Owned(thing) if thing.step == "two" => Some(thing.clone()),
        _ => None,
    };
    let mut thing = chain.records.iter().find_map(owned).expect("a record of it");
    let address = thing.address.to_string().replace("two", "victim");
    thing.address = serde_json::from_str(&address).expect("an address");
    let seq = chain.records.len() as u64 + 1;
    let time = chain.records[0].time;
    let record =
        Record { seq, time, who: Who::here("sha256:0", &Environment::default()), entry: Entry::Owned(thing) };
    let line = chain.extend(record, "demo", &clones.key());
    clones.put("here", &(clones.text("here") + std::str::from_utf8(&line).unwrap()));
    let plan = clones.plan("here", &["one"]);
    let ran = clones.run(&["apply", &plan, "--prune", "--yes"]);
    let told = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.contains("has the address of vault.policy victim"), "{ran:?}");
    assert!(clones.has_policy("victim") && clones.has_policy("two"));
}

#[test]
fn signing_key_is_never_shown() {
    let clones = Clones::new();
    let plan = clones.plan("here", &["one"]);
    let applied = clones.run(&["apply", &plan, "--yes", "--verbose"]);
    let shown = clones.run(&["journal", &plan, "--format", "json"]);
    let key = clones.key().to_secret();
    let digits = key.expose_str().and_then(|text| text.rsplit(' ').next()).expect("digits");
    let texts = [applied.stdout, applied.stderr, shown.stdout, shown.stderr, clones.text("here")];
    assert!(texts.iter().all(|text| !text.contains(digits)));
}

#[test]
fn planted_objects_in_a_store_are_ignored() {
    let cluster = Cluster::new("boot");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let (token, custody) = (cluster.root_token(), cluster.environment.folder.join("custody"));
    let is_answer = |path: &PathBuf| path.to_string_lossy().ends_with("/init.1.json");
    let answer = files(&custody).into_iter().find(is_answer).expect("the answer of the initialisation");
    let mut planted: Value = serde_json::from_slice(&std::fs::read(&answer).unwrap()).unwrap();
    planted.as_object_mut().unwrap().remove("seal").expect("it is signed");
    let name = planted["header"]["name"].as_str().unwrap().to_owned();
    let prefix = name.strip_suffix("/init").expect("a name").rsplit_once('/').expect("a cluster").0;
    planted["header"]["name"] = json!(format!("{prefix}/99991231t235959999z/init"));
    let later = custody.join(prefix).join("99991231t235959999z");
    std::fs::create_dir(&later).unwrap();
    std::fs::write(later.join("init.1.json"), planted.to_string()).unwrap();
    std::fs::write(answer.with_file_name("init.7.json"), "garbage").unwrap();
    let url = format!("{}/v1/sys/seal", cluster.environment.sandbox.vault_addrs()[0]);
    block_on(async { reqwest::Client::new().put(url).header("X-Vault-Token", token).send().await.unwrap() });
    let unsealed = cluster.run(&["unseal", "plan.yaml"]);
    assert!(unsealed.code == 0 && unsealed.stderr.contains("set aside"), "{unsealed:?}");
    let planned = cluster.run(&["plan", "plan.yaml"]);
    assert_eq!(planned.code, 0, "{planned:?}");
    let checked = cluster.run(&["custody", "check", "plan.yaml"]);
    assert!(checked.code == 3 && checked.stdout.contains("refused"), "{checked:?}");
    let shown = cluster.run(&["custody", "show", "plan.yaml"]);
    assert!(shown.stdout.contains("signed with the key"), "{shown:?}");
    let mended = cluster.run(&["custody", "check", "plan.yaml", "--repair"]);
    assert_eq!(mended.code, 0, "{mended:?}");
    assert!(!later.join("init.1.json").exists() && !answer.with_file_name("init.7.json").exists());
}

#[test]
fn restarted_plan_stores_its_key_in_custody_again() {
    let cluster = Cluster::new("boot");
    cluster.declare(&json!({}));
    cluster.apply(&[]);
    let folder = &cluster.environment.folder;
    let keys = || {
        let all = files(&folder.join("custody")).into_iter();
        all.filter(|path| path.to_string_lossy().contains("signing-key")).collect::<Vec<_>>()
    };
    assert!(!keys().is_empty(), "another machine can go on");
    // The environment is lost, and this machine has kept the key.
    for path in [keys(), files(&folder.join(".groundwork/journal"))].concat() {
        std::fs::remove_file(path).expect("removed");
    }
    cluster.declare(
        &json!({ "app": { "kind": "vault.policy", "name": "app", "rules": { "secret/*": ["read"] } } }),
    );
    let applied = cluster.run(&["apply", "plan.yaml", "--yes"]);
    assert!(applied.stderr.contains("journal is gone") && !keys().is_empty(), "{applied:?}");
}
