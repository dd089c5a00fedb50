//! Removes what is the plan's from custody: everything at the end of a complete teardown, and what has had its
//! use.

use super::Custody;
use crate::error::Result;
use crate::permit::Permit;

impl Custody {
    /// Removes every version of every object that is the plan's, from every place, for good. Objects of
    /// others stay. Returns the number of objects.
    ///
    /// # Errors
    /// When a place does not answer: then it is run again.
    pub async fn erase(&self, permit: &Permit) -> Result<usize> {
        let removed = self.discard(permit, "").await?;
        for place in self.places() {
            place.tidy(permit).await?;
        }
        Ok(removed)
    }

    /// Removes every version of the plan's objects whose names begin with `prefix`, from every place, for good.
    /// Returns the number of objects.
    ///
    /// # Errors
    /// As [`Custody::erase`].
    pub async fn discard(&self, permit: &Permit, prefix: &str) -> Result<usize> {
        let mut removed = 0;
        for place in self.places() {
            for (name, version) in place.objects(prefix).await? {
                let is_ours =
                    place.read(&name, version).await.map(|bytes| self.is_ours(&name, version, &bytes));
                if is_ours? {
                    place.remove(permit, &name, version).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}
