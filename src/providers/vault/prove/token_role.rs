//! A token role is proven by a token that is made through it for a minute.

use serde_json::{Map, Value, json};

use super::{CREATE, LIFETIME, Vault, end_token, hold, permissions};
use crate::error::ErrorKind;
use crate::run::Permission;

const ADVICE: &str =
    "compare the role on the server with the plan (`groundwork plan`); `groundwork apply` sets it back";

/// A policy that no plan declares.
const STRANGER: &str = "groundwork-verify-stranger";

/// Makes a token through the role `name`, which declares these fields.
pub(in crate::providers::vault) async fn prove(
    prover: &Vault<'_>,
    name: &str,
    declared: &Map<String, Value>,
) {
    let path = format!("{CREATE}/{name}");
    let names = |field: &str| declared[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let policy = names("allowed_policies").next();
    let mut body = json!({ "ttl": format!("{LIFETIME}s"), "display_name": "groundwork-verify" });
    if let Some(policy) = policy {
        body["policies"] = json!([policy]);
    }
    let tried = "makes a token";
    let Some(issued) = prover.ask(tried, "a token", prover.issue_token(&path, &body).await) else { return };
    prover.proven(tried);
    let about = issued.about.clone();
    let (_, undo) = hold(prover, "a token of the role", issued);
    let orphan =
        |value: &Value| if *value == true { "an orphan" } else { "a child of the token that made it" };
    prover.compare(
        "whether its tokens are orphans",
        &orphan(&declared["orphan"]),
        &orphan(&about["orphan"]),
        ADVICE,
    );
    let kind = declared["token_type"].as_str().unwrap_or_default().trim_start_matches("default-");
    prover.compare(
        "the type of its tokens",
        &kind,
        &about["token_type"].as_str().unwrap_or_default(),
        ADVICE,
    );
    end_token(undo, &about).await;
    if policy.is_some() && names("allowed_policies_glob").next().is_none() {
        is_refused(prover, &path).await;
    }
}

/// The permissions of the proof.
pub(in crate::providers::vault) fn needs(name: &str, declared: &Map<String, Value>) -> Vec<Permission> {
    // A token without the policy `default` does not end itself.
    let ended = (declared["token_no_default_policy"] == true)
        .then(|| permissions::write("auth/token/revoke-accessor"));
    std::iter::once(permissions::write(format!("{CREATE}/{name}"))).chain(ended).collect()
}

/// A policy that is not among the allowed ones must be refused.
async fn is_refused(prover: &Vault<'_>, path: &str) {
    let tried = "is refused a policy that is not allowed";
    let body = json!({ "ttl": format!("{LIFETIME}s"), "policies": [STRANGER] });
    match prover.issue_token(path, &body).await {
        Ok(issued) => {
            let about = issued.about.clone();
            let (_, undo) = hold(prover, "a token of the role", issued);
            end_token(undo, &about).await;
            prover.failed(tried, "the server refuses it", "it makes the token", ADVICE);
        }
        Err(error) if matches!(error.kind, ErrorKind::Rejected | ErrorKind::Denied) => prover.proven(tried),
        Err(error) => prover.refused(tried, "the server refuses it", &error),
    }
}
