//! The plan's signing key in custody, so that another machine can go on with the plan.

use super::newest::require_an_answer;
use super::{Custody, name_part};
use crate::error::Result;
use crate::permit::Permit;
use crate::signing::SigningKey;

impl Custody {
    /// Each plan has a signing key of its own, although plans may share their stores.
    fn key_name(&self) -> String {
        format!("signing-key/{}", name_part(self.authority.plan()))
    }

    /// The plan's signing key; `None` when custody has none.
    ///
    /// # Errors
    /// `Denied` when the caller does not trust the key; when it cannot be opened here.
    pub async fn signing_key(&self) -> Result<Option<SigningKey>> {
        let name = self.key_name();
        let Some(kept) = self.get(&name).await? else { return Ok(None) };
        let key = SigningKey::from_secret(&kept)?;
        match self.authority.trusts(&key.signer()) {
            true => Ok(Some(key)),
            false => Err(self.authority.unknown(&name, &key.signer())),
        }
    }

    /// Puts this machine's signing key into custody, until every store and recipient has it. If custody
    /// already has another machine's trusted key, that key stays.
    ///
    /// # Errors
    /// When no store takes it.
    pub async fn share_key(&self, permit: &Permit) -> Result<()> {
        let Some(key) = self.authority.key().filter(|_| self.authority.is_unshared()) else { return Ok(()) };
        let name = self.key_name();
        let listed = self.listed(&name).await;
        require_an_answer(&listed)?;
        match self.search_in(&name, &listed, false).await.into_whole_if_any()? {
            None => self.replace(permit, &name, &key.to_secret()).await?,
            Some(_) => self.complete(permit, &name).await?,
        }
        let listed = self.listed(&name).await;
        let on_each = listed.iter().filter(|(place, _)| !self.is_rescue(*place));
        let is_everywhere =
            on_each.into_iter().all(|(_, answer)| answer.as_ref().is_ok_and(|all| !all.is_empty()));
        if !is_everywhere || self.has_failures() || !self.gaps(&name).await?.is_empty() {
            // A later run completes it.
            return Ok(());
        }
        self.authority.note(|seen| seen.in_custody = Some(key.signer()))
    }
}
