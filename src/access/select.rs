//! The part of an answer that is about one principal or one target.

use std::collections::BTreeSet;

use super::{Access, Subject};

/// Nothing in the answer has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is neither a principal nor a target of the plan")]
pub struct NoSuch {
    /// The question.
    pub name: String,
    /// The possible questions.
    pub known: Vec<String>,
}

impl Subject {
    /// Whether it is asked for by this: its step, its name, an ARN or an id.
    fn is_called(&self, wanted: &str) -> bool {
        let bare = |text: &str| text.trim_matches('/').to_owned();
        self.step.as_deref() == Some(wanted)
            || self.title() == wanted
            || bare(&self.name) == bare(wanted)
            || self.also.iter().any(|one| bare(one) == bare(wanted))
    }
}

impl Access {
    /// Only what is about the principals and targets of this name.
    ///
    /// # Errors
    /// When there are none.
    pub fn about(self, wanted: &str) -> Result<Self, NoSuch> {
        let is_it = |subject: &&Subject| subject.is_called(wanted);
        let chosen: BTreeSet<Subject> =
            self.principals.iter().chain(&self.targets).filter(is_it).cloned().collect();
        if chosen.is_empty() {
            let all = self.principals.iter().chain(&self.targets);
            let known: BTreeSet<String> =
                all.map(|one| one.step.clone().unwrap_or_else(|| one.name.clone())).collect();
            return Err(NoSuch { name: wanted.to_owned(), known: known.into_iter().collect() });
        }
        let mut access = self;
        access.reach.retain(|one| chosen.contains(&one.principal) || chosen.contains(&one.target));
        let involved: BTreeSet<&Subject> =
            access.reach.iter().flat_map(|one| [&one.principal, &one.target]).collect();
        access.principals.retain(|one| involved.contains(one) || chosen.contains(one));
        access.targets.retain(|one| involved.contains(one) || chosen.contains(one));
        let shown: BTreeSet<&Subject> = access.principals.iter().chain(&access.targets).collect();
        access.remarks.retain(|remark| shown.contains(&remark.about));
        Ok(access)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Reach, Remark, Right};
    use super::*;

    fn subject(sort: &str, name: &str) -> Subject {
        Subject {
            provider: "toy",
            sort: sort.to_owned(),
            name: name.to_owned(),
            step: Some(format!("step_{name}")),
            also: vec![format!("arn:{name}")],
        }
    }

    fn whole() -> Access {
        let reach = |who: &str, what: &str| Reach {
            principal: subject("user", who),
            target: subject("box", what),
            rights: vec![Right { right: "read", because: Vec::new(), only: Vec::new(), unless: Vec::new() }],
        };
        Access {
            principals: vec![subject("user", "ann"), subject("user", "bob")],
            targets: vec![subject("box", "x"), subject("box", "y")],
            reach: vec![reach("ann", "x"), reach("bob", "x"), reach("bob", "y")],
            remarks: vec![Remark { about: subject("user", "ann"), message: "…".to_owned() }],
        }
    }

    #[test]
    fn answer_is_limited_to_what_is_asked_for() {
        for name in ["x", "step_x", "arn:x", "box x", "x/"] {
            let about = whole().about(name).expect("known");
            assert_eq!((about.reach.len(), about.principals.len(), about.targets.len()), (2, 2, 1), "{name}");
        }
        let bob = whole().about("step_bob").expect("known");
        assert_eq!((bob.reach.len(), bob.targets.len(), bob.remarks.len()), (2, 2, 0));
        let unknown = whole().about("zoe").expect_err("unknown");
        assert_eq!(unknown.known, ["step_ann", "step_bob", "step_x", "step_y"]);
    }
}
