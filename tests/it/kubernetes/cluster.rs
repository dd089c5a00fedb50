//! A sandbox with a Kubernetes API server, a plan for it, and a stranger's way to its objects.

use groundwork::sandbox::{Extra, Host, Settings};
use serde_json::{Value, json};

use crate::support::{Ran, TestEnvironment, block_on};

/// Set where the tests must not leave anything out, as in CI.
const REQUIRED: &str = "GROUNDWORK_REQUIRE_KUBERNETES";

/// Whether tests with a Kubernetes API server are left out, because Go, which builds it, is missing; says so.
pub fn is_left_out(what: &str) -> bool {
    if Host::from_env().find("go").is_some() {
        return false;
    }
    assert!(std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set and there is no Go on PATH for {what}");
    println!("left out, because there is no Go on PATH: {what}");
    true
}

/// A stranger's way to the objects of a sandbox's API server, as its administrator.
pub struct ApiServer {
    config: Value,
    http: reqwest::Client,
}

impl ApiServer {
    /// That of a sandbox.
    pub fn of(environment: &TestEnvironment) -> Self {
        use base64::Engine;
        use base64::prelude::BASE64_STANDARD;

        let path = environment.sandbox.kubeconfig().expect("a kubeconfig");
        let config: Value = serde_json::from_slice(&std::fs::read(path).expect("read")).expect("JSON");
        let part = |value: &Value| BASE64_STANDARD.decode(value.as_str().expect("base64")).expect("base64");
        let user = &config["users"][0]["user"];
        let mut pem = part(&user["client-certificate-data"]);
        pem.extend(part(&user["client-key-data"]));
        let authority = part(&config["clusters"][0]["cluster"]["certificate-authority-data"]);
        let authority = reqwest::Certificate::from_pem(&authority).expect("a certificate");
        let identity = reqwest::Identity::from_pem(&pem).expect("an identity");
        let http = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .tls_certs_only([authority])
            .identity(identity);
        Self { config, http: http.build().expect("a client") }
    }

    /// The server's address.
    pub fn url(&self) -> &str {
        self.config["clusters"][0]["cluster"]["server"].as_str().expect("a server")
    }

    /// The administrator's kubeconfig.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Asks the server as its administrator: the status and the body.
    pub fn ask(&self, method: &str, path: &str, media: &str, body: &Value) -> (u16, Value) {
        block_on(async {
            let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
            let request = self.http.request(method, format!("{}/{path}", self.url()));
            let request = request.header("Content-Type", media).body(if body.is_null() {
                String::new()
            } else {
                body.to_string()
            });
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            (status, serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default())
        })
    }

    /// An object, which must exist.
    pub fn get(&self, path: &str) -> Value {
        let (status, object) = self.ask("GET", path, "application/json", &Value::Null);
        assert_eq!(status, 200, "{path}: {object}");
        object
    }

    /// Whether there is such an object.
    pub fn exists(&self, path: &str) -> bool {
        self.ask("GET", path, "application/json", &Value::Null).0 == 200
    }

    /// Creates an object.
    pub fn create(&self, collection: &str, object: &Value) -> Value {
        let (status, told) = self.ask("POST", collection, "application/json", object);
        assert_eq!(status, 201, "{told}");
        told
    }

    /// Changes an object as `kubectl edit` does.
    pub fn edit(&self, path: &str, patch: &Value) -> Value {
        let path = format!("{path}?fieldManager=kubectl-edit");
        let (status, told) = self.ask("PATCH", &path, "application/merge-patch+json", patch);
        assert_eq!(status, 200, "{told}");
        told
    }

    /// A token of a service account, created where it is missing.
    pub fn token(&self, namespace: &str, name: &str) -> String {
        let collection = format!("api/v1/namespaces/{namespace}/serviceaccounts");
        if !self.exists(&format!("{collection}/{name}")) {
            self.create(&collection, &json!({ "metadata": { "name": name } }));
        }
        self.token_for(namespace, name, &Value::Null)
    }

    /// A token of a service account for these audiences; `null` for the server itself.
    pub fn token_for(&self, namespace: &str, name: &str, audiences: &Value) -> String {
        let path = format!("api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({ "spec": { "audiences": audiences, "expirationSeconds": 3600 } });
        self.create(&path, &request)["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Deletes an object, which must exist.
    pub fn delete(&self, path: &str) {
        let (status, told) = self.ask("DELETE", path, "application/json", &Value::Null);
        assert!(status < 300, "{path}: {told}");
    }
}

/// A sandbox with an API server.
pub struct KubeCluster {
    pub environment: TestEnvironment,
    server: ApiServer,
}

impl std::ops::Deref for KubeCluster {
    type Target = ApiServer;

    fn deref(&self) -> &ApiServer {
        &self.server
    }
}

impl KubeCluster {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Beside servers of these settings.
    pub fn with(settings: Settings) -> Self {
        let environment = TestEnvironment::with(Settings { with: [Extra::Kubernetes].into(), ..settings });
        let server = ApiServer::of(&environment);
        Self { environment, server }
    }

    /// A kubeconfig beside the plan with this user instead of the administrator.
    pub fn config_of(&self, name: &str, user: &Value) -> std::path::PathBuf {
        let mut config = self.config.clone();
        config["users"][0]["user"] = user.clone();
        self.environment.write(name, &config.to_string())
    }

    /// Writes the plan `NAME.yaml`.
    pub fn declare(&self, name: &str, steps: &Value) {
        let plan = json!({ "version": 1, "name": name, "steps": steps });
        self.environment.write(&format!("{name}.yaml"), &plan.to_string());
    }

    /// The changeset of a plan.
    pub fn plan(&self, name: &str) -> Value {
        self.environment.plan(&format!("{name}.yaml"))
    }

    /// Applies a plan, which must succeed: the events.
    pub fn apply(&self, name: &str) -> Vec<Value> {
        self.environment.apply(&format!("{name}.yaml"))
    }

    /// Runs the program.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.environment.run(arguments)
    }
}
