//! Our own plans under their least IAM policies, and without each action of these.

use std::collections::BTreeSet;
use std::path::Path;

use groundwork::place::Realm;
use groundwork::plan::{Given, StageChoice};
use groundwork::run::Access;
use groundwork::session;
use groundwork::trust::Trust;
use serde_json::Value;

use super::aws::{Operator, actions, is_enforced, policies_by, report, without};
use crate::kubernetes::is_left_out;
use crate::orchard::CI_KEY;
use crate::scenario_a::clinical::{self, Clinical};
use crate::support::{Ran, copy_templates};

/// Tries every action of our plans, and not only whether they run.
const ALL_PLANS: &str = "PERMISSIONS_ALL_PLANS";
/// The only plans that are then tried, separated by commas.
const ONLY: &str = "PERMISSIONS_PLANS";

/// The only commands that are then tried, separated by commas.
const COMMANDS: &str = "PERMISSIONS_COMMANDS";

/// A plan of ours.
struct Ours {
    name: &'static str,
    /// How the destruction of everything is confirmed.
    confirmed: &'static str,
    /// The places of its buckets, after which the safeguard is switched off that the emulator's http does not pass.
    buckets: &'static [&'static str],
    open: &'static str,
    stage: Option<&'static str>,
}

const BUCKET: &str = "    name: \"{{ org }}-terraform-state\"\n";
const BACKUPS: &str = "    name: \"{{ org }}-vault-backups\"\n";
const OPEN: &str = "    tls_only: { off: the emulator speaks http }\n";

const PLANS: [Ours; 4] = [
    Ours { name: "quickstart", confirmed: "quickstart", buckets: &[BUCKET], open: OPEN, stage: None },
    Ours {
        name: "candlefish-production",
        confirmed: "candlefish-production",
        buckets: &[BUCKET, BACKUPS],
        open: OPEN,
        stage: None,
    },
    Ours {
        name: "orchard",
        confirmed: "orchard-dev",
        buckets: &["name: \"orchard-{{ stage }}-state\", "],
        open: "tls_only: { off: the emulator speaks http }, ",
        stage: Some("dev"),
    },
    Ours { name: CLINICAL, confirmed: CLINICAL, buckets: &[], open: "", stage: None },
];
/// The plan that needs a Kubernetes and a PostgreSQL, too.
const CLINICAL: &str = "clinical-ai";

impl Ours {
    fn is_left_out(&self) -> bool {
        self.name == CLINICAL && is_left_out("the least policies of a data service")
    }

    /// A sandbox with the plan.
    fn sandbox(&self) -> Operator {
        if self.name == CLINICAL {
            let environment = Clinical::new().0.environment;
            let plan = environment.folder.join(clinical::PLAN);
            std::fs::copy(plan, environment.folder.join("plan.yaml")).expect("copied");
            return Operator::of(environment);
        }
        let operator = Operator::new();
        let environment = &operator.environment;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("plans/{}.yaml", self.name));
        let mut text = std::fs::read_to_string(path).expect("a plan of ours");
        for bucket in self.buckets {
            assert!(text.contains(bucket), "{} has a bucket", self.name);
            text = text.replace(bucket, &format!("{bucket}{}", self.open));
        }
        environment.write("plan.yaml", &text);
        copy_templates(&environment.folder.join("templates"));
        operator
    }

    /// A command on the plan.
    fn arguments(&self, operator: &Operator, command: &str, more: &[&str]) -> Vec<String> {
        let mut all = vec![command.to_owned(), "plan.yaml".to_owned()];
        if let Some(stage) = self.stage {
            let address = &operator.environment.sandbox.vault_addrs()[0];
            all.extend(["--stage", stage, "--env", "ORCHARD_*", "--var"].map(str::to_owned));
            let key = format!("ci_key={CI_KEY}");
            all.extend([format!("vault_address={address}"), "--var".to_owned(), key]);
        }
        all.extend(more.iter().map(|one| (*one).to_owned()));
        all
    }

    fn run(&self, operator: &Operator, command: &str, more: &[&str]) -> Ran {
        let arguments = self.arguments(operator, command, more);
        let mut command = operator.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Ran::of(with_passwords(&mut command).output().expect("the program starts"))
    }

    /// The same as the root of the account.
    fn as_root(&self, operator: &Operator, command: &str, more: &[&str]) -> Ran {
        let arguments = self.arguments(operator, command, more);
        let mut command =
            operator.environment.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        Ran::of(with_passwords(&mut command).output().expect("the program starts"))
    }

    /// The same, which must succeed.
    fn root(&self, operator: &Operator, command: &str, more: &[&str]) {
        let ran = self.as_root(operator, command, more);
        assert_eq!(ran.code, 0, "{ran:?}");
    }

    fn policies(&self, operator: &Operator, command: &str) -> Vec<Value> {
        let arguments = self.arguments(operator, "permissions", &["--for", command, "--format", "json"]);
        policies_by(&operator.environment, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A command that writes, in a sandbox of its own and without these actions.
    fn deprived(&self, command: &str, all: &[Value], taken: &BTreeSet<String>) -> Ran {
        let operator = self.sandbox();
        let deprive = || operator.give(&without(all, taken.iter().map(String::as_str)));
        if command != "destroy" {
            deprive();
            let first = self.run(&operator, command, &["--yes"]);
            // The second one reads what the first has put into custody, and takes the lock again.
            return if first.code == 0 { self.run(&operator, command, &["--yes"]) } else { first };
        }
        self.root(&operator, "apply", &["--yes"]);
        let words = ["--yes", "--everything", "--confirm", self.confirmed];
        deprive();
        let first = self.run(&operator, command, &words);
        // Its end waits until the cluster is gone.
        let mut complete = self.as_root(&operator, command, &words);
        if let Some((_, id)) = complete.stderr.split_once(" --id ") {
            // The first run was not allowed to give it back.
            let id = id.get(..36).expect("a whole id").to_owned();
            self.root(&operator, "unlock", &["--id", &id]);
            complete = self.as_root(&operator, command, &words);
        }
        assert!([0, 3].contains(&complete.code), "{complete:?}");
        operator.environment.lose("vault-1");
        let _servers = operator.environment.revive();
        let last = self.run(&operator, command, &words);
        Ran {
            code: first.code.max(last.code),
            stdout: first.stdout + &last.stdout,
            stderr: first.stderr + &last.stderr,
        }
    }

    /// The actions that it needs for changes and for nothing else.
    fn changes(&self) -> BTreeSet<String> {
        let operator = self.sandbox();
        let path = operator.environment.folder.join("plan.yaml");
        let stage = self.stage.map(|name| StageChoice::Option(name.to_owned()));
        let given = Given { stage, ..Given::default() };
        let checked = session::check(&path, &given, &Trust::default()).expect("valid");
        let of = |access: Access| {
            let needed = checked.instances.iter().flat_map(|one| one.permissions(access, &Realm::UNKNOWN));
            needed.map(|one| one.any_of[0].to_owned()).collect::<BTreeSet<String>>()
        };
        let (read, made) = (of(Access::Read), of(Access::Create));
        of(Access::Update).into_iter().filter(|one| !read.contains(one) && !made.contains(one)).collect()
    }
}

/// The passwords that one of the plans asks for.
fn with_passwords(command: &mut std::process::Command) -> &mut std::process::Command {
    command.env("ORCHARD_ALICE_PASSWORD", "password-of-alice").env("ORCHARD_BOB_PASSWORD", "password-of-bob")
}

/// What of a verification is not proven.
fn unproven(ran: &Ran) -> (u64, u64) {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let count = |outcome: &str| report["summary"][outcome].as_u64().unwrap_or(u64::MAX);
    (count("failed"), count("untried"))
}

#[test]
fn our_plans_run_under_their_least_policies() {
    for ours in &PLANS {
        if ours.is_left_out() {
            continue;
        }
        let (name, operator) = (ours.name, ours.sandbox());
        let give = |command: &str| operator.give(&without(&ours.policies(&operator, command), []));
        for (command, more) in
            [("plan", &[][..]), ("apply", &["--yes"]), ("apply", &["--yes"]), ("plan", &[])]
        {
            give(command);
            let ran = ours.run(&operator, command, more);
            // A plan of which a part cannot be decided yet ends with 3.
            let ends_well = ran.code == 0 || command == "plan" && ran.code == 3;
            assert!(ends_well && !ran.stdout.contains("is not authorized"), "{name}: {ran:?}");
        }
        give("verify");
        let ran = ours.run(&operator, "verify", &["--format", "json"]);
        assert!(!ran.stdout.contains("is not authorized"), "{name}: {ran:?}");
        assert_eq!(unproven(&ran).0, 0, "{name}: {ran:?}");
        give("destroy");
        let ran = ours.run(&operator, "destroy", &["--yes"]);
        // What is protected stays.
        assert!([0, 3].contains(&ran.code), "{name}: {ran:?}");
        assert!(
            !ran.stdout.contains("is not authorized") && ran.stdout.contains("deleted"),
            "{name}: {ran:?}"
        );
    }
}

/// Takes minutes of CPU, so only when asked: many sandboxes for each command that writes.
#[test]
fn our_plans_need_each_action_of_their_policies() {
    if std::env::var_os(ALL_PLANS).is_none() {
        return;
    }
    let is_meant = |variable: &str, name: &str| {
        std::env::var(variable).map_or(true, |only| only.split(',').any(|one| one == name))
    };
    for ours in PLANS.iter().filter(|ours| is_meant(ONLY, ours.name) && !ours.is_left_out()) {
        for command in ["plan", "verify", "apply", "destroy"] {
            match command {
                _ if !is_meant(COMMANDS, command) => {}
                "plan" | "verify" => looks(ours, command),
                _ => writes(ours, command),
            }
        }
    }
}

/// A command that leaves everything as it is: one sandbox serves all actions.
fn looks(ours: &Ours, command: &str) {
    let operator = ours.sandbox();
    ours.root(&operator, "apply", &["--yes"]);
    let all = ours.policies(&operator, command);
    let more: &[&str] = if command == "verify" { &["--format", "json"] } else { &[] };
    operator.give(&without(&all, []));
    let whole = ours.run(&operator, command, more);
    let is_as_good = |ran: &Ran| match command {
        "verify" => unproven(ran) == unproven(&whole),
        _ => ran.code == whole.code && !ran.stdout.contains("is not authorized"),
    };
    assert!(is_as_good(&whole) && !whole.stdout.contains("is not authorized"), "{whole:?}");
    let tried = actions(&all);
    let mut spared = BTreeSet::new();
    for action in tried.iter().filter(|action| is_enforced(action)) {
        operator.give(&without(&all, [action.as_str()]));
        if is_as_good(&ours.run(&operator, command, more)) {
            spared.insert(action.clone());
        }
    }
    report(ours.name, command, &tried, &spared);
}

/// A command that writes. Each round takes away every action whose need is not shown yet: a refusal names some of
/// them, and has these given in the next round. What no refusal names is then taken away alone.
fn writes(ours: &Ours, command: &str) {
    let all = ours.policies(&ours.sandbox(), command);
    // Only a change needs these; the small plan tries them.
    let only_for_changes = ours.changes();
    let tried: BTreeSet<String> =
        actions(&all).into_iter().filter(|action| !only_for_changes.contains(action)).collect();
    let mut open: BTreeSet<String> = tried.iter().filter(|action| is_enforced(action)).cloned().collect();
    loop {
        let ran = ours.deprived(command, &all, &open);
        let needed: Vec<String> = open.iter().filter(|action| is_refused(&ran, action)).cloned().collect();
        assert!(needed.is_empty() || !ends_well(command, &ran), "{ran:?}");
        open.retain(|action| !needed.contains(action));
        if needed.is_empty() || open.is_empty() {
            break;
        }
    }
    let alone = |action: &String| BTreeSet::from([action.clone()]);
    open.retain(|action| ends_well(command, &ours.deprived(command, &all, &alone(action))));
    report(ours.name, command, &tried, &open);
}

/// Whether the emulator refused this action. S3 does not name it; there it is the request that the program names.
fn is_refused(ran: &Ran, action: &str) -> bool {
    let mut lines = ran.stdout.lines().chain(ran.stderr.lines());
    lines.any(|line| {
        line.contains(&format!("not authorized to perform: {action} "))
            || line.contains(&format!("{action}: ")) && line.contains("Denied")
    })
}

fn ends_well(command: &str, ran: &Ran) -> bool {
    let is_refused = ran.stdout.contains("is not authorized") || ran.stderr.contains("is not authorized");
    ran.code == 0 || command == "destroy" && !is_refused
}
