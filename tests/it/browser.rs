//! The HTML page of a changeset, in a real browser.
//!
//! `GROUNDWORK_BROWSER_REQUIRED=1` makes a missing browser a failure; `GROUNDWORK_PICTURES=FOLDER`
//! keeps what the tests have drawn.

use std::path::{Path, PathBuf};
use std::process::Command;

use groundwork::changeset::{Action, Changeset, PlanIdentity, StepChange};
use groundwork::providers::PROVIDERS;
use groundwork::resource::Diff;
use groundwork::review::Review;
use groundwork::secret::SecretChange;
use groundwork::ui;
use serde_json::{Value, json};

/// What would be run or drawn if it came into the page as markup.
const HOSTILE: &str = "</details></script><script>document.title='owned'</script>\
                       <img src=x onerror=\"document.title='owned'\">'\"&{{ 7*7 }}";

/// A browser of the Chromium family that is found by its name.
pub fn browser() -> Option<PathBuf> {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let found = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    let browser = found.into_iter().find(|path| path.is_file());
    if browser.is_none() {
        assert!(std::env::var_os("GROUNDWORK_BROWSER_REQUIRED").is_none(), "no browser is installed");
        println!("SKIPPED: no Chromium is installed, so the page was not looked at in a browser");
    }
    browser
}

/// Runs the browser on a file; its standard output and what it logged.
pub fn browse(browser: &Path, address: &str, arguments: &[&str]) -> (String, String) {
    let profile = tempfile::tempdir().expect("a profile");
    let mut command = Command::new(browser);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--virtual-time-budget=5000",
        "--enable-logging=stderr",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(arguments).arg(address);
    let output = command.output().expect("the browser starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(output.stdout), text(output.stderr))
}

/// Fails when the page has written to the browser's console: errors, refused connections.
fn assert_silent(log: &str) {
    let told: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

fn step(
    id: &str,
    kind: &'static str,
    action: Action,
    needs: &[&str],
    changes: &[(&str, Value, Value)],
) -> StepChange {
    let mut diff = Diff::none();
    for (path, before, after) in changes {
        diff.push(path, before.clone(), after.clone());
    }
    StepChange {
        id: id.to_owned(),
        kind,
        name: format!("candlefish-{}", id.replace('_', "-")),
        action,
        changes: diff.changes,
        unchanged: Vec::new(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        reason: None,
        unprotected: false,
    }
}

/// A changeset such as a team has to review, with one hostile step.
fn sample() -> Changeset {
    let none = || json!(null);
    let rules = |may: &str| json!(format!("path \"secret/data/app/*\" {{\n  capabilities = [{may}]\n}}\n"));
    let statement = |actions: Value| {
        json!({ "Version": "2012-10-17", "Statement": [
            { "Sid": "State", "Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::candlefish-terraform-state/*" } ] })
    };
    let mut secret = Diff::none();
    secret.secret("data.url", SecretChange::Changed, Some("env DB_URL".to_owned())).secret(
        "data.password",
        SecretChange::Unchanged,
        Some("generated, 32 characters".to_owned()),
    );
    let mut database = step("app_database", "vault.kv_secret", Action::Update, &["kv"], &[]);
    (database.changes, database.unchanged) = (secret.changes, secret.unchanged);
    let mut user = step("app_user", "aws.iam_user", Action::Blocked, &["state_bucket"], &[]);
    user.reason = Some("it exists and has no tag `groundwork:plan`, so this plan did not make it; to take it over, add `adopt: true` to the step".to_owned());
    let mut hostile = step(
        "hostile",
        "vault.policy",
        Action::Update,
        &["vault_init"],
        &[
            (HOSTILE, json!(HOSTILE), json!(format!("{HOSTILE} and more"))),
            ("lines", json!(format!("{HOSTILE}\na")), json!(format!("{HOSTILE}\nb"))),
        ],
    );
    HOSTILE.clone_into(&mut hostile.name);
    hostile.reason = Some(HOSTILE.to_owned());
    let mut steps = vec![
        step("custody_key", "aws.kms_key", Action::None, &[], &[]),
        step("old_key", "aws.kms_key", Action::Delete, &[], &[]),
        step(
            "state_bucket",
            "aws.s3_bucket",
            Action::Update,
            &["custody_key"],
            &[
                ("versioning", json!(true), json!(false)),
                (
                    "encryption.kms_key",
                    json!("arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"),
                    json!("arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000"),
                ),
                ("tags.Environment", none(), json!("production")),
            ],
        ),
        step("lock_table", "aws.dynamodb_table", Action::None, &[], &[]),
        step(
            "terraform_role",
            "aws.iam_role",
            Action::Update,
            &["state_bucket", "lock_table"],
            &[(
                "inline_policies.state",
                statement(json!(["s3:GetObject", "s3:PutObject"])),
                statement(json!(["s3:GetObject", "s3:PutObject", "s3:DeleteObject"])),
            )],
        ),
        user,
        step("app_key", "aws.iam_access_key", Action::Deferred, &["app_user"], &[]),
        step("vault_init", "vault.init", Action::None, &[], &[]),
        step("audit", "vault.audit", Action::None, &["vault_init"], &[]),
        step(
            "kv",
            "vault.mount",
            Action::Create,
            &["vault_init"],
            &[
                ("path", none(), json!("secret")),
                ("type", none(), json!("kv")),
                ("version", none(), json!(2)),
            ],
        ),
        step(
            "app_policy",
            "vault.policy",
            Action::Update,
            &["vault_init"],
            &[("rules", rules("\"read\""), rules("\"read\", \"update\", \"sudo\""))],
        ),
        step(
            "app_role",
            "vault.approle_role",
            Action::Create,
            &["app_policy"],
            &[
                ("name", none(), json!("app")),
                ("token_policies", none(), json!(["app"])),
                ("token_ttl", none(), json!("1h")),
            ],
        ),
        database,
        hostile,
    ];
    for team in ["payments", "search", "mail", "billing"] {
        steps.push(step(
            &format!("team_policies[{team}]"),
            "vault.policy",
            Action::Create,
            &["vault_init"],
            &[("name", none(), json!(format!("{team}-app"))), ("rules", none(), rules("\"read\""))],
        ));
    }
    let plan = PlanIdentity {
        name: "candlefish-production".to_owned(),
        digest: format!("sha256:{}", "3f".repeat(32)),
        ..PlanIdentity::default()
    };
    Changeset::of(plan, steps)
}

/// The page in a folder; `browse` gets its address.
struct Page {
    folder: tempfile::TempDir,
    html: String,
    browser: PathBuf,
}

impl Page {
    /// `None` when there is no browser.
    fn of(changeset: &Changeset) -> Option<Self> {
        let browser = browser()?;
        let folder = tempfile::tempdir().expect("a folder");
        let html = ui::changeset::html(&Review::new(
            changeset,
            &PROVIDERS,
            Some("account 123456789012, region us-east-1"),
        ));
        std::fs::write(folder.path().join("page.html"), &html).expect("written");
        Some(Self { folder, html, browser })
    }

    fn address(&self, name: &str, hash: &str) -> String {
        format!("file://{}{hash}", self.folder.path().join(name).display())
    }

    /// The document as it is after its script has run.
    fn dump(&self, hash: &str) -> String {
        let (dom, log) = browse(&self.browser, &self.address("page.html", hash), &["--dump-dom"]);
        assert_silent(&log);
        dom
    }

    /// What `script` finds in the page, shown in a frame of this size: `page` is its window.
    fn ask(&self, width: u32, script: &str, arguments: &[&str]) -> Value {
        let (answer, log) = self.tell(width, script, arguments);
        assert_silent(&log);
        answer
    }

    /// As [`Page::ask`], with what the browser logged.
    fn tell(&self, width: u32, script: &str, arguments: &[&str]) -> (Value, String) {
        let frame = self.html.replace('&', "&amp;").replace('"', "&quot;");
        let around = format!(
            "<!doctype html><body style='margin:0'><iframe style='width:{width}px;height:900px;border:0' srcdoc=\"{frame}\"></iframe>\
             <script>onload = () => {{ const page = document.querySelector('iframe').contentWindow;\
             const answer = (() => {{ {script} }})();\
             document.body.textContent = 'ANSWER' + JSON.stringify(answer) + 'END'; }}</script>"
        );
        std::fs::write(self.folder.path().join("around.html"), around).expect("written");
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--dump-dom"]).collect();
        let (dom, log) = browse(&self.browser, &self.address("around.html", ""), &arguments);
        let answer = dom.split("ANSWER").nth(1).and_then(|rest| rest.split("END").next());
        let answer = answer
            .unwrap_or_else(|| panic!("no answer: {log}"))
            .replace("&amp;", "&")
            .replace("&lt;", "<")
            .replace("&gt;", ">");
        (serde_json::from_str(&answer).expect("JSON"), log)
    }

    /// A picture of the page; kept when somebody wants to look at it.
    fn picture(&self, name: &str, size: &str, hash: &str, arguments: &[&str]) -> Vec<u8> {
        let file = self.folder.path().join(format!("{name}.png"));
        let shot = format!("--screenshot={}", file.display());
        let size = format!("--window-size={size}");
        let arguments: Vec<&str> = arguments.iter().copied().chain([shot.as_str(), size.as_str()]).collect();
        let (_, log) = browse(&self.browser, &self.address("page.html", hash), &arguments);
        assert_silent(&log);
        let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("no picture: {error}\n{log}"));
        if let Some(folder) = std::env::var_os("GROUNDWORK_PICTURES") {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::copy(&file, Path::new(&folder).join(format!("{name}.png"))).expect("copied");
            std::fs::write(Path::new(&folder).join("page.html"), &self.html).expect("written");
        }
        bytes
    }
}

/// The ids of the steps that a dumped document shows.
fn shown(dom: &str) -> Vec<String> {
    let steps = dom.split("<details class=\"step ").skip(1);
    steps
        .filter(|step| !step.split('>').next().unwrap_or_default().contains(" hidden=\"\""))
        .map(|step| {
            let id = step.split("<span class=\"id\">").nth(1).unwrap_or_default();
            id.split('<').next().unwrap_or_default().to_owned()
        })
        .collect()
}

#[test]
fn search_and_filters_work_and_are_linkable() {
    let Some(page) = Page::of(&sample()) else { return };
    let all = shown(&page.dump(""));
    assert!(all.contains(&"state_bucket".to_owned()) && !all.contains(&"custody_key".to_owned()), "{all:?}");
    assert_eq!(shown(&page.dump("#action=delete,blocked")), ["old_key", "app_user"]);
    assert_eq!(shown(&page.dump("#q=deleteobject")), ["terraform_role"], "values are searched");
    assert_eq!(shown(&page.dump("#q=kms&action=none")), ["custody_key"]);
    assert_eq!(shown(&page.dump("#kind=vault.approle_role")), ["app_role"]);
    let nothing = page.dump("#q=no-such-thing");
    assert!(
        shown(&nothing).is_empty() && !nothing.contains("id=\"none\" hidden"),
        "it says that nothing is found"
    );
    // A link to a step that is as declared shows it, open.
    let linked = page.dump("#s0");
    assert!(shown(&linked).contains(&"custody_key".to_owned()));
}

#[test]
fn foreign_content_on_the_page_stays_text() {
    let Some(page) = Page::of(&sample()) else { return };
    let dom = page.dump("");
    assert!(dom.contains("<title>Plan candlefish-production</title>"), "nothing ran");
    assert_eq!(dom.matches("<script").count(), 1, "the page's own");
    assert!(!dom.contains("<img") && !dom.contains(">49<"), "{dom}");
    // Even markup that got in would not run, nor could the page reach anything.
    assert!(
        page.html.contains("content=\"default-src &#x27;none&#x27;; script-src &#x27;sha256-"),
        "{}",
        page.html
    );
    let script = "const d = page.document; const before = d.querySelectorAll('img, [onerror]').length;\
        const s = d.createElement('script'); s.textContent = 'document.title = \"owned\"'; d.body.append(s);\
        return [d.title, before];";
    let (answer, log) = page.tell(1000, script, &[]);
    assert_eq!(answer, json!(["Plan candlefish-production", 0]));
    assert!(log.contains("Content Security Policy directive 'script-src"), "the script is refused: {log}");
}

#[test]
fn mouse_and_keyboard_reach_everything() {
    let Some(page) = Page::of(&sample()) else { return };
    let script = "const d = page.document; const out = {};\
        const visible = () => Array.from(d.querySelectorAll('.step:not([hidden])'), s => s.querySelector('.id').textContent);\
        const press = name => d.querySelector(`.count[data-action=${name}]`).click();\
        press('delete'); out.pressed = visible();\
        out.state = d.querySelector('.count.delete').getAttribute('aria-pressed');\
        press('delete'); const q = d.getElementById('search');\
        d.dispatchEvent(new page.KeyboardEvent('keydown', { key: '/', bubbles: true }));\
        d.body.dispatchEvent(new page.KeyboardEvent('keydown', { key: '/', bubbles: true }));\
        out.focused = d.activeElement.id; q.value = 'lock'; q.dispatchEvent(new page.Event('input'));\
        out.searched = visible(); d.getElementById('clear').click();\
        out.boxes = d.querySelectorAll('a.box').length;\
        out.linked = Array.from(d.querySelectorAll('a[href^=\"#s\"]')).every(a => d.getElementById(a.getAttribute('href').slice(1)));\
        out.names = Array.from(d.querySelectorAll('button, input, select, summary, a.box')).filter(e => !(e.textContent.trim() || e.getAttribute('aria-label'))).length;\
        return out;";
    let answer = page.ask(1000, script, &[]);
    assert_eq!(answer["pressed"], json!(["old_key"]));
    assert_eq!(answer["state"], "true");
    assert_eq!(answer["focused"], "search");
    assert!(
        answer["searched"].as_array().is_some_and(|found| found.contains(&json!("lock_table"))),
        "{answer}"
    );
    assert_eq!(answer["boxes"], 15, "one for each declared step");
    assert_eq!(answer["linked"], true, "every link leads to a step");
    assert_eq!(answer["names"], 0, "everything that can be used has a name");
}

#[test]
fn page_fits_phones_and_follows_colour_scheme() {
    let Some(page) = Page::of(&sample()) else { return };
    let script = "const d = page.document; d.querySelectorAll('details').forEach(e => e.open = true);\
        const colour = page.getComputedStyle(d.body).backgroundColor.match(/\\d+/g).map(Number);\
        const wide = Array.from(d.querySelectorAll('body *')).filter(e => !e.closest('.canvas') && e.getBoundingClientRect().right > page.innerWidth + 1);\
        return { width: page.innerWidth, content: d.documentElement.scrollWidth, wide: wide.map(e => e.className || e.tagName), light: colour.reduce((a, b) => a + b) / 3 };";
    for width in [360, 768, 1400] {
        let answer = page.ask(width, script, &[]);
        assert_eq!(answer["width"], width);
        assert!(answer["content"].as_u64() <= Some(u64::from(width)), "{answer}");
        assert_eq!(answer["wide"], json!([]), "{answer}");
        assert!(answer["light"].as_f64() > Some(200.0), "{answer}");
    }
    let dark = page.ask(768, script, &["--blink-settings=preferredColorScheme=0"]);
    assert!(dark["light"].as_f64() < Some(60.0), "{dark}");
}

/// A policy for each of 2,000 teams, one of which may do more than the others.
fn large() -> Changeset {
    let policy = |number: usize| {
        let name = format!("team{number:04}");
        let may = if number == 1_234 { json!(["read", "update"]) } else { json!(["read"]) };
        let rule = format!("rules.secret/data/{name}/*");
        step(
            &format!("{name}_policy"),
            "vault.policy",
            Action::Create,
            &["vault_init"],
            &[(&rule, json!(null), may)],
        )
    };
    let mut steps = vec![step("vault_init", "vault.init", Action::None, &[], &[])];
    steps.extend((0..2_000).map(policy));
    Changeset::of(sample().plan, steps)
}

#[test]
fn large_plan_shows_outliers_and_finds_other_steps() {
    let Some(page) = Page::of(&large()) else { return };
    let script = "const d = page.document; const out = {};\
        const visible = () => Array.from(d.querySelectorAll('.step:not([hidden])'), s => s.querySelector('.id').textContent);\
        const search = words => { const q = d.getElementById('search'); q.value = words; q.dispatchEvent(new page.Event('input')); };\
        out.first = visible(); out.more = d.querySelector('.more').textContent;\
        out.boxes = Array.from(d.querySelectorAll('a.box'), b => b.querySelector('text').textContent);\
        search('team1999'); out.searched = visible(); search('');\
        d.getElementById('alike').click(); out.all = visible().length;\
        d.getElementById('fold').click(); out.open = d.querySelectorAll('.step[open]:not([hidden])').length;\
        return out;";
    let answer = page.ask(1000, script, &[]);
    assert_eq!(answer["first"], json!(["team0000_policy", "team1234_policy"]));
    assert_eq!(answer["more"], "and 1998 more in the same way");
    assert_eq!(answer["boxes"], json!(["vault_init", "team0000…licy ×1999", "team1234_policy"]));
    assert_eq!(answer["searched"], json!(["team1999_policy"]));
    assert_eq!((&answer["all"], &answer["open"]), (&json!(2_000), &json!(2_000)));
    let picture = page.picture("large", "1280,900", "", &[]);
    assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{} bytes", picture.len());
}

#[test]
fn page_renders_as_light_dark_and_phone() {
    let Some(page) = Page::of(&sample()) else { return };
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let pictures = [
        page.picture("light", "1280,2200", "", &[]),
        page.picture("dark", "1280,2200", "", &dark),
        page.picture("phone", "500,2600", "", &[]),
    ];
    for picture in &pictures {
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 40_000, "{} bytes", picture.len());
    }
    assert_ne!(pictures[0], pictures[1], "dark is not light");
}
