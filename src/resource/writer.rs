//! The permission to write.

use std::ops::Deref;

/// Writing requires one of these: clients require it in every method that changes something, and
/// only [`crate::apply`] mints it, after approval.
#[derive(Debug)]
pub struct Permit(());

impl Permit {
    /// Mints the permission. Only `apply` (after approval) and tests call this.
    pub(crate) fn mint() -> Self {
        Self(())
    }
}

/// A client together with the permission to write through it.
#[derive(Debug)]
pub struct Writer<'a, C> {
    client: &'a C,
    permit: &'a Permit,
    step: &'a str,
}

impl<'a, C> Writer<'a, C> {
    /// Combines a client with the permission, on behalf of the step with id `step`.
    pub fn new(client: &'a C, permit: &'a Permit, step: &'a str) -> Self {
        Self { client, permit, step }
    }

    /// The permission, to pass to the client's writing methods.
    pub fn permit(&self) -> &'a Permit {
        self.permit
    }

    /// The id of the step on whose behalf the client writes, for the journal.
    pub fn step(&self) -> &'a str {
        self.step
    }
}

impl<C> Deref for Writer<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.client
    }
}
