//! How a server splits its key again.

use super::super::VaultClient;
use crate::error::{Error, ErrorKind, Result};

/// The paths at which a server splits a key again: OpenBao's are below `sys/rotate`, HashiCorp Vault's and those of older
/// OpenBao below `sys/rekey`. <https://openbao.org/api-docs/system/rotate/>,
/// <https://developer.hashicorp.com/vault/api-docs/system/rekey>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::providers::vault) struct Rekeying {
    /// Where one is begun, looked at and cancelled.
    pub(in crate::providers::vault) init: &'static str,
    /// Where present shares are entered.
    pub(in crate::providers::vault) update: &'static str,
    /// Where new shares are entered.
    pub(in crate::providers::vault) verify: &'static str,
    /// Where the server keeps the new shares, encrypted, until they are in other hands.
    pub(in crate::providers::vault) backup: &'static str,
}

/// OpenBao, the unseal key.
const ROTATE: Rekeying = Rekeying {
    init: "sys/rotate/root/init",
    update: "sys/rotate/root/update",
    verify: "sys/rotate/root/verify",
    backup: "sys/rotate/root/backup",
};
/// OpenBao, the recovery key.
const ROTATE_RECOVERY: Rekeying = Rekeying {
    init: "sys/rotate/recovery/init",
    update: "sys/rotate/recovery/update",
    verify: "sys/rotate/recovery/verify",
    backup: "sys/rotate/recovery/backup",
};
/// HashiCorp Vault, the unseal key.
const REKEY: Rekeying = Rekeying {
    init: "sys/rekey/init",
    update: "sys/rekey/update",
    verify: "sys/rekey/verify",
    backup: "sys/rekey/backup",
};
/// HashiCorp Vault, the recovery key.
const REKEY_RECOVERY: Rekeying = Rekeying {
    init: "sys/rekey-recovery-key/init",
    update: "sys/rekey-recovery-key/update",
    verify: "sys/rekey-recovery-key/verify",
    backup: "sys/rekey/recovery-key-backup",
};

impl Rekeying {
    /// The paths of this server, which is asked whether the newer ones work.
    ///
    /// # Errors
    /// When the server cannot be asked, or the token may not.
    pub(in crate::providers::vault) async fn of(vault: &VaultClient, is_recovery: bool) -> Result<Self> {
        let (newer, older) = if is_recovery { (ROTATE_RECOVERY, REKEY_RECOVERY) } else { (ROTATE, REKEY) };
        match vault.get(newer.init).await {
            Ok(Some(_)) => Ok(newer),
            Ok(None) => Ok(older),
            Err(error) if error.kind == ErrorKind::Rejected => Ok(older),
            Err(error) => Err::<_, Error>(error),
        }
    }
}
