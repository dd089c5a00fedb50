//! The modes of libpq for TLS, against a real server with certificates of the test's own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::postgres_kinds::{PLAN, Scene};
use crate::support::step;

/// An authority in a file, and what signs with its key.
fn authority(scene: &Scene, file: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    scene.file(file, &params.self_signed(&key).expect("a certificate").pem());
    Issuer::new(params, key)
}

/// Has the server prove itself as `host`, and take only connections with TLS from other users than `vault`.
fn serve_as(scene: &Scene, issuer: &Issuer<'static, KeyPair>, host: &str) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([host.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, issuer).expect("signed");
    let rules = "host all vault 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n";
    for (name, text) in [
        ("server.crt", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("pg_hba.conf", rules.to_owned()),
    ] {
        scene.server.replace_file(Path::new(name), &text);
    }
    let sql = |statement: &str| {
        scene.server.query("vault", crate::postgres_kinds::PASSWORD, statement).expect(statement)
    };
    sql("ALTER SYSTEM SET ssl = on");
    sql("SELECT pg_reload_conf()");
    // Reloading takes a moment.
    for _ in 0..50 {
        if sql("SELECT current_setting('ssl')") == "on" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
}

#[test]
fn server_is_verified_as_its_mode_says() {
    let scene = Scene::new();
    scene.declare(&json!({ "app": { "kind": "postgres.role", "name": "app" } }));
    let ours = authority(&scene, "ours.pem");
    authority(&scene, "other.pem");
    let connects = |mode: &str, root: Option<&str>| {
        let mut command = scene.command(&["plan", PLAN, "--format", "json"]);
        command.env("PGSSLMODE", mode).env_remove("PGSSLROOTCERT");
        if let Some(root) = root {
            command.env("PGSSLROOTCERT", root);
        }
        let output = command.output().expect("runs");
        let changeset = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let app = step(&changeset, "app");
        match app["action"].as_str() {
            Some("create") => Ok(()),
            _ => Err(app["reason"].to_string()),
        }
    };
    serve_as(&scene, &ours, "127.0.0.1");
    let (right, wrong) = (Some("ours.pem"), Some("other.pem"));
    for (mode, root) in [
        ("prefer", None),
        ("require", None),
        ("require", right),
        ("verify-ca", right),
        ("verify-full", right),
    ] {
        assert_eq!(connects(mode, root), Ok(()), "{mode} {root:?}");
    }
    assert!(connects("disable", None).expect_err("only TLS is taken").contains("no encryption"));
    for (mode, root) in
        [("require", wrong), ("verify-ca", wrong), ("verify-full", wrong), ("verify-full", None)]
    {
        let refused = connects(mode, root).expect_err(mode);
        assert!(refused.contains("certificate"), "{mode} {root:?}: {refused}");
    }
    serve_as(&scene, &ours, "db.other.example");
    assert_eq!(connects("verify-ca", right), Ok(()));
    let refused = connects("verify-full", right).expect_err("the certificate is for another host");
    assert!(refused.contains("db.other.example") || refused.contains("not valid for name"), "{refused}");
}

#[test]
fn authority_of_a_plan_needs_a_permission() {
    let scene = Scene::new();
    authority(&scene, "ours.pem");
    scene.declare_in(
        &json!({ "ca_cert": "ours.pem", "sslmode": "verify-full" }),
        &json!({ "app": { "kind": "postgres.role", "name": "app" } }),
    );
    let ran = scene.run(&["plan", PLAN]);
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("--trust ca="), "{ran:?}");
}
