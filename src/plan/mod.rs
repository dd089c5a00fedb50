//! The declared plan file: read strictly, with a source position for every value.

pub mod diagnostic;
mod document;
pub mod given;
mod group;
mod keys;
mod load;
mod location;
mod moved_removed;
mod node;
pub mod ownership;
pub mod settings;
mod silence;
mod stage;
mod syntax;
mod text;
mod variable;

pub use diagnostic::{Diagnostic, Diagnostics, MOST_MISTAKES, Severity, Sources, Span};
pub use document::{DeclaredStep, Document, Section, VERSION};
pub use given::Given;
pub use group::Scope;
pub(crate) use group::USE_KEYS;
pub(crate) use load::STEP_KEYS;
pub use load::{load, name_mistake, stage_names};
pub use location::{LockPlace, S3Location, bucket_and_prefix};
pub use moved_removed::RemovedStep;
pub use node::{Key, Node, NodeValue};
pub use silence::Silence;
pub use stage::{STAGE_VARIABLE, Stage, StageChoice};
pub use variable::{Rules, Variables};
