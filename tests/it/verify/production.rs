//! The production plan on three servers with TLS.

use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use super::Verified;
use crate::canary::leaks;
use crate::support::{Quickstart, files, text_of};

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
        ("vault_init", "certificates are good for"),
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
