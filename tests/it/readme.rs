//! What README shows is what happens: its plans are valid and do what it says, its command lines are right,
//! and the program prints what it shows.

use std::path::Path;

use serde_json::Value;

use crate::support::{Cluster, Quickstart, Ran};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    std::fs::read_to_string(path).expect("README")
}

/// The blocks between fences, by the word behind the opening one.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let mut parts = text.split("```").skip(1).step_by(2).collect::<Vec<_>>();
    parts.retain(|block| block.lines().next() == Some(language));
    parts.into_iter().map(|block| block.split_once('\n').map_or("", |(_, body)| body)).collect()
}

/// The blocks with commands.
fn consoles(text: &str) -> Vec<&str> {
    blocks(text, "").into_iter().filter(|block| block.starts_with("$ ")).collect()
}

fn program(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = crate::support::program();
    command.args(arguments).current_dir(folder).env("NO_COLOR", "1").env("DATABASE_TOKEN", "a-token");
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn plans_in_the_readme_are_valid() {
    let text = readme();
    let plans = blocks(&text, "yaml");
    assert_eq!(plans.len(), 4, "a new example needs a line here");
    let folder = tempfile::tempdir().expect("a folder");
    let former = format!(
        "version: 1\nname: former\nsteps:\n  new_id:\n    kind: vault.policy\n    name: x\n    rules: {{ x: [read] }}\n{}",
        plans[3]
    );
    let staged = format!("version: 1\n{}", plans[1]);
    let grouped = format!("version: 1\nname: grouped\n{}", plans[2]);
    for plan in [plans[0], &staged, &grouped, &former] {
        std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
        let ran = program(folder.path(), &["validate", "plan.yaml"]);
        assert!(!ran.stderr.contains("error: "), "{plan}\n{}", ran.stderr);
    }
}

#[test]
fn readme_policies_are_applied_as_shown() {
    let text = readme();
    let plan = blocks(&text, "yaml")[0];
    let start = plan.find("  team_policies:").expect("the policies");
    let cluster = Cluster::new("readme");
    cluster.declare(&serde_json::json!({}));
    let path = cluster.environment.folder.join("plan.yaml");
    let declared: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("the plan")).expect("JSON");
    let mut yaml = String::new();
    for (key, value) in declared.as_object().expect("a map").iter().filter(|(key, _)| *key != "steps") {
        yaml.push_str(&format!("{key}: {value}\n"));
    }
    yaml.push_str(&format!("steps:\n  cluster: {}\n{}", declared["steps"]["cluster"], &plan[start..]));
    std::fs::write(&path, yaml).expect("written");
    cluster.apply(&[]);
    for team in ["payments", "search"] {
        let (_, answer) = cluster.ask("GET", "", &format!("sys/policies/acl/{team}-app"), &Value::Null);
        let policy = answer["data"]["policy"].as_str().expect("a policy");
        assert!(policy.contains(&format!("path \"secret/data/{team}/*\"")), "{policy}");
    }
}

/// Every number the same, and every run of spaces one.
fn normal(line: &str) -> String {
    let mut text = String::new();
    for c in line.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if !(matches!(c, '0' | ' ') && text.ends_with(c)) {
            text.push(c);
        }
    }
    text.trim().replace("0.0 s", "0 s")
}

/// Every line that a block shows below its command is among what was printed.
fn assert_shown(block: &str, ran: &Ran) {
    // Long lines are wrapped.
    let printed = normal(&ran.stdout.lines().chain(ran.stderr.lines()).collect::<Vec<_>>().join(" "));
    for line in block.lines().filter(|line| !line.starts_with("$ ") && *line != "..." && !line.is_empty()) {
        let line = normal(line);
        assert!(printed.contains(&line), "{line:?} is not among\n{}\n{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn tour_prints_what_the_readme_shows() {
    let text = readme();
    let tour: Vec<&str> =
        consoles(&text).into_iter().filter(|block| block.contains("plans/quickstart.yaml")).collect();
    assert_eq!(tour.len(), 4, "the tour has another length");
    let quickstart = Quickstart::new();
    let plan = quickstart.run(&["plan", "quickstart.yaml"]);
    assert_shown(
        tour[0]
            .split_once("$ groundwork sandbox run")
            .expect("the plan")
            .1
            .split_once('\n')
            .expect("lines")
            .1,
        &plan,
    );
    assert_shown(tour[1], &quickstart.run(&["apply", "--yes", "quickstart.yaml"]));
    assert_shown(tour[2], &quickstart.run(&["apply", "--yes", "quickstart.yaml"]));
    let rules = "path \"secret/data/*\" { capabilities = [\"delete\", \"read\"] }\n\
                 path \"secret/data/app/*\" { capabilities = [\"read\"] }";
    let wider = serde_json::json!({ "policy": rules });
    quickstart.vault("POST", "sys/policies/acl/app-read", &wider);
    assert_shown(tour[3], &quickstart.run(&["apply", "--yes", "quickstart.yaml"]));
}

#[test]
fn mistakes_are_drawn_as_the_readme_shows() {
    let text = readme();
    let block =
        consoles(&text).into_iter().find(|block| block.contains("validate plan.yaml")).expect("the block");
    let folder = tempfile::tempdir().expect("a folder");
    let plan = "version: 1\nname: example\nsteps:\n  bucket:\n    kind: aws.s3_bucket\n    nam: example-state\n  \
                user:\n    kind: aws.iam_user\n    name: \"{{ buckt.name }}-user\"\n";
    std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
    let ran = program(folder.path(), &["validate", "plan.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_shown(block, &ran);
}

#[test]
fn readme_command_lines_are_valid() {
    let text = readme();
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for line in consoles(&text).into_iter().flat_map(str::lines) {
        let Some(line) = line.strip_prefix("$ groundwork ") else { continue };
        // What follows `--` is a command of its own.
        for (index, command) in line.split(" -- ").enumerate() {
            let Some(command) =
                (if index == 0 { Some(command) } else { command.strip_prefix("groundwork ") })
            else {
                continue;
            };
            let mut arguments: Vec<&str> = command.split_whitespace().collect();
            arguments.push("--help");
            let ran = program(folder.path(), &arguments);
            assert_eq!(ran.code, 0, "groundwork {command}: {}", ran.stderr);
            seen += 1;
        }
    }
    assert!(seen > 15, "{seen}");
}

/// The security page says which test proves what; each of them, and each file, exists.
#[test]
fn security_page_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/SECURITY.md")).expect("the page");
    let files = ["src", "tests/it"].map(|folder| crate::support::files(&root.join(folder))).concat();
    let code: String = files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ").map(|(_, cell)| cell));
    let mut seen = 0;
    for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
        let exists = match name.contains('/') {
            true => root.join(name).exists(),
            false => code.contains(&format!("fn {}(", name.rsplit("::").next().unwrap_or(name))),
        };
        let is_test = name.contains('/') || name.contains('_');
        assert!(exists || !is_test, "`{name}` is not there");
        seen += usize::from(is_test);
    }
    assert!(seen > 60, "only {seen} names were found");
}
