//! Files that a plan names, `.groundwork`, and what a whole plan may take.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use rustix::fs::{CWD, FileType, mknodat};
use serde_json::Value;

use crate::hostile::{HEAD, Scene, in_one_line};
use crate::support::Ran;

/// Stands for a secret in a file that is none of the plan's business.
const CANARY: &str = "hvs.CANARY0123456789";

fn file(path: &str) -> String {
    format!("steps:\n  f: {{ kind: file.template, path: {path:?}, content: x, adopt: true }}\n")
}

/// A plan for each way to read the file at `path`.
fn readers(path: &str) -> [String; 6] {
    let secret = "kind: vault.kv_secret, mount: s, path: x";
    [
        format!("include: [ {path:?} ]\n"),
        format!("steps:\n  f: {{ kind: file.template, path: ok, template: {path:?} }}\n"),
        format!("steps:\n  p: {{ kind: vault.policy, name: p, rules: {{ template: {path:?} }} }}\n"),
        format!("steps:\n  s: {{ {secret}, data: {{ k: {{ file: {path:?} }} }} }}\n"),
        format!(
            "aws: {{ region: us-east-1 }}\nsteps:\n  o: {{ kind: aws.s3_object, bucket: b, key: k, file: {path:?} }}\n"
        ),
        format!("custody: {{ recipients: [ {{ pgp: {path:?} }} ], stores: [ {{ file: c }} ] }}\n"),
    ]
}

#[test]
fn no_field_can_read_hidden_files() {
    let scene = Scene::new();
    for path in [".git/config", ".env", "a/.ssh/id_ed25519", ".groundwork/journal/x.jsonl", "./.npmrc"] {
        scene.write(path, format!("version: 1\nvars: {{ a: {CANARY} }}\n"));
        scene.write(&format!("templates/{path}"), CANARY);
        for plan in readers(path) {
            let mistakes = scene.refused(&plan);
            let is_refused = ["hidden", "cannot be included"].iter().any(|why| mistakes.contains(why));
            assert!(is_refused && !mistakes.contains(CANARY), "{plan}\n{mistakes}");
        }
    }
}

#[test]
fn special_and_large_files_are_refused_at_once() {
    let scene = Scene::new();
    mknodat(CWD, scene.plans().join("pipe"), FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    std::fs::create_dir(scene.plans().join("folder")).expect("made");
    scene.write("large", vec![b'#'; 17 << 20]);
    for (path, why) in
        [("pipe", "not a regular file"), ("folder", "not a regular file"), ("large", "larger than")]
    {
        for plan in readers(path) {
            let mistakes = scene.refused(&plan);
            assert!(mistakes.contains(why), "{plan}\n{mistakes}");
        }
    }
}

#[test]
fn linked_root_folder_is_not_followed() {
    let scene = Scene::new();
    scene.link("templates", Path::new("/"));
    scene.link("keys", &scene.outside());
    for (path, link) in [("etc/hostname", "templates"), ("keys/private", "keys")] {
        if link == "keys" {
            std::fs::remove_file(scene.plans().join("templates")).expect("removed");
        }
        let mistakes = scene.refused(&readers(path)[1]);
        assert!(
            mistakes.contains(&format!("{link} is a link")) && !mistakes.contains("theirs"),
            "{mistakes}"
        );
    }
    // The folder of templates beside the plan's own.
    symlink("/", scene.plans().join("../templates")).expect("linked");
    let mistakes = scene.refused(&readers("etc/hostname")[1]);
    assert!(mistakes.contains("templates is a link"), "{mistakes}");
}

#[test]
fn file_other_than_a_plan_is_never_quoted() {
    let scene = Scene::new();
    let secrets = [
        CANARY.to_owned(),
        format!("{CANARY}\n\u{1b}[31m"),
        format!("[default]\naws_secret_access_key = {CANARY}\n"),
        format!("{{\"auths\": {{\"x\": {{\"auth\": \"{CANARY}\"}}}}}}"),
        format!("{{\"version\": 4, \"outputs\": {{\"a\": \"{CANARY}\"}}, \"serial\": 1"),
        format!("machine: x\npassword: {CANARY}\n"),
        format!("- {CANARY}\n"),
        format!("token: '{CANARY}\n"),
    ];
    for secret in secrets {
        scene.write("token", &secret);
        std::fs::write(scene.outside().join("private"), &secret).expect("written");
        let _ = std::fs::remove_file(scene.plans().join("link.yaml"));
        scene.link("link.yaml", &scene.outside().join("private"));
        scene.write("plan.yaml", format!("{HEAD}include: [ token ]\n"));
        for plan in ["token", "link.yaml", "plan.yaml"] {
            for arguments in
                [&["validate", plan][..], &["validate", plan, "--format", "json"], &["plan", plan]]
            {
                let ran = scene.run(arguments);
                let shown = in_one_line(&ran);
                assert!(ran.code == 1 && shown.contains("not a plan"), "{arguments:?}: {shown}");
                assert!(!shown.contains("CANARY"), "{arguments:?} {secret:?}: {shown}");
            }
        }
    }
}

#[test]
fn linked_plan_is_quoted_only_as_a_plan() {
    let scene = Scene::new();
    scene.link("link.yaml", &scene.outside().join("private"));
    let put = |text: &str| std::fs::write(scene.outside().join("private"), text).expect("written");
    put(&format!("version: 1\nname: x\npassword: {CANARY}\n"));
    let shown = in_one_line(&scene.run(&["validate", "link.yaml"]));
    assert!(shown.contains("is a link to a file that is not a plan") && !shown.contains("CANARY"), "{shown}");
    put("version: 1\nname: x\nsteps: { a: { kind: file.tmplate } }\n");
    let shown = in_one_line(&scene.run(&["validate", "link.yaml"]));
    assert!(shown.contains("did you mean `file.template`?"), "{shown}");
    put("version: 1\nname: linked\nsteps: { a: { kind: file.template, path: a, content: x } }\n");
    assert_eq!(scene.run(&["validate", "link.yaml"]).code, 0);
}

#[test]
fn broken_plan_is_still_quoted() {
    let scene = Scene::new();
    for mistake in ["steps: { a: [", "stpes: {}\n", "vars: { a: \"b }\n"] {
        let mistakes = scene.run(&{
            scene.write("plan.yaml", format!("{HEAD}{mistake}"));
            ["validate", "plan.yaml"]
        });
        let line = mistake.trim_end();
        assert!(mistakes.code == 1 && mistakes.stderr.contains(line), "{mistake}: {}", mistakes.stderr);
    }
}

#[test]
fn paths_that_other_tools_execute_are_refused() {
    let scene = Scene::new();
    for path in [
        ".git/hooks/post-checkout",
        ".GIT/config",
        "sub/.Git/hooks/pre-commit",
        ".github/workflows/ci.yml",
        ".gitlab-ci.yml",
        ".gitlab/agents/x/config.yaml",
        ".circleci/config.yml",
        ".groundwork/journal/hostile.jsonl",
        ".groundwork/hostile.lock",
        ".groundwork/custody/vault/a.1.json",
        ".envrc",
        ".vscode/tasks.json",
        "Jenkinsfile",
        "azure-pipelines.yml",
        "Makefile",
        "package.json",
        "conftest.py",
    ] {
        for plan in [
            file(path),
            format!(
                "steps:\n  s: {{ kind: vault.approle_secret_id, role: r, name: n, deliver: {{ file: {path:?} }} }}\n"
            ),
            format!(
                "steps:\n  s: {{ kind: vault.server_config, path: {path:?}, api_addr: \"https://a:1\", cluster_addr: \"https://a:2\", \
                 raft: {{ path: /data, node_id: a }}, \
                 listeners: [ {{ address: \"0.0.0.0:1\", tls_disable: true }} ] }}\n"
            ),
        ] {
            let mistakes = scene.refused(&plan);
            assert!(mistakes.contains("a plan cannot write this file"), "{path}: {mistakes}");
        }
    }
}

#[test]
fn plan_does_not_write_plans() {
    let scene = Scene::new();
    let other = "version: 1\nname: other\nsteps: {}\n";
    scene.write("other.yaml", other);
    scene.write("shared/vars.yaml", "version: 1\nvars: { a: b }\n");
    for path in ["plan.yaml", "other.yaml", "shared/vars.yaml"] {
        scene.write("plan.yaml", format!("{HEAD}{}", file(path)));
        let before = std::fs::read(scene.plans().join(path)).expect("there");
        let ran = scene.run(&["apply", "plan.yaml", "--yes"]);
        assert!(ran.code != 0 && in_one_line(&ran).contains("is a plan"), "{ran:?}");
        assert_eq!(std::fs::read(scene.plans().join(path)).expect("there"), before);
    }
    let content = "\"version: 1\\nname: made\\nsteps: {}\\n\"";
    let mistakes = scene
        .refused(&format!("steps:\n  f: {{ kind: file.template, path: new.yaml, content: {content} }}\n"));
    assert!(mistakes.contains("a plan does not write plans"), "{mistakes}");
}

#[test]
fn executable_output_is_a_high_risk() {
    let scene = Scene::new();
    for (mode, risks) in [("0755", 1), ("0610", 1), ("0644", 0)] {
        scene.write(
            "plan.yaml",
            format!(
                "{HEAD}steps:\n  f: {{ kind: file.template, path: run, content: x, mode: \"{mode}\" }}\n"
            ),
        );
        let ran = scene.run(&["plan", "plan.yaml", "--format", "json"]);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"));
        let found: Vec<&Value> = plan["risks"]
            .as_array()
            .expect("risks")
            .iter()
            .filter(|risk| {
                risk["severity"] == "high" && risk["message"].to_string().contains("run as a program")
            })
            .collect();
        assert_eq!(found.len(), risks, "{mode}: {plan}");
    }
}

/// A plan that changes nothing outside of its folder.
fn harmless() -> (Scene, &'static [&'static [&'static str]]) {
    let scene = Scene::new();
    scene.write("plan.yaml", format!("{HEAD}{}", file("made.txt")));
    (scene, &[&["plan", "plan.yaml"], &["apply", "plan.yaml", "--yes"], &["journal", "plan.yaml"]])
}

fn refuses(scene: &Scene, commands: &[&[&str]], why: &str) {
    for arguments in commands {
        let ran = scene.run(arguments);
        let shown = in_one_line(&ran);
        assert!(ran.code != 0 && shown.contains(why), "{arguments:?}: {shown}");
        assert!(!scene.plans().join("made.txt").exists(), "{arguments:?}");
    }
}

#[test]
fn groundwork_folder_that_is_a_link_is_refused() {
    let (scene, commands) = harmless();
    scene.link(".groundwork", &scene.outside());
    refuses(&scene, commands, ".groundwork is a link");
    assert!(scene.is_outside_untouched());
    std::fs::remove_file(scene.plans().join(".groundwork")).expect("removed");
    scene.link(".groundwork/journal", &scene.outside());
    refuses(&scene, &commands[..2], "journal is a link");
    assert!(scene.is_outside_untouched());
}

#[test]
fn linked_lock_and_journal_are_not_followed() {
    let (scene, commands) = harmless();
    scene.link(".groundwork/hostile.lock", &scene.outside().join("private"));
    refuses(&scene, &commands[1..2], "hostile.lock is a link");
    assert!(scene.is_outside_untouched(), "it was truncated");
    std::fs::remove_file(scene.plans().join(".groundwork/hostile.lock")).expect("removed");
    scene.link(".groundwork/journal/hostile.jsonl", &scene.outside().join("private"));
    refuses(&scene, commands, "hostile.jsonl is a link");
    assert!(scene.is_outside_untouched());
    std::fs::remove_file(scene.plans().join(".groundwork/journal/hostile.jsonl")).expect("removed");
    let pipe = scene.plans().join(".groundwork/journal/hostile.jsonl");
    mknodat(CWD, pipe, FileType::Fifo, 0o600.into(), 0).expect("a pipe");
    refuses(&scene, commands, "not a regular file");
}

#[test]
fn groundwork_folder_that_others_may_change_is_refused() {
    let (scene, commands) = harmless();
    let folder = scene.plans().join(".groundwork");
    std::fs::create_dir(&folder).expect("made");
    for mode in [0o770, 0o707, 0o777] {
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(mode)).expect("changed");
        refuses(&scene, commands, "chmod -R go-w");
    }
    std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).expect("changed");
    assert_eq!(scene.run(&["apply", "plan.yaml", "--yes"]).code, 0);
}

#[test]
fn groundwork_folder_is_refused_while_tracked() {
    let (scene, commands) = harmless();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(scene.plans()).env("GIT_CONFIG_GLOBAL", "/dev/null").args(arguments);
        let ran = Ran::of(command.output().expect("git starts"));
        assert_eq!(ran.code, 0, "{arguments:?}: {ran:?}");
    };
    git(&["init", "--quiet"]);
    scene.write(".groundwork/journal/other.jsonl", "");
    std::fs::set_permissions(scene.plans().join(".groundwork"), PermissionsExt::from_mode(0o700))
        .expect("changed");
    git(&["add", "--all"]);
    refuses(&scene, commands, "the repository tracks .groundwork/journal/other.jsonl");
    let ran = scene.run(&["plan", "plan.yaml"]);
    assert!(in_one_line(&ran).contains("git rm -r --cached .groundwork"), "{ran:?}");
    git(&["rm", "-r", "--quiet", "--cached", ".groundwork"]);
    assert_eq!(scene.run(&["apply", "plan.yaml", "--yes"]).code, 0);
}

#[test]
fn plan_name_with_path_parts_is_refused() {
    let scene = Scene::new();
    for name in ["../x", "a/b", ".x", "a\\\\b", &"x".repeat(300)] {
        scene.write("plan.yaml", format!("version: 1\nname: \"{name}\"\n{}", file("made.txt")));
        let ran = scene.run(&["apply", "plan.yaml", "--yes"]);
        assert!(ran.code == 1 && in_one_line(&ran).contains("cannot be a plan's name"), "{name}: {ran:?}");
    }
}

#[test]
fn store_outside_the_folder_requires_callers_consent() {
    let scene = Scene::new();
    let identity = age::x25519::Identity::generate();
    let key = scene.outside().join("key.txt");
    let line = secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    std::fs::write(&key, line).expect("written");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).expect("changed");
    let store = scene.outside().join("store");
    let show = |path: &str, more: &[&str]| {
        scene.write(
            "plan.yaml",
            format!(
                "{HEAD}custody:\n  recipients: [ {{ age: {} }} ]\n  stores: [ {{ file: {path:?} }} ]\n{}",
                identity.to_public(),
                file("made.txt")
            ),
        );
        let arguments = [&["custody", "show", "plan.yaml"], more].concat();
        Ran::of(scene.command(&arguments).env("GROUNDWORK_AGE_IDENTITY", &key).output().expect("starts"))
    };
    let path = store.display().to_string();
    let grant = format!("store={path}");
    let refused = show(&path, &[]);
    assert!(refused.code != 0 && in_one_line(&refused).contains(&format!("--trust {grant}")), "{refused:?}");
    let allowed = show(&path, &["--trust", &grant]);
    assert_eq!(allowed.code, 0, "{allowed:?}");
    scene.link("linked", &scene.outside());
    let refused = show("linked", &[]);
    assert!(refused.code != 0 && in_one_line(&refused).contains("linked is a link"), "{refused:?}");
}

#[test]
fn plan_wide_bombs_are_refused() {
    let scene = Scene::new();
    // Includes that include nine others each, eight levels deep.
    for level in 0..9 {
        let next: Vec<String> = (0..9).map(|_| format!("bomb{}.yaml", level + 1)).collect();
        let include = if level < 8 { format!("include: [ {} ]\n", next.join(", ")) } else { String::new() };
        scene.write(&format!("bomb{level}.yaml"), format!("version: 1\n{include}"));
    }
    let mistakes = scene.refused("include: [ bomb0.yaml ]\n");
    assert!(mistakes.contains("at most 200 includes"), "{mistakes}");
    // A chain that is too deep.
    for level in 0..20 {
        scene.write(
            &format!("deep{level}.yaml"),
            format!("version: 1\ninclude: [ deep{}.yaml ]\n", level + 1),
        );
    }
    assert!(scene.refused("include: [ deep0.yaml ]\n").contains("levels deep"));
    // Together too large.
    scene.write("large.yaml", format!("version: 1\n#{}\n", "x".repeat(3 << 20)));
    assert!(scene.refused("include: [ large.yaml, large.yaml, large.yaml ]\n").contains("larger than 8 MiB"));

    // Variables that are large together, or many.
    let large: String = (0..50)
        .map(|i| format!("  v{i}: \"{{% for i in range(3000) %}}{}{{% endfor %}}\"\n", "x".repeat(1_000)))
        .collect();
    assert!(scene.refused(&format!("vars:\n{large}")).contains("larger than 4 MiB"));
    let many: String = (0..20_000).map(|i| format!("  v{i}: x\n")).collect();
    assert!(scene.refused(&format!("vars:\n{many}")).contains("at most 1000 variables"));

    // Steps whose fields, or files, are large together.
    let each = "for_each: \"{{ range(300)|map('string')|list }}\"";
    let text = format!("vars: {{ a: {} }}\n", "x".repeat(500_000));
    let step = format!("steps:\n  f: {{ kind: file.template, {each}, path: \"x{{{{ each.key }}}}\"");
    let mistakes = scene.refused(&format!("{text}{step}, content: \"{{{{ a }}}}\" }}\n"));
    assert!(mistakes.contains("fields of all steps are larger than 64 MiB"), "{mistakes}");
    scene.write("large.bin", "x".repeat(1 << 20));
    let step =
        format!("steps:\n  o: {{ kind: aws.s3_object, {each}, bucket: b, key: \"x{{{{ each.key }}}}\"");
    let mistakes = scene.refused(&format!("aws: {{ region: us-east-1 }}\n{step}, file: large.bin }}\n"));
    assert!(mistakes.contains("files of all steps are larger than 128 MiB"), "{mistakes}");

    // Mistakes without end.
    let wrong: String = (0..30_000).map(|i| format!("  s{i}: {{ kind: a.b, needs: [ x{i} ] }}\n")).collect();
    scene.refused(&format!("steps:\n{wrong}"));
}

#[test]
fn endless_response_is_aborted() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
                let _ = stream.write_all(head);
                // Until the client hangs up.
                while stream.write_all(&[b' '; 8192]).is_ok() {}
            });
        }
    });
    let scene = Scene::new();
    scene.write("plan.yaml", format!("{HEAD}steps:\n  m: {{ kind: vault.mount, path: x, type: kv }}\n"));
    let mut command = scene.command(&["plan", "plan.yaml"]);
    command.env("VAULT_ADDR", address).env("VAULT_TOKEN", "x");
    let ran = Ran::of(command.output().expect("the program starts"));
    // On a kept connection the endless body may also meet a client that waits for nothing.
    let why = in_one_line(&ran);
    let is_named = ["larger than 32 MiB", "unexpected message"].iter().any(|text| why.contains(text));
    assert!(ran.code != 0 && is_named, "{ran:?}");
}
