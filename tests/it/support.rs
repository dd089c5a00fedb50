//! A folder with a plan, a sandbox of its own, and the program to run over both.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use groundwork::custody::{Envelope, FileStore, Keyring, Store, pgp};
use groundwork::event::Events;
use groundwork::resource::erased::Kind;
use groundwork::sandbox::{self, Options, Running, Settings};
use groundwork::secret::Secret;
use serde_json::Value;

/// The program's file.
pub const BINARY: &str = env!("CARGO_BIN_EXE_groundwork");

/// The program, allowed nothing: what the person who runs the tests has allowed is out of its sight.
pub fn program() -> Command {
    let mut command = Command::new(BINARY);
    let nothing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nothing-remembered");
    command.env("GROUNDWORK_CONFIG_DIR", nothing).env_remove("GROUNDWORK_TRUST");
    command
}

/// A sandbox and a folder of plans, both gone when the test ends.
pub struct TestEnvironment {
    /// Where plans are; also the program's working directory.
    pub folder: PathBuf,
    /// The servers.
    pub sandbox: Running,
    options: Options,
    temporary: tempfile::TempDir,
}

impl TestEnvironment {
    /// One Vault node, no TLS.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Servers of these settings.
    pub fn with(settings: Settings) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("plans");
        std::fs::create_dir(&folder).expect("a folder for plans");
        let mut options = Options::new(temporary.path().join("sandbox"));
        options.settings = settings;
        options.tied = true;
        let sandbox = block_on(sandbox::up(&options, &Events::default())).expect("the sandbox starts");
        Self { folder, sandbox, options, temporary }
    }

    /// Writes a file beside the plans.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path
    }

    /// The program with these arguments, led to the sandbox.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(&self.folder).env("NO_COLOR", "1").env_remove("CI");
        self.sandbox.apply_to(&mut command);
        command.env("GROUNDWORK_CONFIG_DIR", self.config());
        command
    }

    /// An age key in a file beside the plans.
    pub fn identity_file(&self, identity: &age::x25519::Identity) -> PathBuf {
        let identity = secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        let file = self.write("identity", &identity);
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&file, private).expect("private");
        file
    }

    /// Allows a plan something from now on: `--trust vault=…`, `--env NAME`.
    pub fn allow(&self, plan: &str, grants: &[&str]) {
        let ran = self.run(&[&["trust", plan], grants].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    /// The caller's own folder for the program.
    pub fn config(&self) -> PathBuf {
        self.temporary.path().join("config")
    }

    /// A client that trusts the sandbox's authority.
    pub fn http(&self) -> reqwest::Client {
        let mut builder = reqwest::Client::builder();
        if let Some(ca) = self.sandbox.ca_cert() {
            let pem = std::fs::read(ca).expect("the authority");
            builder = builder.tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("a certificate")]);
        }
        builder.build().expect("a client")
    }

    /// The interpreter that runs the emulator, and where its packages are.
    pub fn python(&self) -> (PathBuf, String) {
        let pids = self.sandbox.pids();
        let pid =
            pids.iter().find(|(name, _)| name == "aws").map(|(_, pid)| *pid).expect("the emulator runs");
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).expect("its program");
        let variables = std::fs::read_to_string(format!("/proc/{pid}/environ")).expect("its environment");
        let modules = variables.split('\0').find_map(|variable| variable.strip_prefix("PYTHONPATH="));
        (program, modules.expect("its packages").to_owned())
    }

    /// Whether the first Vault node has been initialised.
    pub fn vault_is_initialised(&self) -> bool {
        let url = format!("{}/v1/sys/init", self.sandbox.vault_addrs()[0]);
        let request = self.http().get(url);
        let answer: Value =
            block_on(async { request.send().await.expect("an answer").json().await.expect("JSON") });
        answer["initialized"].as_bool().expect("a boolean")
    }

    /// Kills a server and deletes what it held.
    pub fn lose(&self, server: &str) {
        block_on(sandbox::lose(&self.sandbox.dir(), server, &Events::default())).expect("lost");
    }

    /// Starts what does not run. The servers live as long as what is returned.
    #[must_use]
    pub fn revive(&self) -> Running {
        block_on(sandbox::up(&self.options, &Events::default())).expect("the sandbox starts")
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// `plan --format json`.
    pub fn plan(&self, plan: &str) -> Value {
        let ran = self.run(&["plan", plan, "--format", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// `apply --yes --format json`, which must succeed: the events.
    pub fn apply(&self, plan: &str) -> Vec<Value> {
        let ran = self.run(&["apply", plan, "--yes", "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.events()
    }
}

impl Drop for TestEnvironment {
    fn drop(&mut self) {
        // A server that is already gone is what is wanted.
        let _ = block_on(sandbox::down(&self.sandbox.dir(), true, &Events::default()));
    }
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Ran {
    /// Of a program that gets this on standard input.
    pub fn fed(command: &mut Command, input: impl AsRef<[u8]>) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        child.stdin.take().expect("a pipe").write_all(input.as_ref()).expect("written");
        Self::of(child.wait_with_output().expect("it ends"))
    }

    /// From a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output as one JSON value a line.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }
}

/// The summary event of a run.
pub fn summary(events: &[Value]) -> &Value {
    events.iter().find(|event| event["event"] == "summary").expect("a summary")
}

/// A step of a changeset.
pub fn step<'a>(changeset: &'a Value, id: &str) -> &'a Value {
    let steps = changeset["steps"].as_array().expect("steps");
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {changeset:#}"))
}

/// The paths of a step's changes.
pub fn paths(step: &Value) -> Vec<&str> {
    let changes = step["changes"].as_array().expect("changes");
    changes.iter().map(|change| change["path"].as_str().expect("a path")).collect()
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                _ => found.push(entry.path()),
            }
        }
    }
    found
}

/// Writes a plan with the example of a kind into a folder.
pub fn write_example(kind: &dyn Kind, folder: &Path) -> PathBuf {
    let steps: String = kind.example().trim_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
    let plan = format!(
        "version: 1\nname: example\naws: {{ region: us-east-1 }}\n\
         vault: {{ address: \"http://127.0.0.1:8200\" }}\n\
         custody: {{ recipients: [ {{ kms: alias/example }} ], stores: [ {{ file: custody }} ] }}\n\
         steps:\n{steps}"
    );
    let path = folder.join(format!("{}.yaml", kind.name()));
    std::fs::write(&path, plan).expect("written");
    path
}

/// Copies our templates into a folder, which is made.
pub fn copy_templates(to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    for entry in std::fs::read_dir(templates).expect("templates").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// Runs a future to its end.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// The quickstart plan in a sandbox, with an age recipient beside its KMS key, so that a test can
/// open what custody holds.
pub struct Quickstart {
    /// The sandbox.
    pub environment: TestEnvironment,
    plan: &'static str,
    identity: age::x25519::Identity,
}

impl Quickstart {
    /// Nothing applied yet.
    pub fn new() -> Self {
        Self::of("quickstart.yaml")
    }

    /// As [`Quickstart::new`], of another plan of ours that keeps its admin in custody too.
    pub fn of(plan: &'static str) -> Self {
        Self::with(plan, Settings::default())
    }

    /// As [`Quickstart::of`], with servers of these settings.
    pub fn with(plan: &'static str, settings: Settings) -> Self {
        let identity = age::x25519::Identity::generate();
        let quickstart = Self { environment: TestEnvironment::with(settings), plan, identity };
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(repository.join("plans").join(plan)).expect("a plan of ours");
        quickstart.environment.write(plan, &text);
        copy_templates(&quickstart.environment.folder.join("templates"));
        let age = format!(
            "{{ kms: \"{{{{ custody_key.arn }}}}\" }}, {{ age: {} }}",
            quickstart.identity.to_public()
        );
        quickstart.edit("{ kms: \"{{ custody_key.arn }}\" }", &age);
        quickstart
    }

    /// Applied once.
    pub fn applied() -> Self {
        let quickstart = Self::new();
        quickstart.apply();
        quickstart
    }

    /// Replaces text in the plan.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.environment.folder.join(self.plan);
        let text = std::fs::read_to_string(&path).expect("the plan");
        assert!(text.contains(from), "the plan has no {from:?}");
        std::fs::write(path, text.replace(from, to)).expect("written");
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.environment.run(arguments)
    }

    /// The program with the age key that opens custody, where the KMS key is gone.
    pub fn command_with_identity(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.command(arguments);
        command.env("GROUNDWORK_AGE_IDENTITY", self.environment.identity_file(&self.identity));
        command
    }

    /// The changeset.
    pub fn plan(&self) -> Value {
        self.environment.plan(self.plan)
    }

    /// Applies, successfully: the events.
    pub fn apply(&self) -> Vec<Value> {
        self.environment.apply(self.plan)
    }

    /// Whether Vault has been initialised.
    pub fn vault_is_initialised(&self) -> bool {
        self.environment.vault_is_initialised()
    }

    /// Requests in Vault's audit log that write, logins aside.
    pub fn vault_writes(&self) -> usize {
        let log = self.environment.sandbox.audit_log().expect("an audit log");
        let text = std::fs::read_to_string(log).expect("readable");
        let requests = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        requests
            .filter(|entry| entry["type"] == "request")
            .filter(|entry| {
                ["create", "update", "delete", "patch"].contains(&text_of(&entry["request"]["operation"]))
            })
            .filter(|entry| {
                let path = text_of(&entry["request"]["path"]);
                !path.ends_with("/login") && path != "sys/capabilities-self"
            })
            .count()
    }

    /// A request to Vault as its admin; panics when it is refused.
    pub fn vault(&self, method: &str, path: &str, body: &Value) -> Value {
        let admin = self.admin();
        block_on(async {
            let token =
                self.send("POST", "auth/approle/login", "", &admin).await["auth"]["client_token"].clone();
            let answer = self.send(method, path, text_of(&token), body).await;
            answer["data"].clone()
        })
    }

    /// Begins to make a root token and enters these key shares: what the server says to the last.
    pub fn generate_root(&self, shares: &[String]) -> Value {
        // Newer servers want a token for it.
        let paths = ["sys/generate-root-token", "sys/generate-root"];
        let data =
            |answer: Value| answer.get("data").filter(|data| data.is_object()).cloned().unwrap_or(answer);
        let admin = self.admin();
        block_on(async {
            let login = self.send("POST", "auth/approle/login", "", &admin).await;
            let token = text_of(&login["auth"]["client_token"]);
            let mut last = Value::Null;
            for path in paths {
                let Ok(attempt) = self
                    .try_send("POST", &format!("{path}/attempt"), token, &serde_json::json!({}))
                    .await
                    .map(data)
                else {
                    continue;
                };
                for share in shares {
                    let body = serde_json::json!({ "key": share, "nonce": attempt["nonce"] });
                    last = data(self.send("POST", &format!("{path}/update"), token, &body).await);
                }
                break;
            }
            last
        })
    }

    /// A token of the admin.
    pub fn admin_token(&self) -> String {
        let admin = self.admin();
        self.login(&admin["role_id"], &admin["secret_id"])
    }

    /// A token for an AppRole credential.
    pub fn login(&self, role_id: &Value, secret_id: &Value) -> String {
        let body = serde_json::json!({ "role_id": role_id, "secret_id": secret_id });
        let answer = block_on(self.send("POST", "auth/approle/login", "", &body));
        text_of(&answer["auth"]["client_token"]).to_owned()
    }

    /// A request to Vault with a token, or with none: the response, or the status and the errors.
    pub fn ask_vault(&self, method: &str, path: &str, token: &str, body: &Value) -> Result<Value, String> {
        block_on(self.try_send(method, path, token, body))
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let answer = self.try_send(method, path, token, body).await;
        answer.unwrap_or_else(|refused| panic!("{method} {path}: {refused}"))
    }

    async fn try_send(&self, method: &str, path: &str, token: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}/v1/{path}", self.environment.sandbox.vault_addrs()[0]);
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.environment.http().request(method.clone(), url).header("X-Vault-Token", token);
        if !body.is_null() {
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            request = request.header("Content-Type", kind).body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        match status.is_success() {
            true => Ok(serde_json::from_str(&text).unwrap_or_default()),
            false => Err(format!("{status} {text}")),
        }
    }

    /// The admin's AppRole credential, from custody.
    fn admin(&self) -> Value {
        let (_, object) =
            self.custody().into_iter().find(|(name, _)| name.ends_with("/admin")).expect("an admin");
        let object: Value = serde_json::from_slice(&object).expect("JSON");
        serde_json::json!({ "role_id": object["role_id"], "secret_id": object["secret_id"] })
    }

    /// Everything in custody: names and what they hold.
    pub fn custody(&self) -> Vec<(String, Vec<u8>)> {
        custody_in(&self.environment.folder.join(".groundwork/custody"), &self.identity)
    }

    /// Every secret value that the servers issued or hold, with a name.
    pub fn secrets(&self) -> Vec<(String, Vec<u8>)> {
        let objects = self.custody();
        let object = |end: &str| {
            let found = objects.iter().find(|(name, _)| name.ends_with(end) || name.contains(end));
            found.map_or_else(|| panic!("no {end} in custody"), |(_, bytes)| bytes.clone())
        };
        let json = |end: &str| serde_json::from_slice::<Value>(&object(end)).expect("JSON");
        let key = pgp::KeyPair::from_secret(&Secret::new(object("/pgp-key"))).expect("a key");
        let answer = json("/init");
        let mut secrets = vec![
            ("root token".to_owned(), open(&key, &answer["root_token"])),
            ("admin secret-id".to_owned(), text_of(&json("/admin")["secret_id"]).into()),
            ("access key".to_owned(), text_of(&json("/access-key/")["secret_access_key"]).into()),
        ];
        for (index, message) in answer["keys_base64"].as_array().expect("shares").iter().enumerate() {
            let share = open(&key, message);
            secrets.push((format!("share {} (bytes)", index + 1), hex::decode(&share).expect("hexadecimal")));
            secrets.push((format!("share {}", index + 1), share));
        }
        let database = self.vault("GET", "secret/data/app/database", &Value::Null);
        secrets.push(("password".to_owned(), text_of(&database["data"]["password"]).into()));
        let session = self.vault("GET", "secret/data/app/session", &Value::Null);
        secrets.push(("session key".to_owned(), text_of(&session["data"]["key"]).into()));
        secrets
    }

    /// AWS as its root, past the program.
    fn aws(&self) -> aws_config::SdkConfig {
        crate::aws::config(&self.environment.sandbox)
    }

    /// How many KMS keys there are.
    pub fn aws_keys(&self) -> usize {
        block_on(async {
            let keys = aws_sdk_kms::Client::new(&self.aws()).list_keys().send().await.expect("keys");
            keys.keys().len()
        })
    }

    /// Makes a user that is nobody's.
    pub fn create_user(&self, name: &str) {
        crate::aws::create_user(&self.environment.sandbox, name);
    }

    /// Takes a tag of a user away.
    pub fn untag_user(&self, name: &str, tag: &str) {
        block_on(async {
            let iam = aws_sdk_iam::Client::new(&self.aws());
            iam.untag_user().user_name(name).tag_keys(tag).send().await.expect("untagged");
        });
    }

    /// Suspends a bucket's versioning.
    pub fn suspend_versioning(&self, bucket: &str) {
        use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
        block_on(async {
            let config = aws_sdk_s3::config::Builder::from(&self.aws()).force_path_style(true).build();
            let suspended =
                VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
            let s3 = aws_sdk_s3::Client::from_conf(config);
            s3.put_bucket_versioning()
                .bucket(bucket)
                .versioning_configuration(suspended)
                .send()
                .await
                .expect("suspended");
        });
    }
}

/// Everything in a file store of custody: names and what they hold.
pub fn custody_in(folder: &Path, identity: &age::x25519::Identity) -> Vec<(String, Vec<u8>)> {
    let store = FileStore::new(folder.to_owned());
    let keyring = Keyring { identities: vec![identity.clone()], ..Keyring::default() };
    block_on(async {
        let mut newest = std::collections::BTreeMap::new();
        newest.extend(store.objects("").await.expect("a listing"));
        let mut objects = Vec::new();
        // Only its holder opens a share that was handed out.
        for (name, version) in newest.into_iter().filter(|(name, _)| !name.contains("/holders/")) {
            let bytes = store.read(&name, version).await.expect("readable");
            let envelope: Envelope = serde_json::from_slice(&bytes).expect("an envelope");
            let object = envelope.open(&name, version, &keyring).await.expect("opens");
            objects.push((name, object.expose_bytes().to_vec()));
        }
        objects
    })
}

/// Vault's root token, from what custody holds.
pub fn root_token(objects: &[(String, Vec<u8>)]) -> String {
    opened(objects, "root_token").remove(0)
}

/// What custody holds under one field of the answer to Vault's initialisation: one text or several.
pub fn opened(objects: &[(String, Vec<u8>)], field: &str) -> Vec<String> {
    let object = |end: &str| &objects.iter().find(|(name, _)| name.ends_with(end)).expect("in custody").1;
    let key = pgp::KeyPair::from_secret(&Secret::new(object("/pgp-key").clone())).expect("a key");
    let answer: Value = serde_json::from_slice(object("/init")).expect("JSON");
    let messages = match &answer[field] {
        Value::Array(messages) => messages.clone(),
        Value::Null => Vec::new(),
        message => vec![message.clone()],
    };
    messages.iter().map(|message| String::from_utf8(open(&key, message)).expect("text")).collect()
}

fn open(key: &pgp::KeyPair, message: &Value) -> Vec<u8> {
    key.decrypt(text_of(message)).expect("opened").expose_bytes().to_vec()
}

/// The text of a JSON string; empty for anything else.
pub fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A plan of an initialised Vault in a sandbox, whose root token lives on, so that a test can change and
/// ask what it likes.
pub struct Cluster {
    /// The sandbox.
    pub environment: TestEnvironment,
    name: &'static str,
    identity: age::x25519::Identity,
}

impl Cluster {
    /// Nothing declared yet.
    pub fn new(name: &'static str) -> Self {
        Self::with(name, Settings::default())
    }

    /// As [`Cluster::new`], with servers of these settings.
    pub fn with(name: &'static str, settings: Settings) -> Self {
        let environment = TestEnvironment::with(settings);
        Self { environment, name, identity: age::x25519::Identity::generate() }
    }

    /// Writes the plan: the initialisation and `steps`.
    pub fn declare(&self, steps: &Value) {
        let mut all = serde_json::json!({ "cluster": { "kind": "vault.init", "shares": 1, "threshold": 1 } });
        for (id, step) in steps.as_object().expect("steps") {
            all[id] = step.clone();
        }
        let recipients = [serde_json::json!({ "age": self.recipient() })];
        let custody = serde_json::json!({ "recipients": recipients, "stores": [{ "file": "custody" }] });
        let plan = serde_json::json!({ "version": 1, "name": self.name, "custody": custody, "steps": all });
        self.environment.write("plan.yaml", &plan.to_string());
    }

    /// Changes the plan that was declared.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) {
        let path = self.environment.folder.join("plan.yaml");
        let text = std::fs::read_to_string(path).expect("the plan");
        let mut plan = serde_json::from_str(&text).expect("JSON");
        change(&mut plan);
        self.environment.write("plan.yaml", &plan.to_string());
    }

    /// Runs the program with the key that opens custody.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// The program with these arguments and the key that opens custody.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.environment.command(arguments);
        command.env("GROUNDWORK_AGE_IDENTITY", self.identity_file());
        command
    }

    /// Leads another program to the cluster, with the key that opens custody and with the root token.
    pub fn lead(&self, command: &mut Command) {
        self.environment.sandbox.apply_to(command);
        command.env("GROUNDWORK_CONFIG_DIR", self.environment.config());
        command.env("GROUNDWORK_AGE_IDENTITY", self.identity_file()).env("VAULT_TOKEN", self.root_token());
    }

    /// Who can open what is in custody.
    pub fn recipient(&self) -> String {
        self.identity.to_public().to_string()
    }

    fn identity_file(&self) -> PathBuf {
        self.environment.identity_file(&self.identity)
    }

    /// The changeset.
    pub fn plan(&self) -> Value {
        let ran = self.run(&["plan", "plan.yaml", "--format", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// `apply --yes --format json` and what is given, which must succeed: the events.
    pub fn apply(&self, more: &[&str]) -> Vec<Value> {
        let ran = self.run(&[&["apply", "plan.yaml", "--yes", "--format", "json"], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran.events()
    }

    /// Vault's root token, from custody.
    pub fn root_token(&self) -> String {
        root_token(&self.custody())
    }

    /// What custody holds.
    pub fn custody(&self) -> Vec<(String, Vec<u8>)> {
        custody_in(&self.environment.folder.join("custody"), &self.identity)
    }

    /// What the server answers its root token in a namespace: the status and the body.
    pub fn ask(&self, method: &str, namespace: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = self.root_token();
        let url = format!("{}/v1/{path}", self.environment.sandbox.vault_addrs()[0]);
        block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let request = reqwest::Client::new().request(method, url).header("X-Vault-Token", token);
            let request = request.header("X-Vault-Namespace", namespace).body(body.to_string());
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            (status, serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default())
        })
    }
}
