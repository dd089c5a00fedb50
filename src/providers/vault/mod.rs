//! HashiCorp Vault and OpenBao.
//!
//! [`VaultClient`] is the one way to a server: it finds the active node, has the token, counts the
//! requests and says what failures mean. Beside it [`NodeClient`] speaks to single nodes, without a
//! token, to initialise and unseal them. Every other file is one kind of step, or what kinds share.
//!
//! vaultrs and rustify do the requests. They are kept in here and guarded: redirects are off, since
//! they would carry the token along to any host, and nothing of theirs is printed, since their
//! `Debug` shows tokens.

mod auth_method;
mod cache;
#[cfg(test)]
mod ceremony_tests;
mod client;
mod custodian;
mod error;
mod init;
mod fields;
mod mount;
mod node;
mod notation;
mod policy;
mod policy_text;
mod request;
mod root_token;
mod session;

pub use auth_method::AuthMethod;
pub use client::VaultClient;
pub use custodian::Custodian;
pub use init::VaultInit;
pub use root_token::VaultRootToken;
pub use mount::Mount;
pub use node::{Health, Leader, NodeClient, SealStatus};
pub use policy::Policy;
pub use session::{EnvToken, HomeToken, TokenSource};
