//! `verify` proves what stands, finds what was sabotaged, accuses nobody else, and leaves nothing behind.

mod aws;
mod nodes;
pub mod plan;
mod production;
mod sabotage;

use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::support::{Cluster, Ran, text_of};
use plan::{Issuer, everything};

/// What a run of `verify --format json` says.
#[derive(Debug)]
struct Verified {
    code: i32,
    report: Value,
}

impl Verified {
    fn of(ran: &Ran) -> Self {
        let report = serde_json::from_str(&ran.stdout);
        Self { code: ran.code, report: report.unwrap_or_else(|error| panic!("no report: {error}\n{ran:?}")) }
    }

    /// The findings with this outcome, as `STEP: TRIED`.
    fn with(&self, outcome: &str) -> Vec<String> {
        let steps = self.report["steps"].as_array().expect("steps").iter();
        let findings = steps.flat_map(|step| step["findings"].as_array().expect("findings"));
        let found = findings.filter(|finding| finding["outcome"] == outcome);
        found
            .map(|finding| format!("{}: {}", text_of(&finding["step"]), text_of(&finding["tried"])))
            .collect()
    }

    /// The steps that fail.
    fn accused(&self) -> Vec<String> {
        let steps = self.report["steps"].as_array().expect("steps").iter();
        let failed = steps.filter(|step| {
            step["findings"].as_array().is_some_and(|all| all.iter().any(|one| one["outcome"] == "failed"))
        });
        failed.map(|step| text_of(&step["id"]).to_owned()).collect()
    }

    fn proves(&self, step: &str, tried: &str) -> bool {
        self.with("proven").iter().any(|one| one.starts_with(&format!("{step}: ")) && one.contains(tried))
    }
}

fn verify(cluster: &Cluster, more: &[&str]) -> Verified {
    Verified::of(&cluster.run(&[&["verify", "plan.yaml", "--format", "json"], more].concat()))
}

/// The ids of everything short-lived that the server knows: tokens by accessor, secret-ids by role, leases.
fn alive(cluster: &Cluster) -> Value {
    let list = |path: &str| cluster.ask("LIST", "", path, &Value::Null).1["data"]["keys"].clone();
    json!({
        "tokens": list("auth/token/accessors"),
        "app": list("auth/approle/role/app/secret-id"),
        "short": list("auth/approle/role/short/secret-id"),
        "leases": list("sys/leases/lookup"),
    })
}

#[test]
fn sabotage_is_found_at_its_step_and_nowhere_else() {
    let cluster = Cluster::new("verify");
    let issuer = Issuer::new();
    plan::write_files(&cluster.environment);
    cluster.environment.write("pod.jwt", &issuer.token("vault"));
    cluster.declare(&everything(&issuer.public_key()));
    cluster.apply(&[]);
    let before = alive(&cluster);

    let without = verify(&cluster, &[]);
    assert_eq!(without.code, 3, "{:#}", without.report);
    assert_eq!(without.with("untried"), ["alice: logs in", "pods: logs in"]);
    let given = ["--credential", "alice=alice.password", "--credential", "pods=pod.jwt"];
    let green = verify(&cluster, &given);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert_eq!(alive(&cluster), before, "nothing is left behind");
    for (step, tried) in [
        ("cluster", "its node serves"),
        ("cluster", "key shares open"),
        ("reader", "allowed on"),
        ("reader", "reads `secret/data/app/db`"),
        ("reader", "is refused `secret/data/elsewhere/key`"),
        ("reader", "lists `secret/metadata/app`"),
        ("writer", "is refused the list of `secret/metadata/app`"),
        ("writer", "allowed on"),
        ("app_role", "logs in"),
        ("app_role", "the TTL of its token"),
        ("app_role", "the maximum TTL of its token"),
        ("app_role", "its policies"),
        ("short_role", "how often its token can be used"),
        ("database", "is there, version 1, owner team, type database"),
        ("team_reader", "reads `secret/data/key`"),
        ("team_reader", "is refused `secret/data/key-beside`"),
        ("cipher", "encrypts and decrypts"),
        ("signer", "signs and verifies"),
        ("hasher", "makes an HMAC and verifies it"),
        ("authority", "its certificate is good for 36"),
        ("hosts", "issues a certificate for a minute"),
        ("hosts", "revokes it"),
        ("words", "makes a password"),
        ("operators", "signs a key for a minute"),
        ("hosts_ssh", "signs a key for a minute"),
        ("once", "makes a password for one login, which is used up"),
        ("codes", "gives a code of 6 digits"),
        ("jobs", "makes a token"),
        ("jobs", "is refused a policy that is not allowed"),
        ("alice", "logs in"),
        ("alice", "the TTL of its token"),
        ("pods", "logs in"),
        ("custody", "open"),
    ] {
        assert!(green.proves(step, tried), "{step}: {tried} is not among {:#?}", green.with("proven"));
    }
    println!("one green verification: {} in {} ms", green.report["api_calls"], green.report["ms"]);

    for sabotage in sabotage::table(&cluster) {
        let what = sabotage.to_string();
        sabotage.does(&cluster);
        let found = verify(&cluster, &given);
        assert_eq!(found.code, 1, "{what}: {:#}", found.report);
        assert_eq!(found.accused(), [sabotage.step], "{what}: {:#}", found.report["steps"]);
        let failed = found.with("failed");
        for trial in &sabotage.shows {
            let trial = format!("{}: {trial}", sabotage.step);
            assert!(
                failed.iter().any(|one| one.starts_with(&trial)),
                "{what}: no {trial:?} among {failed:#?}"
            );
        }
        sabotage.is_undone(&cluster);
    }
    let green = verify(&cluster, &given);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert_eq!(alive(&cluster), before, "nothing is left behind");

    let (status, answer) = cluster.ask("PUT", "", "sys/seal", &Value::Null);
    assert!((200..300).contains(&status), "{status} {answer}");
    let sealed = verify(&cluster, &given);
    assert_eq!((sealed.code, sealed.accused()), (1, vec!["cluster".to_owned()]), "{:#}", sealed.report);
    assert_eq!(cluster.run(&["unseal", "plan.yaml"]).code, 0);

    let load = verify(&cluster, &["database", "--load"]);
    assert_eq!(load.code, 0, "{:#}", load.report);
    let measured = &load.report["load"]["vault"];
    assert!(measured["reads"].as_u64().is_some_and(|reads| (1..=5_000).contains(&reads)), "{measured}");
    println!("{measured}, {}", load.report["machine"]);
}

#[test]
fn database_user_is_made_and_ends() {
    let database = Postgres::start("over-and-out");
    let cluster = Cluster::new("verify-database");
    cluster.environment.write("database.password", "over-and-out");
    cluster.declare(&json!({
        "engine": { "kind": "vault.mount", "path": "database", "type": "database" },
        "orders": {
            "kind": "vault.database_connection", "name": "orders", "plugin_name": "postgresql-database-plugin",
            "connection_url": format!(
                "postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{}/postgres?sslmode=disable", database.port
            ),
            "username": "vault", "password": { "file": "database.password" }, "allowed_roles": ["app"],
        },
        "app": {
            "kind": "vault.database_role", "name": "app", "db_name": "orders", "needs": ["orders"],
            "creation_statements": ["CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"],
        },
    }));
    cluster.apply(&[]);
    let users = || database.query("vault", "over-and-out", "SELECT count(*) FROM pg_roles WHERE rolcanlogin");
    let before = users();
    let green = verify(&cluster, &[]);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert!(green.proves("app", "makes a user of the database, who ends again"), "{:#}", green.report);
    // Vault ends a lease by and by.
    let begun = std::time::Instant::now();
    while users() != before {
        assert!(begun.elapsed().as_secs() < 60, "the user is gone: {:?}", users());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }

    database.query("vault", "over-and-out", "ALTER ROLE vault NOCREATEROLE NOSUPERUSER").expect("altered");
    let found = verify(&cluster, &[]);
    assert_eq!(found.accused(), ["app"], "{:#}", found.report);
}
