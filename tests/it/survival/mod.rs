//! What a plan does not show survives its next update: for every field that a server knows, whether a
//! kind declares it or not.
//!
//! A thing is made as its fixture in `tests/contract/` declares it. Each field is then set to another
//! legal value past the program. Either the plan shows that, or the next update leaves it as it is.

mod aws;
mod server;
mod values;
mod vault;

use std::fmt;
use std::ops::AddAssign;

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Kinds of things.
    pub kinds: usize,
    /// Fields that the servers know.
    pub fields: usize,
    /// Fields whose value a plan showed.
    pub shown: usize,
    /// Fields whose value an update left as it was.
    pub kept: usize,
    /// Fields that cannot be tried, each with its reason in the profile of its kind.
    pub excused: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.kinds += other.kinds;
        self.fields += other.fields;
        self.shown += other.shown;
        self.kept += other.kept;
        self.excused += other.excused;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kinds, fields, shown, kept, excused } = self;
        let cases = shown + kept;
        write!(
            f,
            "{kinds} kinds, {fields} fields, {cases} cases: {shown} shown, {kept} kept; {excused} excused"
        )
    }
}
