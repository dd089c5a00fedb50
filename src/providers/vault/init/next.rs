//! What is to be done about the initialisation, decided from three facts.

/// The initialisation as the journal records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// It knows of none.
    None,
    /// One was begun and neither ended nor refused.
    Open,
    /// One was completed.
    Committed,
}

/// What is to be done about the initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Initialise; nothing that exists can be harmed by it.
    Initialise,
    /// Prove what custody has, unseal with it, and say so in the journal.
    Finish,
    /// It is done; nodes may still have to be unsealed.
    Keep,
    /// Our request took effect and its answer is lost.
    Lost,
    /// Another client initialised it, or our objects about it are gone.
    Foreign,
}

/// The next step of the ceremony. `escrowed` is whether custody has the answer to the intent,
/// or, without an open one, to any initialisation of this cluster.
pub(super) fn next(intent: Intent, initialised: bool, escrowed: bool) -> Next {
    match (initialised, escrowed, intent) {
        // The request never arrived, or the storage was wiped since. Objects in custody stay there
        // under their own names.
        (false, _, _) => Next::Initialise,
        (true, true, Intent::Committed) => Next::Keep,
        (true, true, Intent::Open | Intent::None) => Next::Finish,
        (true, false, Intent::Open) => Next::Lost,
        (true, false, Intent::None | Intent::Committed) => Next::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_next_step() {
        use Intent::{Committed, None, Open};
        let rows = [
            (None, false, false, Next::Initialise),
            (None, false, true, Next::Initialise),
            (Open, false, false, Next::Initialise),
            (Open, false, true, Next::Initialise),
            (Committed, false, false, Next::Initialise),
            (Committed, false, true, Next::Initialise),
            (None, true, false, Next::Foreign),
            (None, true, true, Next::Finish),
            (Open, true, false, Next::Lost),
            (Open, true, true, Next::Finish),
            (Committed, true, false, Next::Foreign),
            (Committed, true, true, Next::Keep),
        ];
        for (intent, initialised, escrowed, expected) in rows {
            assert_eq!(next(intent, initialised, escrowed), expected, "{intent:?} {initialised} {escrowed}");
        }
    }
}
