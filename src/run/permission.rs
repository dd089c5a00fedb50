//! Permissions that a run needs in a live system.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::place::{Place, Realm};
use crate::plan::settings::{BackupSettings, CustodySettings};
use crate::plan::{LockPlace, S3Location};

/// The way in which a run deals with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Looks at it, as `plan` does.
    Read,
    /// Makes it.
    Create,
    /// Changes it to the declared state.
    Update,
    /// Removes it, and before that looks at what hangs on it.
    Delete,
    /// Proves that it works, besides looking at it.
    Prove,
}

/// A use of a thing: what is done with it, and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// What is done.
    pub access: Access,
    /// The realm, as far as it is known.
    pub realm: &'a Realm,
    /// Whether outputs are wanted that take a request of their own.
    pub outputs: bool,
}

/// A permission that a step needs: any one of several actions on one thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The thing, as the system's policies name it, such as a path of Vault or an ARN.
    pub on: String,
    /// The actions, as the policies name them. Any one of them is enough; a policy gives the first.
    pub any_of: &'static [&'static str],
    /// The fields whose change needs it; any change does when there are none.
    pub fields: &'static [&'static str],
    /// The only use of it, where a policy can say so.
    pub only: Option<Condition>,
    /// The provider and the place, where they are not those of the step.
    pub elsewhere: Option<(&'static str, Place)>,
}

/// A condition of a permission: a key of the request, and its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Condition {
    /// The key, such as `kms:ViaService`.
    pub key: &'static str,
    /// Any one of these values.
    pub values: Vec<String>,
}

impl Access {
    /// Everything that `apply` does with a thing that a plan declares.
    pub const APPLY: [Self; 3] = [Self::Read, Self::Create, Self::Update];
}

/// A command that runs with the permissions of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// `plan`
    Plan,
    /// `apply`
    Apply,
    /// `destroy`
    Destroy,
    /// `verify`
    Verify,
    /// `backup`
    Backup,
    /// `restore` of a whole backup
    Restore,
    /// `rotate`
    Rotate,
}

impl Command {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Destroy => "destroy",
            Self::Verify => "verify",
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Rotate => "rotate",
        }
    }

    /// The ways in which the command deals with the things of a plan.
    pub fn accesses(self) -> &'static [Access] {
        match self {
            Self::Plan => &[Access::Read],
            Self::Apply => &Access::APPLY,
            Self::Destroy => &[Access::Read, Access::Delete],
            Self::Verify => &[Access::Read, Access::Prove],
            Self::Rotate => &[Access::Read, Access::Update],
            // The steps of the plan are not looked at.
            Self::Backup | Self::Restore => &[],
        }
    }

    /// Whether it takes the plan's lock that other machines see, and adds to the journal.
    pub fn writes(self) -> bool {
        matches!(self, Self::Apply | Self::Destroy | Self::Restore | Self::Rotate)
    }
}

/// The places in the systems where the run itself keeps things.
pub struct Kept<'a> {
    /// The plan's custody.
    pub custody: Option<&'a CustodySettings>,
    /// Where the journal's copy is.
    pub journal: Option<&'a S3Location>,
    /// Where the lock is that other machines see.
    pub lock: Option<&'a LockPlace>,
    /// Where backups are.
    pub backups: Option<&'a BackupSettings>,
    /// The plan's steps of all providers.
    pub steps: &'a [&'a dyn Declared],
}

/// A policy of a live system, which gives the permissions of a command and no others.
#[derive(Clone, Debug)]
pub struct LeastPolicy {
    /// The connection that it is for: `aws`, `aws.NAME`, `vault`, `kubernetes`.
    pub connection: String,
    /// The kind and the fields of a step that makes the policy, without its name.
    pub step: (&'static str, Value),
    /// The policy as the system takes it.
    pub text: String,
    /// The ending of a file's name for it.
    pub ending: &'static str,
    /// Remarks that are not part of the policy, each a sentence.
    pub notes: Vec<String>,
}

impl Permission {
    /// To do this on that, whatever changes.
    pub fn new(on: impl Into<String>, any_of: &'static [&'static str]) -> Self {
        Self { on: on.into(), any_of, fields: &[], only: None, elsewhere: None }
    }

    /// The same in another provider and place.
    #[must_use]
    pub fn at(self, provider: &'static str, place: Place) -> Self {
        Self { elsewhere: Some((provider, place)), ..self }
    }

    /// Whether a change of these paths needs it.
    pub fn concerns<'a>(&self, mut changed: impl Iterator<Item = &'a str>) -> bool {
        let is_in = |path: &str, field: &str| {
            path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.fields.is_empty() || changed.any(|path| self.fields.iter().any(|field| is_in(path, field)))
    }
}

/// The permissions that a step, or the run itself, needs.
#[derive(Clone, Debug)]
pub struct Needs {
    /// The step's id, or a name of what the run does, such as `custody`.
    pub step: String,
    /// The provider.
    pub provider: &'static str,
    /// Where its thing is.
    pub place: Place,
    /// Whether its thing may exist: then the thing's own policy may give them too.
    pub may_exist: bool,
    /// The permissions.
    pub permissions: Vec<Permission>,
}

/// A permission that the caller does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct Lack {
    /// The action or the capability, as policies name it.
    pub action: String,
    /// The thing, as policies name it: an ARN, or a path of Vault.
    pub resource: String,
    /// The step that needs it; `custody`, `journal` or `lock` for what the run itself does.
    pub step: String,
    /// Why, where more is known than that no policy gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Needs {
    /// The permissions by provider and place: a step may need some in another system than its own.
    pub fn of_step(
        step: &str,
        provider: &'static str,
        place: &Place,
        permissions: Vec<Permission>,
    ) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for permission in permissions {
            let (provider, place) = permission.elsewhere.clone().unwrap_or((provider, place.clone()));
            match all.iter_mut().find(|needs| needs.provider == provider && needs.place == place) {
                Some(needs) => needs.permissions.push(permission),
                None => {
                    let permissions = vec![permission];
                    all.push(Self { step: step.to_owned(), provider, place, may_exist: true, permissions });
                }
            }
        }
        all
    }
}

/// A step as its provider sees it, for what can only be judged over all steps.
pub trait Declared {
    /// Its id.
    fn id(&self) -> &str;
    /// Its kind.
    fn kind(&self) -> &'static str;
    /// Where its thing is.
    fn place(&self) -> &Place;
    /// The declared fields with their defaults.
    fn fields(&self) -> Value;
    /// The permissions with which it can be read, made and changed.
    fn permissions(&self) -> Vec<Permission>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_concerns_changes_of_its_fields_only() {
        let named = Permission { fields: &["tags"], ..Permission::new("a", &["x"]) };
        let concerns = |paths: &[&str]| named.concerns(paths.iter().copied());
        assert!(concerns(&["tags.a"]) && concerns(&["name", "tags"]) && concerns(&["tags[0]"]));
        assert!(!concerns(&["tagset"]) && !concerns(&["name"]) && !concerns(&[]));
        assert!(Permission::new("a", &["x"]).concerns(std::iter::empty()));
    }

    #[test]
    fn needs_are_grouped_by_system_and_place() {
        let own = || Permission::new("a", &["x"]);
        let team = Place::OWN.below("team");
        let other = own().at("vault", team.clone());
        let all = Needs::of_step("key", "aws", &Place::OWN, vec![own(), other.clone(), own(), other]);
        let told: Vec<_> = all.iter().map(|one| (one.provider, &one.place, one.permissions.len())).collect();
        assert_eq!(told, [("aws", &Place::OWN, 2), ("vault", &team, 2)]);
    }
}
