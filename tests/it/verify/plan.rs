//! A plan with something of everything that Vault proves, and an issuer of tokens for it.

use serde_json::{Value, json};

use crate::support::TestEnvironment;

/// A plan with something of everything that Vault proves.
pub fn everything(issuer_key: &str) -> Value {
    let mut steps = json!({
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
    });
    for (id, step) in short_lived().as_object().expect("steps") {
        steps[id] = step.clone();
    }
    steps
}

/// Engines whose things last for a minute.
fn short_lived() -> Value {
    json!({
        "ssh": { "kind": "vault.mount", "path": "ssh", "type": "ssh" },
        "ssh_authority": { "kind": "vault.ssh_ca", "key_type": "ssh-ed25519" },
        "operators": {
            "kind": "vault.ssh_role", "name": "operators", "allow_user_certificates": true,
            "allowed_users": ["ubuntu"], "default_user": "ubuntu", "ttl": "30m", "needs": ["ssh_authority"],
        },
        "hosts_ssh": {
            "kind": "vault.ssh_role", "name": "hosts", "allow_host_certificates": true,
            "allowed_domains": ["example.internal"], "allow_subdomains": true, "needs": ["ssh_authority"],
        },
        "once": {
            "kind": "vault.ssh_role", "name": "once", "key_type": "otp", "default_user": "ubuntu",
            "cidr_list": ["10.20.0.0/16"],
        },
        "totp": { "kind": "vault.mount", "path": "totp", "type": "totp" },
        "codes": {
            "kind": "vault.totp_key", "name": "registrar", "key": { "file": "totp.key" },
            "account_name": "platform@example.com", "issuer": "Registrar",
        },
    })
}

/// The files beside the plan that its steps read.
pub fn write_files(environment: &TestEnvironment) {
    environment.write("alice.password", "correct-horse-battery\n");
    environment.write("totp.key", "JBSWY3DPEHPK3PXP");
}

/// An issuer of JSON web tokens.
pub struct Issuer(rcgen::KeyPair);

impl Issuer {
    pub fn new() -> Self {
        Self(rcgen::KeyPair::generate().expect("a key"))
    }

    /// The key by which its tokens are recognised, in PEM.
    pub fn public_key(&self) -> String {
        self.0.public_key_pem()
    }

    /// A token for this audience, good for an hour (RFC 7515, ES256).
    pub fn token(&self, audience: &str) -> String {
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
