//! A year of a team on a real server, in commands: weekly rotations and backups, another person each month, other key shares
//! each quarter. Each month the newcomer, with no other key than their own, opens the newest and the oldest backup that is
//! kept. The clock is that of the machine, and a due date is one of today. `YEAR=all` goes through all twelve months.

use age::x25519::Identity;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::canary::{leaking_files, leaks};
use crate::support::{Cluster, Ran, files, text_of};

const PLAN: &str = "plan.yaml";

struct Team {
    cluster: Cluster,
    /// The second person who can open custody; the first one stays.
    second: Identity,
    said: String,
}

impl Team {
    fn declare(&self, second: &Identity) {
        let recipients = [self.cluster.recipient(), second.to_public().to_string()];
        let recipients: Vec<Value> = recipients.iter().map(|key| json!({ "age": key })).collect();
        let plan = json!({
            "version": 1, "name": "year",
            "custody": { "recipients": recipients, "stores": [{ "file": "custody" }, { "file": "more" }] },
            "backup": { "stores": [{ "file": "backups" }], "keep": { "last": 3, "daily": 0 } },
            "steps": {
                "cluster": { "kind": "vault.init", "shares": 3, "threshold": 2 },
                "kv": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
                "db": { "kind": "vault.kv_secret", "mount": "secret", "path": "db", "metadata": { "rotation_days": 0 },
                        "data": { "password": { "generate": { "length": 24 } } }, "overlap": { "password": "before" } },
            },
        });
        self.cluster.environment.write(PLAN, &plan.to_string());
    }

    /// Runs the program with these keys, which must end with this code.
    fn run(&mut self, words: &[&str], keys: Option<&[&Identity]>, code: i32) -> Ran {
        let mut command = self.cluster.command(words);
        if let Some(keys) = keys {
            let text: String =
                keys.iter().map(|key| key.to_string().expose_secret().to_owned() + "\n").collect();
            let file = self.cluster.environment.write("keys.txt", &text);
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("chmod");
            command.env("GROUNDWORK_AGE_IDENTITY", file);
        }
        let ran = Ran::of(command.output().expect("the program starts"));
        assert_eq!(ran.code, code, "{words:?}: {ran:?}");
        self.said.push_str(&format!("{ran:?}"));
        ran
    }

    fn password(&self) -> String {
        let (_, answer) = self.cluster.ask("GET", "", "secret/data/db", &Value::Null);
        text_of(&answer["data"]["data"]["password"]).to_owned()
    }

    /// The backups that are kept, the oldest first.
    fn backups(&self) -> Vec<String> {
        let all = files(&self.cluster.environment.folder.join("backups"));
        let mut all: Vec<_> =
            all.into_iter().filter(|one| one.extension().is_some_and(|end| end == "snap")).collect();
        all.sort();
        all.iter().map(|one| one.display().to_string()).collect()
    }

    /// One person goes and another one comes; custody is sealed for who is there now.
    fn change_people(&mut self) {
        let next = Identity::generate();
        self.declare(&next);
        let (old, new) = (self.second.to_public().to_string(), next.to_public().to_string());
        let former = std::mem::replace(&mut self.second, next.clone());
        self.run(&["custody", "holder", "replace", PLAN, &old, &new, "--yes"], Some(&[&former, &next]), 0);
    }
}

#[test]
fn newcomer_opens_newest_and_oldest_backup_each_month() {
    let months = if std::env::var("YEAR").is_ok_and(|all| all == "all") { 12 } else { 2 };
    let mut team = Team { cluster: Cluster::new("year"), second: Identity::generate(), said: String::new() };
    team.declare(&team.second);
    team.run(&["apply", PLAN, "--yes"], None, 0);
    let mut passwords = vec![team.password()];
    for month in 0..months {
        for _ in 0..4 {
            team.run(&["rotate", PLAN, "--due", "--yes"], None, 2);
            let now = team.password();
            assert!(!passwords.contains(&now), "month {month}: another password each week");
            passwords.push(now);
            team.run(&["backup", PLAN], None, 0);
        }
        team.change_people();
        if month % 3 == 0 {
            team.run(&["rotate", PLAN, "--shares", "--yes"], None, 0);
            team.run(&["backup", PLAN], None, 0);
        }
        let (kept, newcomer) = (team.backups(), team.second.clone());
        for backup in [&kept[0], &kept[kept.len() - 1]] {
            let checked = team.run(&["backup", "check", backup, PLAN], Some(&[&newcomer]), 0);
            assert!(checked.stdout.contains("proven"), "month {month}: {checked:?}");
        }
        team.run(&["custody", "check", PLAN], Some(&[&newcomer]), 0);
        team.run(&["plan", PLAN, "--detailed-exitcode"], None, 0);
    }
    assert!(team.backups().len() <= 3 + months / 3 + 2, "{:?}", team.backups());
    let journal = team.run(&["journal", PLAN], None, 0);
    assert!(journal.stdout.contains("Nothing is open."), "{journal:?}");
    let secrets: Vec<(String, Vec<u8>)> =
        passwords.into_iter().map(|one| ("password".to_owned(), one.into_bytes())).collect();
    assert_eq!(leaks(team.said.as_bytes(), &secrets), Vec::<&str>::new());
    let folder = team.cluster.environment.folder.join(".groundwork");
    assert_eq!(leaking_files(&folder, &secrets), Vec::<String>::new());
}
