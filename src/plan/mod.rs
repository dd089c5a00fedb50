//! The declared plan file: read strictly, with a source position for every value.

pub mod describe;
pub mod diagnostic;
mod document;
mod former;
pub mod given;
mod load;
mod location;
mod node;
pub mod ownership;
pub mod schema;
pub mod settings;
mod shape;
mod silence;
mod suggest;
mod text;

pub use diagnostic::{Diagnostic, Diagnostics, MOST_MISTAKES, Severity, Sources, Span};
pub use document::{DeclaredStep, Document, Section, VERSION};
pub use former::RemovedStep;
pub use load::load;
pub use location::S3Location;
pub use node::{Key, Node, NodeValue};
pub use shape::is_plan;
pub use silence::Silence;
pub use suggest::closest;
