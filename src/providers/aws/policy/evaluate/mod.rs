//! The result of policies: the decision of AWS on one request.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>. A resource may be a
//! pattern, such as all objects of a bucket; a decision then says for which of them it holds.

mod condition;
mod pattern;
mod principal;

use serde_json::Value;

pub use condition::Context;
pub use pattern::covers;
pub use principal::{Caller, CallerKind, Match};

use super::as_list;
use pattern::overlap;

/// Whether something holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It does under this condition.
    Maybe(String),
}

impl Truth {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, other) => other,
            (one, Self::Yes) => one,
            (Self::Maybe(one), Self::Maybe(other)) => Self::Maybe(format!("{one} and {other}")),
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, other) => other,
            (one, Self::No) => one,
            (Self::Maybe(one), Self::Maybe(other)) => Self::Maybe(format!("{one}, or {other}")),
        }
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The action, such as `s3:GetObject`.
    pub action: &'a str,
    /// The resource: an ARN, or a pattern for several.
    pub resource: &'a str,
    /// Who asks.
    pub caller: &'a Caller,
    /// What is known of the request.
    pub context: &'a Context,
}

/// A policy by its name.
#[derive(Clone, Debug)]
pub struct Named {
    /// Its name, for people.
    pub name: String,
    /// The document; `None` when the content is not known.
    pub document: Option<Value>,
}

/// Statements that apply to a request.
#[derive(Clone, Debug, Default)]
pub struct Hits {
    /// Those that apply in any case.
    pub certain: Vec<String>,
    /// Those that apply under a condition, with it.
    pub conditional: Vec<(String, String)>,
}

impl Hits {
    fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.conditional.is_empty()
    }

    fn push(&mut self, truth: Truth, label: String) {
        match truth {
            Truth::Yes => self.certain.push(label),
            Truth::Maybe(condition) => self.conditional.push((label, condition)),
            Truth::No => {}
        }
    }

    /// Adds one that is not a statement, such as a grant, and what it is limited to.
    pub fn permit(&mut self, label: String, only: Option<String>) {
        self.push(only.map_or(Truth::Yes, Truth::Maybe), label);
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: Self) {
        self.certain.extend(other.certain);
        self.conditional.extend(other.conditional);
    }
}

/// The answer of all policies of one sort to a request.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Statements that allow it.
    pub allow: Hits,
    /// Statements that deny it.
    pub deny: Hits,
}

/// The decision on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is allowed.
    Allowed {
        /// The statement that allows it.
        by: String,
        /// It is, if one of these holds; none if it is in any case.
        only: Vec<String>,
        /// It is not, if one of these holds.
        unless: Vec<String>,
    },
    /// A statement denies it.
    Denied {
        /// The statement.
        by: String,
    },
    /// Nothing allows it.
    NotAllowed,
}

/// The statements of these policies that apply, for any caller.
pub fn judge(policies: &[Named], call: &Call<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    for policy in policies {
        let Some(document) = &policy.document else { continue };
        for (index, statement) in as_list(document.get("Statement")).iter().enumerate() {
            let truth = applies(document, statement, call);
            let label = format!("{} ({})", policy.name, label(statement, index));
            let hits = if statement["Effect"] == "Deny" { &mut judgement.deny } else { &mut judgement.allow };
            hits.push(truth, label);
        }
    }
    judgement
}

/// The statements of a resource's policy that apply to the caller: those that name it, and those that leave the
/// decision to its account.
pub fn judge_resource(policy: &Named, call: &Call<'_>) -> (Judgement, Hits) {
    let (mut named, mut delegated) = (Judgement::default(), Hits::default());
    let Some(document) = &policy.document else { return (named, delegated) };
    for (index, statement) in as_list(document.get("Statement")).iter().enumerate() {
        let whom = call.caller.is_meant_by(statement);
        let truth = match whom {
            Match::No => continue,
            Match::Named | Match::Account => applies(document, statement, call),
        };
        let label = format!("{} ({})", policy.name, label(statement, index));
        match (statement["Effect"] == "Deny", whom) {
            (true, _) => named.deny.push(truth, label),
            (false, Match::Account) => delegated.push(truth, label),
            (false, _) => named.allow.push(truth, label),
        }
    }
    (named, delegated)
}

fn label(statement: &Value, index: usize) -> String {
    match statement.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty()) {
        Some(sid) => format!("statement {sid}"),
        None => format!("statement {}", index + 1),
    }
}

/// Whether a statement applies to a request, for any caller.
fn applies(document: &Value, statement: &Value, call: &Call<'_>) -> Truth {
    let lower = call.action.to_ascii_lowercase();
    let matches_action = |name: &str| {
        texts(statement, name).iter().any(|pattern| covers(&pattern.to_ascii_lowercase(), &lower))
    };
    let acts = match (statement.get("Action"), statement.get("NotAction")) {
        (Some(_), _) => matches_action("Action"),
        (None, Some(_)) => !matches_action("NotAction"),
        (None, None) => false,
    };
    if !acts {
        return Truth::No;
    }
    let has_variables = document["Version"] == "2012-10-17";
    let fill = |text: &str| if has_variables { filled(text, call.context) } else { Some(text.to_owned()) };
    let concerns = match (statement.get("Resource"), statement.get("NotResource")) {
        (Some(_), _) => resources(&texts(statement, "Resource"), call.resource, &fill),
        (None, Some(_)) => match resources(&texts(statement, "NotResource"), call.resource, &fill) {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Maybe(condition) => Truth::Maybe(format!("not {condition}")),
        },
        // A trust policy: the role itself.
        (None, None) => Truth::Yes,
    };
    concerns.and(condition::met(&statement["Condition"], call.context, &fill))
}

fn resources(patterns: &[String], resource: &str, fill: &dyn Fn(&str) -> Option<String>) -> Truth {
    patterns.iter().fold(Truth::No, |found, pattern| {
        found.or(match fill(pattern) {
            Some(known) if covers(&known, resource) => Truth::Yes,
            Some(known) if overlap(&known, resource) => Truth::Maybe(format!("on {pattern}")),
            // The value of a variable is unknown: any text may be in its place.
            None if overlap(&starred(pattern), resource) => Truth::Maybe(format!("on {pattern}")),
            Some(_) | None => Truth::No,
        })
    })
}

/// Stands for a `*` or a `?` that is meant literally: no name of a resource has this character.
const LITERAL: &str = "\u{1}";

/// A text with the values of its variables; `None` if one is not known.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>
fn filled(text: &str, context: &Context) -> Option<String> {
    let mut pieces = text.split("${");
    let mut filled = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}')?;
        let (name, default) = match name.split_once(',') {
            Some((name, default)) => (name.trim(), Some(default.trim().trim_matches('\''))),
            None => (name, None),
        };
        match name {
            "*" | "?" => filled.push_str(LITERAL),
            "$" => filled.push('$'),
            _ => match (context.get(name)?, default) {
                (Some([value]), _) => filled.push_str(value),
                (None, Some(default)) => filled.push_str(default),
                // Without a value the text matches nothing.
                _ => filled.push_str(LITERAL),
            },
        }
        filled.push_str(rest);
    }
    Some(filled)
}

/// A text with a `*` in place of each variable.
fn starred(text: &str) -> String {
    let mut pieces = text.split("${");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + "*" + piece.split_once('}').map_or("", |(_, rest)| rest))
}

fn texts(statement: &Value, name: &str) -> Vec<String> {
    let list = as_list(statement.get(name));
    list.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

/// The decision within one account on what policies of the caller, its boundary and the resource say.
///
/// `needs_resource`: the resource's own policy must allow it, or leave it to the account, as with keys and roles.
pub fn decide(
    identity: Judgement,
    boundary: Option<Judgement>,
    (resource, delegated): (Judgement, Hits),
    needs_resource: bool,
    bounds_named: bool,
) -> Decision {
    let mut denies = identity.deny;
    denies.extend(resource.deny);
    let (limits, bounds) = match boundary {
        Some(boundary) => {
            denies.extend(boundary.deny);
            (true, boundary.allow)
        }
        None => (false, Hits::default()),
    };
    if let Some(by) = denies.certain.into_iter().next() {
        return Decision::Denied { by };
    }
    let unless: Vec<String> =
        denies.conditional.into_iter().map(|(by, condition)| format!("{condition} ({by})")).collect();
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    let named = through(&resource.allow, if limits && bounds_named { Some(&bounds) } else { None });
    let own = match (needs_resource, delegated.is_empty()) {
        (true, true) => Vec::new(),
        _ => {
            let own = through(&identity.allow, limits.then_some(&bounds));
            if needs_resource { own.into_iter().flat_map(|one| also(one, &delegated)).collect() } else { own }
        }
    };
    found.extend(named);
    found.extend(own);
    let certain = found.iter().find(|(_, only)| only.is_empty());
    match (certain, found.first()) {
        (Some((by, _)), _) => Decision::Allowed { by: by.clone(), only: Vec::new(), unless },
        (None, Some((by, _))) => {
            let only = found.iter().map(|(_, only)| only.join(" and ")).collect();
            Decision::Allowed { by: by.clone(), only, unless }
        }
        (None, None) => Decision::NotAllowed,
    }
}

/// What is allowed by a statement, and within the limits if there are any.
fn through(allowed: &Hits, limits: Option<&Hits>) -> Vec<(String, Vec<String>)> {
    let certain = allowed.certain.iter().map(|by| (by.clone(), Vec::new()));
    let conditional = allowed.conditional.iter().map(|(by, condition)| (by.clone(), vec![condition.clone()]));
    let all = certain.chain(conditional);
    match limits {
        None => all.collect(),
        Some(limits) => all.flat_map(|one| also(one, limits)).collect(),
    }
}

/// The same where one of these allows it too.
fn also((by, only): (String, Vec<String>), others: &Hits) -> Vec<(String, Vec<String>)> {
    if !others.certain.is_empty() {
        return vec![(by, only)];
    }
    let with = |condition: &String| {
        let mut only = only.clone();
        only.push(condition.clone());
        (by.clone(), only)
    };
    others.conditional.iter().map(|(_, condition)| with(condition)).collect()
}

#[cfg(test)]
mod tests;
