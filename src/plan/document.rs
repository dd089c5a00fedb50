//! The plan as declared: sections and steps, expressions still unevaluated.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::{Sources, Span};
use super::group::Scope;
use super::moved_removed::RemovedStep;
use super::node::{Key, Node};
use super::silence::Silence;
use super::stage::Stage;
use super::variable::Variables;

/// The only version of the plan language there is.
pub const VERSION: u64 = 1;

/// A plan file with everything it includes, read and checked for its outer shape.
#[derive(Clone, Debug)]
pub struct Document {
    /// The files.
    pub sources: Sources,
    /// The plan file itself.
    pub path: PathBuf,
    /// The plan file with the options that choose this stage and these variables, for commands that messages
    /// advise.
    pub command_line: String,
    /// The folder that the plan file is in; relative paths start here and may not leave it.
    pub folder: PathBuf,
    /// The plan's name, or that of the chosen stage's instance. An expression has its value once the plan is
    /// resolved.
    pub name: String,
    /// The name as declared.
    pub declared_name: Node,
    /// The stages; none for a plan with one instance.
    pub stages: Vec<Stage>,
    /// The chosen one, as an index.
    pub stage: Option<usize>,
    /// SHA-256 over the plan file, its includes and the variables, `sha256:…`.
    pub digest: String,
    /// Declared variables with the values that win, in the order declared.
    pub vars: Vec<(Key, Node)>,
    /// Their declarations, and what the caller gave: the values of these are not evaluated.
    pub variables: Variables,
    /// The sections of the providers, `custody`, `journal` and `lock`, as far as declared.
    pub sections: Vec<(Section, Node)>,
    /// Where each step is among `steps`.
    pub(super) by_id: HashMap<String, usize>,
    /// The steps, in the order declared; those of groups come last.
    pub steps: Vec<DeclaredStep>,
    /// The ids of the steps that were made for a use of a group, by the id of the use.
    pub used: HashMap<String, Vec<String>>,
    /// Rules that the plan silences everywhere.
    pub silences: Vec<Silence>,
    /// Steps that have another id now: the old one and the new.
    pub moved: Vec<(Key, Key)>,
    /// The rules for the things of steps that are gone.
    pub removed: Vec<RemovedStep>,
}

/// A section beside the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// A provider: where it is, and how to log in.
    Provider(&'static str),
    /// Who opens the once-only secrets, and where they are kept.
    Custody,
    /// Where the journal's copy is.
    Journal,
    /// Where the lock stands that other machines see.
    Lock,
    /// Where backups of Vault are kept.
    Backup,
    /// The targets of a recovery, and how a drill judges one.
    Recovery,
    /// Who hears of an emergency.
    Notify,
}

impl Section {
    /// The sections of the program itself.
    pub const OWN: [Self; 6] =
        [Self::Custody, Self::Journal, Self::Lock, Self::Backup, Self::Recovery, Self::Notify];

    /// The key in the plan file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Provider(name) => name,
            Self::Custody => "custody",
            Self::Journal => "journal",
            Self::Lock => "lock",
            Self::Backup => "backup",
            Self::Recovery => "recovery",
            Self::Notify => "notify",
        }
    }
}

/// One entry under `steps:`.
#[derive(Clone, Debug)]
pub struct DeclaredStep {
    /// The id and where it stands.
    pub id: Key,
    /// The kind's name and where it stands.
    pub kind: (String, Span),
    /// The kind's own fields: a mapping without the keys that every step takes.
    pub fields: Node,
    /// The account and region it is in, `aws.NAME`, or an expression for it.
    pub provider: Option<Node>,
    /// A map or list, or an expression for one: the step is repeated for each entry.
    pub for_each: Option<Node>,
    /// Whether the step takes part: a boolean or an expression for one.
    pub when: Option<Node>,
    /// Ids of steps that come first, where no value flows.
    pub needs: Vec<Key>,
    /// Whether an existing thing that is not ours may be taken over.
    pub adopt: bool,
    /// Whether deletion is refused, a boolean or an expression for one; absent means the stage's or the kind's
    /// default.
    pub protect: Option<Node>,
    /// Whether the thing stays when the step is gone from the plan, a boolean or an expression for one.
    pub retain: Option<Node>,
    /// Rules that the step silences.
    pub silences: Vec<Silence>,
    /// The use of a group that it was made for.
    pub scope: Option<Arc<Scope>>,
}

impl Document {
    /// The chosen stage.
    pub fn stage(&self) -> Option<&Stage> {
        self.stage.map(|index| &self.stages[index])
    }

    /// The name of the chosen stage.
    pub fn stage_name(&self) -> Option<&str> {
        self.stage().map(|stage| stage.id.name.as_str())
    }

    /// A section's declaration.
    pub fn section(&self, section: Section) -> Option<&Node> {
        self.sections.iter().find(|(key, _)| *key == section).map(|(_, node)| node)
    }

    /// The step with this id, before `for_each`.
    pub fn step(&self, id: &str) -> Option<&DeclaredStep> {
        self.by_id.get(id).map(|index| &self.steps[*index])
    }
}
