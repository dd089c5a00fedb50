//! Once-only secrets through the program: initialising, custody on all kinds of stores, holders.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use groundwork::custody::pgp::KeyPair;
use groundwork::sandbox::{OpenBao, Seal, Settings, VaultServer};
use groundwork::secret::Secret;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::{Ran, TestEnvironment, block_on, files, paths, step};

/// A plan's environment together with the age identity of its operator.
struct Operator {
    environment: TestEnvironment,
    public: String,
}

impl Operator {
    fn new(settings: Settings) -> Self {
        let environment = TestEnvironment::with(settings);
        let identity = age::x25519::Identity::generate();
        let public = identity.to_public().to_string();
        let file = environment.write("age.txt", identity.to_string().expose_secret());
        std::fs::set_permissions(file, PermissionsExt::from_mode(0o600)).expect("chmod");
        Self { environment, public }
    }

    /// Writes `plan.yaml` into a folder below the plans' folder, which is the operator's machine.
    fn plan(&self, machine: &str, custody: &Value, init: &Value, steps: &Value) -> String {
        let nodes = self.environment.sandbox.vault_addrs();
        let mut all = steps.clone();
        let mut vault = json!({ "kind": "vault.init" });
        vault.as_object_mut().unwrap().extend(init.as_object().unwrap().clone());
        all["cluster"] = vault;
        let plan = json!({
            "version": 1, "name": "demo", "vault": { "nodes": nodes }, "custody": custody, "steps": all,
        });
        let name = format!("{machine}/plan.yaml");
        self.environment.write(&name, &plan.to_string());
        name
    }

    /// Custody in two folders, for the operator alone.
    fn folders(&self) -> Value {
        json!({ "recipients": [{ "age": self.public }], "stores": [{ "file": "one" }, { "file": "two" }] })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.command(arguments);
        command.env("GROUNDWORK_AGE_IDENTITY", self.environment.folder.join("age.txt"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    fn succeed(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
        ran
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        Ran::fed(&mut self.command(arguments), input)
    }

    fn check(&self, plan: &str) -> (i32, Value) {
        let ran = self.run(&["custody", "check", plan, "--format", "json"]);
        (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
    }

    /// What the first node says of itself.
    fn seal_status(&self, node: usize) -> Value {
        let address = &self.environment.sandbox.vault_addrs()[node];
        let mut http = reqwest::Client::builder();
        if let Some(ca) = self.environment.sandbox.ca_cert() {
            let pem = std::fs::read(ca).unwrap();
            http = http.tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()]);
        }
        let request = http.build().unwrap().get(format!("{address}/v1/sys/seal-status"));
        block_on(async { request.send().await.unwrap().json().await.unwrap() })
    }

    /// A server that is started again is sealed.
    fn seal(&self, machine: &str) {
        let plan = self.environment.folder.join(machine).join("plan.yaml");
        let token = self.root_token(&plan);
        let address = &self.environment.sandbox.vault_addrs()[0];
        let request = reqwest::Client::new().put(format!("{address}/v1/sys/seal"));
        let status =
            block_on(async { request.header("X-Vault-Token", token).send().await.unwrap().status() });
        assert!(status.is_success(), "{status}");
    }

    /// The root token as the operator could have it: from the answer in a folder, decrypted.
    fn root_token(&self, plan: &Path) -> String {
        let folder = plan.parent().unwrap().join("one");
        let identity = std::fs::read_to_string(self.environment.folder.join("age.txt")).unwrap();
        let identity: age::x25519::Identity = identity.trim().parse().unwrap();
        let open = |ending: &str| {
            let mut found: Vec<PathBuf> =
                files(&folder).into_iter().filter(|file| file.to_string_lossy().contains(ending)).collect();
            found.sort();
            let bytes = std::fs::read(found.last().expect("kept")).unwrap();
            let envelope: groundwork::custody::Envelope = serde_json::from_slice(&bytes).unwrap();
            let keyring =
                groundwork::custody::Keyring { identities: vec![identity.clone()], ..Default::default() };
            block_on(envelope.open(
                &envelope.header.name.clone(),
                envelope.header.version.unwrap_or(1),
                &keyring,
            ))
            .unwrap()
        };
        let answer: Value = serde_json::from_slice(open("/init.").expose_bytes()).unwrap();
        let pair = KeyPair::from_secret(&open("/pgp-key.")).unwrap();
        let token = pair.decrypt(answer["root_token"].as_str().unwrap()).unwrap();
        token.expose_str().unwrap().to_owned()
    }

    /// How often the server got a request to initialise itself.
    fn is_initialised(&self) -> bool {
        self.seal_status(0)["initialized"] == true
    }
}

fn with_kms_seal() -> Settings {
    Settings {
        vault: VaultServer::Pinned(OpenBao::WithKmsSeal),
        seal: Seal::AwsKms { key: "alias/vault-unseal".to_owned() },
        ..Settings::default()
    }
}

#[test]
fn auto_unseal_servers_put_recovery_keys_in_custody() {
    for settings in [with_kms_seal(), Settings { seal: Seal::Static, ..Settings::default() }] {
        let operator = Operator::new(settings);
        let plan =
            operator.plan("a", &operator.folders(), &json!({ "shares": 3, "threshold": 2 }), &json!({}));
        operator.succeed(&["apply", &plan, "--yes"]);
        assert_eq!(operator.seal_status(0)["sealed"], false);
        let (code, found) = operator.check(&plan);
        assert_eq!(
            (code, &found["vault"]["shares"], &found["vault"]["threshold"]),
            (0, &json!(3), &json!(2)),
            "{found:#}"
        );
        let again = operator.succeed(&["apply", &plan, "--yes", "--format", "json"]);
        assert_eq!(crate::support::summary(&again.events())["api_calls"]["write"], 0);
        operator.succeed(&["unseal", &plan]);
    }
}

#[test]
fn three_tls_nodes_are_joined_and_unsealed() {
    let operator = Operator::new(Settings { nodes: 3, tls: true, ..Settings::default() });
    let plan = operator.plan("a", &operator.folders(), &json!({ "shares": 3, "threshold": 2 }), &json!({}));
    operator.succeed(&["apply", &plan, "--yes"]);
    for node in 0..3 {
        assert_eq!(operator.seal_status(node)["sealed"], false, "node {node}");
    }
    let pending = operator.run(&["plan", &plan, "--detailed-exitcode"]);
    assert_eq!(pending.code, 0, "{pending:?}");
}

#[test]
fn racing_runs_initialise_once_and_loser_reports_it() {
    let operator = Operator::new(Settings::default());
    let split = json!({ "shares": 3, "threshold": 2 });
    let plans = ["a", "b"].map(|machine| operator.plan(machine, &operator.folders(), &split, &json!({})));
    let children = plans.clone().map(|plan| {
        let mut command = operator.command(&["apply", &plan, "--yes"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("starts")
    });
    let ran = children.map(|child| Ran::of(child.wait_with_output().expect("ends")));
    let winner = ran.iter().position(|ran| ran.code == 0).unwrap_or_else(|| panic!("nobody won: {ran:?}"));
    let loser = 1 - winner;
    assert_ne!(ran[loser].code, 0, "both say that they initialised it: {ran:?}");
    let said = format!("{}{}", ran[loser].stdout, ran[loser].stderr);
    assert!(said.contains("another client initialised") || said.contains("no shares of it"), "{said}");
    let (code, found) = operator.check(&plans[winner]);
    assert_eq!((code, &found["vault"]["shares"]), (0, &json!(3)), "{found:#}");
    assert_eq!(operator.run(&["plan", &plans[winner], "--detailed-exitcode"]).code, 0);
    // The loser stays out, however often it is run.
    for _ in 0..2 {
        let again = operator.run(&["apply", &plans[loser], "--yes"]);
        assert_eq!(again.code, 4, "{again:?}");
        assert!(again.stdout.contains("initialised") || again.stderr.contains("initialised"), "{again:?}");
    }
}

#[test]
fn foreign_cluster_is_explained_and_left_untouched() {
    let operator = Operator::new(Settings::default());
    let split = json!({ "shares": 1, "threshold": 1 });
    let theirs = operator.plan("theirs", &operator.folders(), &split, &json!({}));
    operator.succeed(&["apply", &theirs, "--yes"]);
    let ours = operator.plan("ours", &operator.folders(), &split, &json!({}));
    for arguments in [["plan", &ours, "--all"], ["apply", &ours, "--yes"], ["apply", &ours, "--yes"]] {
        let ran = operator.run(&arguments);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.code, 4, "{ran:?}");
        for words in ["is initialised", "no shares of it", "never initialised again", "VAULT_TOKEN"] {
            assert!(said.contains(words), "{words}: {said}");
        }
    }
    let (code, found) = operator.check(&ours);
    assert_eq!(code, 1, "{found:#}");
    assert_eq!(operator.run(&["unseal", &ours]).code, 4);
    assert!(files(&operator.environment.folder.join("ours/one")).is_empty(), "nothing was kept");
}

#[test]
fn init_is_never_requested_without_custody() {
    let operator = Operator::new(Settings::default());
    let split = json!({ "shares": 1, "threshold": 1 });
    let refused = |plan: &str, because: &str| {
        let ran = operator.run(&["apply", plan, "--yes"]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(ran.code != 0 && said.contains(because), "{because}: {ran:?}");
        assert!(!operator.is_initialised(), "sys/init was sent: {said}");
    };
    // Files where the folders should be: no store is left.
    let plan = operator.plan("a", &operator.folders(), &split, &json!({}));
    operator.environment.write("a/one", "in the way");
    operator.environment.write("a/two", "in the way");
    refused(&plan, "folder a/two");
    // A KMS key that does not exist is a mistake, not an outage.
    let kms = json!({ "recipients": [{ "kms": "alias/nobody" }, { "age": operator.public }],
                      "stores": [{ "file": "one" }] });
    refused(&operator.plan("b", &kms, &split, &json!({})), "kms:Encrypt");
    // So is a bucket that does not exist.
    let bucket = json!({ "recipients": [{ "age": operator.public }],
                         "stores": [{ "file": "one" }, { "s3": "s3://nobodys-bucket/custody" }] });
    refused(&operator.plan("c", &bucket, &split, &json!({})), "s3:GetBucketVersioning");
    // Nobody at hand could open it.
    std::fs::create_dir(operator.environment.folder.join("d")).unwrap();
    write_public(&operator.environment.folder.join("d/alice.pgp"), &KeyPair::generate().unwrap());
    let closed = json!({ "recipients": [{ "pgp": "alice.pgp" }], "stores": [{ "file": "one" }] });
    refused(&operator.plan("d", &closed, &split, &json!({})), "none of its keys is at hand");
    // A holder's key that cannot be used is found when the plan is made.
    operator.environment.write("e/bob.asc", "no key");
    let holders = json!({ "shares": 1, "threshold": 1, "holders": [{ "name": "bob", "pgp": "bob.asc" }] });
    let plan = operator.plan("e", &operator.folders(), &holders, &json!({}));
    refused(&plan, "is not a public key");
    assert!(operator.run(&["plan", &plan]).stdout.contains("is not a public key"));
}

fn write_public(path: &Path, pair: &KeyPair) {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(pair.public().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_custody_copy_is_proven_and_repaired() {
    let operator = Operator::new(Settings::default());
    write_public(&operator.environment.folder.join("alice.pgp"), &KeyPair::generate().unwrap());
    std::fs::create_dir(operator.environment.folder.join("a")).unwrap();
    std::fs::rename(
        operator.environment.folder.join("alice.pgp"),
        operator.environment.folder.join("a/alice.pgp"),
    )
    .unwrap();
    let custody = json!({
        "recipients": [{ "kms": "{{ key.arn }}" }, { "age": operator.public }, { "pgp": "alice.pgp" }],
        "stores": [{ "file": "one" }, { "s3": "s3://{{ bucket.name }}/custody" },
                   { "secretsmanager": "groundwork/demo" }],
    });
    let steps = json!({
        "key": { "kind": "aws.kms_key", "alias": "alias/custody" },
        "bucket": { "kind": "aws.s3_bucket", "name": "demo-custody" },
    });
    let plan = operator.plan("a", &custody, &json!({ "shares": 3, "threshold": 2 }), &steps);
    operator.succeed(&["apply", &plan, "--yes"]);
    let pending = operator.run(&["plan", &plan, "--detailed-exitcode"]);
    assert_eq!(pending.code, 0, "{pending:?}");
    let (code, found) = operator.check(&plan);
    assert_eq!(code, 0, "{found:#}");
    let init = found["objects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["name"].as_str().unwrap().ends_with("/init"));
    let copies = init.expect("kept")["copies"].as_array().unwrap().clone();
    assert_eq!(copies.len(), 3);
    for copy in &copies {
        let opens: Vec<_> =
            copy["recipients"].as_array().unwrap().iter().map(|one| one["opens"].clone()).collect();
        assert_eq!(opens, [json!(true), json!(true), Value::Null], "{copy:#}");
    }
    // A copy is spoiled, another one lost: reading goes on and says so.
    let kept = files(&operator.environment.folder.join("a/one"));
    let init = kept.iter().find(|file| file.ends_with("init.1.json")).expect("a file");
    std::fs::write(init, "spoiled").unwrap();
    let key = kept.iter().find(|file| file.ends_with("pgp-key.1.json")).expect("a file");
    std::fs::remove_file(key).unwrap();
    assert_eq!(operator.check(&plan).0, 3);
    let exported = operator.succeed(&["custody", "export-share", &plan, "--index", "1", "--to", "share.txt"]);
    assert!(exported.stderr.contains("--repair") && exported.stderr.contains("folder"), "{exported:?}");
    let repaired = operator.run(&["custody", "check", &plan, "--repair"]);
    assert_eq!((repaired.code, repaired.stderr.matches("repaired").count()), (0, 2), "{repaired:?}");
    assert_eq!(operator.check(&plan).0, 0);
    // A share is written once, for its owner alone.
    let share = operator.environment.folder.join("share.txt");
    assert_eq!(share.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(
        operator.run(&["custody", "export-share", &plan, "--index", "1", "--to", "share.txt"]).code,
        1
    );
    assert_eq!(operator.run(&["custody", "export-share", &plan, "--index", "4", "--to", "x"]).code, 1);
    let text = std::fs::read_to_string(share).unwrap();
    for arguments in [vec!["custody", "show", &plan], vec!["custody", "show", &plan, "--format", "json"]] {
        let shown = operator.succeed(&arguments);
        assert!(shown.stdout.contains("/init") && !shown.stdout.contains(text.trim()));
    }
}

/// The recipients of the newest copies in a folder of custody.
fn sealed_for(folder: &Path) -> BTreeSet<String> {
    let mut newest: BTreeMap<String, (u32, Value)> = BTreeMap::new();
    for file in files(folder).into_iter().filter(|file| file.extension().is_some_and(|end| end == "json")) {
        let envelope: Value = serde_json::from_slice(&std::fs::read(file).expect("readable")).expect("JSON");
        let (name, version) = (envelope["header"]["name"].as_str(), envelope["header"]["version"].as_u64());
        let (Some(name), Some(version)) = (name, version) else { continue };
        let version = u32::try_from(version).expect("small");
        if newest.get(name).is_none_or(|(known, _)| *known < version) {
            newest.insert(name.to_owned(), (version, envelope.clone()));
        }
    }
    let recipients =
        newest.into_values().filter_map(|(_, one)| one["header"]["recipients"].as_array().cloned());
    recipients.flatten().map(|one| one["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn custody_is_sealed_again_for_the_plans_recipients() {
    let operator = Operator::new(Settings::default());
    let second = age::x25519::Identity::generate();
    let (folder, other) = (operator.environment.folder.clone(), second.to_public().to_string());
    let custody = |recipients: &[&str]| {
        let recipients: Vec<Value> = recipients.iter().map(|one| json!({ "age": one })).collect();
        json!({ "recipients": recipients, "stores": [{ "file": "one" }, { "file": "two" }] })
    };
    let init = json!({ "shares": 1, "threshold": 1 });
    let declare = |recipients: &[&str]| operator.plan("a", &custody(recipients), &init, &json!({}));
    let plan = declare(&[&operator.public]);
    operator.succeed(&["apply", &plan, "--yes"]);
    let idle = operator.succeed(&["custody", "rewrap", &plan]);
    assert!(idle.stdout.contains("everything in custody is sealed for the plan's recipients"), "{idle:?}");

    // A recipient more: only what `apply` looks after would get a key for it.
    declare(&[&operator.public, &other]);
    let checked = operator.run(&["custody", "check", &plan]);
    assert!(
        checked.code == 3 && checked.stdout.contains(&format!("not sealed for age {other}")),
        "{checked:?}"
    );
    let refused = operator.run(&["custody", "rewrap", &plan]);
    assert!(
        refused.code == 1 && refused.stderr.contains("nothing was changed")
            || refused.stderr.contains("--yes")
    );
    // A death in between leaves what the next run does.
    let mut command = operator.command(&["custody", "rewrap", &plan, "--yes"]);
    let killed = Ran::of(command.env("GROUNDWORK_FAULT", "after@4").output().expect("it starts"));
    assert_ne!(killed.code, 0, "{killed:?}");
    let ran = operator.succeed(&["custody", "rewrap", &plan, "--yes"]);
    assert!(ran.stdout.contains("sealed again: "), "{ran:?}");
    assert_eq!(operator.check(&plan).0, 0);
    let journal = operator.succeed(&["journal", &plan]);
    assert!(
        journal.stdout.contains("rewrap custody") && journal.stdout.contains("Nothing is open."),
        "{journal:?}"
    );

    // The first one goes. Whoever has both keys does it.
    let identity = std::fs::read_to_string(folder.join("age.txt")).expect("the identity");
    let both = format!("{identity}\n{}\n", second.to_string().expose_secret());
    std::fs::write(folder.join("age.txt"), both).expect("written");
    declare(&[&other]);
    let shown = operator.run(&["plan", &plan]);
    assert!(
        shown.stderr.contains("the plan no longer names it") && shown.stderr.contains("custody rewrap"),
        "{shown:?}"
    );
    let repaired = operator.run(&["custody", "check", &plan, "--repair"]);
    let told = format!("still sealed for age {}", operator.public);
    assert!(repaired.code == 3 && repaired.stdout.contains(&told), "{repaired:?}");
    let ran = operator.succeed(&["custody", "rewrap", &plan, "--yes"]);
    assert!(ran.stderr.contains("replace the secrets"), "{ran:?}");
    for store in ["a/one", "a/two"] {
        assert_eq!(sealed_for(&folder.join(store)), BTreeSet::from([other.clone()]), "{store}");
    }
    std::fs::write(folder.join("age.txt"), second.to_string().expose_secret()).expect("written");
    assert_eq!(operator.check(&plan).0, 0, "the new recipient alone opens everything");
    assert_eq!(operator.run(&["apply", &plan, "--yes"]).code, 0);

    // What is in custody appears nowhere else.
    let secrets = crate::support::custody_in(&folder.join("a/one"), &second);
    assert!(!secrets.is_empty());
    let all = format!("{idle:?}{checked:?}{refused:?}{killed:?}{journal:?}{shown:?}{repaired:?}{ran:?}");
    assert_eq!(crate::canary::leaks(all.as_bytes(), &secrets), Vec::<&str>::new());
    let leaking = crate::canary::leaking_files(&folder.join("a"), &secrets);
    assert_eq!(leaking, Vec::<String>::new());
}

#[test]
fn holders_get_one_share_each_and_unseal_together() {
    let operator = Operator::new(Settings::default());
    let (alice, bob) = (KeyPair::generate().unwrap(), age::x25519::Identity::generate());
    let folder = operator.environment.folder.join("a");
    std::fs::create_dir(&folder).unwrap();
    write_public(&folder.join("alice.pgp"), &alice);
    let holders = json!([{ "name": "alice", "pgp": "alice.pgp" }, { "name": "bob", "age": bob.to_public().to_string() }]);
    let init = |keep: bool| json!({ "shares": 2, "threshold": 2, "holders": holders, "keep_shares": keep });
    let plan = operator.plan("a", &operator.folders(), &init(true), &json!({}));
    operator.succeed(&["apply", &plan, "--yes"]);
    assert_eq!(operator.check(&plan).1["vault"]["handed_out"], 2);
    // A run that was cut off before bob had his share is finished; alice's share is not given twice.
    for file in files(&folder).iter().filter(|file| file.ends_with("holders/bob.1.json")) {
        std::fs::remove_file(file).unwrap();
    }
    let planned = operator.succeed(&["plan", &plan, "--format", "json"]);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("a changeset");
    assert_eq!(paths(step(&planned, "cluster")), ["holders[bob]"]);
    operator.succeed(&["apply", &plan, "--yes"]);
    // A sealed server is a change of the plan, and no error.
    operator.seal("a");
    let planned = operator.succeed(&["plan", &plan, "--format", "json"]);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("a changeset");
    let sealed = format!("nodes[{}].sealed", operator.environment.sandbox.vault_addrs()[0]);
    assert_eq!(paths(step(&planned, "cluster")), [sealed]);
    let ran = operator.succeed(&["unseal", &plan]);
    assert!(ran.stdout.contains(": unsealed"), "{ran:?}");
    assert_eq!(operator.seal_status(0)["sealed"], false);
    // Custody keeps the shares until it is told to forget them.
    let plan = operator.plan("a", &operator.folders(), &init(false), &json!({}));
    let planned = operator.succeed(&["plan", &plan, "--format", "json"]);
    let planned: Value = serde_json::from_str(&planned.stdout).expect("a changeset");
    assert_eq!(paths(step(&planned, "cluster")), ["keep_shares"]);
    operator.succeed(&["apply", &plan, "--yes"]);
    assert_eq!(operator.run(&["plan", &plan, "--detailed-exitcode"]).code, 0);
    assert!(files(&folder).iter().all(|file| !file.ends_with("init.1.json")), "the shares are gone");
    assert_eq!(operator.run(&["custody", "export-share", &plan, "--index", "1", "--to", "x"]).code, 1);
    let (code, found) = operator.check(&plan);
    assert_eq!(
        (code, &found["vault"]["shares"], &found["vault"]["handed_out"]),
        (0, &json!(0), &json!(2)),
        "{found:#}"
    );
    // The server is sealed; custody alone cannot help, two holders can.
    operator.seal("a");
    let ran = operator.run(&["unseal", &plan]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("--share"), "{ran:?}");
    let message = |name: &str| {
        operator.succeed(&["custody", "export-share", &plan, "--holder", name, "--to", "-"]).stdout
    };
    let first = open_pgp(&alice, &message("alice"));
    let second = open_age(&bob, &message("bob"));
    assert_ne!(first, second);
    let ran = operator.run_with_input(&["unseal", &plan, "--share"], &first);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("1 of 2 shares"), "{ran:?}");
    let ran = operator.run_with_input(&["unseal", &plan, "--share"], &format!("{second}\n"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(operator.seal_status(0)["sealed"], false);
    let nobody = operator.run(&["custody", "export-share", &plan, "--holder", "eve", "--to", "-"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("alice, bob"), "{nobody:?}");
}

fn open_pgp(pair: &KeyPair, message: &str) -> String {
    let secret: Secret = pair.decrypt_armored(message).expect("for alice");
    secret.expose_str().unwrap().to_owned()
}

fn open_age(identity: &age::x25519::Identity, message: &str) -> String {
    let reader = age::armor::ArmoredReader::new(message.as_bytes());
    let decryptor = age::Decryptor::new(reader).expect("age");
    let mut reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).expect("for bob");
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("text");
    text
}
