//! What hangs on a live thing and decides over its removal.

use serde_json::Value;

use super::Elsewhere;

/// Something that hangs on a live thing: it blocks the removal, or ends with the thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The field under which a review shows it, such as `managed_policies`.
    pub field: &'static str,
    /// How the live system names it.
    pub name: String,
    /// Why the server refuses the removal while it is there, a clause such as `the instance profile
    /// web contains the role`; `None` when it ends with the thing.
    pub blocks: Option<String>,
    /// The thing that it is, or that holds it: when that one is removed first, it is gone.
    pub holder: Option<Holder>,
    /// Kind and id of the container with which the thing can be removed although this blocks it.
    pub container: Option<(&'static str, String)>,
}

/// A thing that another kind manages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The kind's name; empty where any thing of the plan will do.
    pub kind: &'static str,
    /// Its id, as [`super::Resource::id`] displays it; the beginning of it when it ends with a slash.
    pub id: String,
    /// The namespace that it is in, below the one of the thing on which it hangs.
    pub namespace: Option<String>,
    /// The value of an output that the thing must have, where one id stands for several.
    pub output: Option<(&'static str, String)>,
    /// The text in the holder's fields that makes the attachment. An update that takes it out of
    /// them ends the attachment.
    pub value: Option<String>,
}

impl Attachment {
    /// It ends with the thing.
    pub fn ends(field: &'static str, name: impl Into<String>) -> Self {
        Self { field, name: name.into(), blocks: None, holder: None, container: None }
    }

    /// The server refuses the removal while it is there, because of `clause`.
    pub fn blocks(field: &'static str, name: impl Into<String>, clause: impl Into<String>) -> Self {
        Self { blocks: Some(clause.into()), ..Self::ends(field, name) }
    }

    /// Names the thing that it is, or that holds it.
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

    /// The holder's fields hold it with this text.
    #[must_use]
    pub fn by_value(mut self, value: impl Into<String>) -> Self {
        if let Some(holder) = &mut self.holder {
            holder.value = Some(value.into());
        }
        self
    }

    /// The holder is in this namespace below the thing's own.
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

    /// As it is seen from outside of the place in which the thing is.
    pub(super) fn in_place(mut self, place: Option<&Elsewhere>) -> Self {
        self.container = self.container.map(|(kind, id)| (kind, Elsewhere::qualify(place, &id)));
        if let Some(holder) = &mut self.holder {
            let inner = holder.namespace.take();
            let place = match (inner, place) {
                (Some(inner), Some(Elsewhere::Namespace(outer))) => {
                    Some(Elsewhere::Namespace(format!("{outer}/{inner}")))
                }
                (Some(inner), _) => Some(Elsewhere::Namespace(inner)),
                (None, place) => place.cloned(),
            };
            holder.id = Elsewhere::qualify(place.as_ref(), &holder.id);
        }
        self
    }
}

/// Whether a text stands somewhere in a value.
pub fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found == text,
        Value::Array(items) => items.iter().any(|item| mentions(item, text)),
        Value::Object(fields) => fields.values().any(|item| mentions(item, text)),
        _ => false,
    }
}

/// Says that a thing cannot be removed by itself, and with which one it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The container's kind.
    pub kind: &'static str,
    /// The container's id, as [`super::Resource::id`] displays it.
    pub id: String,
    /// Why it cannot be removed by itself, and what else would end it.
    pub why: String,
}

impl Part {
    /// As it is seen from outside of the place in which the thing is.
    pub(super) fn in_place(self, place: Option<&Elsewhere>) -> Self {
        Self { id: Elsewhere::qualify(place, &self.id), ..self }
    }
}
