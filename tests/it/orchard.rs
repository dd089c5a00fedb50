//! The environment of plans/orchard.yaml: two of its stages from nothing to applications that read their
//! secrets, in one account of AWS and with a Vault for each; then one of them goes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::aws;
use crate::iam::iam;
use crate::kms::kms;
use crate::postgres::Postgres;
use crate::support::{Ran, TestEnvironment, block_on, copy_templates, files, summary, text_of};

const PLAN: &str = "orchard.yaml";
const PASSWORD: &str = "password-of-the-database";
/// The public key of a CI, as a job's tokens would be verified with it.
pub const CI_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEboG9ltH0X1yXIe1C+9Fo6Ogno7eI
sIRa3QD7JRdZnoc5Y4sUTpuhTCzZMzIhkGvEpkkakn6C+dGERKxM103puQ==
-----END PUBLIC KEY-----
";

/// A stage and its servers. All stages share the plan's folder and the AWS of the first.
struct Stage<'a> {
    name: &'static str,
    home: &'a TestEnvironment,
    own: &'a TestEnvironment,
}

impl Stage<'_> {
    /// Runs the program for this stage.
    fn run(&self, command: &str, more: &[&str]) -> Ran {
        let file = format!("{}.json", self.name);
        let arguments = [command, PLAN, "--stage", self.name, "--var-file", &file, "--env", "ORCHARD_*"];
        let mut program = self.home.command(&[&arguments, more].concat());
        for (name, value) in self.own.sandbox.environment() {
            if !name.starts_with("AWS_") {
                program.env(name, value);
            }
        }
        program.env("GROUNDWORK_CONFIG_DIR", self.home.config());
        for person in ["ALICE", "BOB"] {
            program.env(format!("ORCHARD_{person}_PASSWORD"), format!("password-of-{person}"));
        }
        program.env("ORCHARD_DATABASE_PASSWORD", PASSWORD);
        Ran::of(program.output().expect("the program starts"))
    }

    fn apply(&self) -> Value {
        let ran = self.run("apply", &["--yes", "--format", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        summary(&ran.events()).clone()
    }

    fn plan(&self) -> Value {
        let ran = self.run("plan", &["--format", "json"]);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("no changeset: {error}\n{ran:?}"))
    }

    /// Asks this stage's Vault: the status and the body.
    fn ask(&self, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/v1/{path}", self.own.sandbox.vault_addrs()[0]);
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.own.http().request(method, url).header("X-Vault-Token", token);
        block_on(async {
            let answer = request.body(body.to_string()).send().await.expect("an answer");
            let status = answer.status().as_u16();
            (status, serde_json::from_str(&answer.text().await.expect("a body")).unwrap_or_default())
        })
    }

    /// What an application was given.
    fn login_of(&self, app: &str) -> Value {
        let file = format!("rendered/orchard/{}/{app}-login.json", self.name);
        let text = std::fs::read_to_string(self.home.folder.join(file)).expect("what was delivered");
        let login: Value = serde_json::from_str(&text).expect("JSON");
        json!({ "role_id": login["role_id"], "secret_id": login["secret_id"] })
    }

    fn token(&self, app: &str) -> String {
        let (status, answer) = self.ask("POST", "auth/approle/login", "", &self.login_of(app));
        assert_eq!(status, 200, "{app}: {answer}");
        text_of(&answer["auth"]["client_token"]).to_owned()
    }

    /// Each application reads its own secrets, and no others.
    fn applications_read(&self) {
        let apps = ["shop", "search", "reports"];
        for app in apps {
            let token = self.token(app);
            for other in apps {
                let (status, answer) =
                    self.ask("GET", &format!("secret/data/{other}/config"), &token, &Value::Null);
                assert_eq!(status, if app == other { 200 } else { 403 }, "{app} reads {other}: {answer}");
                if app == other {
                    assert_eq!(text_of(&answer["data"]["data"]["session_key"]).len(), 32, "{app}");
                }
            }
        }
    }
}

fn environments(postgres: &Postgres) -> [TestEnvironment; 2] {
    let [home, other] = [(), ()].map(|()| TestEnvironment::new());
    let plan = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(PLAN);
    home.write(PLAN, &std::fs::read_to_string(plan).expect("the plan"));
    copy_templates(&home.folder.join("templates"));
    for (stage, own) in [("dev", &home), ("staging", &other)] {
        let given = json!({
            "vault_address": own.sandbox.vault_addrs()[0],
            "ci_key": CI_KEY,
            "database": format!("127.0.0.1:{}", postgres.port),
            "database_exists": true,
        });
        home.write(&format!("{stage}.json"), &given.to_string());
    }
    [home, other]
}

/// What is left of dev: in the account, in the plan's folder, among the person's keys.
fn of_dev(home: &TestEnvironment) -> Vec<String> {
    let buckets = block_on(aws::s3(home).list_buckets().send()).expect("buckets");
    let aliases = block_on(kms(home, "us-east-1").list_aliases().send()).expect("aliases");
    let roles = block_on(iam(home, aws::OWN).list_roles().send()).expect("roles");
    let providers = block_on(iam(home, aws::OWN).list_open_id_connect_providers().send());
    let providers = providers.expect("providers").open_id_connect_provider_list.unwrap_or_default();
    let things = [
        aws::tables(home),
        buckets.buckets.unwrap_or_default().into_iter().filter_map(|bucket| bucket.name).collect(),
        aliases.aliases.unwrap_or_default().into_iter().filter_map(|alias| alias.alias_name).collect(),
        roles.roles.into_iter().map(|role| role.role_name).collect(),
        // The account's one provider is declared by dev alone.
        providers
            .into_iter()
            .filter_map(|provider| provider.arn)
            .map(|arn| format!("{arn} of dev"))
            .collect(),
    ];
    let paths = [home.folder.clone(), home.config()].map(|folder| {
        let below = |path: &PathBuf| path.strip_prefix(&folder).expect("below it").display().to_string();
        files(&folder).iter().map(below).collect::<Vec<_>>()
    });
    let paths = paths.concat().into_iter().filter(|path| path != "dev.json");
    things.concat().into_iter().chain(paths).filter(|name| name.contains("dev")).collect()
}

#[test]
fn stages_stand_work_and_go_one_by_one() {
    let postgres = Postgres::start(PASSWORD);
    let [home, other] = environments(&postgres);
    let dev = Stage { name: "dev", home: &home, own: &home };
    let staging = Stage { name: "staging", home: &home, own: &other };

    // The account at the mail service was there before the plan.
    let by_hand = json!({ "host": "smtp.old.example", "password": "made-by-hand" });
    aws::create_secret(&home, "orchard/dev/mail", &by_hand.to_string(), None);

    for stage in [&dev, &staging] {
        stage.apply();
        stage.applications_read();
        let again = stage.apply();
        assert_eq!((&again["api_calls"]["write"], &again["done"]), (&0.into(), &0.into()), "{again}");
    }

    let adopted: Value = serde_json::from_str(&aws::secret(&home, "orchard/dev/mail")).expect("JSON");
    assert_eq!(adopted, json!({ "host": "smtp.orchard.example", "password": "made-by-hand" }));
    let (status, encrypted) =
        dev.ask("POST", "transit/encrypt/orders", &dev.token("shop"), &json!({ "plaintext": "b3JkZXI=" }));
    assert_eq!(status, 200, "{encrypted}");
    let asked = json!({ "common_name": "api.dev.orchard.example" });
    let (status, issued) = dev.ask("POST", "pki/issue/internal", &dev.token("search"), &asked);
    assert!(status == 200 && text_of(&issued["data"]["certificate"]).starts_with("-----BEGIN"), "{issued}");
    let reports = dev.token("reports");
    let (status, user) = dev.ask("GET", "database/creds/reports", &reports, &Value::Null);
    assert_eq!(status, 200, "{user}");
    let (name, password) = (text_of(&user["data"]["username"]), text_of(&user["data"]["password"]));
    assert_eq!(postgres.query(name, password, "SELECT 1"), Ok("1".to_owned()));
    // The application goes, and with its token the user that it got: Vault removes no engine whose users it
    // cannot take back from the database any longer.
    assert_eq!(dev.ask("POST", "auth/token/revoke-self", &reports, &Value::Null).0, 204);
    let (status, alice) =
        dev.ask("POST", "auth/userpass/login/alice", "", &json!({ "password": "password-of-ALICE" }));
    assert_eq!(status, 200, "{alice}");
    let policies = &alice["auth"]["identity_policies"];
    assert_eq!(*policies, json!(["operators"]), "{alice}");

    // Its Vault is not the program's to remove, and as long as it stands, what opens it stays too.
    let everything = ["--everything", "--confirm", "orchard-dev"];
    let shop = dev.login_of("shop");
    let first = dev.run("destroy", &everything);
    assert!(first.code == 3 && first.stdout.contains("cluster is still there"), "{first:?}");
    assert_ne!(dev.ask("POST", "auth/approle/login", "", &shop).0, 200, "the application's login is gone");
    home.lose("vault-1");
    let _servers = home.revive();
    let second = dev.run("destroy", &everything);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(of_dev(&home), Vec::<String>::new(), "{second:?}");
    let retained: Value = serde_json::from_str(&aws::secret(&home, "orchard/dev/mail")).expect("JSON");
    assert_eq!(retained, adopted, "made before the plan, and declared to outlive it");

    let untouched = staging.plan();
    let summary = &untouched["summary"];
    assert_eq!(
        summary["none"].as_u64(),
        untouched["steps"].as_array().map(|all| all.len() as u64),
        "{summary}"
    );
    let undeclared = untouched["undeclared"].as_array();
    assert!(undeclared.is_none_or(Vec::is_empty), "{undeclared:#?}");
    staging.applications_read();
}
