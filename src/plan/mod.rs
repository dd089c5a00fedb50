//! The declared plan file: read strictly, with a source position for every value.

pub mod diagnostic;
mod document;
pub mod given;
mod load;
mod location;
mod moved_removed;
mod node;
pub mod ownership;
pub mod settings;
mod silence;
mod text;

pub use diagnostic::{Diagnostic, Diagnostics, MOST_MISTAKES, Severity, Sources, Span};
pub use document::{DeclaredStep, Document, Section, VERSION};
pub(crate) use load::STEP_KEYS;
pub use load::load;
pub use location::{LockPlace, S3Location};
pub use moved_removed::RemovedStep;
pub use node::{Key, Node, NodeValue};
pub use silence::Silence;
