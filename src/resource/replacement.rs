//! The meaning of a replacement for a kind.

/// How `--replace` replaces a thing of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The thing is deleted and created again.
    Recreated,
    /// The thing stays and gets new values; the old ones go once the new ones are delivered. See
    /// [`super::Resource::renew`].
    Renewed,
    /// Not at all: why, and what to do instead.
    Never(&'static str),
}
