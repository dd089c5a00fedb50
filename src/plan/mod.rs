//! The declared plan file.

pub mod settings;
