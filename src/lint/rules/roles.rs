//! Roles: who may log in, and how long their tokens last.

use crate::lint::Rule;
use crate::lint::facts::{Fact, Facts};
use crate::plan::Severity;

pub const RULES: &[&Rule] = &[&FOR_EVERYBODY, &TTL, &SECRET_ID];

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Vault's default TTL for tokens.
const DEFAULT_TTL: u64 = 32 * DAY;
/// The longest TTL that a token should have without renewal.
const LONGEST_TTL: u64 = DAY;
/// The longest lifetime that a token should have, renewals included.
const LONGEST_MAX_TTL: u64 = 32 * DAY;
/// The longest session that an AWS role should allow.
const LONGEST_SESSION: u64 = 8 * HOUR;

/// Kinds whose tokens have the fields `token_ttl` and so on.
const TOKEN_KINDS: [&str; 7] = [
    "vault.approle_role",
    "vault.kubernetes_role",
    "vault.jwt_role",
    "vault.cert_role",
    "vault.aws_auth_role",
    "vault.gcp_auth_role",
    "vault.azure_auth_role",
];

const FOR_EVERYBODY: Rule = Rule {
    id: "role-for-everybody",
    severity: Severity::Error,
    title: "Every identity of a cluster or an issuer may log in",
    explanation: "A Kubernetes role bound to `*` accepts every service account of a namespace, or that name \
                  in every namespace, which anyone who may create namespaces can create. A JWT role that \
                  requires only an audience accepts every token of the issuer: at GitHub or GitLab, the \
                  tokens of every project.",
    help: "name the service accounts and namespaces, or bind a subject or claims such as `repository`",
    bad: r#"steps:
  any_account:
    kind: vault.kubernetes_role
    name: any
    bound_service_account_names: [ "*" ]           # here
    bound_service_account_namespaces: [ app ]
    token_ttl: 1h
  any_namespace:
    kind: vault.kubernetes_role
    name: app
    bound_service_account_names: [ app ]
    bound_service_account_namespaces: [ "*" ]      # here
    token_ttl: 1h
  any_project:                                     # here
    kind: vault.jwt_role
    name: ci
    user_claim: sub
    bound_audiences: [ vault ]
    token_ttl: 15m
"#,
    good: r"steps:
  app:
    kind: vault.kubernetes_role
    name: app
    bound_service_account_names: [ app ]
    bound_service_account_namespaces: [ app ]
    token_ttl: 1h
  ci:
    kind: vault.jwt_role
    name: ci
    user_claim: sub
    bound_audiences: [ vault ]
    bound_claims: { repository: example/app, ref: refs/heads/main }
    token_ttl: 15m
",
    check: |facts, findings| {
        for fact in facts.of_kind("vault.kubernetes_role") {
            for (field, what) in [
                ("bound_service_account_names", "every service account"),
                ("bound_service_account_namespaces", "service accounts of every namespace"),
            ] {
                if fact.list(field).contains(&"*") {
                    findings.step(fact, field, format!("{what} may log in"));
                }
            }
        }
        for fact in facts.of_kind("vault.gcp_auth_role") {
            if fact.list("bound_service_accounts").contains(&"*") && fact.list("bound_projects").is_empty() {
                findings.step(
                    fact,
                    "bound_service_accounts",
                    "every service account of Google Cloud may log in",
                );
            }
        }
        for fact in facts.of_kind("vault.aws_auth_role") {
            if fact.list("bound_iam_principal_arn").iter().any(|arn| ["*", "arn:aws:iam::*"].contains(arn)) {
                findings.step(fact, "bound_iam_principal_arn", "every principal of every account may log in");
            }
        }
        for fact in facts.of_kind("vault.jwt_role") {
            let claims = fact.fields["bound_claims"].as_object().is_some_and(|claims| !claims.is_empty());
            if fact.text("bound_subject").is_empty() && !claims {
                findings.step(fact, "", "every identity for which the issuer signs tokens may log in");
            }
        }
    },
};

const TTL: Rule = Rule {
    id: "ttl-too-long",
    severity: Severity::Warning,
    title: "A token or session lasts too long",
    explanation: "A stolen token works until it expires. Programs renew their tokens, so one hour is usually \
                  enough: a token should last at most one day without renewal and 32 days with renewals, and \
                  a session of an AWS role at most eight hours. A role without a TTL gets Vault's default of \
                  32 days, unless its auth method sets another.",
    help: "set `token_ttl` and `token_max_ttl`, or `max_session_duration`",
    bad: r"steps:
  long:
    kind: vault.approle_role
    name: long
    token_ttl: 7d                                  # here
    secret_id_ttl: 1h
  silent:                                          # here
    kind: vault.cert_role
    name: silent
    certificate: |
      -----BEGIN CERTIFICATE-----
      MIIB
      -----END CERTIFICATE-----
  for_ever:
    kind: vault.token_role
    name: for-ever
    token_period: 90d                              # here
",
    good: r"steps:
  approle: { kind: vault.auth_method, type: approle, default_lease_ttl: 1h }
  short:
    kind: vault.approle_role
    name: short
    token_ttl: 1h
    token_max_ttl: 7d
    secret_id_ttl: 1h
  by_method:
    kind: vault.approle_role
    name: by-method
    secret_id_ttl: 1h
",
    check: |facts, findings| {
        for fact in facts.steps.iter().filter(|fact| TOKEN_KINDS.contains(&fact.kind)) {
            let (ttl, period) = (fact.number("token_ttl"), fact.number("token_period"));
            if ttl > LONGEST_TTL {
                findings.step(fact, "token_ttl", format!("tokens last {} without renewal", words(ttl)));
            }
            let is_known = fact.fields["token_ttl"].is_u64();
            let by_method = method_ttl(facts, fact);
            if is_known && ttl == 0 && period == 0 && by_method > LONGEST_TTL {
                findings.step(fact, "", format!("`token_ttl` is not set: tokens last {}", words(by_method)));
            }
        }
        let limits = [
            ("token_max_ttl", LONGEST_MAX_TTL, "tokens last"),
            ("token_explicit_max_ttl", LONGEST_MAX_TTL, "tokens last"),
            ("token_period", LONGEST_MAX_TTL, "each renewal lasts"),
            ("max_session_duration", LONGEST_SESSION, "sessions last"),
        ];
        for fact in &facts.steps {
            for (field, longest, what) in limits {
                let value = fact.number(field);
                if value > longest {
                    findings.step(fact, field, format!("{what} {}", words(value)));
                }
            }
        }
    },
};

const SECRET_ID: Rule = Rule {
    id: "secret-id-without-end",
    severity: Severity::Warning,
    title: "The secret-ids of an AppRole never expire",
    explanation: "A secret-id is a machine's password. One that never expires and works any number of times \
                  from anywhere is as dangerous as a static key. The rule skips the role that the plan \
                  itself logs in with, because custody keeps its secret-id.",
    help: "set `secret_id_ttl`, `secret_id_num_uses` or `secret_id_bound_cidrs`",
    bad: r"steps:
  app:                                             # here
    kind: vault.approle_role
    name: app
    token_ttl: 1h
",
    good: r"vault: { auth: { approle: { role: groundwork } } }
steps:
  app:
    kind: vault.approle_role
    name: app
    token_ttl: 1h
    secret_id_ttl: 24h
  admin:
    kind: vault.approle_role
    name: groundwork
    token_ttl: 20m
",
    check: |facts, findings| {
        let admins = admins(facts);
        for fact in facts.of_kind("vault.approle_role") {
            let unlimited = fact.fields["secret_id_ttl"] == 0
                && fact.number("secret_id_num_uses") == 0
                && fact.list("secret_id_bound_cidrs").is_empty()
                && fact.fields["bind_secret_id"] != false;
            if unlimited && !admins.contains(&fact.text("name")) {
                findings.step(fact, "", "its secret-ids never expire and can be used from anywhere");
            }
        }
    },
};

/// The TTL of tokens whose role sets none.
fn method_ttl(facts: &Facts<'_>, fact: &Fact<'_>) -> u64 {
    let mount = fact.text("mount");
    let path = |method: &&Fact<'_>| match method.text("path") {
        "" => method.text("type") == mount,
        path => path == mount,
    };
    let method = facts.of_kind("vault.auth_method").find(path);
    method.map(|method| method.number("default_lease_ttl")).filter(|ttl| *ttl > 0).unwrap_or(DEFAULT_TTL)
}

/// The AppRoles that runs of the plan log in with.
fn admins<'a>(facts: &'a Facts<'_>) -> Vec<&'a str> {
    use crate::providers::vault::Vault;
    use crate::providers::vault::settings::VaultAuth;
    let vault = facts.resolved.provider::<Vault>();
    let auth = vault.and_then(|vault| vault.settings.auth.as_ref());
    let login = auth.iter().map(|VaultAuth::Approle(login)| login.role.as_str());
    let proven =
        facts.of_kind("vault.root_token").filter_map(|fact| fact.fields["admin"]["approle"]["role"].as_str());
    login.chain(proven).collect()
}

fn words(seconds: u64) -> String {
    match seconds {
        _ if seconds.is_multiple_of(DAY) => format!("{} days", seconds / DAY),
        _ if seconds.is_multiple_of(HOUR) => format!("{} hours", seconds / HOUR),
        _ => format!("{seconds} seconds"),
    }
}
