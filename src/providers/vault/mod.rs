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
mod client;
mod error;
mod fields;
mod kubernetes_auth;
mod kubernetes_role;
mod kv_secret;
mod mount;
mod node;
mod notation;
mod policy;
mod policy_text;
mod request;
mod role;
mod session;

pub use approle_role::ApproleRole;
pub use audit::Audit;
pub use auth_method::AuthMethod;
pub use client::VaultClient;
pub use kubernetes_auth::KubernetesAuth;
pub use kubernetes_role::KubernetesRole;
pub use kv_secret::KvSecret;
pub use mount::Mount;
pub use node::{Health, Leader, NodeClient, SealStatus};
pub use policy::Policy;
pub use session::{EnvToken, HomeToken, TokenSource};
