//! Who can reach what: what kinds state of principals, policies and things, and what follows from that.
//!
//! A kind states only the grants of its own thing ([`Grant`]). The result of all of them together is known to a provider
//! (`Connection::reach`), by the rules of its system. Here is the form in which both speak, and the comparison of
//! two answers.

mod change;
mod select;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

pub use change::{AccessChange, Direction, changes};
pub use select::NoSuch;

use crate::place::{Place, Realm};
use crate::template::unknown;

/// The role of a thing in access.
#[derive(Clone, Debug, PartialEq)]
pub enum Grant {
    /// It is a principal, which can do something.
    Principal(Principal),
    /// It is a policy, which principals have by its name.
    Policy {
        /// Its name.
        name: String,
        /// The rules, in the notation of the system.
        rules: Value,
    },
    /// It can be reached.
    Target(Target),
    /// A login by this name leads to a principal.
    Login {
        /// The name that the method has for it.
        name: String,
        /// The method's path.
        method: String,
        /// The principal's id.
        principal: String,
    },
}

/// A principal: a user, a role, a group, an entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Principal {
    /// Its type, such as `user`.
    pub sort: &'static str,
    /// Its name in the system.
    pub name: String,
    /// Its policies, by name or ARN.
    pub policies: Vec<String>,
    /// Policies of its own, with their names.
    pub documents: Vec<(String, Value)>,
    /// The policy that limits it, by ARN.
    pub boundary: Option<String>,
    /// Groups that it is in, by name.
    pub groups: Vec<String>,
    /// Ids of those that are in it.
    pub members: Vec<String>,
    /// Who can become it, in the notation of the system.
    pub trust: Option<Value>,
    /// The properties that policies may ask of it: tags, metadata.
    pub facts: BTreeMap<String, String>,
    /// Whether it lacks the policies that every principal of the system has.
    pub is_bare: bool,
    /// Whether the system refuses it.
    pub is_disabled: bool,
}

/// A thing that can be reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Target {
    /// Its type, such as `bucket`.
    pub sort: &'static str,
    /// Its name or path in the system.
    pub name: String,
    /// The operations on it.
    pub operations: Vec<Operation>,
    /// Its own policy.
    pub policy: Option<Value>,
    /// Permissions beside its policy: name, principal, actions, and what they are limited to.
    pub permits: Vec<Permit>,
    /// Whether only the account can use the rights that its policy gives to everyone.
    pub is_closed: bool,
}

/// Something that can be done with a thing.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// What, such as `read`.
    pub right: &'static str,
    /// The actions, as policies name them. Any one of them is enough.
    pub any_of: &'static [&'static str],
    /// Where it is asked for: a path, or what follows the thing's ARN.
    pub on: String,
}

impl Operation {
    /// One action at a place.
    pub fn new(right: &'static str, any_of: &'static [&'static str], on: impl Into<String>) -> Self {
        Self { right, any_of, on: on.into() }
    }
}

/// A permission that a thing gives beside its policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permit {
    /// Its name.
    pub name: String,
    /// Who gets it.
    pub principal: String,
    /// The rights that it allows.
    pub actions: Vec<String>,
    /// Its limits, in words.
    pub only: Option<String>,
}

/// The grants of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granting {
    /// Not said yet: a test of the registry finds it.
    Unsaid,
    /// It states grants.
    States,
    /// Never anything, and why.
    Never(&'static str),
}

/// The statements of the thing of one step, and its place.
#[derive(Clone, Debug)]
pub struct Stated {
    /// The step's id.
    pub step: String,
    /// The kind's name.
    pub kind: &'static str,
    /// Where the thing is.
    pub place: Place,
    /// The realm of the place, as far as it is known.
    pub realm: Realm,
    /// The outputs, as far as they are known.
    pub outputs: Map<String, Value>,
    /// Its statements.
    pub grants: Vec<Grant>,
}

impl Stated {
    /// An output; the marker that other steps have in its place if it is not known.
    pub fn output(&self, name: &str) -> String {
        let known = self.outputs.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
        known.unwrap_or_else(|| unknown::marker(&format!("{}.{name}", self.step)))
    }
}

/// A principal or a target, as an answer names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Subject {
    /// The provider.
    pub provider: &'static str,
    /// Its type, such as `user` or `bucket`.
    pub sort: String,
    /// Its name.
    pub name: String,
    /// The step that declares it; a principal that only a policy names has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Further names by which it can be asked for: an ARN, an id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl Subject {
    /// Its sort and name.
    pub fn title(&self) -> String {
        format!("{} {}", self.sort, unknown::describe(&self.name))
    }
}

/// One thing that a principal can do with a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Right {
    /// What, such as `read`.
    pub right: &'static str,
    /// Which policy and which rule of it allow that.
    pub because: Vec<String>,
    /// It holds only under one of these conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// It does not hold under any of these conditions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unless: Vec<String>,
}

impl Right {
    /// Whether it holds in any case.
    pub fn is_certain(&self) -> bool {
        self.only.is_empty() && self.unless.is_empty()
    }

    /// The conditions under which it holds, in words.
    pub fn conditions(&self) -> Vec<String> {
        let only = (!self.only.is_empty()).then(|| format!("only {}", self.only.join(", or ")));
        only.into_iter().chain(self.unless.iter().map(|one| format!("unless {one}"))).collect()
    }
}

/// The rights of one principal on one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Reach {
    /// Who.
    pub principal: Subject,
    /// What.
    pub target: Subject,
    /// The rights, in the order of their system.
    pub rights: Vec<Right>,
}

/// Something that the answer does not cover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Remark {
    /// Whom or what it is about.
    pub about: Subject,
    /// What, as a sentence.
    pub message: String,
}

/// Who can reach what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Access {
    /// All principals.
    pub principals: Vec<Subject>,
    /// All targets.
    pub targets: Vec<Subject>,
    /// The rights of each principal on each target, where it has any.
    pub reach: Vec<Reach>,
    /// What is not known.
    pub remarks: Vec<Remark>,
}

impl Access {
    /// Adds the answer of another provider.
    pub fn extend(&mut self, other: Self) {
        self.principals.extend(other.principals);
        self.targets.extend(other.targets);
        self.reach.extend(other.reach);
        self.remarks.extend(other.remarks);
    }
}
