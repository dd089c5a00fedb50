//! The list of all kinds.

use crate::providers::{aws, file, vault};
use crate::resource::erased::{Kind, kind};

/// Every kind, in the order in which `explain` lists them. A new kind needs one line here.
#[rustfmt::skip]
pub static KINDS: &[&dyn Kind] = &[
    &kind::<aws::KmsKey>(),
    &kind::<aws::S3Bucket>(),
    &kind::<aws::BucketObject>(),
    &kind::<aws::DynamodbTable>(),
    &kind::<aws::IamGroup>(),
    &kind::<aws::AwsSecret>(),
    &kind::<aws::SsmParameter>(),
    &kind::<aws::SnsTopic>(),
    &kind::<aws::SnsSubscription>(),
    &kind::<aws::CloudwatchAlarm>(),
    &kind::<aws::CloudwatchDashboard>(),
    &kind::<aws::CloudwatchLogGroup>(),
    &kind::<aws::LogMetricFilter>(),
    &kind::<aws::IamUser>(),
    &kind::<aws::IamRole>(),
    &kind::<aws::IamPolicy>(),
    &kind::<aws::IamInstanceProfile>(),
    &kind::<aws::IamOidcProvider>(),
    &kind::<aws::IamAccountPasswordPolicy>(),
    &kind::<aws::IamAccessKey>(),
    &kind::<vault::VaultInit>(),
    &kind::<vault::VaultRootToken>(),
    &kind::<vault::Mount>(),
    &kind::<vault::AuthMethod>(),
    &kind::<vault::Audit>(),
    &kind::<vault::Policy>(),
    &kind::<vault::ApproleRole>(),
    &kind::<vault::ApproleSecretId>(),
    &kind::<vault::KubernetesAuth>(),
    &kind::<vault::KubernetesRole>(),
    &kind::<vault::JwtAuth>(),
    &kind::<vault::JwtRole>(),
    &kind::<vault::CertRole>(),
    &kind::<vault::TokenRole>(),
    &kind::<vault::Entity>(),
    &kind::<vault::Group>(),
    &kind::<vault::Quota>(),
    &kind::<vault::PasswordPolicy>(),
    &kind::<vault::PkiCa>(),
    &kind::<vault::PkiUrls>(),
    &kind::<vault::PkiCrl>(),
    &kind::<vault::PkiRole>(),
    &kind::<vault::EntityAlias>(),
    &kind::<vault::GroupAlias>(),
    &kind::<vault::UserpassUser>(),
    &kind::<vault::TransitKey>(),
    &kind::<vault::SshCa>(),
    &kind::<vault::SshRole>(),
    &kind::<vault::TotpKey>(),
    &kind::<vault::DatabaseConnection>(),
    &kind::<vault::DatabaseRole>(),
    &kind::<vault::DatabaseStaticRole>(),
    &kind::<vault::Namespace>(),
    &kind::<vault::KvConfig>(),
    &kind::<vault::AwsRoot>(),
    &kind::<vault::AwsRole>(),
    &kind::<vault::AwsAuth>(),
    &kind::<vault::AwsAuthRole>(),
    &kind::<vault::AwsAuthSts>(),
    &kind::<vault::GcpAuth>(),
    &kind::<vault::GcpAuthRole>(),
    &kind::<vault::AzureAuth>(),
    &kind::<vault::AzureAuthRole>(),
    &kind::<vault::LdapAuth>(),
    &kind::<vault::LdapGroup>(),
    &kind::<vault::LdapUser>(),
    &kind::<vault::GithubAuth>(),
    &kind::<vault::GithubTeam>(),
    &kind::<vault::GithubUser>(),
    &kind::<vault::ServerConfig>(),
    &kind::<vault::KvSecret>(),
    &kind::<file::Template>(),
];

/// The kind with this name.
pub fn find(name: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.name() == name)
}

/// The names of all kinds.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name())
}

#[cfg(test)]
mod tests;
