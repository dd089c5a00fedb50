//! Kubernetes: objects of the API server, by server-side apply.
//!
//! [`KubernetesClient`](client::KubernetesClient) is the one way to a server. A kind with typed fields is a
//! [`KubeObject`](object::KubeObject), which says only what its fields are called in the object;
//! [`Kube`](object::Kube) does the rest: it reads objects of this plan from one list, asks the server with a dry run
//! what a write would make of them, applies them under a manager of the plan's own, and marks them with a label
//! ([`ownership`]).

mod address;
mod client;
mod compare;
mod config_map;
mod connection;
mod credential;
mod delivery;
mod error;
mod external_secrets;
mod kubeconfig;
mod least;
mod live;
mod manifest;
mod meta;
mod namespace;
mod object;
mod ownership;
mod rbac;
mod rendered;
mod secret;
mod secret_provider_class;
mod service_account;
mod settings;
mod wait;

pub use client::{Dial, KubernetesClient};
pub use config_map::ConfigMap;
pub use connection::Kubernetes;
pub use delivery::SecretDelivery;
pub use external_secrets::{ClusterSecretStore, ExternalSecret, PushSecret, SecretStore};
pub use manifest::Manifest;
pub use namespace::Namespace;
pub use rbac::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
pub use rendered::Rendered;
pub use secret::KubeSecret;
pub use secret_provider_class::SecretProviderClass;
pub use service_account::ServiceAccount;

use crate::resource::erased::{Kind, kind};

/// The kinds, in the order in which `explain` lists them. A new kind needs one line here.
#[rustfmt::skip]
const KINDS: &[&dyn Kind] = &[
    &kind::<Namespace>(),
    &kind::<ConfigMap>(),
    &kind::<KubeSecret>(),
    &kind::<ServiceAccount>(),
    &kind::<Role>(),
    &kind::<RoleBinding>(),
    &kind::<ClusterRole>(),
    &kind::<ClusterRoleBinding>(),
    &kind::<SecretStore>(),
    &kind::<ClusterSecretStore>(),
    &kind::<ExternalSecret>(),
    &kind::<PushSecret>(),
    &kind::<SecretProviderClass>(),
    &kind::<Manifest>(),
    &kind::<Rendered>(),
];
