//! Removes everything that is the plan's from custody, at the end of a complete teardown.

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
        let mut removed = 0;
        for place in self.places() {
            for (name, version) in place.objects("").await? {
                let is_ours =
                    place.read(&name, version).await.map(|bytes| self.is_ours(&name, version, &bytes));
                if is_ours? {
                    place.remove(permit, &name, version).await?;
                    removed += 1;
                }
            }
            place.tidy(permit).await?;
        }
        Ok(removed)
    }
}
