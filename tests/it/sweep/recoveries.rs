//! The sweeps over `restore` and `rebuild`: each call of bringing a backup back × everything that can go wrong with
//! it. One clean run afterwards ends with what the backup has. `RECOVERY_SWEEP=all` tries all cases, and `RECOVERY_SWEEP=sys/init` those at calls
//! with such a name.

use serde_json::json;

use super::backups::{LEFT_OUT, Swept};
use super::fault::Fault;
use super::wire::Place;
use crate::restore::{password, write_secret};
use crate::support::{Ran, files, summary};

/// What must never be seen outside of Vault.
const CANARY: &str = "canary-of-a-swept-recovery-5d20";

/// The way out where the shares of a server's initialisation are lost.
const EMPTY_IT: &str = "remove its storage, start it, and run again";

impl Swept {
    /// A cluster with a backup that has the canary.
    fn backed_up() -> Self {
        let swept = Self::new();
        write_secret(&swept.cluster, CANARY);
        let ran = swept.run(&["backup", "plan.yaml"], None);
        assert_eq!(ran.code, 0, "{ran:?}");
        swept
    }

    /// The cases of the command that has just run: a test run takes every n-th.
    fn cases(&self, stride: usize) -> Vec<(Place, Fault)> {
        let calls = self.wire.trace();
        let all: Vec<(Place, Fault)> = calls
            .iter()
            .flat_map(|(call, place)| {
                let suiting =
                    Fault::ALL.into_iter().filter(|fault| fault.suits(call) && !LEFT_OUT.contains(fault));
                suiting.map(|fault| (place.clone(), fault))
            })
            .collect();
        let asked = std::env::var("RECOVERY_SWEEP").ok();
        let every = if asked.is_some() { 1 } else { stride };
        let is_meant =
            |place: &Place| asked.as_deref().is_none_or(|at| at == "all" || place.label.contains(at));
        let meant = all.iter().step_by(every).filter(|(place, _)| is_meant(place));
        let chosen: Vec<_> = meant.cloned().collect();
        println!("{} calls, {} cases, {} tried", calls.len(), all.len(), chosen.len());
        chosen
    }

    /// Nothing that the runs show or write down has the canary, and no throw-away key is left.
    fn assert_clean(&self, case: &str, ran: &[&Ran]) {
        assert!(!format!("{ran:?}").contains(CANARY), "{case}: {ran:?}");
        let folder = &self.cluster.environment.folder;
        for file in files(folder) {
            let bytes = std::fs::read(&file).expect("readable");
            let shows = bytes.windows(CANARY.len()).any(|part| part == CANARY.as_bytes());
            assert!(!shows, "{case}: {}", file.display());
            assert!(!file.display().to_string().contains("throwaway"), "{case}: {}", file.display());
        }
    }
}

/// Tries every case: `before` makes what is lost, and the command with a fault and once more without brings it back.
fn sweep(swept: &Swept, words: &[&str], stride: usize, before: impl Fn(&Swept)) {
    before(swept);
    let whole = swept.run(words, None);
    assert_eq!(whole.code, 0, "{whole:?}");
    let mut unmet = 0;
    let cases = swept.cases(stride);
    for (place, fault) in &cases {
        let case = format!("{fault} at {} ({})", place.label, place.occurrence);
        before(swept);
        let ran = swept.run(words, Some((place.clone(), *fault)));
        // How often a server is asked whether it is ready differs from run to run.
        unmet += usize::from(!swept.wire.met());
        let mut again = swept.run(words, None);
        if place.label == "POST sys/init" && again.stderr.contains(EMPTY_IT) {
            // The answer never came, so nothing opens that server: a person does as told, and `before` has empty servers.
            assert!(
                [-1, 4].contains(&ran.code) && again.code == 4,
                "{case}: {ran:?}\nand once more: {again:?}"
            );
            before(swept);
            again = swept.run(words, None);
        }
        assert_eq!(again.code, 0, "{case}: {ran:?}\nand once more: {again:?}");
        assert_eq!(password(&swept.cluster), CANARY, "{case}: {ran:?}\nand once more: {again:?}");
        swept.assert_clean(&case, &[&ran, &again]);
    }
    println!("{unmet} of {} cases were not met", cases.len());
    assert!(unmet * 4 <= cases.len(), "{unmet} of {} cases were not met", cases.len());
    assert_eq!(summary(&swept.cluster.apply(&[]))["api_calls"]["write"], json!(0));
}

#[test]
fn restore_goes_on_whatever_goes_wrong() {
    let swept = Swept::backed_up();
    sweep(&swept, &["restore", "plan.yaml", "--latest", "--confirm", "swept"], 97, |swept| {
        write_secret(&swept.cluster, "later");
    });
}

#[test]
fn rebuild_goes_on_whatever_goes_wrong() {
    let swept = Swept::backed_up();
    let alive = std::cell::RefCell::new(Vec::new());
    sweep(&swept, &["rebuild", "plan.yaml", "--latest", "--yes"], 151, |swept| {
        let environment = &swept.cluster.environment;
        environment.lose("vault-1");
        alive.borrow_mut().push(environment.revive());
        assert!(!environment.vault_is_initialised(), "the server is empty");
    });
}
