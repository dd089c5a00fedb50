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
mod tests {
    use std::collections::BTreeSet;

    use schemars::SchemaGenerator;
    use serde_json::{Map, Value};

    use super::*;
    use crate::resource::risk::FieldRisk;

    /// A kind's schema, and the schemas that it refers to.
    struct Fields {
        schema: Value,
        definitions: Map<String, Value>,
    }

    impl Fields {
        fn of(kind: &dyn Kind) -> Self {
            let mut generator = SchemaGenerator::default();
            let schema = kind.fields_schema(&mut generator).to_value();
            Self { schema, definitions: generator.take_definitions(true) }
        }

        /// The schemas of a field, through references, alternatives, lists and maps.
        fn inside<'a>(&'a self, schema: &'a Value, found: &mut Vec<&'a Value>) {
            let seen = found.iter().any(|other| std::ptr::eq(*other, schema));
            if !schema.is_object() || seen {
                return;
            }
            found.push(schema);
            let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            let referred = name.and_then(|name| self.definitions.get(name));
            let alternatives =
                ["anyOf", "oneOf", "allOf"].iter().filter_map(|name| schema[*name].as_array()).flatten();
            let entries = ["items", "additionalProperties"].iter().filter_map(|name| schema.get(*name));
            for part in referred.into_iter().chain(alternatives).chain(entries) {
                self.inside(part, found);
            }
        }

        fn names(&self) -> BTreeSet<&str> {
            let mut all = Vec::new();
            self.inside(&self.schema, &mut all);
            let names = all.iter().filter_map(|schema| schema["properties"].as_object()).flatten();
            names.map(|(name, _)| name.as_str()).collect()
        }

        fn at(&self, path: &str) -> Vec<&Value> {
            let mut found = vec![&self.schema];
            for name in path.split('.') {
                let mut all = Vec::new();
                for schema in found {
                    self.inside(schema, &mut all);
                }
                let named = all.iter().filter_map(|schema| schema["properties"].get(name));
                let of_map = all.iter().filter_map(|schema| schema.get("additionalProperties"));
                found = named.chain(of_map.filter(|entry| entry.is_object())).collect();
            }
            found
        }

        fn is_policy(&self, field: &str) -> bool {
            let mut all = Vec::new();
            for schema in self.at(field) {
                self.inside(schema, &mut all);
            }
            let is_document = |name: &str| name.ends_with("/PolicyDocument") || name.ends_with("/Document");
            all.iter().any(|schema| schema["$ref"].as_str().is_some_and(is_document))
        }
    }

    /// What is wrong with what a kind says about its fields.
    fn mistakes(kind: &dyn Kind) -> Vec<String> {
        let fields = Fields::of(kind);
        let risks: Vec<&FieldRisk> = kind.risks().iter().copied().flatten().collect();
        let mut said = BTreeSet::new();
        let (mut safe, mut dangerous) = (BTreeSet::new(), BTreeSet::new());
        let mut found = Vec::new();
        for risk in &risks {
            let (names, live) = risk.fields();
            for name in names {
                let top = name.split('.').next().unwrap_or_default();
                let is_declared = !fields.at(name).is_empty();
                if live && fields.names().contains(top) {
                    found.push(format!("`{name}` is declared, so it is not only a part of the live thing"));
                }
                if !live && !is_declared {
                    found.push(format!("`{name}` does not exist"));
                }
                if !live {
                    said.insert(top);
                }
                let list = if matches!(risk, FieldRisk::Safe { .. }) { &mut safe } else { &mut dangerous };
                list.insert(name);
            }
            let words = match risk {
                FieldRisk::Safe { why, .. } => why,
                FieldRisk::Rule(rule) => rule.consequence,
                FieldRisk::Analysed { .. } => "analysed",
            };
            if words.is_empty() || words.ends_with('.') || words.contains('\n') {
                found.push(format!("`{words}` is no fragment"));
            }
        }
        found.extend(safe.intersection(&dangerous).map(|name| format!("`{name}` is safe and is not")));
        // The namespace is the engine's field: a part of the address.
        let missing = fields.names().into_iter().filter(|name| *name != "namespace" && !said.contains(name));
        for name in missing {
            found.push(format!("`{name}` is missing"));
        }
        let analysed = |name: &&str| {
            let is_it = |risk: &&FieldRisk| matches!(risk, FieldRisk::Analysed { .. });
            risks.iter().filter(|risk| is_it(risk)).any(|risk| risk.fields().0.any(|field| field == *name))
        };
        let policies = fields.names().into_iter().filter(|name| fields.is_policy(name));
        found.extend(policies.filter(|name| !analysed(name)).map(|name| format!("`{name}` is a policy")));
        found.iter().map(|mistake| format!("{}: {mistake}", kind.name())).collect()
    }

    #[test]
    fn each_field_has_its_risk_or_why_it_has_none() {
        let found: Vec<String> = KINDS.iter().flat_map(|kind| mistakes(*kind)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
