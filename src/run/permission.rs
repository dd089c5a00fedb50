//! Permissions that a run needs in a live system.

use serde_json::Value;

use crate::place::Place;

/// A permission that a step needs: any one of several actions on one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The thing, as the system's policies name it, such as a path of Vault.
    pub on: String,
    /// The actions, as the policies name them. Any one of them is enough.
    pub any_of: &'static [&'static str],
}

/// The permissions that a step needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The step's id.
    pub step: String,
    /// The provider of its kind.
    pub provider: &'static str,
    /// Where its thing is.
    pub place: Place,
    /// The permissions.
    pub permissions: Vec<Permission>,
}

/// A step as its provider sees it, for what can only be judged over all steps.
pub trait Declared {
    /// Its id.
    fn id(&self) -> &str;
    /// Its kind.
    fn kind(&self) -> &'static str;
    /// Where its thing is.
    fn place(&self) -> &Place;
    /// The declared fields with their defaults.
    fn fields(&self) -> Value;
    /// The permissions that it needs.
    fn permissions(&self) -> Vec<Permission>;
}
