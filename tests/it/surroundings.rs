//! What the surroundings see of a run: proxies, addresses with passwords, folders of other users.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::listener::Listener;
use crate::support::{Ran, TestEnvironment, files};

const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const TOKEN: &str = "the-token-that-is-for-vault-only";
const PASSWORD: &str = "hunter2-in-an-address";

/// A proxy that takes everything and answers nothing.
struct Proxy(Listener);

impl Proxy {
    fn start() -> Self {
        Self(Listener::start(|_| None))
    }

    /// Leads a command here, whatever else its environment says.
    fn lead(&self, command: &mut Command) {
        for name in ["NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command.envs(PROXIES.map(|name| (name, &self.0.address)));
    }

    fn heard(&self) -> String {
        self.0.heard()
    }
}

fn ran(mut command: Command) -> Ran {
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn proxy_never_sees_plain_requests() {
    let (environment, proxy) = (TestEnvironment::new(), Proxy::start());
    let plan = json!({
        "version": 1, "name": "proxied", "aws": { "region": "us-east-1" },
        "custody": { "recipients": [ { "kms": "{{ key.arn }}" } ], "stores": [ { "file": "custody" } ] },
        "steps": {
            "key": { "kind": "aws.kms_key", "alias": "alias/proxied" },
            "server": { "kind": "vault.init", "shares": 1, "threshold": 1 },
            "policy": { "kind": "vault.policy", "name": "app", "rules": { "secret/data/app/*": ["read"] } },
        },
    });
    environment.write("plan.yaml", &plan.to_string());
    let run = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        proxy.lead(&mut command);
        ran(command)
    };
    for arguments in [&["apply", "plan.yaml", "--yes"][..], &["plan", "plan.yaml"], &["unseal", "plan.yaml"]]
    {
        let ran = run(arguments);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    assert_eq!(proxy.heard(), "");
}

#[test]
fn proxy_tunnels_encrypted_requests_without_seeing_them() {
    let proxy = Proxy::start();
    let dir = tempfile::tempdir().expect("a folder");
    let head = "version: 1\nname: tunnelled\n";
    let vault = "steps: { m: { kind: vault.mount, path: x, type: kv } }\n";
    let aws = "aws: { region: us-east-1 }\nsteps: { b: { kind: aws.iam_user, name: example } }\n";
    for (plan, host) in [(vault, "vault.example.net:8200"), (aws, "amazonaws.com:443")] {
        fs::write(dir.path().join("plan.yaml"), format!("{head}{plan}")).expect("written");
        let mut command = program(dir.path(), &["plan", "plan.yaml", "--verbose"]);
        proxy.lead(&mut command);
        command.env("VAULT_ADDR", "https://vault.example.net:8200").env("VAULT_TOKEN", TOKEN);
        command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", TOKEN);
        command.env("GROUNDWORK_TIMEOUT", "5");
        let ran = ran(command);
        assert!(proxy.heard().contains("CONNECT "), "{ran:?}");
        assert!(proxy.heard().contains(host), "{}", proxy.heard());
    }
    assert!(!proxy.heard().contains(TOKEN), "{}", proxy.heard());
}

/// The program in a folder, led to no server.
fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = crate::support::program();
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1");
    for name in ["AWS_ENDPOINT_URL", "VAULT_ADDR", "VAULT_TOKEN", "GROUNDWORK_VAULT_NODES"] {
        command.env_remove(name);
    }
    command
}

#[test]
fn sandbox_commands_bypass_proxy_for_its_servers() {
    let environment = TestEnvironment::new();
    let dir = environment.sandbox.dir();
    let shown = |before: Option<&str>| {
        let script = "echo \"$NO_PROXY $no_proxy\"";
        let dir = dir.to_str().expect("text");
        let arguments = ["sandbox", "run", "--dir", dir, "--plain-http", "--", "sh", "-c", script];
        let mut command = environment.command(&arguments);
        for name in ["NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        command.envs(before.map(|hosts| ("no_proxy", hosts)));
        ran(command).stdout.trim().to_owned()
    };
    let own = "localhost,127.0.0.1,::1";
    assert_eq!(shown(None), format!("{own} {own}"));
    assert_eq!(shown(Some("x.example")), format!("x.example,{own} x.example,{own}"));
    assert_eq!(shown(Some("*")), "* *");
}

#[test]
fn proxy_password_is_never_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(
        dir.path().join("plan.yaml"),
        "version: 1\nname: p\nsteps: { m: { kind: vault.mount, path: x, type: kv } }\n",
    )
    .expect("written");
    for proxy in ["socks5://user:PW@127.0.0.1:1", "http://user:PW@127.0.0.1:1", "http://user:PW@"] {
        let mut command = program(dir.path(), &["plan", "plan.yaml", "--verbose"]);
        command.env("HTTPS_PROXY", proxy.replace("PW", PASSWORD)).env_remove("NO_PROXY");
        command.env("VAULT_ADDR", "https://vault.example.net:8200").env("VAULT_TOKEN", TOKEN);
        command.env("GROUNDWORK_TIMEOUT", "5");
        let shown = format!("{:?}", ran(command));
        assert!(!shown.contains(PASSWORD) && !shown.contains(TOKEN), "{shown}");
    }
}

#[test]
fn password_in_a_server_address_is_refused_everywhere() {
    let (environment, address) = (TestEnvironment::new(), format!("http://root:{PASSWORD}@127.0.0.1:1"));
    let vault = "version: 1\nname: p\nsteps: { m: { kind: vault.mount, path: x, type: kv } }\n";
    let aws =
        "version: 1\nname: p\naws: { region: us-east-1 }\nsteps: { u: { kind: aws.iam_user, name: u } }\n";
    let declared = |section: &str| vault.replace("steps:", &format!("vault: {{ {section} }}\nsteps:"));
    for (plan, variable) in [
        (vault.to_owned(), "VAULT_ADDR"),
        (vault.to_owned(), "GROUNDWORK_VAULT_NODES"),
        (aws.to_owned(), "AWS_ENDPOINT_URL"),
        (aws.to_owned(), "AWS_ENDPOINT_URL_IAM"),
        (declared(&format!("address: \"{address}\"")), ""),
        (declared(&format!("nodes: [ \"{address}\" ]")), ""),
    ] {
        environment.write("plan.yaml", &plan);
        for arguments in [&["plan", "plan.yaml"][..], &["apply", "plan.yaml", "--yes", "--verbose"]] {
            let mut command = environment.command(arguments);
            if !variable.is_empty() {
                command.env(variable, &address);
            }
            command.env("VAULT_TOKEN", TOKEN).env("GROUNDWORK_ALLOW_ENDPOINT", "1");
            let ran = ran(command);
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert!(ran.code != 0 && shown.contains("cannot hold a user name"), "{variable}: {shown}");
            assert!(!shown.contains(PASSWORD), "{variable}: {shown}");
        }
    }
    for file in files(&environment.folder.join(".groundwork")) {
        let text = fs::read_to_string(&file).unwrap_or_default();
        assert!(!text.contains(PASSWORD), "{}: {text}", file.display());
    }
}

/// The mistakes that `validate` shows of a plan with these steps.
fn mistakes(steps: &serde_json::Value, more: &str) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    let mut text = format!("version: 1\nname: p\n{more}steps:\n");
    for (id, fields) in steps.as_object().expect("steps") {
        text.push_str(&format!("  {id}:\n"));
        for (name, value) in fields.as_object().expect("fields") {
            text.push_str(&format!("    {name}: {value}\n"));
        }
    }
    fs::write(dir.path().join("plan.yaml"), text).expect("written");
    let ran = ran(program(dir.path(), &["validate", "plan.yaml"]));
    assert_eq!(ran.code, 1, "{steps}: {ran:?}");
    format!("{}{}", ran.stdout, ran.stderr)
}

#[test]
fn connection_string_password_is_refused_and_not_quoted() {
    let secret = |form: &str| form.replace("PW", PASSWORD);
    for url in [
        "postgresql://vault:PW@db/postgres",
        "host=db user=vault password=PW",
        "vault:PW@tcp(db:3306)/",
        "server=db;user id=vault;password=PW",
        "vault/PW@//db:1521/orcl",
        "vault:PW@account/db",
    ] {
        let step = json!({ "kind": "vault.database_connection", "name": "c", "plugin_name": "x",
            "username": "vault", "password": { "env": "HOME" }, "connection_url": secret(url) });
        let shown = mistakes(&json!({ "c": step }), "");
        assert!(shown.contains("holds a password") && shown.contains("plan.yaml:10:"), "{shown}");
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
    let hook = secret("https://hook:PW@hooks.example.net/notify");
    for step in [
        json!({ "kind": "aws.sns_subscription", "topic": "arn:aws:sns:us-east-1:123456789012:t",
            "protocol": "https", "endpoint": hook }),
        json!({ "kind": "vault.jwt_auth", "mount": "ci", "jwks_url": hook }),
        json!({ "kind": "vault.jwt_auth", "mount": "ci", "oidc_discovery_url": hook }),
        json!({ "kind": "vault.ldap_auth", "url": [secret("ldaps://admin:PW@ldap.example.net")] }),
        json!({ "kind": "vault.kubernetes_auth", "kubernetes_host": hook }),
        json!({ "kind": "vault.pki_urls", "mount": "pki", "issuing_certificates": [hook] }),
        json!({ "kind": "vault.github_auth", "organization": "o", "base_url": hook }),
        json!({ "kind": "aws.iam_oidc_provider", "url": hook, "client_ids": ["sts.amazonaws.com"] }),
        json!({ "kind": "aws.s3_object", "bucket": "b", "key": "k", "content": secret("db=postgres://a:PW@db/a") }),
    ] {
        let shown = mistakes(&json!({ "s": step }), "");
        assert!(shown.contains("holds a password") && shown.contains("plan.yaml:"), "{step}: {shown}");
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
}

#[test]
fn rendered_password_is_found_and_not_quoted() {
    for form in ["postgres://app:PW@db/app", "app:PW@tcp(db:3306)/app", "Server=db;User Id=app;Password=PW"] {
        let content = format!("# a file\nurl: {}\n", form.replace("PW", PASSWORD));
        let step = json!({ "kind": "file.template", "path": "a", "content": content });
        let shown = mistakes(&json!({ "s": step }), "");
        assert!(shown.contains("[secret-literal]") && shown.contains("plan.yaml:"), "{shown}");
        assert!(!shown.contains(PASSWORD), "{shown}");
    }
}

#[test]
fn plan_cannot_set_ownership_tags() {
    for key in ["groundwork:plan", "groundwork:step", "Groundwork:Plan", "GROUNDWORK:STEP"] {
        let user = json!({ "kind": "aws.iam_user", "name": "u", "tags": { key: "other" } });
        let shown = mistakes(&json!({ "u": user }), "");
        assert!(shown.contains("which plan and step") && shown.contains("plan.yaml:7:"), "{shown}");
        let user = json!({ "kind": "aws.iam_user", "name": "u" });
        let shown = mistakes(&json!({ "u": user }), &format!("aws: {{ tags: {{ \"{key}\": other }} }}\n"));
        assert!(shown.contains("which plan and step") && shown.contains("plan.yaml:3:"), "{shown}");
    }
    let user = json!({ "kind": "aws.iam_user", "name": "u" });
    let shown = mistakes(&json!({ "u": user }), "aws: { tags: { \"AWS:x\": other } }\n");
    assert!(shown.contains("reserved") && shown.contains("plan.yaml:3:"), "{shown}");
}

/// `sandbox up` with these variables in place of the user's own folders.
fn up(dir: &Path, variables: &[(&str, &Path)]) -> Ran {
    let mut command = program(dir, &["sandbox", "up", "--dir", "sandbox"]);
    for name in ["HOME", "XDG_CACHE_HOME", "GROUNDWORK_CACHE"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied());
    ran(command)
}

fn folder(root: &TempDir, name: &str, mode: u32) -> PathBuf {
    let folder = root.path().join(name);
    fs::create_dir(&folder).expect("made");
    fs::set_permissions(&folder, Permissions::from_mode(mode)).expect("set");
    folder
}

#[test]
fn sandbox_refuses_folders_that_others_can_change() {
    let root = tempfile::tempdir().expect("a folder");
    let plans = folder(&root, "plans", 0o755);
    let temporary = folder(&root, "tmp", 0o1777);
    let planted = temporary.join("groundwork-cache");
    fs::create_dir(&planted).expect("made");
    let ran = up(&plans, &[("TMPDIR", &temporary)]);
    assert!(ran.code == 1 && ran.stderr.contains("HOME is not set"), "{ran:?}");
    let everybody = folder(&root, "everybody", 0o777);
    let link = root.path().join("link");
    symlink(folder(&root, "target", 0o755), &link).expect("linked");
    for (cache, why) in [(&everybody, "every user"), (&link, "is a link")] {
        let ran = up(&plans, &[("GROUNDWORK_CACHE", cache)]);
        assert!(ran.code == 1 && ran.stderr.contains(why), "{ran:?}");
        assert!(ran.stderr.contains("GROUNDWORK_CACHE"), "{ran:?}");
    }
    let sandbox = plans.join("sandbox");
    fs::remove_dir_all(&sandbox).expect("removed");
    symlink(&everybody, &sandbox).expect("linked");
    for command in ["up", "down", "status"] {
        let ran = ran_in(&plans, &["sandbox", command, "--dir", "sandbox"]);
        assert!(ran.code == 1 && ran.stderr.contains("is a link") && ran.stderr.contains("--dir"), "{ran:?}");
    }
}

fn ran_in(folder: &Path, arguments: &[&str]) -> Ran {
    ran(program(folder, arguments))
}
