//! The permission to write.

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
