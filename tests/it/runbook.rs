//! The runbook: it names only commands that exist, and its procedures work as they are printed.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use groundwork::cli::Cli;
use groundwork::sandbox::Settings;
use serde_json::{Value, json};

use crate::support::{BINARY, Cluster, Ran, block_on, copy_templates, program, text_of};

/// A page, by the headings of its procedures.
struct Page {
    text: String,
    procedures: BTreeMap<String, String>,
}

impl Page {
    fn of(text: &str) -> Self {
        let mut parts = text.split("\n## ");
        parts.next();
        let procedures = parts.map(|part| {
            let (title, body) = part.split_once('\n').expect("a title");
            (title.to_owned(), body.to_owned())
        });
        Self { text: text.to_owned(), procedures: procedures.collect() }
    }

    /// The commands in fences of one procedure, fence by fence.
    fn commands(&self, title: &str) -> Vec<String> {
        fences(self.procedures.get(title).unwrap_or_else(|| panic!("no {title} in {}", self.text)))
    }
}

fn fences(text: &str) -> Vec<String> {
    let parts: Vec<&str> = text.split("```").collect();
    assert_eq!(parts.len() % 2, 1, "each fence is closed: {text}");
    parts.chunks(2).filter_map(|pair| pair.get(1)?.strip_prefix("sh\n")).map(str::to_owned).collect()
}

/// The words of a shell's command line, without what a shell would make of them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quoted) {
            (_, Some(mark)) if c == mark => quoted = None,
            ('\'' | '"', None) => {
                quoted = Some(c);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// Why the program would not take a command line.
fn mistake(line: &str) -> Option<String> {
    let parsed = Cli::command().try_get_matches_from(words(line));
    parsed.err().map(|error| format!("{line}\n{error}"))
}

/// Every command of ours that a page names in the running text: those that are whole, and those that leave the plan
/// out.
fn mentioned(text: &str) -> Vec<String> {
    let text = text.split("```").step_by(2).collect::<String>();
    let parts = text.split('`').skip(1).step_by(2).map(str::to_owned);
    parts.filter(|part| part.starts_with("groundwork ")).collect()
}

fn check_commands(page: &str) -> usize {
    let mut seen = 0;
    for line in fences(page).iter().flat_map(|fence| fence.lines()) {
        for part in line.split(" | ").map(str::trim).filter(|part| part.starts_with("groundwork ")) {
            assert_eq!(mistake(part), None);
            seen += 1;
        }
    }
    for named in mentioned(page) {
        // What a person fills in stands for itself, and the plan comes last.
        let whole = [named.clone(), format!("{named} plan.yaml")];
        let mistakes: Vec<String> = whole.iter().filter_map(|line| mistake(line)).collect();
        assert!(mistakes.len() < 2, "{}", mistakes.join("\n"));
        seen += 1;
    }
    seen
}

/// The page of a plan of ours.
fn page_of(folder: &Path, arguments: &[&str]) -> String {
    let ran = program().arg("runbook").args(arguments).current_dir(folder).output().expect("it runs");
    let ran = Ran::of(ran);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout
}

#[test]
fn every_page_names_only_commands_and_options_that_exist() {
    let plans = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let rows: [(&[&str], &[&str]); 5] = [
        (&["quickstart.yaml"], &["A key or a share leaked"]),
        (&["candlefish-production.yaml"], &["The cluster is sealed", "The account is gone"]),
        (&["candlefish-production.yaml", "--var", "unseal=awskms"], &["The KMS key or the region is gone"]),
        (&["orchard.yaml", "--stage", "dev"], &["A node is lost"]),
        (&["orchard.yaml", "--stage", "production"], &["A run broke off"]),
    ];
    for (arguments, titles) in rows {
        let page = Page::of(&page_of(&plans, arguments));
        assert!(check_commands(&page.text) > 10, "{arguments:?}");
        for title in titles {
            assert!(page.procedures.contains_key(*title), "{arguments:?} lacks {title}");
        }
        assert!(!page.text.contains("known after apply") && !page.text.contains('\u{f8f0}'), "{}", page.text);
    }
    let planted = "```sh\ngroundwork status plan.yaml --no-such-option\n```\n";
    assert!(std::panic::catch_unwind(|| check_commands(planted)).is_err(), "a mistake is found");
    assert!(std::panic::catch_unwind(|| check_commands("`groundwork conjure PLAN`")).is_err());
}

#[test]
fn page_names_the_environment_and_says_what_it_is_made_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let age = age::x25519::Identity::generate().to_public().to_string();
    let plan = json!({
        "version": 1, "name": "pinned", "aws": { "region": "eu-west-1", "account_id": "123456789012" },
        "vault": { "nodes": ["https://10.0.1.11:8200", "https://10.0.1.12:8200"] },
        "custody": { "recipients": [{ "kms": "{{ key.arn }}" }, { "age": age }],
                     "stores": [{ "file": "kept" }, { "s3": "s3://pinned-custody/x" }] },
        "backup": { "stores": [{ "s3": "s3://pinned-backups/vault" }] },
        "journal": { "s3": "s3://pinned-state/groundwork" }, "lock": { "s3": true },
        "steps": {
            "key": { "kind": "aws.kms_key", "alias": "alias/pinned" },
            "init": { "kind": "vault.init", "shares": 2, "threshold": 2, "keep_shares": false,
                      "holders": [{ "name": "alice", "age": age }, { "name": "bob", "age": age }] },
        },
    });
    std::fs::write(folder.path().join("a plan.yaml"), plan.to_string()).expect("written");
    let made = |more: &[&str]| {
        let mut command = program();
        command.args(["runbook", "a plan.yaml"]).args(more).current_dir(folder.path());
        // Nothing listens there, and nothing is asked.
        command.env("SOURCE_DATE_EPOCH", "1795852800").env("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
        Ran::of(command.output().expect("it runs"))
    };
    let ran = made(&[]);
    assert_eq!(ran.code, 0, "{ran:?}");
    for expected in [
        "# Runbook: pinned",
        "Made 2026-11-28 08:00 UTC by groundwork ",
        "| Node 2 | `https://10.0.1.12:8200` |",
        "| Key shares | 2 of 2 are needed; only their holders have them |",
        "| Custody 2 | s3 `s3://pinned-custody/x` |",
        "| Backups 1 | s3 `s3://pinned-backups/vault` |",
        "| Journal's copy | `s3://pinned-state/groundwork/pinned.jsonl` |",
        "- kms `alias/pinned`, made by the step `key`",
        &format!("- alice: age `{age}`"),
        "`vault=https://10.0.1.11:8200`",
        "groundwork status 'a plan.yaml'\n",
    ] {
        assert!(ran.stdout.contains(expected), "no {expected:?} in\n{}", ran.stdout);
    }
    let digest = ran.stdout.split('`').find(|part| part.starts_with("sha256:")).expect("the plan's digest");
    assert_eq!(digest.len(), 7 + 64);
    check_commands(&ran.stdout);
    assert!(
        !Page::of(&ran.stdout).commands("The cluster is sealed")[0].contains("groundwork unseal 'a plan")
    );

    let again = made(&["--out", "page.md"]);
    assert_eq!((again.code, again.stdout.as_str()), (0, ""));
    let written = std::fs::read_to_string(folder.path().join("page.md")).expect("the page");
    assert_eq!(written.trim_end(), ran.stdout.trim_end(), "the same plan makes the same page");
    let html = made(&["--format", "html"]).stdout;
    for expected in
        ["<!DOCTYPE html>", "<h1>Runbook: pinned</h1>", "@page{size:A4", "<h2>A node is lost</h2>"]
    {
        assert!(html.contains(expected), "no {expected:?} in\n{html}");
    }
    assert_eq!(html.matches("<section>").count(), html.matches("</section>").count());
    assert!(!html.contains("src=") && !html.contains("href="), "it needs no network");
    assert_ne!(made(&["--out", "no/such/page.md"]).code, 0);
}

/// Three servers, a key that three people have shares of, everything that a page has a procedure for.
fn cluster() -> Cluster {
    let cluster = Cluster::with("pinned", Settings { nodes: 3, ..Settings::default() });
    let holder = |name: &str| json!({ "name": name, "age": cluster.recipient() });
    cluster.declare(&json!({
        "key": { "kind": "aws.kms_key", "alias": "alias/pinned", "protect": false },
        "user": { "kind": "aws.iam_user", "name": "pinned-app" },
        "secrets": { "kind": "vault.mount", "path": "secret", "type": "kv", "version": 2 },
        "user_key": { "kind": "aws.iam_access_key", "user": "{{ user.name }}", "needs": ["secrets"],
                      "deliver": [{ "vault_kv": { "mount": "secret", "path": "app/aws",
                                    "fields": { "id": "id", "secret": "key" } } }] },
        "database": { "kind": "vault.kv_secret", "mount": "secret", "path": "app/database", "needs": ["secrets"],
                      "data": { "password": { "generate": { "length": 32 } } } },
    }));
    edit(&cluster, |plan| {
        plan["aws"] = json!({ "region": "us-east-1" });
        plan["backup"] = json!({ "stores": [{ "file": "backups" }] });
        let recipients = plan["custody"]["recipients"].as_array_mut().expect("recipients");
        recipients.push(json!({ "kms": "{{ key.arn }}" }));
        let init = &mut plan["steps"]["cluster"];
        (init["shares"], init["threshold"]) = (json!(3), json!(2));
        init["holders"] = json!([holder("alice"), holder("bob"), holder("carol")]);
    });
    cluster.apply(&[]);
    cluster
}

fn edit(cluster: &Cluster, change: impl FnOnce(&mut Value)) {
    let file = cluster.environment.folder.join("plan.yaml");
    let mut plan = serde_json::from_str(&std::fs::read_to_string(&file).expect("the plan")).expect("JSON");
    change(&mut plan);
    std::fs::write(file, plan.to_string()).expect("written");
}

/// A shell as the one who reads the page has it.
fn shell(cluster: &Cluster, script: &str) -> Ran {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).current_dir(&cluster.environment.folder);
    cluster.environment.sandbox.apply_to(&mut command);
    let programs = Path::new(BINARY).parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{programs}:{path}")).env("NO_COLOR", "1");
    // Waits between attempts are those of a test.
    command.env("GROUNDWORK_CONFIG_DIR", cluster.environment.config()).env("GROUNDWORK_HASTE", "20");
    command.env("GROUNDWORK_AGE_IDENTITY", cluster.environment.folder.join("identity"));
    Ran::of(command.output().expect("a shell"))
}

/// Does what a procedure says, command by command as it is printed. Each must end with one of these codes.
fn follow(cluster: &Cluster, page: &Page, title: &str, codes: &[i32]) -> Vec<(String, Ran)> {
    let lines = page.commands(title);
    // It asks for the plan's name on a terminal, and has tests of its own.
    let asks = |line: &&str| line.starts_with("groundwork rebuild ");
    let lines = lines.iter().flat_map(|fence| fence.lines()).filter(|line| !asks(line));
    let done = lines.map(|line| {
        let ran = shell(cluster, line);
        assert!(codes.contains(&ran.code), "{title}: {line}\n{ran:?}");
        (line.to_owned(), ran)
    });
    done.collect()
}

/// Does what a procedure says after a loss, command by command as it is printed. Those before the rebuild look at what
/// is left, and find fault with it; it needs empty servers, which `replace` puts there, and asks for the plan's name on
/// a terminal, which `--yes` stands for.
fn recover<T>(cluster: &Cluster, page: &Page, title: &str, replace: impl Fn() -> T) -> T {
    let lines = page.commands(title).concat();
    let (looks, rebuild): (Vec<_>, Vec<_>) =
        lines.lines().partition(|line| !line.starts_with("groundwork rebuild "));
    for line in looks {
        let ran = shell(cluster, line);
        assert!(
            [0, 1, 3].contains(&ran.code) && !ran.stderr.contains("panicked"),
            "{title}: {line}\n{ran:?}"
        );
    }
    let servers = replace();
    assert_eq!(rebuild.len(), 1, "{title}");
    let ran = shell(cluster, &format!("{} --yes", rebuild[0]));
    assert_eq!(ran.code, 0, "{title}: {ran:?}");
    servers
}

/// How the last command of a procedure ended.
fn last(done: &[(String, Ran)]) -> i32 {
    done.last().expect("a command").1.code
}

fn seal_all(cluster: &Cluster) {
    let token = cluster.root_token();
    for address in cluster.environment.sandbox.vault_addrs() {
        let request = cluster.environment.http().put(format!("{address}/v1/sys/seal"));
        let answer = block_on(request.header("X-Vault-Token", &token).send()).expect("an answer");
        assert!(answer.status().is_success(), "{address}: {}", answer.status());
    }
}

/// The address of the server that leads, after an election if there has to be one. The others may lag behind.
fn leader(cluster: &Cluster) -> String {
    for _ in 0..200 {
        for address in cluster.environment.sandbox.vault_addrs() {
            let request = cluster.environment.http().get(format!("{address}/v1/sys/health")).send();
            if block_on(request).is_ok_and(|answer| answer.status().as_u16() == 200) {
                return address.clone();
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("no server leads");
}

/// Looks again and again, as a person does: the storage takes some seconds to find its servers healthy.
fn look_until_healthy(cluster: &Cluster) {
    let mut last = None;
    for _ in 0..150 {
        let ran = shell(cluster, "groundwork status --no-drift plan.yaml");
        if ran.code == 0 {
            return;
        }
        last = Some(ran);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("{last:?}");
}

/// What the server that leads answers its root token.
fn ask(cluster: &Cluster, method: reqwest::Method, path: &str, body: &Value) -> Value {
    let request =
        cluster.environment.http().request(method, format!("{}/v1/secret/data/{path}", leader(cluster)));
    let request = request.header("X-Vault-Token", cluster.root_token()).body(body.to_string());
    block_on(async {
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.json().await.expect("JSON")
    })
}

#[test]
fn procedures_work_as_they_are_printed() {
    let cluster = cluster();
    let folder = &cluster.environment.folder;
    assert_eq!(shell(&cluster, "groundwork backup plan.yaml").code, 0);
    let page = Page::of(&cluster.run(&["runbook", "plan.yaml"]).stdout);

    cluster.environment.lose("vault-3");
    let _servers = cluster.environment.revive();
    let done = follow(&cluster, &page, "A node is lost", &[0]);
    assert_eq!(done.len(), 3);

    seal_all(&cluster);
    let fences = page.commands("The cluster is sealed");
    assert_eq!(fences.len(), 4, "custody, and three holders");
    let [unseal, look] = fences[0].lines().collect::<Vec<_>>()[..] else { panic!("{}", fences[0]) };
    assert_eq!(shell(&cluster, unseal).code, 0, "{unseal}");
    leader(&cluster);
    assert_eq!(shell(&cluster, look).code, 0, "{look}");
    // The same by two of the holders, of whom the first is one too few.
    seal_all(&cluster);
    for (fence, expected) in fences[1..3].iter().zip([3, 0]) {
        let [export, enter, remove] = fence.lines().collect::<Vec<_>>()[..] else { panic!("{fence}") };
        assert_eq!(shell(&cluster, export).code, 0, "{export}");
        let entered = shell(&cluster, enter);
        assert_eq!(entered.code, expected, "{enter}\n{entered:?}");
        assert_eq!(shell(&cluster, remove).code, 0, "{remove}");
    }
    look_until_healthy(&cluster);
    let left = folder.read_dir().expect("a folder").flatten();
    assert!(left.into_iter().all(|file| file.path().extension().is_none_or(|end| end != "share")));

    let secret = |path: &str| ask(&cluster, reqwest::Method::GET, path, &Value::Null)["data"]["data"].clone();
    let (password, key) = (secret("app/database")["password"].clone(), secret("app/aws")["id"].clone());
    let wrong = json!({ "data": { "password": "overwritten" } });
    ask(&cluster, reqwest::Method::POST, "app/database", &wrong);
    follow(&cluster, &page, "A secret was overwritten or deleted", &[0]);
    assert_eq!(secret("app/database")["password"], password);

    follow(&cluster, &page, "A key or a share leaked", &[0, 3]);
    assert_ne!(secret("app/aws")["id"], key, "another access key");
    assert_ne!(secret("app/database")["password"], password, "another password");

    follow(&cluster, &page, "A run broke off", &[0]);
    assert_eq!(last(&follow(&cluster, &page, "The backup does not open", &[0, 3])), 0);

    let other = age::x25519::Identity::generate().to_public().to_string();
    edit(&cluster, |plan| {
        plan["custody"]["recipients"].as_array_mut().expect("recipients").push(json!({ "age": other }));
    });
    assert_eq!(shell(&cluster, "groundwork custody rewrap --yes plan.yaml").code, 0);
    edit(&cluster, |plan| {
        plan["custody"]["recipients"].as_array_mut().expect("recipients").pop();
    });
    follow(&cluster, &page, "A holder left", &[0]);
    let shown = cluster.run(&["custody", "show", "plan.yaml"]).stdout;
    assert!(!shown.contains(&other), "{shown}");

    let done = follow(&cluster, &page, "Quorum is lost", &[0]);
    assert!(done.iter().any(|(line, ran)| line.contains("backup check") && ran.stdout.contains("proven")));

    without_aws(&cluster, &page);
}

/// The same people, when AWS answers nobody.
fn without_aws(cluster: &Cluster, page: &Page) {
    for title in ["The KMS key or the region is gone", "The account is gone"] {
        assert_eq!(last(&follow(cluster, page, title, &[0])), 0, "{title}");
    }
    cluster.environment.lose("aws");
    let lines = page.commands("The account is gone").concat();
    for line in lines.lines().filter(|line| !line.starts_with("groundwork rebuild ")) {
        let ran = shell(cluster, line);
        // Everything opens, and the key that does not answer is named.
        let (code, expected) =
            if line.contains("custody check") { (3, "3 shares can be obtained") } else { (0, "proven") };
        assert!(ran.code == code && ran.stdout.contains(expected), "{line}\n{ran:?}");
    }
    let began = std::time::Instant::now();
    let ran = shell(cluster, "groundwork status plan.yaml --format json --no-drift || true");
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(text_of(&report["systems"][0]["nodes"][0]["version"]), "2.7.2", "{report:#}");
    assert_eq!(report["custody"]["objects"], report["custody"]["obtainable"], "the age key opens everything");
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

/// Two of three servers are lost with their disks, and later the whole account.
#[test]
fn what_was_lost_comes_back_by_the_procedures() {
    let cluster = cluster();
    let environment = &cluster.environment;
    let page = Page::of(&cluster.run(&["runbook", "plan.yaml"]).stdout);
    let secret = |path: &str| ask(&cluster, reqwest::Method::GET, path, &Value::Null)["data"]["data"].clone();
    let password = secret("app/database")["password"].clone();
    let mut servers = Vec::new();
    let lose = |servers: &[&str]| servers.iter().for_each(|server| environment.lose(server));
    for (title, lost) in
        [("Quorum is lost", &["vault-2", "vault-3"][..]), ("The account is gone", &["vault-3", "aws"])]
    {
        assert_eq!(shell(&cluster, "groundwork backup plan.yaml").code, 0, "{title}");
        let wrong = json!({ "data": { "password": "written after the backup" } });
        ask(&cluster, reqwest::Method::POST, "app/database", &wrong);
        lose(lost);
        servers.push(recover(&cluster, &page, title, || {
            // One server runs all the time, or the sandbox begins anew at other addresses.
            let first = environment.revive();
            lose(&["vault-1", "vault-2", "vault-3"]);
            [first, environment.revive()]
        }));
        assert_eq!(secret("app/database")["password"], password, "{title}");
        look_until_healthy(&cluster);
        let again = shell(&cluster, "groundwork apply --yes plan.yaml");
        assert!(again.code == 0 && again.stdout.contains("Nothing to do"), "{title}: {again:?}");
    }
}

#[test]
fn stage_without_servers_of_its_own_has_a_page_too() {
    let folder = tempfile::tempdir().expect("a folder");
    copy_templates(&folder.path().join("templates"));
    let plan = "version: 1\nname: small\naws: { region: us-east-1 }\nsteps:\n  a: { kind: aws.s3_bucket, name: small-a }\n";
    std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
    let page = Page::of(&page_of(folder.path(), &["plan.yaml"]));
    assert!(!page.procedures.contains_key("The cluster is sealed"), "{}", page.text);
    assert!(page.procedures.contains_key("The account is gone"));
    check_commands(&page.text);
}
