//! A policy is proven by a token that has nothing else: what the server lets it do on paths that the policy names,
//! and on others closely beside, is compared with what the text says.

use super::super::client::Bearer;
use super::super::policy::acl::Acl;
use super::super::policy::text::granted;
use super::paths::{Surroundings, is_templated, near, trials};
use super::{Vault, end, minted, minting, permissions};
use crate::error::Result;
use crate::run::Permission;
use crate::visible::first_few;

/// How many differing paths a finding names.
const SHOWN: usize = 5;

/// How many secrets are really read, and how many refusals are really met, for one policy.
const READ: usize = 3;

const ADVICE: &str =
    "compare the policy on the server with the plan (`groundwork plan`); `groundwork apply` sets it back";

/// Tries the policy `name`, whose declared text is `text`.
pub(in crate::providers::vault) async fn prove(prover: &Vault<'_>, name: &str, text: &str) {
    let rules = granted(text);
    for (path, _) in rules.iter().filter(|(path, _)| is_templated(path)) {
        let needs = "a login of an entity, since the server fills in a part of the path for each";
        prover.untried(format!("the rule for `{path}`"), needs);
    }
    let tried = "what its rules allow, and what lies beside";
    let Some((bearer, undo)) = minted(prover, tried, &[name]).await else { return };
    let around = Surroundings::of(prover);
    let paths = trials(rules.iter().map(|(path, _)| path.as_str()), &around);
    let default = prover.ask(tried, "the policy `default` can be read", policy_text(prover, "default").await);
    if let Some(default) = default {
        let acl = Acl::of([text, &default]);
        compare(prover, &bearer, &acl, &paths).await;
        really_read(prover, &bearer, &acl, &around).await;
        really_list(prover, &bearer, &acl, &around).await;
    }
    end(undo).await;
}

/// The permissions of the proof. A token also has the policy `default`, which is not the plan's.
pub(in crate::providers::vault) fn needs() -> Vec<Permission> {
    minting().into_iter().chain([permissions::read(text_path("default"))]).collect()
}

/// The path of a policy's text.
pub(super) fn text_path(name: &str) -> String {
    format!("sys/policies/acl/{name}")
}

/// The text of a policy on the server.
pub(super) async fn policy_text(prover: &Vault<'_>, name: &str) -> Result<String> {
    let found = match prover.policies().await? {
        Some(listing) => listing.get(name).cloned(),
        None => prover.get(&text_path(name)).await?,
    };
    Ok(found.unwrap_or_default()["policy"].as_str().unwrap_or_default().to_owned())
}

/// Compares what the server says of each path with what the rules say.
pub(super) async fn compare(prover: &Vault<'_>, bearer: &Bearer, acl: &Acl, paths: &[String]) {
    let tried = format!("its capabilities on {} paths", paths.len());
    let found = prover.ask(&tried, "an answer about each path", bearer.capabilities(paths).await);
    let Some(found) = found else { return };
    let expected: Vec<String> = paths.iter().map(|path| in_words(acl.on(path).into_iter())).collect();
    let seen: Vec<String> = found.iter().map(|names| in_words(names.iter().map(String::as_str))).collect();
    let differing: Vec<usize> = (0..paths.len()).filter(|index| expected[*index] != seen[*index]).collect();
    if differing.is_empty() {
        let allowed = expected.iter().filter(|one| *one != NOTHING).count();
        let refused = paths.len() - allowed;
        return prover.proven(format!("allowed on {allowed} paths and refused on {refused} beside them"));
    }
    let side = |values: &[String]| {
        let told = differing.iter().map(|index| format!("`{}`: {}", paths[*index], values[*index]));
        first_few(told, SHOWN, "; ")
    };
    prover.failed(tried, side(&expected), side(&seen), ADVICE);
}

const NOTHING: &str = "nothing";

/// Capabilities in words. The server says `deny` where there are none.
fn in_words<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.filter(|name| *name != "deny").collect();
    if names.is_empty() { NOTHING.to_owned() } else { names.join(", ") }
}

/// Reads secrets of the plan that the rules let it read, and is refused others.
async fn really_read(prover: &Vault<'_>, bearer: &Bearer, acl: &Acl, around: &Surroundings) {
    let may_read = |path: &String| acl.on(path).contains("read");
    let (readable, others): (Vec<String>, Vec<String>) = around.values().partition(may_read);
    let beside = readable.iter().take(1).flat_map(|path| near(path)).filter(|path| !may_read(path));
    let beside =
        beside.filter(|path| around.engines.iter().any(|engine| path.starts_with(&format!("{engine}/"))));
    for path in readable.iter().take(READ) {
        read(prover, bearer, path, true).await;
    }
    for path in others.iter().take(READ).cloned().chain(beside.take(READ)) {
        read(prover, bearer, &path, false).await;
    }
}

/// Lists folders of the plan's secrets as far as the rules let it, and is refused the others.
async fn really_list(prover: &Vault<'_>, bearer: &Bearer, acl: &Acl, around: &Surroundings) {
    for folder in around.folders().iter().take(READ) {
        let is_allowed = acl.allows(folder, &["list"]);
        let tried = if is_allowed {
            format!("lists `{folder}`")
        } else {
            format!("is refused the list of `{folder}`")
        };
        let answer = bearer.try_read("LIST", folder).await;
        let Some(status) = prover.ask(&tried, "an answer", answer) else { continue };
        judge(prover, tried, status, is_allowed);
    }
}

/// Reads one path. What is read is dropped; a secret that is not there is another step's fault.
async fn read(prover: &Vault<'_>, bearer: &Bearer, path: &str, is_allowed: bool) {
    let tried = if is_allowed { format!("reads `{path}`") } else { format!("is refused `{path}`") };
    let Some(status) = prover.ask(&tried, "an answer", bearer.try_read("GET", path).await) else { return };
    judge(prover, tried, status, is_allowed);
}

fn judge(prover: &Vault<'_>, tried: String, status: u16, is_allowed: bool) {
    if (status == 403) != is_allowed {
        return prover.proven(tried);
    }
    let expected = if is_allowed { "the request is allowed" } else { "the request is refused (403)" };
    prover.failed(tried, expected, format!("the server answers {status}"), ADVICE);
}
