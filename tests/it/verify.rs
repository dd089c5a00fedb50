//! `verify` proves what stands, finds what was sabotaged, accuses nobody else, and leaves nothing behind.

use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use crate::canary::leaks;
use crate::postgres::Postgres;
use crate::support::{Cluster, Quickstart, Ran, files, text_of};

/// What a run of `verify --format json` says.
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

/// A plan with something of everything that Vault proves.
fn everything(issuer_key: &str) -> Value {
    json!({
        "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "approle": { "kind": "vault.auth_method", "type": "approle" },
        "reader": { "kind": "vault.policy", "name": "reader", "rules": {
            "secret/data/app/*": ["read"],
            "secret/metadata/app/*": ["read", "list"],
            "sys/mounts": ["read"],
        } },
        "writer": { "kind": "vault.policy", "name": "writer", "rules": {
            "secret/data/app/db": ["create", "update"], "secret/data/app/+/x": ["deny"],
        } },
        "app_role": {
            "kind": "vault.approle_role", "name": "app", "token_policies": ["reader", "writer"],
            "token_ttl": "20m", "token_max_ttl": "1h", "secret_id_ttl": "10m", "secret_id_num_uses": 5,
        },
        "short_role": {
            "kind": "vault.approle_role", "name": "short", "token_policies": ["reader"], "token_ttl": "5m",
            "token_num_uses": 3, "token_no_default_policy": true, "secret_id_ttl": "10s",
        },
        "database": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "app/db",
            "data": { "password": { "generate": { "length": 24 } } },
            "metadata": { "owner": "team", "type": "database", "rotation_days": 90 },
        },
        "other": {
            "kind": "vault.kv_secret", "mount": "secret", "path": "elsewhere/key",
            "data": { "key": { "generate": { "length": 24 } } },
        },
        "team": { "kind": "vault.namespace", "name": "team" },
        "team_kv": { "kind": "vault.mount", "namespace": "team", "path": "secret", "type": "kv", "version": 2 },
        "team_reader": {
            "kind": "vault.policy", "namespace": "team", "name": "reader",
            "rules": { "secret/data/key": ["read"] },
        },
        "team_secret": {
            "kind": "vault.kv_secret", "namespace": "team", "mount": "secret", "path": "key",
            "data": { "key": { "generate": { "length": 24 } } },
        },
        "transit": { "kind": "vault.mount", "path": "transit", "type": "transit" },
        "cipher": { "kind": "vault.transit_key", "name": "cipher", "derived": true },
        "signer": { "kind": "vault.transit_key", "name": "signer", "type": "ed25519" },
        "hasher": { "kind": "vault.transit_key", "name": "hasher", "type": "hmac", "key_size": 32 },
        "pki": { "kind": "vault.mount", "path": "pki", "type": "pki", "max_lease_ttl": "9000h" },
        "authority": { "kind": "vault.pki_ca", "mount": "pki", "name": "root", "common_name": "Test", "ttl": "8760h" },
        "hosts": {
            "kind": "vault.pki_role", "mount": "pki", "name": "hosts", "allowed_domains": ["example.internal"],
            "allow_subdomains": true, "key_type": "ec", "key_bits": 256, "needs": ["authority"],
        },
        "words": {
            "kind": "vault.password_policy", "name": "words",
            "policy": "length = 20\nrule \"charset\" { charset = \"abcdefghij\" }\n",
        },
        "jobs": { "kind": "vault.token_role", "name": "jobs", "allowed_policies": ["reader"], "orphan": true },
        "people": { "kind": "vault.auth_method", "type": "userpass" },
        "alice": {
            "kind": "vault.userpass_user", "name": "alice", "password": { "file": "alice.password" },
            "token_policies": ["reader"], "token_ttl": "8h",
        },
        "jwt": { "kind": "vault.auth_method", "type": "jwt" },
        "issuer": { "kind": "vault.jwt_auth", "jwt_validation_pubkeys": [issuer_key] },
        "pods": {
            "kind": "vault.jwt_role", "name": "pods", "role_type": "jwt", "user_claim": "sub",
            "bound_audiences": ["vault"], "token_policies": ["reader"], "token_ttl": "10m", "needs": ["issuer"],
        },
    })
}

/// An issuer of JSON web tokens.
struct Issuer(rcgen::KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(rcgen::KeyPair::generate().expect("a key"))
    }

    /// A token for this audience, good for an hour (RFC 7515, ES256).
    fn token(&self, audience: &str) -> String {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
        use base64::Engine as _;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let now = jiff::Timestamp::now().as_second();
        let claims = json!({ "sub": "pod", "aud": audience, "iat": now, "exp": now + 3600 });
        let signed = format!(
            "{}.{}",
            encode(json!({ "alg": "ES256", "typ": "JWT" }).to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &self.0.serialize_der());
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = key.expect("a key").sign(&random, signed.as_bytes()).expect("signed");
        format!("{signed}.{}", encode(signature.as_ref()))
    }
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
    cluster.environment.write("alice.password", "correct-horse-battery\n");
    cluster.environment.write("pod.jwt", &issuer.token("vault"));
    cluster.declare(&everything(&issuer.0.public_key_pem()));
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

    let policy = |text: &str| json!({ "policy": text });
    let policies = "sys/policies/acl/reader";
    let declared = cluster.ask("GET", "", policies, &Value::Null).1["data"]["policy"].clone();
    let role = "auth/approle/role/app";
    let post = |path: &'static str, body: Value| ("POST", path, body);
    let value = cluster.ask("GET", "", "secret/data/app/db", &Value::Null).1["data"]["data"].clone();
    let entity = app_entity(&cluster);
    let rows: Vec<(&str, (&str, &str, Value), (&str, &str, Value))> = vec![
        (
            "reader",
            post(
                policies,
                policy(&format!(
                    "{}\npath \"secret/data/*\" {{ capabilities = [\"read\"] }}",
                    text_of(&declared)
                )),
            ),
            post(policies, policy(text_of(&declared))),
        ),
        (
            "reader",
            post(policies, policy("path \"secret/data/app/*\" { capabilities = [\"read\"] }")),
            post(policies, policy(text_of(&declared))),
        ),
        ("app_role", post(role, json!({ "token_ttl": "19m" })), post(role, json!({ "token_ttl": "20m" }))),
        (
            "app_role",
            post(role, json!({ "token_max_ttl": "2h" })),
            post(role, json!({ "token_max_ttl": "1h" })),
        ),
        (
            "app_role",
            post(role, json!({ "token_policies": ["reader"] })),
            post(role, json!({ "token_policies": ["reader", "writer"] })),
        ),
        (
            "app_role",
            post(role, json!({ "token_bound_cidrs": ["192.0.2.0/24"] })),
            post(role, json!({ "token_bound_cidrs": [] })),
        ),
        (
            "database",
            ("DELETE", "secret/data/app/db", Value::Null),
            post("secret/undelete/app/db", json!({ "versions": [1] })),
        ),
        (
            "database",
            post("secret/data/app/db", json!({ "data": {} })),
            post("secret/data/app/db", json!({ "data": value })),
        ),
        (
            "app_role",
            post(
                "identity/group/name/strays",
                json!({ "policies": ["writer-of-all"], "member_entity_ids": [entity] }),
            ),
            ("DELETE", "identity/group/name/strays", Value::Null),
        ),
        (
            "alice",
            post("auth/userpass/users/alice/password", json!({ "password": "another-password" })),
            post("auth/userpass/users/alice/password", json!({ "password": "correct-horse-battery" })),
        ),
        (
            "pods",
            post("auth/jwt/role/pods", jwt_role("elsewhere")),
            post("auth/jwt/role/pods", jwt_role("vault")),
        ),
        (
            "hosts",
            post("pki/roles/hosts", pki_role("example.org")),
            post("pki/roles/hosts", pki_role("example.internal")),
        ),
        (
            "jobs",
            post("auth/token/roles/jobs", json!({ "orphan": false })),
            post("auth/token/roles/jobs", json!({ "orphan": true })),
        ),
        (
            "kv",
            post("sys/mounts/secret/tune", json!({ "description": "changed" })),
            post("sys/mounts/secret/tune", json!({ "description": "" })),
        ),
        (
            "approle",
            post("sys/auth/approle/tune", json!({ "max_lease_ttl": "2m" })),
            post("sys/auth/approle/tune", json!({ "max_lease_ttl": "0" })),
        ),
        (
            "approle",
            post("sys/auth/approle/tune", json!({ "description": "changed" })),
            post("sys/auth/approle/tune", json!({ "description": "" })),
        ),
    ];
    for (step, (method, path, body), (undo_method, undo_path, undo_body)) in rows {
        let (status, answer) = cluster.ask(method, "", path, &body);
        assert!((200..300).contains(&status), "{path}: {status} {answer}");
        let found = verify(&cluster, &given);
        assert_eq!(found.code, 1, "{method} {path} {body}: {:#}", found.report);
        assert_eq!(found.accused(), [step], "{method} {path} {body}: {:#}", found.report["steps"]);
        let (status, answer) = cluster.ask(undo_method, "", undo_path, &undo_body);
        assert!((200..300).contains(&status), "{undo_path}: {status} {answer}");
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

/// The entity that the logins of the role `app` belong to.
fn app_entity(cluster: &Cluster) -> Value {
    let role_id =
        cluster.ask("GET", "", "auth/approle/role/app/role-id", &Value::Null).1["data"]["role_id"].clone();
    let accessor = cluster.ask("GET", "", "sys/auth", &Value::Null).1["data"]["approle/"]["accessor"].clone();
    let body = json!({ "alias_name": role_id, "alias_mount_accessor": accessor });
    cluster.ask("POST", "", "identity/lookup/entity", &body).1["data"]["id"].clone()
}

fn jwt_role(audience: &str) -> Value {
    json!({
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": [audience], "token_policies": ["reader"],
        "token_ttl": "10m",
    })
}

fn pki_role(domain: &str) -> Value {
    json!({
        "allowed_domains": [domain], "allow_subdomains": true, "key_type": "ec", "key_bits": 256,
        "server_flag": true, "client_flag": true,
    })
}

#[test]
fn production_plan_is_proven_but_for_the_login_it_cannot_make() {
    let settings = Settings { nodes: 3, tls: true, ..Settings::default() };
    let candlefish = Quickstart::with("candlefish-production.yaml", settings);
    let (certificate, pem) = certificate();
    candlefish.edit(
        "  # --- The first secrets",
        &format!("{CERTIFICATES}{certificate}\n  # --- The first secrets"),
    );
    candlefish.environment.write("machine.pem", &pem);
    candlefish.apply();
    let verified = verify_production(&candlefish);
    println!(
        "{}: {} in {} ms",
        verified.report["summary"], verified.report["api_calls"], verified.report["ms"]
    );
    assert!(verified.with("failed").is_empty(), "{:#}", verified.report);
    assert_eq!(verified.with("untried"), ["app_role: logs in"]);
    let calls = &verified.report["api_calls"];
    let count = |kind: &str| calls[kind].as_u64().expect("a number");
    assert!(count("read") + count("write") + count("login") <= 350, "{calls}");
    assert_eq!(verified.code, 3);
    for (step, tried) in [
        ("vault_init", "its 3 nodes serve"),
        ("vault_init", "3 servers of its storage are healthy and vote"),
        ("vault_init", "the same engines, methods and policies on every node"),
        ("machine", "logs in"),
        ("vault_init", "5 key shares open, 3 are needed"),
        ("audit", "found by its HMAC"),
        ("root_token", "the admin in custody logs in"),
        ("root_token", "the root token is refused"),
        ("app_policies[mongodb]", "reads `secret/data/candlefish/mongodb/connection`"),
        ("app_policies[mongodb]", "is refused `secret/data/candlefish/api/smithery`"),
        ("admin_role", "logs in"),
        ("mongodb", "owner platform-team, type database"),
    ] {
        assert!(verified.proves(step, tried), "{step}: {tried} is not among {:#?}", verified.with("proven"));
    }

    let secrets = candlefish_secrets(&candlefish);
    for format in ["human", "json", "junit", "markdown"] {
        let ran = candlefish.run(&["verify", "candlefish-production.yaml", "--format", format, "--verbose"]);
        let text = [ran.stdout, ran.stderr].concat();
        assert!(
            leaks(text.as_bytes(), &secrets).is_empty(),
            "{format}: {:?}",
            leaks(text.as_bytes(), &secrets)
        );
    }
    production_faults(&candlefish);
}

/// A role that a machine logs in as by its certificate.
const CERTIFICATES: &str = "  certificates: { kind: vault.auth_method, type: cert }
  machine:
    kind: vault.cert_role
    name: machine
    needs: [ certificates ]
    token_policies: [ candlefish-api ]
    certificate: ";

/// A certificate of its own authority, as a YAML text, and the same with its key in PEM.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["machine.internal".to_owned()]).expect("a name");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.self_signed(&key).expect("signed").pem();
    (json!(certificate).to_string(), certificate + &key.serialize_pem())
}

fn verify_production(candlefish: &Quickstart) -> Verified {
    let plan = "candlefish-production.yaml";
    Verified::of(&candlefish.run(&[
        "verify",
        plan,
        "--format",
        "json",
        "--credential",
        "machine=machine.pem",
    ]))
}

/// A copy in custody is damaged, a log goes elsewhere, a machine is lost: each is found, and green when mended.
fn production_faults(candlefish: &Quickstart) {
    let custody = candlefish.environment.folder.join(".groundwork/custody");
    let copy =
        files(&custody).into_iter().find(|file| file.to_string_lossy().contains("/init")).expect("a copy");
    let whole = std::fs::read(&copy).expect("readable");
    std::fs::write(&copy, &whole[..whole.len() / 2]).expect("written");
    let found = verify_production(candlefish);
    assert_eq!(found.accused(), ["custody"], "{:#}", found.report);
    std::fs::write(&copy, whole).expect("written");

    let log = candlefish.environment.sandbox.audit_log().expect("an audit log");
    let moved = log.with_extension("moved");
    std::fs::rename(&log, &moved).expect("moved");
    std::fs::write(&log, "").expect("written");
    let found = verify_production(candlefish);
    assert_eq!(found.accused(), ["audit"], "{:#}", found.report);
    std::fs::rename(&moved, &log).expect("moved back");

    candlefish.environment.lose("vault-3");
    let found = verify_production(candlefish);
    assert_eq!(found.accused(), ["vault_init"], "{:#}", found.report);
    let _revived = candlefish.environment.revive();
    candlefish.apply();
    let mended = verify_production(candlefish);
    assert!(mended.with("failed").is_empty(), "{:#}", mended.report);
}

/// Values that must not be shown.
fn candlefish_secrets(candlefish: &Quickstart) -> Vec<(String, Vec<u8>)> {
    let value = |path: &str, field: &str| {
        let found = candlefish.vault("GET", &format!("secret/data/candlefish/{path}"), &Value::Null);
        (format!("{path} {field}"), text_of(&found["data"][field]).as_bytes().to_vec())
    };
    let custody = candlefish.custody();
    let admin = custody.iter().find(|(name, _)| name.ends_with("/admin")).expect("an admin");
    let admin: Value = serde_json::from_slice(&admin.1).expect("JSON");
    vec![
        value("mongodb/connection", "password"),
        value("api/smithery", "key"),
        value("aws", "aws_secret_access_key"),
        ("admin secret-id".to_owned(), text_of(&admin["secret_id"]).into()),
        ("root token".to_owned(), crate::support::root_token(&custody).into()),
    ]
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
    assert_eq!(users(), before, "the user is gone");

    database.query("vault", "over-and-out", "ALTER ROLE vault NOCREATEROLE NOSUPERUSER").expect("altered");
    let found = verify(&cluster, &[]);
    assert_eq!(found.accused(), ["app"], "{:#}", found.report);
}
