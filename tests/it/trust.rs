//! A plan of a stranger gets nothing of the caller's that he has not allowed: where credentials go, which
//! of them are used, which variables are read.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::confirm::Session;
use crate::listener::{Listener, json};
use crate::support::{Ran, files, program};

const TOKEN: &str = "hvs.canary-of-the-caller-5d1c9a";
const MOUNT: &str = "steps:\n  m: { kind: vault.mount, path: x, type: kv }\n";
const USER: &str = "steps:\n  u: { kind: aws.iam_user, name: u }\n";

/// A server that says that it is an unsealed Vault.
fn vault_that_listens() -> Listener {
    let body = r#"{"initialized":true,"sealed":false,"cluster_id":"c","data":{}}"#;
    Listener::start(move |_| Some(json("200 OK", body)))
}

/// A checked out repository with a plan, and the home of whoever runs the program over it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new(plan: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().expect("a folder") };
        for name in ["repository", "home"] {
            std::fs::create_dir(scene.folder.path().join(name)).expect("made");
        }
        scene.write("plan.yaml", plan);
        scene
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn write(&self, name: &str, text: &str) {
        let head = if name == "plan.yaml" { "version: 1\nname: theirs\n" } else { "" };
        std::fs::write(self.repository().join(name), format!("{head}{text}")).expect("written");
    }

    /// The program as somebody with credentials runs it, in the environment and in files.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(self.repository()).env("NO_COLOR", "1").env_remove("CI");
        for name in ["VAULT_ADDR", "VAULT_CACERT", "GROUNDWORK_VAULT_NODES", "AWS_PROFILE", "VAULT_NAMESPACE"]
        {
            command.env_remove(name);
        }
        command.env("VAULT_TOKEN", TOKEN).env("HOME", self.home());
        command.env("GROUNDWORK_CONFIG_DIR", self.home().join("config"));
        command.env("AWS_ACCESS_KEY_ID", "AKIDCANARY").env("AWS_SECRET_ACCESS_KEY", TOKEN);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_CONFIG_FILE", "/dev/null");
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// Requires that the commands which talk to servers are refused, with the flag that allows `grant`,
    /// before anything is sent to `server`.
    fn refuses(&self, flag: &str, server: &Listener) {
        for arguments in [
            &["plan", "plan.yaml"][..],
            &["plan", "plan.yaml", "--format", "json"],
            &["apply", "plan.yaml", "--yes"],
            &["destroy", "plan.yaml", "--yes"],
        ] {
            let ran = self.run(arguments);
            let shown = in_one_line(&ran);
            assert!(ran.code == 1 && shown.contains(flag), "{arguments:?}: {ran:?}");
            assert!(shown.contains("plan.yaml:"), "{arguments:?} names no place: {ran:?}");
            assert!(!shown.contains(TOKEN), "{ran:?}");
        }
        assert_eq!(server.heard(), "", "something was sent");
    }
}

/// What was shown, however it was wrapped.
fn in_one_line(ran: &Ran) -> String {
    let text = format!("{} {}", ran.stdout, ran.stderr);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn token_is_withheld_from_a_plans_server() {
    let listener = vault_that_listens();
    let address = format!("vault: {{ address: \"{}\" }}\n", listener.address);
    let nodes = format!("vault: {{ nodes: [ \"{}\" ] }}\n", listener.address);
    for section in [&address, &nodes] {
        let scene = Scene::new(&format!("{section}{MOUNT}"));
        let flag = format!("--trust vault={}", listener.address);
        scene.refuses(&flag, &listener);
        for arguments in [&["unseal", "plan.yaml"][..], &["login", "plan.yaml", "--", "true"]] {
            let ran = scene.run(arguments);
            assert!(ran.code == 1 && in_one_line(&ran).contains(&flag), "{arguments:?}: {ran:?}");
        }
        assert_eq!(listener.heard(), "");
    }
    // A VAULT_ADDR of another server is no permission, and neither is its being on this machine.
    let scene = Scene::new(&format!("{address}{MOUNT}"));
    let mut command = scene.command(&["plan", "plan.yaml"]);
    let ran = Ran::of(command.env("VAULT_ADDR", "http://127.0.0.1:1").output().expect("it runs"));
    assert!(ran.code == 1 && in_one_line(&ran).contains("--trust vault="), "{ran:?}");
    assert_eq!(listener.heard(), "");
}

#[test]
fn token_is_sent_where_the_caller_allows() {
    let flag = |listener: &Listener| format!("vault={}", listener.address);
    let declared = |listener: &Listener| format!("vault: {{ address: \"{}\" }}\n{MOUNT}", listener.address);
    // By the flag, by the variable of grants, by the address in another notation.
    let listener = vault_that_listens();
    let scene = Scene::new(&declared(&listener));
    scene.run(&["plan", "plan.yaml", "--trust", &flag(&listener)]);
    assert!(listener.heard().contains(TOKEN));

    let listener = vault_that_listens();
    let scene = Scene::new(&declared(&listener));
    scene.command(&["plan", "plan.yaml"]).env("GROUNDWORK_TRUST", flag(&listener)).output().expect("it runs");
    assert!(listener.heard().contains(TOKEN));

    let listener = vault_that_listens();
    let scene = Scene::new(&declared(&listener));
    let notation = listener.address.to_uppercase().replace("HTTP://127.0.0.1", "HTTP://0x7f000001") + "/";
    scene.command(&["plan", "plan.yaml"]).env("VAULT_ADDR", notation).output().expect("it runs");
    assert!(listener.heard().contains(TOKEN));
}

#[test]
fn token_file_is_withheld_from_a_plans_server() {
    let listener = vault_that_listens();
    let scene = Scene::new(&format!("vault: {{ address: \"{}\" }}\n{MOUNT}", listener.address));
    std::fs::write(scene.home().join(".vault-token"), TOKEN).expect("written");
    let run = |more: &[&str]| {
        let mut command = scene.command(&[&["plan", "plan.yaml"], more].concat());
        Ran::of(command.env_remove("VAULT_TOKEN").output().expect("it runs"))
    };
    let refused = run(&[]);
    assert!(refused.code == 1 && in_one_line(&refused).contains("--trust vault="), "{refused:?}");
    assert_eq!(listener.heard(), "");
    run(&["--trust", &format!("vault={}", listener.address)]);
    assert!(listener.heard().contains(TOKEN));
}

#[test]
fn answer_holds_for_one_plan_and_one_address() {
    let (listener, other) = (vault_that_listens(), vault_that_listens());
    let plan = |listener: &Listener| format!("vault: {{ address: \"{}\" }}\n{MOUNT}", listener.address);
    let scene = Scene::new(&plan(&listener));
    let grant = format!("vault={}", listener.address);
    let trusted = scene.run(&["trust", "plan.yaml", "--trust", &grant]);
    assert!(trusted.code == 0 && trusted.stdout.contains("allowed by you"), "{trusted:?}");
    scene.run(&["plan", "plan.yaml"]);
    assert!(listener.heard().contains(TOKEN));
    // Another address, another name, the same plan elsewhere.
    scene.write("plan.yaml", &plan(&other));
    scene.refuses("--trust vault=", &other);
    let text = format!("version: 1\nname: another\n{}", plan(&listener));
    std::fs::write(scene.repository().join("another.yaml"), text).expect("written");
    let ran = scene.run(&["plan", "another.yaml"]);
    assert!(ran.code == 1 && in_one_line(&ran).contains("--trust vault="), "{ran:?}");
    // What is remembered lies in the caller's own folder, and can be taken back.
    assert!(files(&scene.repository()).iter().all(|file| !file.to_string_lossy().contains("trust")));
    assert_eq!(files(&scene.home().join("config/trust")).len(), 1);
    scene.write("plan.yaml", &plan(&listener));
    let listed = scene.run(&["trust", "plan.yaml", "--list"]);
    assert!(listed.stdout.starts_with(&grant), "{listed:?}");
    let revoked = scene.run(&["trust", "plan.yaml", "--revoke", &grant]);
    assert!(revoked.code == 0 && scene.run(&["plan", "plan.yaml"]).code == 1, "{revoked:?}");
    let again = scene.run(&["trust", "plan.yaml", "--revoke", &grant]);
    assert!(again.code == 1 && again.stderr.contains("is not remembered"), "{again:?}");
}

#[test]
fn answer_stored_in_the_repository_is_ignored() {
    let listener = vault_that_listens();
    let scene = Scene::new(&format!("vault: {{ address: \"{}\" }}\n{MOUNT}", listener.address));
    let grant = format!("vault={}", listener.address);
    assert_eq!(scene.run(&["trust", "plan.yaml", "--trust", &grant]).code, 0);
    // The same file in every place of the repository that a careless program could look into.
    let remembered = files(&scene.home().join("config")).remove(0);
    for place in ["config/trust", ".config/groundwork/trust", ".groundwork/trust", "trust"] {
        let place = scene.repository().join(place);
        std::fs::create_dir_all(&place).expect("made");
        std::fs::copy(&remembered, place.join(remembered.file_name().expect("a name"))).expect("copied");
    }
    std::fs::remove_file(&remembered).expect("removed");
    scene.refuses("--trust vault=", &listener);
}

#[test]
fn plans_certificate_authority_requires_the_callers_consent() {
    let listener = vault_that_listens();
    let scene = Scene::new(&format!("vault: {{ ca_cert: ca.pem }}\n{MOUNT}"));
    let pem = || rcgen::generate_simple_self_signed(["v".to_owned()]).expect("a certificate").cert.pem();
    let (theirs, replaced) = (pem(), pem());
    scene.write("ca.pem", &theirs);
    let command = |arguments: &[&str]| {
        let mut command = scene.command(arguments);
        command.env("VAULT_ADDR", &listener.address);
        command
    };
    let run = |arguments: &[&str]| Ran::of(command(arguments).output().expect("it runs"));
    let digest = groundwork::trust::digest(theirs.as_bytes());
    let refused = run(&["plan", "plan.yaml"]);
    assert!(in_one_line(&refused).contains(&format!("--trust ca={digest}")), "{refused:?}");
    assert_eq!((refused.code, listener.heard()), (1, String::new()));
    // The caller's own authority is the same, or he says so; not for what the file becomes.
    let own = scene.home().join("ca.pem");
    std::fs::write(&own, &theirs).expect("written");
    let same = command(&["plan", "plan.yaml"]).env("VAULT_CACERT", &own).output().expect("it runs");
    assert!(listener.heard().contains(TOKEN), "{same:?}");
    assert_eq!(run(&["trust", "plan.yaml", "--trust", &format!("ca={digest}")]).code, 0);
    scene.write("ca.pem", &replaced);
    let refused = run(&["plan", "plan.yaml"]);
    assert!(refused.code == 1 && in_one_line(&refused).contains("--trust ca="), "{refused:?}");
}

#[test]
fn profile_and_role_require_the_callers_consent() {
    let role = "arn:aws:iam::111111111111:role/admin";
    let rows = [
        ("aws: { region: us-east-1, profile: admin }\n".to_owned(), "aws-profile=admin".to_owned()),
        (
            format!("aws: {{ region: us-east-1, assume_role: {{ role_arn: \"{role}\" }} }}\n"),
            format!("aws-role={role}"),
        ),
        (
            "aws: { region: us-east-1, aliases: { a: { profile: admin } } }\n".to_owned(),
            "aws-profile=admin".to_owned(),
        ),
        (
            format!(
                "aws: {{ region: us-east-1, aliases: {{ a: {{ assume_role: {{ role_arn: \"{role}\" }} }} }} }}\n"
            ),
            format!("aws-role={role}"),
        ),
    ];
    for (section, grant) in rows {
        let listener = vault_that_listens();
        let alias = section.contains("aliases");
        let steps = if alias { USER.replace("name: u", "name: u, provider: aws.a") } else { USER.to_owned() };
        let scene = Scene::new(&format!("{section}{steps}"));
        let mut outcomes = Vec::new();
        for arguments in [&["plan", "plan.yaml"][..], &["apply", "plan.yaml", "--yes"]] {
            let mut command = scene.command(arguments);
            outcomes
                .push(Ran::of(command.env("AWS_ENDPOINT_URL", &listener.address).output().expect("it runs")));
        }
        for ran in outcomes {
            assert!(ran.code == 1 && in_one_line(&ran).contains(&format!("--trust {grant}")), "{ran:?}");
        }
        assert_eq!(listener.heard(), "", "{section}");
        let mut command = scene.command(&["plan", "plan.yaml", "--trust", &grant]);
        command.env("AWS_ENDPOINT_URL", &listener.address).output().expect("it runs");
        assert_ne!(listener.heard(), "", "{section}");
    }
    let scene = Scene::new(&format!("aws: {{ region: us-east-1, profile: admin }}\n{USER}"));
    let mut command = scene.command(&["plan", "plan.yaml"]);
    let ran = Ran::of(command.env("AWS_PROFILE", "admin").output().expect("it runs"));
    assert!(!in_one_line(&ran).contains("not allowed"), "{ran:?}");
}

#[test]
fn answer_at_the_terminal_is_remembered() {
    let listener = vault_that_listens();
    let scene = Scene::new(&format!("vault: {{ address: \"{}\" }}\n{MOUNT}", listener.address));
    let question = format!("Allow vault={} to the plan theirs from now on? [y/N]", listener.address);
    let answered = |line: &str, arguments: &[&str]| {
        let mut session = Session::start(scene.command(arguments));
        session.wait_for(&question);
        session.answer(line)
    };
    for refusal in ["", "n", "theirs"] {
        let (code, shown) = answered(refusal, &["plan", "plan.yaml"]);
        assert!(code == 1 && shown.contains("not allowed"), "{refusal:?}: {shown}");
    }
    // `--yes` answers what is asked about changes, and this is asked all the same.
    let (code, shown) = answered("no", &["apply", "plan.yaml", "--yes"]);
    assert!(code == 1 && shown.contains("not allowed"), "{shown}");
    assert_eq!((listener.heard(), files(&scene.home().join("config")).len()), (String::new(), 0));
    let (code, shown) = answered("y", &["trust", "plan.yaml"]);
    assert_eq!(code, 0, "{shown}");
    scene.run(&["plan", "plan.yaml"]);
    assert!(listener.heard().contains(TOKEN));
    // A pipeline has nobody to answer, whatever it has for a terminal.
    scene.write("plan.yaml", &format!("vault: {{ address: \"http://127.0.0.1:1\" }}\n{MOUNT}"));
    let mut command = scene.command(&["plan", "plan.yaml"]);
    command.env("CI", "true");
    let (code, shown) = Session::start(command).answer("y");
    assert!(code == 1 && !shown.contains("[y/N]"), "{shown}");
}

/// A secret from the environment variable of this name.
fn reads(name: &str) -> String {
    format!(
        "steps:\n  s: {{ kind: vault.kv_secret, mount: secret, path: x, data: {{ p: {{ env: {name} }} }} }}\n"
    )
}

#[test]
fn variable_is_read_only_once_allowed() {
    let listener = vault_that_listens();
    let canary = "canary-of-a-variable-77ab";
    let scene = Scene::new(&reads("APP_KEY"));
    let run = |arguments: &[&str], set: bool| {
        let mut command = scene.command(arguments);
        command.env("VAULT_ADDR", &listener.address);
        let command = if set { command.env("APP_KEY", canary) } else { command.env_remove("APP_KEY") };
        Ran::of(command.output().expect("it runs"))
    };
    for arguments in [&["plan", "plan.yaml"][..], &["apply", "plan.yaml", "--yes"]] {
        let (set, unset) = (run(arguments, true), run(arguments, false));
        assert!(set.code == 1 && in_one_line(&set).contains("--env APP_KEY"), "{set:?}");
        assert_eq!(format!("{set:?}"), format!("{unset:?}"), "it tells whether the variable is set");
    }
    assert_eq!(listener.heard(), "");
    for format in ["human", "json", "sarif"] {
        let validate = ["validate", "plan.yaml", "--strict", "--format", format];
        let (set, unset) = (run(&validate, true), run(&validate, false));
        assert!(set.code == 0 && in_one_line(&set).contains("--env APP_KEY"), "{set:?}");
        assert_eq!(format!("{set:?}"), format!("{unset:?}"), "it tells whether the variable is set");
    }
    for allowed in ["APP_KEY", "APP_*", "*"] {
        let shown = run(&["plan", "plan.yaml", "--env", allowed], true);
        assert!(
            !in_one_line(&shown).contains("not allowed") && !format!("{shown:?}").contains(canary),
            "{shown:?}"
        );
    }
    for other in ["APP", "app_key", "OTHER_*"] {
        assert_eq!(run(&["plan", "plan.yaml", "--env", other], true).code, 1, "{other}");
    }
}

#[test]
fn plan_cannot_read_credentials_as_variables() {
    for name in [
        "VAULT_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "BAO_TOKEN",
        "GROUNDWORK_AGE_IDENTITY",
        "GITHUB_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
        "CI_JOB_TOKEN",
        "SSH_AUTH_SOCK",
        "HTTPS_PROXY",
    ] {
        let scene = Scene::new(&reads(name));
        for arguments in [
            &["validate", "plan.yaml"][..],
            &["plan", "plan.yaml", "--env", "*"],
            &["apply", "plan.yaml", "--yes", "--env", "*"],
            &["trust", "plan.yaml", "--env", "*"],
        ] {
            let ran = scene.run(arguments);
            assert!(ran.code == 1 && in_one_line(&ran).contains("no plan can read it"), "{name}: {ran:?}");
            assert!(!format!("{ran:?}").contains(TOKEN), "{ran:?}");
        }
        assert_eq!(scene.run(&["plan", "plan.yaml", "--env", name]).code, 64, "{name}");
    }
    for pattern in ["APP_*", "\"A*\"", "A=B", "\"\""] {
        let ran = Scene::new(&reads(pattern)).run(&["validate", "plan.yaml"]);
        assert!(ran.code == 1 && in_one_line(&ran).contains("not the name of"), "{pattern}: {ran:?}");
    }
    // The pipeline's own words are read by their whole names only.
    let scene = Scene::new(&reads("CI_COMMIT_SHA"));
    let plan = |env: &str| in_one_line(&scene.run(&["plan", "plan.yaml", "--env", env]));
    assert!(plan("*").contains("--env CI_COMMIT_SHA") && !plan("CI_COMMIT_SHA").contains("not allowed"));
}

#[test]
fn tests_never_use_the_real_home() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    for file in
        files(&tests).iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
    {
        let text = std::fs::read_to_string(file).expect("a source file");
        let named = text.contains(concat!("CARGO_BIN_EXE_", "groundwork"));
        assert_eq!(named, file.ends_with("support.rs"), "{}: use support::program", file.display());
    }
}
