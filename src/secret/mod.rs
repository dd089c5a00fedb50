//! Secret values and where they come from.
//!
//! [`Secret`] cannot be displayed, serialised or logged. The only ways to its bytes are the two
//! `expose_…` methods, so that every use can be found by searching for them.

mod change;
pub mod connection;
mod declaration;
pub mod detect;
mod generate;
pub mod mask;
mod render;
mod source;
mod template;
mod tracked;

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretSlice};

pub use change::SecretChange;
pub use declaration::{Declarations, declaration, declarations, hide_unsettled, path_of};
pub(crate) use generate::random_bytes;
pub use generate::{Charset, Encoding, Generate, KeyPair, public_key};
pub use render::{RenderError, Rendered, Sources, check_templates, render};
pub use source::{Input, LoadError, Loader, SECRET_KEY, SecretSource};

/// Secret values by the names of their fields.
pub type Fields = BTreeMap<String, Secret>;

/// A secret value, as bytes; wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// Takes ownership of secret bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// The text, when the secret is UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(self.expose_bytes()).ok()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.expose_bytes().len()
    }

    /// Whether the secret is the empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl PartialEq for Secret {
    /// Compares in time that depends only on the lengths.
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.expose_bytes(), other.expose_bytes()).is_ok()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
