//! HashiCorp Vault and OpenBao.
//!
//! [`VaultClient`] is the one way to a server: it finds the active node, has the token, counts the
//! requests and says what failures mean. Beside it [`NodeClient`] speaks to single nodes, without a
//! token, to initialise and unseal them. Every other file is one kind of step, or what kinds share.
//!
//! vaultrs and rustify do the requests. They are kept in here and guarded: redirects are off, since
//! they would carry the token along to any host, and nothing of theirs is printed, since their
//! `Debug` shows tokens.

mod approle_role;
mod audit;
mod auth_method;
mod cache;
#[cfg(test)]
mod ceremony_tests;
mod client;
mod custodian;
mod error;
mod fields;
mod init;
mod kubernetes_auth;
mod kubernetes_role;
mod kv_secret;
mod kv_sink;
mod login;
mod mount;
mod node;
mod notation;
mod object;
mod policy;
pub mod policy_text;
mod request;
mod role;
mod root_generation;
mod root_token;
mod session;
mod standing;
#[cfg(test)]
pub(crate) mod testing;

pub use approle_role::ApproleRole;
pub use audit::Audit;
pub use auth_method::AuthMethod;
pub use client::VaultClient;
pub use custodian::Custodian;
pub use init::{VaultInit, declared_threshold};
pub use kubernetes_auth::KubernetesAuth;
pub use kubernetes_role::KubernetesRole;
pub use kv_secret::KvSecret;
pub use kv_sink::KvSink;
pub use login::Login;
pub use mount::Mount;
pub use node::{Health, Leader, NodeClient, SealStatus};
pub use object::{CertRole, Entity, Group, JwtAuth, JwtRole, PasswordPolicy, PkiRole, Quota, TokenRole};
pub use policy::Policy;
pub use root_generation::RootGeneration;
pub use root_token::VaultRootToken;
pub use session::{EnvToken, HomeToken, TokenSource};
pub use standing::Standing;
