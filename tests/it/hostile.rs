//! Plans, surroundings and servers that mean harm: each is refused, or does nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use groundwork::plan::Diagnostics;
use groundwork::plan::Given;
use groundwork::session;
use groundwork::trust::Trust;
use serde_json::json;
use tempfile::TempDir;

use crate::listener::{self, Listener};
use crate::support::Ran;

pub const HEAD: &str = "version: 1\nname: hostile\n";

/// A plan's folder, and something beside it that is none of the plan's business.
pub struct Scene {
    root: TempDir,
}

impl Scene {
    pub fn new() -> Self {
        let scene = Self { root: tempfile::tempdir().expect("a folder") };
        std::fs::create_dir_all(scene.plans()).expect("made");
        std::fs::create_dir_all(scene.outside()).expect("made");
        std::fs::write(scene.outside().join("private"), "theirs: 1\n").expect("written");
        scene
    }

    pub fn plans(&self) -> PathBuf {
        self.root.path().join("plans")
    }

    pub fn outside(&self) -> PathBuf {
        self.root.path().join("outside")
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.plans().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn link(&self, name: &str, target: &Path) {
        let path = self.plans().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        symlink(target, path).expect("linked");
    }

    pub fn check(&self, plan: &str) -> Result<(), Diagnostics> {
        self.write("plan.yaml", format!("{HEAD}{plan}"));
        session::check(&self.plans().join("plan.yaml"), &Given::default(), &Trust::default()).map(|_| ())
    }

    /// The mistakes of a plan that must have some, one a line.
    pub fn refused(&self, plan: &str) -> String {
        self.check(plan).err().unwrap_or_else(|| panic!("this was not refused:\n{plan}")).to_string()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = crate::support::program();
        command.args(arguments).current_dir(self.plans()).env("NO_COLOR", "1");
        for name in ["AWS_ENDPOINT_URL", "VAULT_ADDR", "VAULT_TOKEN", "GROUNDWORK_VAULT_NODES"] {
            command.env_remove(name);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().expect("the program starts"))
    }

    pub fn is_outside_untouched(&self) -> bool {
        let entries = self.outside().read_dir().expect("a folder").count();
        entries == 1
            && std::fs::read_to_string(self.outside().join("private")).expect("theirs") == "theirs: 1\n"
    }
}

/// What a run showed, wherever lines were broken.
pub fn in_one_line(ran: &Ran) -> String {
    format!("{} {}", ran.stdout, ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn value_cannot_break_out_of_policy_or_file() {
    let scene = Scene::new();
    scene.write(
        "templates/rule.hcl.j2",
        "path \"secret/data/{{ team }}/*\" {\n  capabilities = [\"read\"]\n}\n",
    );
    let hostile = r#"x/*\" {\n capabilities = [\"sudo\"]\n}\npath \"*"#;
    let plans = [
        // HCL, by `for_each`, by a variable, and from a template file.
        format!(
            "steps:\n  p:\n    kind: vault.policy\n    name: p\n    for_each: [ \"{hostile}\" ]\n    rules: |\n      \
             path \"secret/data/{{{{ each.key }}}}/*\" {{\n        capabilities = [\"read\"]\n      }}\n"
        ),
        format!(
            "vars: {{ team: \"{hostile}\" }}\nsteps:\n  p:\n    kind: vault.policy\n    name: p\n    rules: |\n      \
             path \"secret/data/{{{{ team }}}}/*\" {{\n        capabilities = [\"read\"]\n      }}\n"
        ),
        format!(
            "steps:\n  p:\n    kind: vault.policy\n    name: p\n    \
             rules: {{ template: rule.hcl.j2, with: {{ team: \"{hostile}\" }} }}\n"
        ),
        // JSON.
        "vars: { bucket: 'x\", \"*' }\nsteps:\n  p:\n    kind: aws.iam_policy\n    name: p\n    document: |\n      \
         {\"Version\": \"2012-10-17\", \"Statement\": [{\"Effect\": \"Allow\", \"Action\": \"s3:GetObject\",\n      \
         \"Resource\": [\"arn:aws:s3:::{{ bucket }}\"]}]}\n"
            .to_owned(),
        // A line of an environment file.
        "vars: { url: \"https://x\\nLD_PRELOAD=/tmp/x.so\" }\nsteps:\n  f:\n    kind: file.template\n    path: x.env\n    \
         content: |\n      VAULT_ADDR={{ url }}\n"
            .to_owned(),
        // A string that ends in a backslash takes the closing quote with it.
        "vars: { a: 'x\\', b: ' { }' }\nsteps:\n  f:\n    kind: file.template\n    path: x.hcl\n    \
         content: 'a = \"{{ a }}\"'\n"
            .to_owned(),
    ];
    for plan in plans {
        let mistakes = scene.refused(&plan);
        assert!(mistakes.contains("could break out of there"), "{plan}\n{mistakes}");
        assert!(!mistakes.contains("sudo") && !mistakes.contains("LD_PRELOAD"), "{mistakes}");
    }
}

#[test]
fn plan_cannot_control_its_readers_terminal() {
    let scene = Scene::new();
    let file = |path: &str| format!("steps:\n  f: {{ kind: file.template, path: {path}, content: x }}\n");
    for text in [
        file("\"a\\e[2Jb\""),
        file("\"a\\u202etxt.sh\""),
        file("\"a\\x9b2J\""),
        file("\"a\\rb\""),
        file("x # \u{202e}tnemmoc a"),
        file("x # \u{1b}]0;owned\u{7}"),
        "vars: { \"a\\e[31m\": 1 }\n".to_owned(),
    ] {
        scene.write("plan.yaml", format!("{HEAD}{text}"));
        for command in ["validate", "plan", "graph"] {
            let ran = scene.run(&[command, "plan.yaml"]);
            assert_eq!(ran.code, 1, "{text:?}: {ran:?}");
            assert!(ran.stderr.contains("must not stand in a plan"), "{ran:?}");
            let shown = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}', '\r']), "{shown:?}");
        }
    }
    scene.write("plan.yaml", format!("{HEAD}vars: {{ a: b }}\n"));
    assert_eq!(scene.run(&["validate", "plan.yaml", "--var", "a=\u{1b}[2J"]).code, 1);
    assert_eq!(scene.run(&["validate", "plan.yaml", "--var", "a=c"]).code, 0);
}

#[test]
fn escaping_paths_are_refused_in_any_notation() {
    let scene = Scene::new();
    let absolute = scene.outside().join("private");
    let absolute = absolute.display();
    let tricks = [
        "../outside/private",
        "a/../../outside/private",
        "..\\\\outside\\\\private",
        "C:\\\\x",
        "a\\0b",
        "",
        "/x",
    ];
    let tricks = tricks.map(str::to_owned).into_iter().chain([absolute.to_string()]);
    for path in tricks {
        for plan in [
            format!("include: [ \"{path}\" ]\n"),
            format!("steps:\n  f: {{ kind: file.template, path: \"{path}\", content: x }}\n"),
            format!("steps:\n  f: {{ kind: file.template, path: ok, template: \"{path}\" }}\n"),
            format!("custody: {{ recipients: [ {{ pgp: \"{path}\" }} ], stores: [ {{ file: c }} ] }}\n"),
            format!(
                "steps:\n  s: {{ kind: vault.kv_secret, mount: secret, path: x, data: {{ k: {{ file: \"{path}\" }} }} }}\n"
            ),
        ] {
            let mistakes = scene.refused(&plan);
            assert!(!mistakes.contains("theirs"), "{mistakes}");
        }
        // An absolute path of a store is for the caller to allow, when it is used.
        if !path.starts_with('/') {
            scene.refused(&format!(
                "custody: {{ recipients: [ {{ kms: alias/x }} ], stores: [ {{ file: \"{path}\" }} ] }}\n"
            ));
        }
    }
    assert!(scene.is_outside_untouched());
}

#[test]
fn links_out_of_the_folder_are_refused() {
    let scene = Scene::new();
    let private = scene.outside().join("private");
    for name in ["link.yaml", "templates/link.j2", "link.key"] {
        scene.link(name, &private);
    }
    scene.link("out", &scene.outside());
    for plan in [
        "include: [ link.yaml ]\n",
        "include: [ out/private ]\n",
        "steps:\n  f: { kind: file.template, path: ok, template: link.j2 }\n",
        "steps:\n  s: { kind: vault.kv_secret, mount: secret, path: x, data: { k: { file: link.key } } }\n",
        "steps:\n  s: { kind: vault.kv_secret, mount: secret, path: x, data: { k: { file: out/private } } }\n",
    ] {
        let mistakes = scene.refused(plan);
        assert!(!mistakes.contains("theirs"), "{mistakes}");
    }
}

#[test]
fn linked_destination_is_neither_read_nor_written() {
    let scene = Scene::new();
    scene.link("target", &scene.outside().join("private"));
    scene.link("out", &scene.outside());
    for path in ["target", "out/private", "out/new/file"] {
        let plan = format!("{HEAD}steps:\n  f: {{ kind: file.template, path: {path}, content: ours }}\n");
        scene.write("plan.yaml", plan);
        for arguments in [&["plan", "plan.yaml"][..], &["apply", "plan.yaml", "--yes"]] {
            let ran = scene.run(arguments);
            assert_ne!(ran.code, 0, "{path}: {ran:?}");
            let shown = in_one_line(&ran);
            assert!(shown.contains("is a link") && !shown.contains("theirs"), "{path}: {shown}");
        }
        assert!(scene.is_outside_untouched(), "{path}");
    }
    // Swapped for a link between two runs, the folder is no longer ours either.
    let plan = format!("{HEAD}steps:\n  f: {{ kind: file.template, path: made/private, content: ours }}\n");
    scene.write("plan.yaml", plan);
    assert_eq!(scene.run(&["apply", "plan.yaml", "--yes"]).code, 0);
    std::fs::remove_dir_all(scene.plans().join("made")).expect("removed");
    scene.link("made", &scene.outside());
    assert_ne!(scene.run(&["apply", "plan.yaml", "--yes"]).code, 0);
    assert!(scene.is_outside_untouched());
}

#[test]
fn yaml_bombs_are_refused() {
    let scene = Scene::new();
    let mut laughs = String::from("vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    let mut merges = String::from("vars:\n  a0: &a0 { k: v }\n");
    for level in 1..12 {
        let before = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs.push_str(&format!("  a{level}: &a{level} [{before}]\n"));
        merges.push_str(&format!("  a{level}: &a{level} {{ <<: [{before}] }}\n"));
    }
    let huge = "x".repeat(1024 * 1024);
    let scalars = format!("vars:\n  a: &a \"{huge}\"\n  b: [{}]\n", vec!["*a"; 500].join(", "));
    for bomb in [
        laughs,
        merges,
        scalars,
        format!("vars: {{ a: {}\n", "[".repeat(100_000)),
        format!("vars: {{ a: {}1{} }}\n", "{ b: ".repeat(1_000), " }".repeat(1_000)),
        format!("vars:\n  a: \"{}\"\n", "x".repeat(17 * 1024 * 1024)),
    ] {
        scene.refused(&bomb);
    }
}

/// A plan for each place whose text is evaluated; some have the text in the template file `template`.
fn places(bomb: &str, template: &str) -> Vec<String> {
    let text = json!(bomb);
    let step = |step: &str| format!("vars: {{ x: aaaaaaaa }}\nsteps:\n  s: {step}\n");
    vec![
        step(&format!("{{ kind: aws.secret, name: x, value: {{ template: {text} }} }}")),
        step(&format!(
            "{{ kind: vault.kv_secret, mount: s, path: x, data: {{ k: {{ template: {text} }} }} }}"
        )),
        step(&format!("{{ kind: vault.kv_secret, mount: s, path: x, data: {{ {text}: x }} }}")),
        format!("vars: {{ x: aaaaaaaa, a: {text} }}\n"),
        format!("vars: {{ x: aaaaaaaa }}\naws: {{ region: {text} }}\n"),
        step(&format!("{{ kind: file.template, path: x, content: {text} }}")),
        step(&format!("{{ kind: file.template, path: x, template: {template} }}")),
        step(&format!("{{ kind: file.template, path: {text}, content: x }}")),
        step(&format!("{{ kind: file.template, path: x, content: x, when: {text} }}")),
        step(&format!("{{ kind: file.template, path: x, content: x, for_each: {text} }}")),
        step(&format!("{{ kind: vault.policy, name: x, rules: {text} }}")),
        step(&format!("{{ kind: vault.policy, name: x, rules: {{ template: {template} }} }}")),
        step(&format!("{{ kind: aws.s3_object, bucket: bbb, key: x, template: {template} }}")),
    ]
}

#[test]
fn bombs_are_refused_in_every_place() {
    let scene = Scene::new();
    let bombs = [
        "{{ 'x' * 10**9 }}".to_owned(),
        "{{ 'x' * 90000000 }}".repeat(40),
        "{{ range(100000000) | list }}".to_owned(),
        "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}".to_owned(),
        "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}".to_owned(),
        format!("{{{{ x{} }}}}", "|replace('a', x)".repeat(12)),
    ];
    let mut plans = Vec::new();
    for (number, bomb) in bombs.iter().enumerate() {
        let template = format!("bomb-{number}.j2");
        scene.write(&format!("templates/{template}"), bomb);
        // Each bomb in some of the places, and in every template of secrets, save one that takes a debug
        // build half a minute there; `secret::template` has its like.
        let is_chosen = |place: usize| place < 2 && number != 1 || (place + number).is_multiple_of(6);
        let places = places(bomb, &template).into_iter().enumerate();
        plans.extend(places.filter(|(place, _)| is_chosen(*place)).map(|(_, plan)| plan));
    }
    let named: Vec<(String, String)> =
        plans.into_iter().enumerate().map(|(number, plan)| (format!("plan-{number}.yaml"), plan)).collect();
    std::thread::scope(|scope| {
        for part in named.chunks(named.len().div_ceil(4)) {
            let scene = &scene;
            scope.spawn(move || {
                for (name, plan) in part {
                    scene.write(name, format!("{HEAD}{plan}"));
                    let ran = scene.run(&["validate", name]);
                    assert!(ran.code == 1 && !ran.stderr.is_empty(), "{plan}\n{ran:?}");
                }
            });
        }
    });
}

/// An evaluation that was given up goes on until its process ends, so it gets one of its own.
#[test]
fn template_bombs_are_refused() {
    let mut inner = Command::new(std::env::current_exe().expect("this program"));
    inner.args(["hostile::template_bombs", "--exact", "--ignored", "--nocapture"]);
    assert!(inner.status().expect("the inner test starts").success(), "a bomb went off; see above");
}

#[test]
#[ignore = "started by template_bombs_are_refused in a process of its own"]
fn template_bombs() {
    let scene = Scene::new();
    let var = |text: &str| format!("vars: {{ x: aaaaaaaa, a: \"{text}\" }}\n");
    let doubled: String = (0..60).map(|_| "{% set x = x ~ x %}").collect::<String>() + "{{ x }}";
    let chained: String = std::iter::once("vars:\n  v0: aaaaaaaaaaaaaaaa\n".to_owned())
        .chain((1..60).map(|i| format!("  v{i}: \"{{{{ v{0} ~ v{0} }}}}\"\n", i - 1)))
        .collect();
    for bomb in [
        // Loops.
        var("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}"),
        var("{{ range(1000000000) }}"),
        var("{{ 'x' * 100000000000 }}"),
        // Doubling: in a loop, by statements, and from variable to variable.
        var("{% set n = namespace(x='a') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}"),
        var(&doubled),
        chained,
        // Depth, which a parser that calls itself pays with the stack.
        var(&format!("{{{{ {}1 }}}}", "(".repeat(100_000))),
        var(&"{% if 1 %}".repeat(10_000)),
        // More than fits.
        var(&format!("{{{{ 1{} }}}}", "+1".repeat(100_000))),
        "steps:\n  f:\n    kind: file.template\n    for_each: \"{{ range(99999)|map('string')|list }}\"\n    \
         path: \"x{{ each.key }}\"\n    content: x\n"
            .to_owned(),
        format!(
            "steps:\n  s: {{ kind: vault.kv_secret, mount: s, path: x, data: {{ k: {{ template: \"{{{{ {}1 }}}}\" }} }} }}\n",
            "-".repeat(200_000)
        ),
    ] {
        scene.refused(&bomb);
    }
    // What is long and deep, but fits, is no reason to fall over.
    for depth in [1_000, 60_000] {
        let _ = scene.check(&var(&format!("{{{{ 1{} }}}}", "+1".repeat(depth))));
        let _ = scene.check(&var(&format!("{{{{ 1{} }}}}", "|abs".repeat(depth / 2))));
        let _ = scene.check(&var(&format!("{{{{ {}1 }}}}", "-".repeat(depth))));
        let _ = scene.check(&var(&format!("{{{{ {}1 }}}}", "not ".repeat(depth / 2))));
        let _ = scene.check(&var(&format!("{{{{ {}1 }}}}", "1 if 1 else ".repeat(depth / 7))));
    }
}

#[test]
fn too_deeply_nested_policies_are_refused() {
    let scene = Scene::new();
    for nested in ["[", "(", "{", "!", "-", "${"] {
        let rules = format!("path \\\"a\\\" {{ x = {} }}", nested.repeat(50_000));
        scene
            .refused(&format!("steps:\n  p:\n    kind: vault.policy\n    name: p\n    rules: \"{rules}\"\n"));
    }
    let document = "[".repeat(50_000);
    scene.refused(&format!(
        "steps:\n  p:\n    kind: aws.iam_policy\n    name: p\n    document: '{document}'\n"
    ));
}

#[test]
fn metadata_service_address_is_refused_before_any_request() {
    let scene = Scene::new();
    for address in [
        "https://169.254.169.254",
        "http://169.254.169.254:80",
        "https://2852039166",
        "https://0xA9FEA9FE:8200",
        "https://[fe80::1]:8200",
        "https://[fd00:ec2::254]:8200",
        "https://[::ffff:169.254.169.254]",
        "https://metadata.google.internal",
    ] {
        let mistakes = scene.refused(&format!("vault: {{ address: \"{address}\" }}\n"));
        assert!(mistakes.contains("metadata service") && mistakes.contains("plan.yaml:3:"), "{mistakes}");
        scene.refused(&format!("vault: {{ address: \"https://v:8200\", nodes: [ \"{address}\" ] }}\n"));
        // By the environment, even where other unusual places are allowed.
        let mount = format!("{HEAD}steps:\n  m: {{ kind: vault.mount, path: x, type: kv }}\n");
        let bucket = format!(
            "{HEAD}aws: {{ region: us-east-1 }}\nsteps:\n  b: {{ kind: aws.s3_bucket, name: example }}\n"
        );
        for (variable, plan) in [("VAULT_ADDR", mount), ("AWS_ENDPOINT_URL", bucket)] {
            scene.write("plan.yaml", plan);
            let mut command = scene.command(&["plan", "plan.yaml"]);
            command.env(variable, address).env("GROUNDWORK_ALLOW_ENDPOINT", "1").env("VAULT_TOKEN", "x");
            command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
            let ran = Ran::of(command.output().expect("the program starts"));
            let shown = in_one_line(&ran);
            assert!(ran.code != 0 && shown.contains("metadata service"), "{variable}={address}: {ran:?}");
        }
    }
}

/// A server that gives every request this answer, and how many asked.
fn server(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            count.fetch_add(1, Ordering::SeqCst);
            let answer = answer.clone();
            std::thread::spawn(move || {
                // One request a connection is enough; whoever hangs up is done.
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    (address, asked)
}

fn plan_against(address: &str) -> Ran {
    let scene = Scene::new();
    scene.write("plan.yaml", format!("{HEAD}steps:\n  m: {{ kind: vault.mount, path: x, type: kv }}\n"));
    let mut command = scene.command(&["plan", "plan.yaml"]);
    command.env("VAULT_ADDR", address).env("VAULT_TOKEN", "x");
    Ran::of(command.output().expect("the program starts"))
}

#[test]
fn server_response_cannot_control_the_terminal() {
    let body = "{\"errors\":[\"no\\u001b]0;owned\\u0007\\u001b[2J\\u202e\\u009b1mgone\"]}";
    let answer = format!(
        "HTTP/1.1 400 Bad\u{1b}[2J Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (address, asked) = server(answer);
    let ran = plan_against(&address);
    assert!(asked.load(Ordering::SeqCst) > 0, "nobody asked");
    let shown = format!("{}{}", ran.stdout, ran.stderr);
    assert!(ran.code != 0 && !shown.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{shown:?}");
}

#[test]
fn redirect_is_not_followed() {
    let (elsewhere, asked_elsewhere) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_owned());
    for location in [elsewhere.as_str(), "http://169.254.169.254/latest/meta-data/"] {
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (address, asked) = server(answer);
        let ran = plan_against(&address);
        assert!(asked.load(Ordering::SeqCst) > 0 && ran.code != 0, "{ran:?}");
    }
    assert_eq!(asked_elsewhere.load(Ordering::SeqCst), 0, "the redirect was followed");
}

/// What answers in the place of AWS may go on for ever.
#[test]
fn endless_aws_response_is_aborted() {
    let body = "x".repeat(33 << 20);
    let aws = Listener::start(move |_| Some(listener::json("200 OK", &body)));
    let folder = tempfile::tempdir().expect("a folder");
    let plan =
        "version: 1\nname: p\naws: { region: us-east-1 }\nsteps: { u: { kind: aws.iam_user, name: u } }\n";
    std::fs::write(folder.path().join("plan.yaml"), plan).expect("written");
    let mut command = crate::support::program();
    command.args(["plan", "plan.yaml"]).current_dir(folder.path()).env("AWS_ENDPOINT_URL", &aws.address);
    command.env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x").env("NO_COLOR", "1");
    let ran = Ran::of(command.output().expect("the program starts"));
    let said = format!("{}{}", ran.stdout, ran.stderr);
    assert!(said.contains("the response is larger than 32 MiB"), "{said}");
    assert!(!aws.requests().is_empty());
}
