//! Compares a token that a role has issued with what the role declares.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::super::client::{Bearer, Issued};
use super::super::notation::Cidrs;
use super::super::policy::acl::Acl;
use super::super::policy::text::granted;
use super::paths::{Surroundings, trials};
use super::policy::{compare, policy_text, text_path};
use super::{Vault, beside, end_token, hold, permissions};
use crate::error::Result;
use crate::run::Permission;

const ADVICE: &str = "compare the role on the server with the plan (`groundwork plan`), and the maximum TTL of its \
                      method; `groundwork apply` sets the role back";

/// How much shorter than declared the rest of a token's life may be when it is asked for.
const SECONDS_PASSED: u64 = 15;

/// A token's longest life, to ask for more than any role gives.
const TEN_YEARS: &str = "87600h";

/// Tries the token, then ends it. `declared` are the fields of the role.
pub(super) async fn prove(prover: &Vault<'_>, declared: &Map<String, Value>, issued: Issued) {
    let about = issued.about.clone();
    let (bearer, undo) = hold(prover, "the token of the login", issued);
    prover.proven("logs in");
    compare_answer(prover, declared, &about);
    if let Some(found) = looked_up(prover, &bearer, &about).await {
        compare_record(prover, declared, &found).await;
        // Each use of a token whose uses are counted could be its last.
        if declared["token_num_uses"] == 0 {
            longest_life(prover, &bearer, declared, &about).await;
            rights(prover, &bearer, &about).await;
        }
    }
    end_token(undo, &about).await;
}

/// The permissions to try a token of a role with these fields.
pub(in crate::providers::vault) fn needs(declared: &Map<String, Value>) -> Vec<Permission> {
    let is_default = declared["token_no_default_policy"] != true;
    let is_counted = declared["token_num_uses"] != 0;
    // By the policy `default` a token looks itself up, and ends itself. Each of these would be a use.
    let looked_up = (is_counted || !is_default).then(|| permissions::write("auth/token/lookup-accessor"));
    let ended = (!is_default).then(|| permissions::write("auth/token/revoke-accessor"));
    let mut policies = names(&declared["token_policies"]);
    if is_default {
        policies.insert("default");
    }
    let texts = policies.into_iter().filter(|_| !is_counted).map(|name| permissions::read(text_path(name)));
    looked_up.into_iter().chain(ended).chain(texts).collect()
}

fn seconds(declared: &Map<String, Value>, name: &str) -> u64 {
    declared.get(name).and_then(Value::as_u64).unwrap_or_default()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn in_words(names: &BTreeSet<&str>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().copied().collect::<Vec<_>>().join(", ") }
}

/// Compares the answer to the login itself.
fn compare_answer(prover: &Vault<'_>, declared: &Map<String, Value>, about: &Value) {
    let mut expected = names(&declared["token_policies"]);
    if declared["token_no_default_policy"] != true {
        expected.insert("default");
    }
    prover.compare("its policies", &in_words(&expected), &in_words(&names(&about["token_policies"])), ADVICE);
    of_identity(prover, about);
    let uses = seconds(declared, "token_num_uses");
    if uses > 0 {
        prover.compare(
            "how often its token can be used",
            &uses,
            &about["num_uses"].as_u64().unwrap_or_default(),
            ADVICE,
        );
    }
    let kind = declared["token_type"].as_str().unwrap_or_default();
    if matches!(kind, "service" | "batch") {
        let seen = about["token_type"].as_str().unwrap_or_default();
        prover.compare("the type of its token", &kind, &seen, ADVICE);
    }
}

/// An entity or a group may give a login more than its role does; the plan must say so.
fn of_identity(prover: &Vault<'_>, about: &Value) {
    let steps = beside(prover, "vault.entity").chain(beside(prover, "vault.group"));
    let declared: BTreeSet<&str> = steps.flat_map(|step| names(&step.fields["policies"])).collect();
    let seen = names(&about["identity_policies"]);
    let stray: BTreeSet<&str> = seen.difference(&declared).copied().collect();
    if !stray.is_empty() {
        let advice = "an entity or a group that the plan does not declare gives them: `bao read identity/entity/id/ID` \
                      with the id in the login shows which";
        let seen = format!("{} besides", in_words(&stray));
        prover.failed("its policies by identity", "only those of the plan", seen, advice);
    }
}

/// The server's record of the token, as the run's own token or the token itself may read it.
async fn looked_up(prover: &Vault<'_>, bearer: &Bearer, about: &Value) -> Option<Value> {
    let by_accessor = async || -> Result<Value> {
        let body = json!({ "accessor": about["accessor"] });
        Ok(prover.client().ask("auth/token/lookup-accessor", &body).await?.unwrap_or_default())
    };
    let counted = about["num_uses"].as_u64().unwrap_or_default() > 0;
    let found = match counted || about["accessor"] != "" {
        true => match by_accessor().await {
            Err(_) if !counted => bearer.ask("auth/token/lookup-self", None).await,
            found => found,
        },
        false => bearer.ask("auth/token/lookup-self", None).await,
    };
    prover.ask("the record of its token", "the record can be read", found)
}

/// Whether a token lives as long as its role says. A shorter life may be its method's doing.
async fn lives(
    prover: &Vault<'_>,
    declared: &Map<String, Value>,
    tried: &str,
    expected: RangeInclusive<u64>,
    seen: u64,
) {
    if expected.contains(&seen) {
        return prover.proven(tried);
    }
    let whole = told(*expected.end());
    let mount = declared["mount"].as_str().unwrap_or_default();
    let method = beside(prover, "vault.auth_method").find(|step| {
        let path = step.fields["path"].as_str().or(step.fields["type"].as_str());
        path.is_some_and(|path| path.trim_matches('/') == mount)
    });
    if let Some(method) = method.filter(|_| seen < *expected.end())
        && let Ok(Some(tuned)) = prover.get(&format!("sys/auth/{mount}/tune")).await
        && let Some(limit) =
            tuned["max_lease_ttl"].as_u64().filter(|limit| seen <= *limit && *limit < *expected.end())
    {
        let tried = format!("{tried}, of the role of `{}`", prover.step());
        let seen = format!("{}, since the method allows {} at most", told(seen), told(limit));
        let advice = "raise the method's max_lease_ttl, or lower the role's TTL";
        return prover.about(&method.id).failed(tried, whole, seen, advice);
    }
    prover.failed(tried, whole, told(seen), ADVICE);
}

async fn compare_record(prover: &Vault<'_>, declared: &Map<String, Value>, found: &Value) {
    let (period, explicit) = (seconds(declared, "token_period"), seconds(declared, "token_explicit_max_ttl"));
    let (ttl, longest) = match period {
        0 => (seconds(declared, "token_ttl"), seconds(declared, "token_max_ttl")),
        period => (period, 0),
    };
    if ttl > 0 {
        let limits = [longest, explicit].into_iter().filter(|limit| *limit > 0);
        let (expected, seen) =
            (limits.fold(ttl, u64::min), found["creation_ttl"].as_u64().unwrap_or_default());
        lives(prover, declared, "the TTL of its token", expected..=expected, seen).await;
    }
    if explicit > 0 {
        let seen = found["explicit_max_ttl"].as_u64().unwrap_or_default();
        prover.compare("the explicit maximum TTL of its token", &told(explicit), &told(seen), ADVICE);
    }
    let networks = |value: &Value| serde_json::from_value::<Cidrs>(value.clone()).unwrap_or_default();
    let (bound, seen) = (networks(&declared["token_bound_cidrs"]), networks(&found["bound_cidrs"]));
    if bound != Cidrs::default() || seen != Cidrs::default() {
        let told = |networks: &Cidrs| json!(networks).to_string();
        prover.compare("the networks of its token", &told(&bound), &told(&seen), ADVICE);
    }
}

fn told(seconds: u64) -> String {
    format!("{seconds} s")
}

/// A renewal for longer than the role allows gives what it allows.
async fn longest_life(prover: &Vault<'_>, bearer: &Bearer, declared: &Map<String, Value>, about: &Value) {
    let longest = seconds(declared, "token_max_ttl");
    if longest == 0 || seconds(declared, "token_period") > 0 || about["renewable"] != true {
        return;
    }
    let tried = "the maximum TTL of its token";
    let renewed = bearer.renew(TEN_YEARS).await;
    let Some(seen) = prover.ask(tried, "a renewal", renewed).flatten() else { return };
    let expected = match seconds(declared, "token_explicit_max_ttl") {
        0 => longest,
        explicit => longest.min(explicit),
    };
    lives(prover, declared, tried, expected.saturating_sub(SECONDS_PASSED)..=expected, seen).await;
}

/// Compares the token's rights with its policies as they are on the server: a policy that differs from the plan is
/// the fault of its own step.
async fn rights(prover: &Vault<'_>, bearer: &Bearer, about: &Value) {
    let mut texts = Vec::new();
    for name in names(&about["policies"]) {
        let tried = format!("the rights by its policy `{name}`");
        let text = prover.ask(&tried, "the policy can be read", policy_text(prover, name).await);
        let Some(text) = text else { return };
        texts.push(text);
    }
    let rules: Vec<String> = texts.iter().flat_map(|text| granted(text)).map(|(path, _)| path).collect();
    let paths = trials(rules.iter().map(String::as_str), &Surroundings::of(prover));
    compare(prover, bearer, &Acl::of(texts.iter().map(String::as_str)), &paths).await;
}
