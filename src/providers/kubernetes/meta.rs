//! The fields that every declared object has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::address::{name_mistake, namespace_mistake};
use super::ownership;
use crate::error::FieldError;
use crate::resource::risk::Category::ProtectionOff;
use crate::resource::risk::{FieldRisk, LABELS, identity, safe, turned_on};
use crate::template::unknown::is_unknown;

/// Labels or annotations.
pub type Texts = BTreeMap<String, String>;

/// A condition to wait for after each write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// The type of the condition in the object's status, such as `Ready`.
    pub condition: String,
    /// The longest time to wait, in seconds.
    #[serde(default = "a_minute")]
    pub seconds: u64,
}

const fn a_minute() -> u64 {
    60
}

/// The part of a declaration that every object has.
pub struct Meta<'a> {
    /// The name.
    pub name: &'a str,
    /// The namespace, for objects in one.
    pub namespace: Option<&'a str>,
    /// The labels.
    pub labels: &'a Texts,
    /// The annotations.
    pub annotations: &'a Texts,
    /// Whether fields of other managers are taken over.
    pub force: bool,
    /// A condition to wait for.
    pub wait: Option<&'a Wait>,
}

/// The risks of the fields that every declared object has.
pub const META_RISKS: &[FieldRisk] = &[
    identity("name"),
    safe("labels annotations", LABELS),
    turned_on("force").low(ProtectionOff, "takes over fields that other managers have"),
    safe("wait", "it says only how long an apply takes"),
];

impl Meta<'_> {
    /// `metadata` as it is applied.
    pub fn metadata(&self, plan: &str) -> Map<String, Value> {
        let mut metadata = self.fields();
        ownership::mark(&mut metadata, plan);
        metadata
    }

    /// `metadata` as it is declared.
    pub fn fields(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        metadata.insert("name".to_owned(), json!(self.name));
        if let Some(namespace) = self.namespace {
            metadata.insert("namespace".to_owned(), json!(namespace));
        }
        if !self.labels.is_empty() {
            metadata.insert("labels".to_owned(), json!(self.labels));
        }
        if !self.annotations.is_empty() {
            metadata.insert("annotations".to_owned(), json!(self.annotations));
        }
        metadata
    }

    /// Mistakes that can be seen offline.
    pub fn check(&self) -> Vec<FieldError> {
        let name = name_mistake(self.name).filter(|_| !is_unknown(self.name));
        let namespace = self.namespace.filter(|name| !is_unknown(name)).and_then(namespace_mistake);
        let help = "lowercase letters, digits and `-`, at most 63";
        let namespace = namespace.map(|mistake| FieldError::new("namespace", mistake).help(help));
        let name = name.map(|mistake| FieldError::new("name", mistake));
        let own = [("labels", self.labels), ("annotations", self.annotations)];
        let own = own.into_iter().flat_map(|(field, texts)| reserved(field, texts));
        name.into_iter().chain(namespace).chain(own).collect()
    }
}

/// Labels and annotations that the program sets itself.
pub fn reserved(field: &str, texts: &Texts) -> Vec<FieldError> {
    let ours = texts.keys().filter(|name| name.starts_with(ownership::PREFIX));
    let mistake = |name: &String| {
        FieldError::new(
            format!("{field}.{name}"),
            format!("names that start with `{}` are reserved", ownership::PREFIX),
        )
    };
    ours.map(mistake).collect()
}

/// The declaration of an object: its own fields, and those that every object has.
macro_rules! object_spec {
    ($(#[$about:meta])* pub struct $name:ident in a namespace { $($fields:tt)* }) => {
        crate::providers::kubernetes::meta::object_spec! { @ $(#[$about])* $name {
            /// The namespace.
            pub namespace: String,
            $($fields)*
        } }

        impl $name {
            fn meta(&self) -> crate::providers::kubernetes::meta::Meta<'_> {
                let namespace = Some(self.namespace.as_str());
                crate::providers::kubernetes::meta::object_spec!(@meta self, namespace)
            }
        }
    };
    ($(#[$about:meta])* pub struct $name:ident of the cluster { $($fields:tt)* }) => {
        crate::providers::kubernetes::meta::object_spec! { @ $(#[$about])* $name { $($fields)* } }

        impl $name {
            fn meta(&self) -> crate::providers::kubernetes::meta::Meta<'_> {
                crate::providers::kubernetes::meta::object_spec!(@meta self, None)
            }
        }
    };
    (@meta $this:ident, $namespace:expr) => {
        crate::providers::kubernetes::meta::Meta {
            name: &$this.name,
            namespace: $namespace,
            labels: &$this.labels,
            annotations: &$this.annotations,
            force: $this.force,
            wait: $this.wait.as_ref(),
        }
    };
    (@ $(#[$about:meta])* $name:ident { $($fields:tt)* }) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The name.
            pub name: String,
            $($fields)*
            /// Labels.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub labels: crate::providers::kubernetes::meta::Texts,
            /// Annotations.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub annotations: crate::providers::kubernetes::meta::Texts,
            /// Take over declared fields that other managers have; otherwise they are a conflict.
            #[serde(default)]
            pub force: bool,
            /// After each write, wait until this condition is true.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub wait: Option<crate::providers::kubernetes::meta::Wait>,
        }
    };
}

pub(in crate::providers::kubernetes) use object_spec;
