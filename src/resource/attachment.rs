//! Attachments of a live thing, which affect its removal.

use serde_json::Value;

use crate::place::Place;

/// An attachment of a live thing: it blocks the removal, or is deleted with the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The field under which a review shows it, such as `managed_policies`.
    pub field: &'static str,
    /// The live system's name for it.
    pub name: String,
    /// Why the server refuses the removal while it exists: a clause such as `the instance profile
    /// web contains the role`; `None` when it is deleted with the thing.
    pub blocks: Option<String>,
    /// The attached thing, or the thing that holds the attachment: removing that one first also
    /// removes the attachment.
    pub holder: Option<Holder>,
    /// The container, by kind and id, with which the thing can be removed although this blocks it.
    pub container: Option<(&'static str, String)>,
}

/// A thing that another kind manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The kind's name; empty for any thing of the plan.
    pub kind: &'static str,
    /// Its id, as [`super::Resource::id`] displays it; a prefix of it when it ends with a slash.
    pub id: String,
    /// Its namespace, relative to that of the thing to which it is attached.
    pub namespace: Option<String>,
    /// The value of an output that the thing must have, where one id stands for several things.
    pub output: Option<(&'static str, String)>,
    /// The text in the holder's fields that makes the attachment. An update that removes the text
    /// also removes the attachment.
    pub value: Option<String>,
}

impl Attachment {
    /// It is deleted with the thing.
    pub fn ends(field: &'static str, name: impl Into<String>) -> Self {
        Self { field, name: name.into(), blocks: None, holder: None, container: None }
    }

    /// The server refuses the removal while it exists, because of `clause`.
    pub fn blocks(field: &'static str, name: impl Into<String>, clause: impl Into<String>) -> Self {
        Self { blocks: Some(clause.into()), ..Self::ends(field, name) }
    }

    /// Sets the attached thing, or the thing that holds the attachment.
    #[must_use]
    pub fn held_by(self, kind: &'static str, id: impl Into<String>) -> Self {
        Self {
            holder: Some(Holder { kind, id: id.into(), namespace: None, output: None, value: None }),
            ..self
        }
    }

    /// The holder's output must have this value.
    #[must_use]
    pub fn with_output(mut self, name: &'static str, value: impl Into<String>) -> Self {
        if let Some(holder) = &mut self.holder {
            holder.output = Some((name, value.into()));
        }
        self
    }

    /// The holder's fields contain this text.
    #[must_use]
    pub fn by_value(mut self, value: impl Into<String>) -> Self {
        if let Some(holder) = &mut self.holder {
            holder.value = Some(value.into());
        }
        self
    }

    /// The holder is in this namespace, relative to the thing's own.
    #[must_use]
    pub fn in_namespace(mut self, name: &str) -> Self {
        if let Some(holder) = &mut self.holder {
            holder.namespace = Some(name.to_owned());
        }
        self
    }

    /// It does not block a removal together with this container.
    #[must_use]
    pub fn unless_within(self, kind: &'static str, id: impl Into<String>) -> Self {
        Self { container: Some((kind, id.into())), ..self }
    }

    /// The name under which [`super::Resource::attaches`] lists it.
    pub fn path(&self) -> String {
        format!("{}.{}", self.field, self.name)
    }

    /// The attachment as seen from outside the thing's place.
    pub(super) fn in_place(mut self, provider: &str, place: &Place) -> Self {
        self.container = self.container.map(|(kind, id)| (kind, place.qualify(provider, &id)));
        if let Some(holder) = &mut self.holder {
            holder.id = match holder.namespace.take() {
                Some(inner) => place.below(&inner).qualify(provider, &holder.id),
                None => place.qualify(provider, &holder.id),
            };
        }
        self
    }
}

/// Whether a value contains a text anywhere.
pub fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.values().any(|item| mentions(item, text)),
        _ => false,
    }
}

/// Marks a thing that cannot be removed by itself, and names its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The container's kind.
    pub kind: &'static str,
    /// The container's id, as [`super::Resource::id`] displays it.
    pub id: String,
    /// Why it cannot be removed by itself, and what else would remove it.
    pub why: String,
}

impl Part {
    /// The same as seen from outside the thing's place.
    pub(super) fn in_place(self, provider: &str, place: &Place) -> Self {
        Self { id: place.qualify(provider, &self.id), ..self }
    }
}
