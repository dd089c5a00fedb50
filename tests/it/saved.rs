//! Changesets between their review and their application.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use groundwork::custody::pgp::KeyPair;
use groundwork::environment::Environment;
use groundwork::place::Realm;
use groundwork::saved::{Content, Identities, SEAL_KEY, Saved};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{Quickstart, Ran, TestEnvironment, step, summary};

/// Plans that need no server.
struct Folder(tempfile::TempDir);

const NOTE: &str = "version: 1\nname: saved\nvars: { text: hello }\nsteps:\n  \
    note: { kind: file.template, path: note.txt, content: \"{{ text }}\" }\n  \
    letter: { kind: file.template, path: letter.txt, template: letter.j2, with: { to: you } }\n";

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("plan.yaml", NOTE);
        folder.write("templates/letter.j2", "Dear {{ to }}\n");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text).expect("written");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = crate::support::program();
        command.args(arguments).current_dir(self.0.path()).env("NO_COLOR", "1");
        command.env_remove("SOURCE_DATE_EPOCH").env_remove(SEAL_KEY);
        command.env("GROUNDWORK_CONFIG_DIR", self.path("config"));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    /// Applied, and one of the two files gone again: both are the plan's.
    fn applied(&self) {
        let ran = self.run(&["apply", "plan.yaml", "--yes"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        std::fs::remove_file(self.path("letter.txt")).expect("it was made");
    }

    /// Saves the plan's changes as made at `seconds`.
    fn save(&self, file: &str, seconds: i64) -> Vec<u8> {
        let mut command = self.command(&["plan", "plan.yaml", "--out", file]);
        let ran = Ran::of(command.env("SOURCE_DATE_EPOCH", seconds.to_string()).output().expect("runs"));
        assert_eq!(ran.code, 0, "{ran:?}");
        std::fs::read(self.path(file)).expect("saved")
    }

    fn saved(&self) -> Vec<u8> {
        self.save("changes.json", now())
    }

    /// Applies, which must be refused with these words and change nothing.
    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let ran = self.run(&[&["apply"], arguments, &["--yes"]].concat());
        assert_eq!(ran.code, 1, "{arguments:?}: {ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {}", ran.stderr);
        }
        assert!(ran.stderr.contains("what to do"), "{}", ran.stderr);
        assert!(!self.path("letter.txt").exists(), "{arguments:?}");
    }
}

fn now() -> i64 {
    Timestamp::now().as_second()
}

/// A file that is whole, with another content.
fn forged(text: &[u8], change: impl FnOnce(&mut Content)) -> Vec<u8> {
    let mut content = Saved::parse(text).expect("whole").content;
    change(&mut content);
    Saved::now(content, None, &Environment::default()).expect("a time").text()
}

/// What a plan renders is a file of one machine, and a fresh clone does not have it.
#[test]
fn saved_changes_apply_in_a_fresh_clone() {
    let folder = Folder::new();
    let ran = folder.run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    folder.write("plan.yaml", &NOTE.replace("hello", "hello again"));
    let ran = folder.run(&["plan", "plan.yaml", "--out", "saved.json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let clone = Folder::new();
    clone.write("plan.yaml", &NOTE.replace("hello", "hello again"));
    std::fs::copy(folder.path("saved.json"), clone.path("saved.json")).expect("copied");
    let ran = clone.run(&["apply", "saved.json", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read_to_string(clone.path("note.txt")).expect("written"), "hello again");
    // A file that is there and is another one has not been reviewed.
    std::fs::write(folder.path("note.txt"), "by hand").expect("written");
    let ran = folder.run(&["apply", "saved.json", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("note"), "{ran:?}");
}

#[test]
fn same_plan_and_state_give_identical_bytes() {
    let folder = Folder::new();
    folder.applied();
    let (first, second, later) =
        (folder.save("a.json", 1), folder.save("b.json", 1), folder.save("c.json", 2));
    assert_eq!(first, second);
    let digest = |text: &[u8]| Saved::parse(text).expect("whole").digest;
    assert_eq!(digest(&first), digest(&later), "time is no part of the content");
    folder.write("note.txt", "another world");
    assert_ne!(digest(&first), digest(&folder.save("d.json", 1)));
}

#[test]
fn reviewed_changeset_is_applied_only_once() {
    let folder = Folder::new();
    folder.saved();
    let ran = folder.run(&["apply", "changes.json", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(summary(&ran.events())["done"], 2);
    assert_eq!(std::fs::read_to_string(folder.path("letter.txt")).expect("made"), "Dear you\n");
    let again = folder.run(&["apply", "changes.json", "--yes"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("step note: state: expected absent, is present"), "{}", again.stderr);
}

#[test]
fn apply_without_terminal_requires_yes() {
    let folder = Folder::new();
    folder.saved();
    let ran = folder.run(&["apply", "changes.json"]);
    assert!(ran.code == 1 && ran.stderr.contains("Use --yes"), "{ran:?}");
    assert!(!folder.path("letter.txt").exists());
}

#[test]
fn changes_since_the_review_are_named() {
    let folder = Folder::new();
    folder.applied();
    folder.write("note.txt", "by hand");
    folder.saved();
    folder.write("note.txt", "by another hand");
    folder.refused(&["changes.json"], &["step note: content: expected by hand, is by another hand"]);
    folder.write("note.txt", "hello");
    folder.refused(&["changes.json"], &["step note: action: expected update, is none", "is as declared"]);

    folder.write("note.txt", "by hand");
    folder.write("templates/letter.j2", "Dear {{ to }}!\n");
    folder.refused(&["changes.json"], &["plan: template letter.j2"]);
    folder.write("templates/letter.j2", "Dear {{ to }}\n");
    folder.write("plan.yaml", &NOTE.replace("hello", "hallo"));
    folder.refused(&["changes.json"], &["plan: plan.yaml"]);
    folder.write("plan.yaml", NOTE);
    assert_eq!(folder.run(&["apply", "changes.json", "--yes"]).code, 0, "as it was");
}

/// Whoever changes a public key can read what is sealed for it.
#[test]
fn changed_key_file_invalidates_the_saved_changeset() {
    let folder = Folder::new();
    let age = age::x25519::Identity::generate().to_public();
    let recipients = format!("[ {{ age: {age} }}, {{ pgp: keys/alice.pgp }} ]");
    let custody = format!("custody: {{ recipients: {recipients}, stores: [ {{ file: kept }} ] }}\n");
    folder.write("plan.yaml", &format!("{NOTE}{custody}"));
    folder.write("keys/README", "");
    let new_key = || {
        let public = KeyPair::generate().and_then(|pair| pair.public()).expect("a key pair");
        std::fs::write(folder.path("keys/alice.pgp"), STANDARD.decode(public).expect("base64"))
            .expect("written");
    };
    new_key();
    folder.saved();
    new_key();
    folder.refused(&["changes.json"], &["key keys/alice.pgp", "another text"]);
}

#[test]
fn variables_of_the_file_must_be_given_again() {
    let folder = Folder::new();
    folder.write("vars.yaml", "text: reviewed-value\n");
    assert_eq!(
        folder.run(&["plan", "plan.yaml", "--var-file", "vars.yaml", "--out", "changes.json"]).code,
        0
    );
    for arguments in [&["changes.json"][..], &["changes.json", "--var", "text=other-value"]] {
        let ran = folder.run(&[&["apply"], arguments, &["--yes"]].concat());
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains("`text` is not as in") && ran.stderr.contains("--var text=…"), "{ran:?}");
        assert!(!ran.stderr.contains("-value"), "values are not shown: {}", ran.stderr);
        assert!(!folder.path("note.txt").exists());
    }
    // Given again in another way, it is the same.
    let ran = folder.run(&["apply", "changes.json", "--var", "text=reviewed-value", "--yes"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read_to_string(folder.path("note.txt")).expect("made"), "reviewed-value");
}

#[test]
fn variable_equal_to_the_default_needs_no_flag() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["plan", "plan.yaml", "--var", "text=hello", "--out", "changes.json"]).code, 0);
    assert_eq!(folder.run(&["apply", "changes.json", "--yes"]).code, 0);
    // A default is evaluated, a given value is not.
    folder.write("plan.yaml", &NOTE.replace("text: hello", "base: x, text: \"{{ base }}\""));
    let given = ["plan", "plan.yaml", "--var", "text={{ base }}", "--out", "changes.json"];
    assert_eq!(folder.run(&given).code, 0);
    std::fs::remove_file(folder.path("letter.txt")).expect("made");
    folder.refused(&["changes.json"], &["`text` is not as in"]);
}

#[test]
fn forged_variables_in_the_file_are_refused() {
    let folder = Folder::new();
    let whole = folder.saved();
    let text = |value: Value| vec![("text".to_owned(), value)];
    let forgeries = [
        (text(json!("forged")), "`text` is not as in"),
        (text(json!(["forged"])), "`text` is not as in"),
        (vec![("other".to_owned(), json!("forged"))], "declares no variable `other`"),
    ];
    for (vars, words) in forgeries {
        let forged = forged(&whole, |content| content.plan.vars = vars);
        std::fs::write(folder.path("changes.json"), forged).expect("written");
        let ran = folder.run(&["apply", "changes.json", "--yes"]);
        assert!(ran.code == 1 && ran.stderr.contains(words), "{ran:?}");
        assert!(!folder.path("letter.txt").exists(), "{words}");
    }
}

#[test]
fn required_variable_is_not_taken_from_the_file() {
    let folder = Folder::new();
    folder.write("plan.yaml", &NOTE.replace("text: hello", "text: null"));
    assert_eq!(folder.run(&["plan", "plan.yaml", "--var", "text=a", "--out", "changes.json"]).code, 0);
    let ran = folder.run(&["apply", "changes.json", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("variable `text` has no value"), "{ran:?}");
    assert_eq!(folder.run(&["apply", "changes.json", "--var", "text=a", "--yes"]).code, 0);
}

#[test]
fn changes_of_another_commit_are_refused() {
    let folder = Folder::new();
    let (one, other) = ("1".repeat(40), "2".repeat(40));
    folder.write(".git/HEAD", "ref: refs/heads/main\n");
    folder.write(".git/refs/heads/main", &one);
    let whole = folder.saved();
    folder.write(".git/refs/heads/main", &other);
    folder.refused(&["changes.json"], &["plan: commit", &one, &other]);
    folder.refused(&["changes.json", "--commit", &other], &["plan: commit"]);
    for changed in [None, Some(other)] {
        let forged = forged(&whole, |content| content.plan.commit = changed);
        std::fs::write(folder.path("forged.json"), forged).expect("written");
        folder.refused(&["forged.json", "--commit", &one], &["plan: commit"]);
    }
    assert_eq!(folder.run(&["apply", "changes.json", "--commit", "1111111", "--yes"]).code, 64);
    // The reviewed commit was merged: the caller says which one was reviewed.
    assert_eq!(folder.run(&["apply", "changes.json", "--commit", &one, "--yes"]).code, 0);
}

#[test]
fn plan_behind_a_link_must_be_named() {
    let folder = Folder::new();
    let whole = folder.saved();
    std::fs::create_dir(folder.path("real")).expect("a folder");
    std::fs::rename(folder.path("plan.yaml"), folder.path("real/plan.yaml")).expect("moved");
    std::fs::rename(folder.path("templates"), folder.path("real/templates")).expect("moved");
    symlink("real", folder.path("linked")).expect("a link");
    let forged = forged(&whole, |content| content.plan.path = "linked/plan.yaml".to_owned());
    std::fs::write(folder.path("changes.json"), forged).expect("written");
    folder.refused(&["changes.json"], &["behind a symbolic link", "--plan PLAN"]);
    assert_eq!(folder.run(&["apply", "changes.json", "--plan", "real/plan.yaml", "--yes"]).code, 0);
}

#[test]
fn callers_key_refuses_files_without_its_seal() {
    let folder = Folder::new();
    let write_key = |name: &str, text: &str| {
        folder.write(name, text);
        std::fs::set_permissions(folder.path(name), PermissionsExt::from_mode(0o600)).expect("chmod");
    };
    let unsealed = folder.saved();
    let key = "0123456789abcdef".repeat(4);
    write_key("config/seal.key", &key);
    folder.refused(&["changes.json"], &["is not sealed", "config/seal.key"]);
    let sealed = folder.saved();
    let text = String::from_utf8(sealed.clone()).expect("text");
    assert!(!text.contains(&key) && !String::from_utf8_lossy(&unsealed).contains("hmac-sha256"));

    // Whoever can compute the plain seal again cannot compute this one.
    let time = |text: &[u8]| Saved::parse(text).expect("whole");
    let mut newer = time(&sealed);
    newer.created_at += jiff::SignedDuration::from_secs(60);
    std::fs::write(folder.path("changes.json"), newer.text()).expect("written");
    folder.refused(&["changes.json"], &["sealed with another key"]);
    let forged = forged(&sealed, |content| content.plan.vars.clear());
    std::fs::write(folder.path("changes.json"), forged).expect("written");
    folder.refused(&["changes.json"], &["is not sealed"]);

    std::fs::write(folder.path("changes.json"), &sealed).expect("written");
    write_key("other.key", &"f".repeat(64));
    let with = |file: &str| {
        let mut command = folder.command(&["apply", "changes.json", "--yes"]);
        Ran::of(command.env(SEAL_KEY, folder.path(file)).output().expect("the program starts"))
    };
    let other = with("other.key");
    assert!(other.code == 1 && other.stderr.contains("sealed with another key"), "{other:?}");
    let missing = with("missing.key");
    assert!(missing.code == 1 && missing.stderr.contains("openssl rand"), "{missing:?}");
    assert_eq!(with("config/seal.key").code, 0);
}

#[test]
fn modified_changeset_file_is_refused() {
    let folder = Folder::new();
    let whole = String::from_utf8(folder.saved()).expect("text");
    let time = Saved::parse(whole.as_bytes()).expect("whole").created_at.to_string();
    let changes = [
        (whole.replace("hello", "hullo"), "was changed after it was written"),
        (whole.replace("\"create\"", "\"delete\""), "was changed after it was written"),
        (whole.replace(&time, "2020-01-01T00:00:00Z"), "was changed after it was written"),
        (whole.replace("\"absent\"", "\"present\""), "was changed after it was written"),
        (whole[..whole.len() / 2].to_owned(), "is damaged"),
        (whole.replacen("\"groundwork_changeset\": 1", "\"groundwork_changeset\": 2", 1), "has the form 2"),
        (whole.replace("\"steps\": [", "\"more\": 1, \"steps\": ["), "is damaged"),
    ];
    for (text, words) in changes {
        assert_ne!(text, whole, "{words}");
        folder.write("changes.json", &text);
        folder.refused(&["changes.json"], &[words]);
    }
    let other = forged(whole.as_bytes(), |content| content.tool = "0.0.9".to_owned());
    std::fs::write(folder.path("changes.json"), other).expect("written");
    folder.refused(&["changes.json"], &["made by Groundwork 0.0.9"]);
    // Who computes the digest anew still gets nothing but what the plan says.
    let other = forged(whole.as_bytes(), |content| {
        content.steps[0].change["changes"][0]["after"] = json!("forged");
    });
    std::fs::write(folder.path("changes.json"), other).expect("written");
    folder.refused(&["changes.json"], &["step note: path: expected forged, is note.txt"]);
}

#[test]
fn expired_review_is_refused() {
    let folder = Folder::new();
    folder.save("changes.json", now() - 2 * 86_400);
    folder.refused(&["changes.json"], &["2 d ago", "--max-age"]);
    folder.refused(&["changes.json", "--max-age", "47h"], &["more than 1 d 23 h"]);
    let ran = folder.run(&["apply", "changes.json", "--yes", "--max-age", "soon"]);
    assert_eq!(ran.code, 64, "{ran:?}");
    assert_eq!(folder.run(&["apply", "changes.json", "--yes", "--max-age", "3d"]).code, 0);
    let folder = Folder::new();
    folder.save("changes.json", now() + 3600);
    folder.refused(&["changes.json"], &["in the future"]);
}

#[test]
fn changeset_cannot_select_a_plan_outside_folder() {
    let folder = Folder::new();
    folder.saved();
    folder.write("other.yaml", NOTE);
    folder
        .refused(&["changes.json", "--plan", "other.yaml"], &["is of the plan plan.yaml, not of other.yaml"]);
    for elsewhere in ["../plan.yaml", "/etc/passwd"] {
        let text = std::fs::read(folder.path("changes.json")).expect("saved");
        let other = forged(&text, |content| content.plan.path = elsewhere.to_owned());
        std::fs::write(folder.path("elsewhere.json"), other).expect("written");
        folder.refused(&["elsewhere.json"], &["outside of this folder"]);
    }
    assert_eq!(folder.run(&["apply", "changes.json", "--yes", "--plan", "./plan.yaml"]).code, 0);
}

#[test]
fn changeset_file_is_private_and_replaces_nothing_else() {
    let folder = Folder::new();
    folder.saved();
    folder.saved();
    let mode = folder.path("changes.json").metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    folder.write("precious.txt", "precious");
    symlink(folder.path("changes.json"), folder.path("link.json")).expect("a link");
    std::fs::create_dir(folder.path("folder.json")).expect("a folder");
    for target in ["precious.txt", "plan.yaml", "link.json", "folder.json", "nowhere/changes.json"] {
        let ran = folder.run(&["plan", "plan.yaml", "--out", target]);
        assert!(ran.code == 1 && ran.stderr.contains(&format!("write {target}")), "{target}: {ran:?}");
    }
    assert_eq!(std::fs::read_to_string(folder.path("precious.txt")).expect("there"), "precious");
    assert!(folder.path("link.json").symlink_metadata().expect("there").is_symlink());
    let names = |folder: &Path| std::fs::read_dir(folder).expect("lists").count();
    let count = names(folder.0.path());
    folder.saved();
    assert_eq!(names(folder.0.path()), count, "nothing else is left");
}

#[test]
fn corrupt_changeset_file_never_causes_a_panic() {
    let whole = Folder::new().saved();
    // A fixed sequence, so that a failure can be repeated.
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("small") % below
    };
    for _ in 0..5_000 {
        let mut bytes = whole.clone();
        for _ in 0..=next(2) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = u8::try_from(next(256)).expect("a byte"),
                2 => bytes.insert(at, b"{}[]:,\"\\0-e"[next(11)]),
                _ => bytes.splice(at..at, std::iter::repeat_n(b'[', 200)).for_each(drop),
            }
        }
        if let Ok(saved) = Saved::parse(&bytes) {
            let original = Saved::parse(&whole).expect("whole");
            assert_eq!((saved.content, saved.created_at), (original.content, original.created_at));
        }
    }
}

#[test]
fn another_account_or_cluster_is_refused() {
    let environment = TestEnvironment::new();
    environment.write(
        "plan.yaml",
        "version: 1\nname: who\naws: { region: us-east-1 }\nsteps:\n  user: { kind: aws.iam_user, name: gw-who }\n  \
         app: { kind: vault.policy, name: app, rules: { a: [read] } }\n",
    );
    // Vault is not initialised and no step does it: its steps are left for later.
    assert_eq!(environment.run(&["plan", "plan.yaml", "--out", "changes.json"]).code, 3);
    let text = std::fs::read(environment.folder.join("changes.json")).expect("saved");
    let other = forged(&text, |content| {
        let mut realms = content.identities.realms();
        let aws = realms.get_mut("aws").expect("AWS");
        *aws = aws.clone().with("account", "123456789012");
        content.identities = Identities::new(realms);
    });
    environment.write("other.json", &String::from_utf8(other).expect("text"));
    let ran = environment.run(&["apply", "other.json", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("where `aws` is: expected account 123456789012"), "{}", ran.stderr);
    let other = forged(&text, |content| {
        let mut realms = content.identities.realms();
        realms.insert("vault".to_owned(), Realm::default().with("cluster", "4f1c"));
        content.identities = Identities::new(realms);
    });
    environment.write("other.json", &String::from_utf8(other).expect("text"));
    let ran = environment.run(&["apply", "other.json", "--yes"]);
    assert!(ran.code == 1 && ran.stderr.contains("where `vault` is: expected cluster 4f1c"), "{ran:?}");
    // What was reviewed is done, and what was not is not.
    let ran = environment.run(&["apply", "changes.json", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(step(&environment.plan("plan.yaml"), "user")["action"], "none");
}

#[test]
fn deferred_step_is_unreviewed_and_not_applied() {
    let environment = TestEnvironment::new();
    environment.write(
        "plan.yaml",
        "version: 1\nname: wait\naws: { region: us-east-1 }\nsteps:\n  key: { kind: aws.kms_key, alias: alias/gw-wait }\n  \
         note: { kind: file.template, path: \"{{ key.key_id }}.txt\", content: x }\n",
    );
    assert_eq!(environment.run(&["plan", "plan.yaml", "--out", "changes.json"]).code, 3);
    let ran = environment.run(&["apply", "changes.json", "--yes"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("not part of the review"), "{}", ran.stderr);
    let changeset = environment.plan("plan.yaml");
    assert_eq!(step(&changeset, "key")["action"], "none");
    assert_eq!(step(&changeset, "note")["action"], "create");
    let strict = environment.run(&["plan", "plan.yaml", "--strict"]);
    assert_eq!(strict.code, 0, "everything is known by now: {strict:?}");
}

#[test]
fn only_reviewed_drift_is_repaired() {
    let quickstart = Quickstart::new();
    // From nothing: the steps behind the initialisation are part of the review.
    assert_eq!(quickstart.run(&["plan", "quickstart.yaml", "--out", "first.json", "--strict"]).code, 0);
    let ran = quickstart.run(&["apply", "first.json", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(summary(&ran.events())["done"], 18);

    quickstart.suspend_versioning("quickstart-terraform-state");
    let policy = json!({ "policy": "path \"secret/data/app/*\" { capabilities = [\"read\", \"list\"] }" });
    quickstart.vault("POST", "sys/policies/acl/app-read", &policy);
    assert_eq!(quickstart.run(&["plan", "quickstart.yaml", "--out", "drift.json"]).code, 0);

    // A secret that the plan leaves alone is written once more: no field differs, but it is not
    // what was looked at.
    let database = quickstart.vault("GET", "secret/data/app/database", &Value::Null);
    quickstart.vault("POST", "secret/data/app/database", &json!({ "data": database["data"] }));
    quickstart.untag_user("quickstart-app", "Environment");
    let ran = quickstart.run(&["apply", "drift.json", "--yes"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.trim_start().starts_with("step ")).collect();
    let about = |step: &str| told.iter().filter(|line| line.contains(step)).count();
    assert!(about("step app_user") > 0 && about("step app_database") > 0, "{told:#?}");
    assert_eq!(about("step app_user") + about("step app_database"), told.len(), "{told:#?}");
    assert!(ran.stderr.contains("output version: expected 1, is 2"), "{}", ran.stderr);
    assert!(ran.stderr.contains("tags.Environment"), "{}", ran.stderr);

    assert_eq!(quickstart.run(&["plan", "quickstart.yaml", "--out", "drift.json"]).code, 0);
    let ran = quickstart.run(&["apply", "drift.json", "--yes", "--format", "json"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let done: Vec<String> = ran
        .events()
        .iter()
        .filter(|event| event["event"] == "step_finished")
        .map(|event| event["id"].to_string())
        .collect();
    assert_eq!(done.len(), 3, "{done:?}");
    let refused = quickstart.run(&["apply", "drift.json", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
}
