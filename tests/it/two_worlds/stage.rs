//! The servers, what the trusted plan and others have put there, and the worlds that a relay makes of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use crate::aws;
use crate::relay::Relay;
use crate::support::{Cluster, Ran, block_on, text_of};

/// What stands for a secret value where the servers keep it.
#[derive(Clone, Debug)]
pub struct Token {
    pub name: &'static str,
    /// What the servers hold.
    pub text: String,
    /// Within how many JSON texts it stands where a server tells it.
    pub depth: usize,
    /// Whether a template puts it into a line.
    pub in_line: bool,
}

/// Variables, files and values that the trusted plan reads; each has a value in each world.
const VARIABLES: [(&str, usize); 4] = [("W_OUTSIDE", 1), ("W_DOC", 2), ("W_TEXT", 1), ("W_PARAMETER", 1)];
/// Those that only hostile plans name, as bytes of any kind.
pub const RAW: &str = "W_RAW";
const FORMATS: [&str; 4] = ["human", "json", "markdown", "html"];
const TRUSTED: &str = "env=W_*";

/// The servers with what the trusted plan and others have put there.
pub struct Stage {
    pub cluster: Cluster,
    pub relay: Arc<Relay>,
    vault: String,
    aws: String,
    root: String,
    pub tokens: Vec<Token>,
    pub steps: Map<String, Value>,
}

/// The values of one world, by token, and the bytes that only hostile plans name.
#[derive(Clone, Debug)]
pub struct World {
    pub values: BTreeMap<&'static str, String>,
    pub raw: Vec<u8>,
}

/// Everything that a run shows, by what was run.
pub type Shown = Vec<(String, String)>;

impl Stage {
    pub fn new() -> Self {
        let cluster = Cluster::new("two-worlds");
        let relay = Arc::new(Relay::default());
        let vault = relay.start(&cluster.environment.sandbox.vault_addrs()[0]);
        let aws = relay.start(&cluster.environment.sandbox.aws_url());
        let steps = trusted_steps();
        let mut stage = Self { cluster, relay, vault, aws, root: String::new(), tokens: Vec::new(), steps };
        stage.tokens =
            VARIABLES.map(|(name, depth)| token(name, format!("wsecret-{name}-0001"), depth)).into();
        stage.tokens.push(token("file", "wsecret-file-0002".to_owned(), 1));
        stage.cluster.environment.write("guess.txt", GUESS);
        let world = stage.as_held();
        stage.set(&world);
        stage.cluster.declare(&Value::Object(stage.steps.clone()));
        let ran = stage.run(&world, &["apply", "plan.yaml", "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        stage.root = stage.cluster.root_token();
        stage.find_generated();
        stage.add_foreign();
        stage
    }

    /// Values that were made by the trusted plan.
    fn find_generated(&mut self) {
        let ask = |path: &str| self.cluster.ask("GET", "", path, &Value::Null).1["data"]["data"].clone();
        let own = ask("secret/data/own");
        let keys = ask("secret/data/keys");
        let document: Value =
            serde_json::from_str(&aws::secret(&self.cluster.environment, "own/document")).expect("JSON");
        let nested: Value = serde_json::from_str(text_of(&own["doc"])).expect("JSON");
        let mut add = |name, value: &Value, depth| {
            assert!(text_of(value).len() > 16, "{name} was not made");
            self.tokens.push(Token { in_line: true, ..token(name, text_of(value).to_owned(), depth) });
        };
        add("password", &own["password"], 1);
        add("nested", &nested["key"], 2);
        add("document", &document["password"], 2);
        add("access-key", &keys["aws_secret_access_key"], 1);
        self.tokens.retain(|token| token.name != "access-key");
        let (id, key) = (text_of(&keys["aws_access_key_id"]), text_of(&keys["aws_secret_access_key"]));
        let sink =
            json!({ "data": { "aws_access_key_id": id, "aws_secret_access_key": "wsecret-sink-0003" } });
        assert_eq!(self.cluster.ask("POST", "", "secret/data/sink", &sink).0, 200);
        self.tokens.push(Token {
            name: "sink",
            text: "wsecret-sink-0003".to_owned(),
            depth: 1,
            in_line: true,
        });
        KEY.set(key.to_owned()).unwrap_or_default();
    }

    /// Things of others.
    fn add_foreign(&mut self) {
        let environment = &self.cluster.environment;
        for (path, data) in [
            ("foreign-one", json!({ "password": "wsecret-kv-0004", "user": "app" })),
            ("foreign-two", json!({ "a": "wsecret-kv-0004", "doc": "wsecret-whole-0005" })),
        ] {
            let (status, answer) =
                self.cluster.ask("POST", "", &format!("secret/data/{path}"), &json!({ "data": data }));
            assert_eq!(status, 200, "{answer}");
        }
        let plan = "two-worlds";
        aws::create_secret(environment, "foreign/text", "wsecret-text-0006", None);
        aws::create_secret(environment, "foreign/marked", "wsecret-text-0006", Some(plan));
        aws::put_parameter(environment, "/foreign/secure", "wsecret-parameter-0007", true);
        aws::put_parameter(environment, "/foreign/plain", "wsecret-parameter-0007", false);
        block_on(aws::s3(environment).create_bucket().bucket("two-worlds").send()).expect("a bucket");
        aws::put_object(environment, "two-worlds", "foreign", "wsecret-object-0008");
        let more = [
            ("kv", "wsecret-kv-0004", 1),
            ("whole", "wsecret-whole-0005", 1),
            ("text", "wsecret-text-0006", 1),
            ("parameter", "wsecret-parameter-0007", 1),
            ("object", "wsecret-object-0008", 0),
            ("local", "wsecret-local-0009", 0),
        ];
        self.tokens.extend(more.map(|(name, text, depth)| token(name, text.to_owned(), depth)));
    }

    /// The world in which every value is what the servers hold.
    pub fn as_held(&self) -> World {
        let values = self.tokens.iter().map(|token| (token.name, token.text.clone())).collect();
        World { values, raw: b"raw".to_vec() }
    }

    /// Puts a world in place: files, and what the servers tell.
    pub fn set(&self, world: &World) {
        let environment = &self.cluster.environment;
        environment.write("filed.key", &world.values["file"]);
        environment.write("foreign.conf", world.values.get("local").map_or("", String::as_str));
        std::fs::write(environment.folder.join("raw.key"), &world.raw).expect("written");
        let replaced = self.tokens.iter().map(|token| {
            let mut value = world.values[token.name].clone();
            for _ in 0..token.depth {
                let quoted = Value::from(value).to_string();
                value = quoted[1..quoted.len() - 1].into();
            }
            (token.text.clone(), value)
        });
        self.relay.replace(replaced.collect());
    }

    fn command(&self, world: &World, arguments: &[&str]) -> Command {
        let mut command = self.cluster.command(arguments);
        command.env("VAULT_ADDR", &self.vault).env_remove("GROUNDWORK_VAULT_NODES");
        command
            .env("AWS_ENDPOINT_URL", &self.aws)
            .env("GROUNDWORK_TRUST", format!("{TRUSTED},vault={},node={}", self.vault, self.vault));
        for (name, _) in VARIABLES {
            command.env(name, &world.values[name]);
        }
        command.env(RAW, OsString::from_vec(world.raw.clone()));
        if !self.root.is_empty() {
            command.env("VAULT_TOKEN", &self.root);
        }
        command
    }

    pub fn run(&self, world: &World, arguments: &[&str]) -> Ran {
        Ran::of(self.command(world, arguments).output().expect("the program starts"))
    }

    /// Everything that the plan shows in a world, the requests included.
    pub fn look(&self, world: &World) -> Shown {
        self.set(world);
        self.relay.take();
        let saved = self.cluster.environment.folder.join("saved.json");
        let mut all: Vec<Vec<&str>> =
            FORMATS.iter().map(|format| vec!["plan", "plan.yaml", "--format", format]).collect();
        all[0].push("--full");
        all.push(vec!["plan", "plan.yaml", "--out", "saved.json"]);
        // Which steps share a request is a matter of time where several are observed at once.
        for arguments in &mut all {
            arguments.extend(["--parallelism", "1"]);
        }
        all.push(vec!["validate", "plan.yaml"]);
        // Each command writes the file with the identity anew, which a program that runs must not see.
        let commands: Vec<_> =
            all.iter().map(|arguments| (arguments.join(" "), self.command(world, arguments))).collect();
        let start = |(what, mut command): (String, Command)| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            (what, command.spawn().expect("the program starts"))
        };
        let started: Vec<_> = commands.into_iter().map(start).collect();
        let mut shown = Shown::new();
        for (what, child) in started {
            let ran = Ran::of(child.wait_with_output().expect("it ends"));
            shown.push((what, format!("exit code {}\n{}\n{}", ran.code, ran.stdout, ran.stderr)));
        }
        shown.push(("saved.json".to_owned(), without_time(&std::fs::read(&saved).unwrap_or_default())));
        let _ = std::fs::remove_file(saved);
        shown.push(("requests".to_owned(), self.relay.take().join("\n")));
        shown
    }
}

/// A saved changeset without the time at which it was made, and the seal over that.
fn without_time(saved: &[u8]) -> String {
    let mut saved: Value = serde_json::from_slice(saved).unwrap_or_default();
    for name in ["created_at", "seal"] {
        saved.as_object_mut().and_then(|fields| fields.shift_remove(name));
    }
    format!("{saved:#}")
}

/// The secret half of the access key that the trusted plan made.
pub static KEY: OnceLock<String> = OnceLock::new();

fn token(name: &'static str, text: String, depth: usize) -> Token {
    Token { name, text, depth, in_line: false }
}

/// A guess that the files of hostile plans have.
pub const GUESS: &str = "correct-horse-battery";

/// What somebody has approved and applied.
fn trusted_steps() -> Map<String, Value> {
    let steps = json!({
        "secret": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "own": { "kind": "vault.kv_secret", "mount": "secret", "path": "own", "data": {
            "user": "app",
            "password": { "generate": { "length": 32 } },
            "outside": { "env": "W_OUTSIDE" },
            "filed": { "file": "filed.key" },
            "uri": { "template": "db://{{ data.user }}:{{ data.password }}@host" },
            "doc": { "json": { "key": { "generate": {} }, "outside": { "env": "W_DOC" } } },
        } },
        "document": { "kind": "aws.secret", "name": "own/document", "data": {
            "user": "app", "password": { "generate": { "length": 32 } }, "outside": { "env": "W_DOC" },
            "uri": { "template": "db://{{ data.user }}:{{ data.password }}@host" },
        } },
        "text": { "kind": "aws.secret", "name": "own/text", "value": { "env": "W_TEXT" } },
        "parameter": { "kind": "aws.ssm_parameter", "name": "/own/secure", "type": "secure_string",
            "value": { "env": "W_PARAMETER" } },
        "ci": { "kind": "aws.iam_user", "name": "ci" },
        "key": { "kind": "aws.iam_access_key", "user": "ci",
            "deliver": [{ "vault_kv": { "mount": "secret", "path": "keys" } }] },
    });
    steps.as_object().cloned().expect("steps")
}
