//! Who asks, and whom a statement of a resource's policy means.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>

use serde_json::Value;

use super::super::as_list;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    /// Its type.
    pub kind: CallerKind,
    /// Its ARN, or the name of a service.
    pub name: String,
    /// Its account; empty for a service.
    pub account: String,
}

/// The type of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallerKind {
    /// A user.
    User,
    /// A role.
    Role,
    /// Everyone in an account.
    Account,
    /// A service of AWS.
    Service,
    /// A provider of identities.
    Federated,
    /// Anyone at all.
    Everyone,
}

/// Whom a statement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// Another caller.
    No,
    /// The caller.
    Named,
    /// The caller's account, whose own policies then decide.
    Account,
}

impl Caller {
    /// Whom the `Principal` or `NotPrincipal` of a statement means.
    pub fn is_meant_by(&self, statement: &Value) -> Match {
        match (statement.get("Principal"), statement.get("NotPrincipal")) {
            (Some(principal), _) => self.is_among(principal),
            (None, Some(others)) => match self.is_among(others) {
                Match::No => Match::Named,
                // Excepting an account does not except its users and roles in a denial, but the named one.
                Match::Named | Match::Account => Match::No,
            },
            (None, None) => Match::No,
        }
    }

    fn is_among(&self, principal: &Value) -> Match {
        if principal == "*" {
            return Match::Named;
        }
        let Some(families) = principal.as_object() else { return Match::No };
        let mut found = Match::No;
        for (family, names) in families {
            for name in as_list(Some(names)).iter().filter_map(Value::as_str) {
                match self.is(family, name) {
                    Match::Named => return Match::Named,
                    Match::Account => found = Match::Account,
                    Match::No => {}
                }
            }
        }
        found
    }

    fn is(&self, family: &str, name: &str) -> Match {
        let is_identity = matches!(self.kind, CallerKind::User | CallerKind::Role | CallerKind::Account);
        match family {
            "AWS" if name == "*" => Match::Named,
            "AWS" if is_identity && name == self.name => Match::Named,
            "AWS" if is_identity && !self.account.is_empty() && account_of(name) == Some(&self.account) => {
                match self.kind {
                    CallerKind::Account => Match::Named,
                    _ => Match::Account,
                }
            }
            "Service" if self.kind == CallerKind::Service && name == self.name => Match::Named,
            "Federated" if self.kind == CallerKind::Federated && name == self.name => Match::Named,
            _ => Match::No,
        }
    }
}

/// The account that a principal stands for as a whole.
pub fn account_of(principal: &str) -> Option<&str> {
    let is_account = |text: &&str| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_account(&principal) {
        return Some(principal);
    }
    let parts: Vec<&str> = principal.split(':').collect();
    match parts[..] {
        ["arn", _, "iam", "", account, "root"] => Some(account),
        _ => None,
    }
}
