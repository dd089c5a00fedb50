//! The pipelines in `docs/ci`: their own commands, taken from the files as they stand, are run
//! against the sandbox. `tests/ci/gh` and `tests/ci/curl` stand in for GitHub's and GitLab's APIs.

use std::path::{Path, PathBuf};
use std::process::Command;

use groundwork::environment::Environment;
use groundwork::plan::{Node, NodeValue};
use groundwork::saved::Saved;
use serde_json::{Value, json};

use crate::support::{Ran, TestEnvironment};

const PLAN: &str = "\
version: 1
name: ci
aws: { region: us-east-1, account_id: \"000000000000\" }
steps:
  key:
    kind: aws.kms_key
    alias: alias/ci
";

/// The last commit of the pull request; its merge is another one.
const REVIEWED: &str = "dddddddddddddddddddddddddddddddddddddddd";
const SEAL_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A repository's working directory in the sandbox, and the other side of the APIs.
struct Pipeline {
    environment: TestEnvironment,
    file: Node,
}

impl Pipeline {
    fn new(file: &str) -> Self {
        let environment = TestEnvironment::new();
        environment.write("plans/production.yaml", PLAN);
        environment.write("stub/artifact/none", "");
        environment.write(".git/HEAD", REVIEWED);
        environment.write("seal.key", SEAL_KEY);
        let pipeline = Self { environment, file: document(file) };
        std::fs::create_dir_all(pipeline.folder().join("bin")).expect("made");
        for name in ["gh", "curl"] {
            let stub = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ci").join(name);
            std::os::unix::fs::symlink(stub, pipeline.folder().join("bin").join(name)).expect("linked");
        }
        let program = pipeline.folder().join("bin/groundwork");
        std::os::unix::fs::symlink(crate::support::BINARY, program).expect("linked");
        pipeline
    }

    fn folder(&self) -> &PathBuf {
        &self.environment.folder
    }

    fn stub(&self) -> PathBuf {
        self.folder().join("stub")
    }

    /// Runs commands as the platforms do: by bash, which ends at the first that fails.
    fn run(&self, script: &str) -> Ran {
        let path =
            format!("{}:{}", self.folder().join("bin").display(), std::env::var("PATH").expect("a path"));
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script]).current_dir(self.folder());
        self.environment.sandbox.apply_to(&mut command);
        command
            .env("PATH", path)
            .env("STUB", self.stub())
            .env("GROUNDWORK_CONFIG_DIR", self.environment.config())
            .env("PLAN", "plans/production.yaml")
            .env("CI", "true");
        let own = [
            ("GITHUB_REPOSITORY", "o/r"),
            ("GITHUB_SHA", "abc"),
            ("GITHUB_OUTPUT", "output"),
            ("NUMBER", "7"),
            ("COMMENTER", "github-actions[bot]"),
            ("HEAD", REVIEWED),
            ("SEAL_KEY", SEAL_KEY),
            ("GROUNDWORK_SEAL_KEY", "seal.key"),
            ("CI_API_V4_URL", "http://gitlab.test/api/v4"),
            ("CI_PROJECT_ID", "3"),
            ("CI_MERGE_REQUEST_IID", "5"),
            ("CI_COMMIT_SHA", "abc"),
            ("CI_JOB_TOKEN", "of-the-job"),
            ("GITLAB_TOKEN", "of-the-project"),
        ];
        command.envs(own);
        Ran::of(command.output().expect("bash starts"))
    }

    /// The command of a step of a GitHub job.
    fn step(&self, job: &str, name: &str) -> String {
        let steps = self.file.at(&format!("jobs.{job}.steps")).expect("steps");
        let NodeValue::List(steps) = &steps.value else { panic!("steps are a list") };
        let step = steps.iter().find(|step| step.get("name").and_then(Node::as_str) == Some(name));
        let script = step.and_then(|step| step.get("run")).and_then(Node::as_str).expect("a command");
        assert!(!script.contains("${{"), "{name} would put what others write into a command");
        script.to_owned()
    }

    /// The commands of a GitLab job, which share one shell.
    fn script(&self, job: &str, part: &str) -> String {
        let script = self.file.get(job).and_then(|job| job.get(part)).expect("a script");
        let NodeValue::List(lines) = &script.value else { panic!("a script is a list") };
        lines.iter().map(|line| line.as_str().expect("a command")).collect::<Vec<_>>().join("\n")
    }

    /// A comment of somebody else that begins as the pipeline's own.
    fn plant_comment(&self, file: &str, author: Value) -> Value {
        let plan = std::fs::read_to_string(self.folder().join("plan.md")).expect("the comment");
        let mut comment =
            json!({ "id": 1, "body": format!("{}\nforged", plan.lines().next().unwrap_or_default()) });
        comment.as_object_mut().expect("an object").extend(author.as_object().expect("an author").clone());
        std::fs::write(self.stub().join(file), json!([comment]).to_string()).expect("planted");
        comment
    }

    fn keep_artifact(&self) {
        let artifact = self.stub().join("artifact/changes.json");
        std::fs::rename(self.folder().join("changes.json"), artifact).expect("what was saved");
        self.environment.write(".git/HEAD", &"e".repeat(40));
    }

    /// What somebody put in the place of the artifact after the review, whole but for the key's seal.
    fn refuses_an_altered_file(&self, apply: &str) {
        let file = self.folder().join("changes.json");
        let whole = std::fs::read(&file).expect("the artifact");
        let content = Saved::parse(&whole).expect("whole").content;
        std::fs::write(&file, Saved::now(content, None, &Environment::default()).expect("a time").text())
            .expect("written");
        let ran = self.run(apply);
        assert!(ran.code == 1 && ran.stderr.contains("is not sealed"), "{ran:?}");
        std::fs::write(&file, whole).expect("written");
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.stub().join("calls")).expect("calls")
    }

    fn stubbed(&self, file: &str) -> Value {
        let text = std::fs::read_to_string(self.stub().join(file)).expect("a file of the stub");
        serde_json::from_str(&text).expect("JSON")
    }
}

fn document(file: &str) -> Node {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci").join(file);
    Node::parse(&std::fs::read_to_string(path).expect("the pipeline"), 0).expect("YAML")
}

fn succeeds(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn findings_are_written_and_fail_the_job() {
    for (file, command) in [
        (
            "github-actions.yml",
            Box::new(|p: &Pipeline| p.step("validate", "Validate")) as Box<dyn Fn(&Pipeline) -> String>,
        ),
        ("gitlab-ci.yml", Box::new(|p: &Pipeline| p.script("validate", "script"))),
    ] {
        let pipeline = Pipeline::new(file);
        let script = command(&pipeline);
        succeeds(&pipeline.run(&script));
        pipeline.environment.write("plans/production.yaml", &format!("{PLAN}    rotation: false\n"));
        assert_eq!(pipeline.run(&script).code, 1, "{file}: a finding does not fail the job");
        let text = std::fs::read_to_string(pipeline.folder().join("groundwork.sarif")).expect("findings");
        let log: Value = serde_json::from_str(&text).expect("JSON");
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "key-without-rotation");
        let place = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(place, "plans/production.yaml", "the path is not the repository's");
    }
}

#[test]
fn github_comments_once_and_applies_the_reviewed_changeset() {
    let pipeline = Pipeline::new("github-actions.yml");
    let (plan, comment) = (pipeline.step("plan", "Plan"), pipeline.step("plan", "Comment"));
    succeeds(&pipeline.run(&plan));
    let strange = pipeline
        .plant_comment("comments.json", json!({ "user": { "type": "Bot", "login": "stranger[bot]" } }));
    for round in 1..=2 {
        succeeds(&pipeline.run(&comment));
        let comments = pipeline.stubbed("comments.json");
        assert_eq!(comments.as_array().map(Vec::len), Some(2), "round {round}: {comments:#}");
        assert_eq!(comments[0], strange, "round {round}");
        assert!(comments[1]["body"].as_str().is_some_and(|body| body.contains("alias/ci")), "{comments:#}");
    }
    succeeds(&pipeline.run(&plan));
    let output = std::fs::read_to_string(pipeline.folder().join("output")).expect("outputs");
    assert_eq!(output, "code=2\ncode=2\n");
    pipeline.keep_artifact();
    succeeds(&pipeline.run(&pipeline.step("apply", "Get what was reviewed")));
    let output = std::fs::read_to_string(pipeline.folder().join("output")).expect("outputs");
    assert!(output.ends_with(&format!("head={REVIEWED}\n")), "{output}");
    pipeline.refuses_an_altered_file(&pipeline.step("apply", "Apply"));
    succeeds(&pipeline.run(&pipeline.step("apply", "Apply")));
    let summary = &pipeline.environment.plan("plans/production.yaml")["summary"];
    assert_eq!((&summary["none"], &summary["create"]), (&1.into(), &0.into()), "{summary}");
    // What was reviewed is done: the live systems are no longer as they were.
    let again = pipeline.run(&pipeline.step("apply", "Apply"));
    assert!(again.code == 1 && again.stdout.contains("::error::"), "{again:?}");
    let blocked = pipeline.run(&pipeline.step("plan", "Fail when something is blocked"));
    assert_eq!(blocked.code, 3, "{blocked:?}");
}

#[test]
fn gitlab_comments_once_and_applies_the_reviewed_changeset() {
    let pipeline = Pipeline::new("gitlab-ci.yml");
    let login = format!(
        "VAULT_ROLE=groundwork-plan VAULT_ID_TOKEN=signed-for-vault AWS_ID_TOKEN=signed-for-aws CI_JOB_ID=1\n\
         export VAULT_ROLE VAULT_ID_TOKEN AWS_ID_TOKEN\n{}\n\
         [ \"$VAULT_TOKEN\" = from-vault ] && [ \"$(cat \"$AWS_WEB_IDENTITY_TOKEN_FILE\")\" = signed-for-aws ]",
        pipeline.script(".login", "before_script")
    );
    succeeds(&pipeline.run(&login));
    succeeds(&pipeline.run(&pipeline.script("plan", "script")));
    let strange = pipeline.plant_comment("notes.json", json!({ "author": { "id": 99 } }));
    for round in 1..=2 {
        succeeds(&pipeline.run(&pipeline.script("plan", "script")));
        let notes = pipeline.stubbed("notes.json");
        assert_eq!(notes.as_array().map(Vec::len), Some(2), "round {round}: {notes:#}");
        assert_eq!(notes[0], strange, "round {round}");
        assert!(notes[1]["body"].as_str().is_some_and(|body| body.contains("alias/ci")), "{notes:#}");
    }
    pipeline.keep_artifact();
    succeeds(&pipeline.run(&pipeline.script("apply", "script")));
    let summary = &pipeline.environment.plan("plans/production.yaml")["summary"];
    assert_eq!((&summary["none"], &summary["create"]), (&1.into(), &0.into()), "{summary}");
    assert_eq!(pipeline.run(&pipeline.script("apply", "script")).code, 1);
    for secret in ["of-the-job", "of-the-project", "signed-for-vault", "from-vault"] {
        assert!(!pipeline.calls().contains(secret), "{secret} stands on a command line");
    }
}

/// A value may be a line that GitHub's runner takes for a command, such as `::add-mask::`.
#[test]
fn printed_lines_are_not_runner_commands() {
    let pipeline = Pipeline::new("github-actions.yml");
    let program = pipeline.folder().join("bin/groundwork");
    std::fs::remove_file(&program).expect("a link");
    pipeline.environment.write("bin/groundwork", "#!/bin/sh\necho ::add-mask::planted >&2\nexit 1\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("executable");
    for (job, name) in [("validate", "Validate"), ("plan", "Plan"), ("apply", "Apply")] {
        let script = pipeline.step(job, name);
        let ran = pipeline.run(&format!("exec 2>&1\n{script}"));
        assert_eq!(ran.code, 1, "{name}: {ran:?}");
        let lines: Vec<&str> = ran.stdout.lines().collect();
        let planted = lines.iter().position(|line| line.contains("planted")).expect("what it printed");
        let token = lines[0].strip_prefix("::stop-commands::").expect("commands are off");
        let on =
            lines.iter().position(|line| *line == format!("::{token}::")).expect("commands are on again");
        assert!(token.len() >= 16 && planted < on, "{name}: {ran:?}");
    }
}

#[test]
fn pipelines_take_few_rights_and_no_static_keys() {
    let github = document("github-actions.yml");
    assert_eq!(github.at("permissions").map(|node| node.entries().len()), Some(0), "rights beyond the jobs'");
    for (job, node) in github.at("jobs").expect("jobs").entries() {
        assert!(node.get("permissions").is_some() && node.get("timeout-minutes").is_some(), "{}", job.name);
    }
    assert_eq!(
        github.at("jobs.apply.concurrency.cancel-in-progress").map(Node::to_value),
        Some(false.into())
    );
    for file in ["github-actions.yml", "gitlab-ci.yml"] {
        document(file).texts(&mut |text, _| {
            // The seal's key opens nothing.
            let text = &text.replace("secrets.GROUNDWORK_SEAL_KEY", "");
            for word in ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "secrets.", "pull_request_target"] {
                assert!(!text.contains(word), "{file} names {word}");
            }
            // The name may be anybody's in a registry.
            assert!(!text.contains("cargo install --locked groundwork"), "{file} installs by name");
            if let Some((_, revision)) =
                text.split_once('@').filter(|(action, _)| action.contains('/') && !action.contains(' '))
            {
                let digest = revision.trim_start_matches("sha256:");
                let is_digest =
                    [40, 64].contains(&digest.len()) && digest.bytes().all(|b| b.is_ascii_hexdigit());
                assert!(is_digest, "{text} is not pinned to a commit or a digest");
            }
        });
    }
}
