//! HashiCorp Vault and OpenBao.
//!
//! [`VaultClient`] is the one way to a server: it finds the active node, has the token, counts the
//! requests and says what failures mean. Beside it [`NodeClient`] speaks to single nodes, without a
//! token, to initialise and unseal them. Every other file is one kind of step, or what kinds share.
//!
//! vaultrs and rustify do the requests. They are kept in here and guarded: redirects are off, since
//! they would carry the token along to any host, and nothing of theirs is printed, since their
//! `Debug` shows tokens.

mod alias;
mod audit;
mod auth_method;
mod bounded;
mod break_glass;
mod cache;
#[cfg(test)]
mod ceremony_tests;
mod certificate;
mod client;
mod connection;
mod content;
mod custodian;
mod custody_status;
mod error;
mod fields;
mod generation;
mod hcl;
mod health;
mod helm_values;
mod holders;
mod init;
mod keyring;
mod kubernetes_auth;
mod kv_secret;
mod kv_sink;
mod least;
mod login;
mod lookup;
mod mount;
mod node;
mod notation;
mod object;
mod own_needs;
mod permissions;
mod pki_ca;
mod policy;
mod preflight;
mod prove;
mod reach;
mod regain;
mod rehearsal;
mod rekey;
mod request;
mod risk;
mod role;
mod root_token;
mod secret_id;
mod server;
mod server_config;
mod session;
pub mod settings;
mod states;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod year_tests;

pub use alias::{EntityAlias, GroupAlias};
pub use audit::Audit;
pub use auth_method::AuthMethod;
pub use break_glass::{
    Access as EmergencyAccess, Attempt, BreakGlass, Progress, StrayRoot, Wanted as EmergencyWanted,
};
pub use client::{Authority, VaultClient, declared_authority};
pub use connection::Vault;
pub use custodian::Custodian;
pub use custody_status::CustodyStatus;
pub use helm_values::HelmValues;
pub use holders::HeldShare;
pub use init::{
    Desired as DeclaredSplit, FIRST_SHARES, Ground, NodePhase, NodeProof, NodeState, Phase, REFUSED_SHARES,
    Shape, Step as MigrationStep, VaultInit, declared_split,
};
pub use keyring::{rotate_keyring, rotate_root_key};
pub use kubernetes_auth::KubernetesAuth;
pub use kv_secret::KvSecret;
pub(in crate::providers) use kv_secret::engine as kv_engine;
pub use kv_sink::KvSink;
pub use login::Login;
pub use mount::Mount;
pub use node::{Health, Leader, NodeClient, SealStatus};
pub use object::{
    ApproleRole, AwsAuth, AwsAuthRole, AwsAuthSts, AwsRole, AwsRoot, AzureAuth, AzureAuthRole, CertRole,
    DatabaseConnection, DatabaseRole, DatabaseStaticRole, Entity, GcpAuth, GcpAuthRole, GithubAuth,
    GithubTeam, GithubUser, Group, JwtAuth, JwtRole, KubernetesRole, KvConfig, LdapAuth, LdapGroup, LdapUser,
    Namespace, PasswordPolicy, PkiCrl, PkiRole, PkiUrls, Quota, SshCa, SshRole, TokenRole, TotpKey,
    TransitKey, UserpassUser,
};
pub(in crate::providers) use permissions::delivery;
pub use pki_ca::PkiCa;
pub use policy::Policy;
pub use policy::acl;
pub use policy::acl::Acl;
pub use policy::text::granted;
pub use rehearsal::RoleLogin;
pub use rekey::{Outlook as RekeyOutlook, Rekey, ShareSource};
pub use root_token::VaultRootToken;
pub use secret_id::ApproleSecretId;
pub use server::RootGeneration;
pub use server_config::ServerConfig;
pub use session::{EnvToken, HomeToken, TokenSource};

use crate::resource::erased::{Kind, kind};

/// The kinds, in the order in which `explain` lists them. A new kind needs one line here.
#[rustfmt::skip]
const KINDS: &[&dyn Kind] = &[
    &kind::<VaultInit>(),
    &kind::<VaultRootToken>(),
    &kind::<Mount>(),
    &kind::<AuthMethod>(),
    &kind::<Audit>(),
    &kind::<Policy>(),
    &kind::<ApproleRole>(),
    &kind::<ApproleSecretId>(),
    &kind::<KubernetesAuth>(),
    &kind::<KubernetesRole>(),
    &kind::<JwtAuth>(),
    &kind::<JwtRole>(),
    &kind::<CertRole>(),
    &kind::<TokenRole>(),
    &kind::<Entity>(),
    &kind::<Group>(),
    &kind::<Quota>(),
    &kind::<PasswordPolicy>(),
    &kind::<PkiCa>(),
    &kind::<PkiUrls>(),
    &kind::<PkiCrl>(),
    &kind::<PkiRole>(),
    &kind::<EntityAlias>(),
    &kind::<GroupAlias>(),
    &kind::<UserpassUser>(),
    &kind::<TransitKey>(),
    &kind::<SshCa>(),
    &kind::<SshRole>(),
    &kind::<TotpKey>(),
    &kind::<DatabaseConnection>(),
    &kind::<DatabaseRole>(),
    &kind::<DatabaseStaticRole>(),
    &kind::<Namespace>(),
    &kind::<KvConfig>(),
    &kind::<AwsRoot>(),
    &kind::<AwsRole>(),
    &kind::<AwsAuth>(),
    &kind::<AwsAuthRole>(),
    &kind::<AwsAuthSts>(),
    &kind::<GcpAuth>(),
    &kind::<GcpAuthRole>(),
    &kind::<AzureAuth>(),
    &kind::<AzureAuthRole>(),
    &kind::<LdapAuth>(),
    &kind::<LdapGroup>(),
    &kind::<LdapUser>(),
    &kind::<GithubAuth>(),
    &kind::<GithubTeam>(),
    &kind::<GithubUser>(),
    &kind::<ServerConfig>(),
    &kind::<HelmValues>(),
    &kind::<KvSecret>(),
];
