//! What the server writes differently from how it was told, a row for each kind of thing: that the server
//! does so, and that it is no change.

use serde_json::{Value, json};

use crate::support::{Cluster, step, summary};

/// One thing: how it is declared, and what the server makes of it.
struct Row {
    /// The thing, as the notes on the server name it.
    object: &'static str,
    /// The step.
    declared: Value,
    /// Where the server tells it, and fields of what it tells; `null` is one that is not there.
    told: (&'static str, Value),
    /// What is written past the program before, in the server's older notation.
    written: Option<(&'static str, Value)>,
}

impl Row {
    fn new(object: &'static str, declared: Value, at: &'static str, told: Value) -> Self {
        Self { object, declared, told: (at, told), written: None }
    }

    fn written(self, at: &'static str, body: Value) -> Self {
        Self { written: Some((at, body)), ..self }
    }
}

const CA: &str = "-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUYPNsWgHMZg7wTnF3+FBwOjXuFSswCgYIKoZIzj0EAwIw
FTETMBEGA1UEAwwKa3ViZXJuZXRlczAeFw0yNjExMjIwNDA5MTZaFw0zNjExMTkw
NDA5MTZaMBUxEzARBgNVBAMMCmt1YmVybmV0ZXMwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATTHw+fbY2cz3trxJGAnsVP86Ixlg+gfHduEPborJDfMBYIYMdhXtEc
gCPaMnKI6kdRgvJun5OBAFsSOEtR2s/So1MwUTAdBgNVHQ4EFgQUySUmzhk2dZWf
kpnpsMHC6SnqsPwwHwYDVR0jBBgwFoAUySUmzhk2dZWfkpnpsMHC6SnqsPwwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAkMGtlAgdytSa0Rg1dDeY
spDx9/QngVhjdyXS9kZ0aFkCIQD9IA/lDOcac/MUpCojILg652x3MUEreI+K8cjw
/2rMig==
-----END CERTIFICATE-----";

/// What the things below are in.
fn surroundings() -> Value {
    json!({
        "machines": { "kind": "vault.auth_method", "type": "approle" },
        "pods": { "kind": "vault.auth_method", "type": "kubernetes" },
        "jobs": { "kind": "vault.auth_method", "type": "jwt" },
        "issuer": { "kind": "vault.jwt_auth", "jwks_url": "", "jwt_validation_pubkeys": [PUBLIC_KEY] },
    })
}

const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0x8Pn22NnM97a8SRgJ7FT/OiMZYP
oHx3bhD26KyQ3zAWCGDHYV7RHIAj2jJyiOpHUYLybp+TgQBbEjhLUdrP0g==
-----END PUBLIC KEY-----";

fn of_the_system() -> Vec<Row> {
    let text = "# Kept as it is.\npath \"a\" { capabilities=[\"read\",\"list\"] }\n";
    vec![
        Row::new(
            "policy: verbatim, its name in lower case",
            json!({ "kind": "vault.policy", "name": "Back-App", "rules": text }),
            "sys/policies/acl/back-app",
            json!({ "name": "back-app", "policy": text }),
        ),
        Row::new(
            "mount: durations in seconds, what is not set is 0, lists keep their order",
            json!({ "kind": "vault.mount", "path": "back-kv", "type": "kv", "default_lease_ttl": "1h",
                    "passthrough_request_headers": ["X-B", "X-A"] }),
            "sys/mounts/back-kv",
            json!({ "config": { "default_lease_ttl": 3600, "max_lease_ttl": 0,
                                "passthrough_request_headers": ["X-A", "X-B"] } }),
        ),
        Row::new(
            "mount, tuned: what is not set is the system's default",
            json!({ "kind": "vault.mount", "path": "back-tuned", "type": "kv", "default_lease_ttl": "1h" }),
            "sys/mounts/back-tuned/tune",
            json!({ "default_lease_ttl": 3600, "max_lease_ttl": 2_764_800 }),
        ),
        Row::new(
            "auth method: durations in seconds",
            json!({ "kind": "vault.auth_method", "path": "back-approle", "type": "approle",
                    "default_lease_ttl": "90m" }),
            "sys/auth/back-approle",
            json!({ "config": { "default_lease_ttl": 5400, "max_lease_ttl": 0 } }),
        ),
    ]
}

fn of_roles() -> Vec<Row> {
    vec![
        Row::new(
            "AppRole role: durations in seconds; single addresses without /32 for tokens, with it for secret-ids",
            json!({ "kind": "vault.approle_role", "name": "Back-CI", "token_ttl": "1h",
                    "token_policies": ["b", "A", "b"], "token_bound_cidrs": ["10.0.0.1/32", "10.1.0.0/16"],
                    "secret_id_bound_cidrs": ["10.0.0.1"] }),
            "auth/approle/role/back-ci",
            json!({ "token_ttl": 3600, "token_bound_cidrs": ["10.0.0.1", "10.1.0.0/16"],
                    "secret_id_bound_cidrs": ["10.0.0.1/32"] }),
        ),
        Row::new(
            "AppRole role: order, case and repetition of token_policies are kept",
            json!({ "kind": "vault.approle_role", "name": "back-kept", "token_policies": ["a", "b"] }),
            "auth/approle/role/back-kept",
            json!({ "token_policies": ["B", "a", "B"] }),
        )
        .written("auth/approle/role/back-kept", json!({ "token_policies": ["B", "a", "B"] })),
        Row::new(
            "deprecated fields: sorted, in lower case, and told under both names",
            json!({ "kind": "vault.approle_role", "name": "back-old", "token_policies": ["a", "b"],
                    "token_period": "10m" }),
            "auth/approle/role/back-old",
            json!({ "policies": ["a", "b"], "token_policies": ["a", "b"], "period": 600, "token_period": 600 }),
        )
        .written("auth/approle/role/back-old", json!({ "policies": ["B", "a", "B"], "period": "10m" })),
    ]
}

fn of_platforms() -> Vec<Row> {
    vec![
        Row::new(
            "Kubernetes configuration: the authority verbatim, the reviewer's token never",
            json!({ "kind": "vault.kubernetes_auth", "kubernetes_host": "https://k8s.internal",
                    "kubernetes_ca_cert": CA, "token_reviewer_jwt": { "file": "reviewer.jwt" } }),
            "auth/kubernetes/config",
            json!({ "kubernetes_ca_cert": CA, "token_reviewer_jwt": null, "token_reviewer_jwt_set": true }),
        ),
        Row::new(
            "Kubernetes role: as AppRole, without an audience that is not set",
            json!({ "kind": "vault.kubernetes_role", "name": "Back-Web", "bound_service_account_names": ["b", "a"],
                    "bound_service_account_namespaces": ["web"], "token_ttl": "1h" }),
            "auth/kubernetes/role/back-web",
            json!({ "bound_service_account_names": ["a", "b"], "token_ttl": 3600, "audience": null }),
        ),
        Row::new(
            "JWT role: lists keep their order, maps that are not set are null",
            json!({ "kind": "vault.jwt_role", "name": "back-job", "user_claim": "sub",
                    "bound_audiences": ["a", "b"] }),
            "auth/jwt/role/back-job",
            json!({ "bound_audiences": ["b", "a"], "bound_claims": null, "claim_mappings": null,
                    "role_type": "jwt" }),
        )
        .written(
            "auth/jwt/role/back-job",
            json!({ "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["b", "a"] }),
        ),
    ]
}

fn of_identities_and_quotas() -> Vec<Row> {
    vec![
        Row::new(
            "entity: policies sorted, in lower case, each once",
            json!({ "kind": "vault.entity", "name": "back-entity", "policies": ["a", "b"] }),
            "identity/entity/name/back-entity",
            json!({ "policies": ["a", "b"] }),
        )
        .written("identity/entity/name/back-entity", json!({ "policies": ["B", "a", "b"] })),
        Row::new(
            "group: policies sorted, in lower case, each once",
            json!({ "kind": "vault.group", "name": "back-group", "policies": ["b", "A", "b"] }),
            "identity/group/name/back-group",
            json!({ "policies": ["a", "b"] }),
        ),
        Row::new(
            "quota: durations in seconds",
            json!({ "kind": "vault.quota", "name": "back-quota", "rate": 100, "interval": "10s" }),
            "sys/quotas/rate-limit/back-quota",
            json!({ "interval": 10, "rate": 100 }),
        ),
    ]
}

/// Whether `told` has every field of `expected`.
fn has(told: &Value, expected: &Value) -> bool {
    match expected {
        Value::Object(fields) => fields.iter().all(|(name, value)| has(&told[name], value)),
        Value::Number(number) => told.as_f64() == number.as_f64(),
        other => told == other,
    }
}

#[test]
fn server_notation_is_not_reported_as_change() {
    let cluster = Cluster::new("read-back");
    cluster.environment.write("reviewer.jwt", "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl");
    cluster.declare(&surroundings());
    cluster.apply(&[]);
    let rows: Vec<Row> = [of_the_system(), of_roles(), of_platforms(), of_identities_and_quotas()]
        .into_iter()
        .flatten()
        .collect();
    let mut steps = surroundings();
    for (index, row) in rows.iter().enumerate() {
        if let Some((at, body)) = &row.written {
            let (status, answer) = cluster.ask("POST", "", at, body);
            assert!(status < 300, "{}: {status} {answer}", row.object);
        }
        steps[format!("row_{index}")] = row.declared.clone();
    }
    cluster.declare(&steps);
    cluster.apply(&[]);
    let shown = cluster.plan();
    let mut wrong = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let planned = step(&shown, &format!("row_{index}"));
        if planned["action"] != "none" || planned["changes"] != json!([]) {
            wrong.push(format!("{}: {planned:#}", row.object));
        }
        let (at, expected) = &row.told;
        let (status, answer) = cluster.ask("GET", "", at, &Value::Null);
        let told = if answer["data"].is_null() { &answer } else { &answer["data"] };
        if status != 200 || !has(told, expected) {
            wrong.push(format!("{}: the server tells {told:#} ({status})", row.object));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(summary(&cluster.apply(&[]))["api_calls"]["write"], 0);
}

#[test]
fn update_keeps_fields_that_partial_requests_lose() {
    let cluster = Cluster::new("partial");
    cluster.environment.write("reviewer.jwt", "eyJhbGciOiJFUzI1NiJ9.e30.c2lnbmF0dXJl");
    let declared = |host: &str, claim: &str| {
        let mut steps = surroundings();
        steps["config"] = json!({
            "kind": "vault.kubernetes_auth", "kubernetes_host": host, "kubernetes_ca_cert": CA,
            "token_reviewer_jwt": { "file": "reviewer.jwt" },
        });
        steps["job"] = json!({
            "kind": "vault.jwt_role", "name": "job", "user_claim": claim, "bound_audiences": ["a"],
            "token_policies": ["app"],
        });
        steps
    };
    cluster.declare(&declared("https://k8s.internal", "sub"));
    cluster.apply(&[]);
    cluster.declare(&declared("https://other.internal", "email"));
    cluster.apply(&[]);
    // The server replaces the whole of a Kubernetes configuration, and asks for a JWT role's type again.
    let (_, config) = cluster.ask("GET", "", "auth/kubernetes/config", &Value::Null);
    let config = &config["data"];
    assert_eq!(config["kubernetes_host"], "https://other.internal");
    assert!(config["kubernetes_ca_cert"] == CA && config["token_reviewer_jwt_set"] == true, "{config:#}");
    let (_, role) = cluster.ask("GET", "", "auth/jwt/role/job", &Value::Null);
    let role = &role["data"];
    assert!(role["user_claim"] == "email" && role["role_type"] == "jwt", "{role:#}");
    assert_eq!(role["token_policies"], json!(["app"]));
}
