//! Which part of a plan a command deals with.

use clap::Args;

use crate::changeset::Selection;

/// The part of a plan that a command deals with.
#[derive(Clone, Debug, Default, Args)]
pub struct SelectArgs {
    /// Only this step and what it needs, and leave the rest of the plan as it is; may be repeated.
    /// `ID[KEY]` is one instance of a repeated step
    #[arg(long = "target", value_name = "ID", conflicts_with = "prune")]
    targets: Vec<String>,
    /// Replace this step's thing, or its generated values; may be repeated. Its dependents come after it.
    /// Refused for a thing that is protected or whose data would be lost
    #[arg(long = "replace", value_name = "ID")]
    replaces: Vec<String>,
}

impl From<Selection> for SelectArgs {
    fn from(Selection { targets, replaces, .. }: Selection) -> Self {
        Self { targets, replaces }
    }
}

impl SelectArgs {
    /// The selection.
    pub fn selection(&self) -> Selection {
        Selection { targets: self.targets.clone(), replaces: self.replaces.clone(), ..Selection::default() }
    }
}
