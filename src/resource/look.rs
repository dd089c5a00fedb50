//! What to read of a thing, apart from its address.

use super::Resource;

/// What an observation reads besides what every thing of the kind has. An address says only where the thing
/// is; the same thing is read in different ways by a plan, an apply and a removal.
pub struct Look<'a, R: Resource> {
    /// The declaration, for fields whose live values take a request of their own; `None` of a thing that no
    /// step declares any more.
    pub declared: Option<&'a R::Desired>,
    /// Whether outputs are wanted that take a request of their own.
    pub outputs: bool,
    /// Whether values are to be read. Without this a kind reads, of what is secret, nothing that it can
    /// leave unread.
    pub values: bool,
}

impl<R: Resource> Clone for Look<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Resource> Copy for Look<'_, R> {}

impl<'a, R: Resource> Look<'a, R> {
    /// Only what a removal needs.
    pub const BARE: Self = Self { declared: None, outputs: false, values: false };

    /// Everything that a step with this declaration has.
    pub const fn whole(declared: &'a R::Desired) -> Self {
        Self { declared: Some(declared), outputs: true, values: true }
    }

    /// Whether there is a declaration, and this is true of it.
    pub fn declares(&self, is_declared: impl FnOnce(&R::Desired) -> bool) -> bool {
        self.declared.is_some_and(is_declared)
    }
}
