//! Plans of which not everything can be seen.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{Quickstart, Ran, TestEnvironment, block_on, custody_in, root_token, step};

/// The steps with this action, and why.
fn steps(changeset: &Value, action: &str) -> Vec<(String, String)> {
    let steps = changeset["steps"].as_array().expect("steps").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps
        .filter(|step| step["action"] == action)
        .map(|step| (text(&step["id"]), text(&step["reason"])))
        .collect()
}

/// Plans with `variables`: the exit code must be 3, and 1 with `--strict`, which names every step
/// that is deferred. Gives those.
fn deferred(environment: &TestEnvironment, plan: &str, variables: &[(&str, &str)]) -> Vec<(String, String)> {
    let run = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        command.envs(variables.iter().copied()).env_remove("GROUNDWORK_VAULT_NODES");
        Ran::of(command.output().expect("the program starts"))
    };
    let ran = run(&["plan", plan, "--format", "json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    let changeset: Value = serde_json::from_str(&ran.stdout).expect("a changeset");
    let deferred = steps(&changeset, "deferred");
    let strict = run(&["plan", plan, "--strict"]);
    assert_eq!(strict.code, 1, "{strict:?}");
    for (id, _) in &deferred {
        assert!(strict.stderr.contains(&format!("step {id}: ")), "{id} is not in {}", strict.stderr);
    }
    let strict = run(&["apply", plan, "--strict", "--yes"]);
    assert_eq!(strict.code, 1, "{strict:?}");
    deferred
}

#[test]
fn unreachable_vault_defers_only_its_own_steps() {
    let quickstart = Quickstart::new();
    let nobody = [("VAULT_ADDR", "http://127.0.0.1:1")];
    let deferred = deferred(&quickstart.environment, "quickstart.yaml", &nobody);
    assert!(deferred.len() >= 10, "{deferred:#?}");
    for (id, reason) in &deferred {
        assert!(!["state_bucket", "lock_table", "app_user"].contains(&id.as_str()), "{id}");
        assert!(reason.contains("127.0.0.1:1") && reason.contains("VAULT_ADDR"), "{id}: {reason}");
    }
    assert_eq!(quickstart.aws_keys(), 0, "apply --strict wrote nothing");
}

#[test]
fn sealed_vault_defers_only_its_own_steps() {
    use age::secrecy::ExposeSecret;
    let environment = TestEnvironment::new();
    let identity = age::x25519::Identity::generate();
    let file = environment.write("identity.txt", identity.to_string().expose_secret());
    let owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&file, owner).expect("for the owner alone");
    let plan = |steps: Value| {
        json!({
            "version": 1, "name": "sealed", "steps": steps,
            "custody": { "recipients": [ { "age": identity.to_public().to_string() } ],
                         "stores": [ { "file": "custody" } ] },
        })
        .to_string()
    };
    let steps = json!({
        "server": { "kind": "vault.init", "shares": 1, "threshold": 1 },
        "policy": { "kind": "vault.policy", "name": "app", "rules": { "secret/data/app": ["read"] } },
        "note": { "kind": "file.template", "path": "note.txt", "content": "as declared" },
    });
    environment.write("plan.yaml", &plan(steps.clone()));
    let address = environment.sandbox.vault_addrs()[0].clone();
    let variables =
        [("GROUNDWORK_AGE_IDENTITY", file.to_str().expect("text")), ("VAULT_ADDR", address.as_str())];
    let run = |arguments: &[&str]| {
        let mut command = environment.command(arguments);
        Ran::of(command.envs(variables).output().expect("the program starts"))
    };
    let applied = run(&["apply", "plan.yaml", "--yes"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let token = root_token(&custody_in(&environment.folder.join("custody"), &identity));
    let request = reqwest::Client::new().put(format!("{address}/v1/sys/seal")).header("X-Vault-Token", token);
    assert!(block_on(request.send()).expect("an answer").status().is_success(), "it is sealed");
    environment.write("note.txt", "by hand");

    // The plan unseals it: that is a change, and what is in it waits.
    let left = deferred(&environment, "plan.yaml", &variables);
    let [(id, reason)] = left.as_slice() else { panic!("{left:?}") };
    assert!(id == "policy" && reason.contains("sealed; after server unseals it"), "{id}: {reason}");
    let shown = run(&["plan", "plan.yaml"]);
    assert_eq!(shown.code, 3, "{shown:?}");
    for words in [".sealed  true → false", "by hand", "deferred: Vault is sealed", "2 to update, 1 deferred"]
    {
        assert!(shown.stdout.contains(words), "{words} in {shown:?}");
    }

    // Another plan of the same cluster does not, and says what would.
    let mut others = steps;
    others.as_object_mut().expect("a map").remove("server");
    environment.write("others.yaml", &plan(others));
    let left = deferred(&environment, "others.yaml", &variables);
    let [(id, reason)] = left.as_slice() else { panic!("{left:?}") };
    assert!(id == "policy" && reason.contains("groundwork unseal"), "{id}: {reason}");

    assert_eq!(run(&["apply", "plan.yaml", "--yes"]).code, 0, "unsealed, and planned once more");
    assert_eq!(run(&["plan", "plan.yaml", "--strict", "--detailed-exitcode"]).code, 0);
}

#[test]
fn plan_names_missing_read_permissions() {
    let quickstart = Quickstart::applied();
    let policy = json!({ "policy": "path \"sys/policies/*\" { capabilities = [\"read\", \"list\"] }" });
    quickstart.vault("POST", "sys/policies/acl/narrow", &policy);
    quickstart.vault("POST", "auth/approle/role/narrow", &json!({ "token_policies": "narrow" }));
    let role = quickstart.vault("GET", "auth/approle/role/narrow/role-id", &Value::Null);
    let secret = quickstart.vault("POST", "auth/approle/role/narrow/secret-id", &json!({}));
    let token = quickstart.login(&role["role_id"], &secret["secret_id"]);
    let deferred = deferred(&quickstart.environment, "quickstart.yaml", &[("VAULT_TOKEN", &token)]);
    let (_, reason) =
        deferred.iter().find(|(id, _)| id == "app_database").unwrap_or_else(|| panic!("{deferred:#?}"));
    for words in ["permission denied (403)", "secret/data/app/database", "`read`"] {
        assert!(reason.contains(words), "{words} in {reason}");
    }
    assert!(!deferred.iter().any(|(id, _)| id == "app_policy" || id == "state_bucket"), "{deferred:#?}");
}

/// AWS that knows the caller and refuses everything else, with another request id every time.
fn refusing_aws() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for (count, mut stream) in listener.incoming().flatten().enumerate() {
            let mut request = vec![0; 65536];
            let read = stream.read(&mut request).unwrap_or_default();
            let (status, body) = if String::from_utf8_lossy(&request[..read]).contains("GetCallerIdentity") {
                let who = "<Arn>arn:aws:iam::1:root</Arn><UserId>1</UserId><Account>000000000001</Account>";
                let result = format!("<GetCallerIdentityResult>{who}</GetCallerIdentityResult>");
                ("200 OK", format!("<GetCallerIdentityResponse>{result}</GetCallerIdentityResponse>"))
            } else {
                let error =
                    "<Error><Code>AccessDenied</Code><Message>is not authorized\u{202e}</Message></Error>";
                ("403 Forbidden", format!("<ErrorResponse>{error}</ErrorResponse>"))
            };
            let head = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nx-amzn-requestid: id-{count}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    address
}

#[test]
fn denied_aws_read_is_deferred_and_reproducible() {
    let environment = TestEnvironment::new();
    environment.write(
        "plan.yaml",
        "version: 1\nname: denied\naws: { region: us-east-1 }\nsteps:\n  user: { kind: aws.iam_user, name: gw-user }\n  \
         note: { kind: file.template, path: note.txt, content: x }\n",
    );
    let aws = refusing_aws();
    let variables = [("AWS_ENDPOINT_URL", aws.as_str()), ("SOURCE_DATE_EPOCH", "1")];
    let deferred = deferred(&environment, "plan.yaml", &variables);
    let [(id, reason)] = deferred.as_slice() else { panic!("{deferred:?}") };
    assert_eq!(id, "user");
    assert!(reason.contains("iam:GetUser: is not authorized\\u{202e} (AccessDenied)"), "{reason}");
    // Which request it was is no part of what was found.
    let save = |file: &str| {
        let mut command = environment.command(&["plan", "plan.yaml", "--out", file]);
        assert_eq!(command.envs(variables).output().expect("runs").status.code(), Some(3));
        std::fs::read(environment.folder.join(file)).expect("saved")
    };
    assert_eq!(save("a.json"), save("b.json"));
}

#[test]
fn account_id_resolves_in_names_and_places() {
    let environment = TestEnvironment::new();
    let identity = age::x25519::Identity::generate().to_public();
    let bucket = "custody-{{ aws.account_id }}";
    let plan = json!({
        "version": 1, "name": "places", "aws": { "region": "us-east-1" },
        "custody": {
            "recipients": [ { "age": identity.to_string() } ],
            "stores": [ { "s3": format!("s3://{bucket}/keys") }, { "file": "custody" } ],
        },
        "journal": { "s3": format!("s3://{bucket}/journal") },
        "lock": { "dynamodb": "locks-{{ aws.account_id }}" },
        "steps": { "bucket": { "kind": "aws.s3_bucket", "name": bucket } },
    });
    environment.write("plan.yaml", &plan.to_string());
    assert_eq!(step(&environment.plan("plan.yaml"), "bucket")["name"], "custody-000000000000");
    let ran = environment.run(&["custody", "show", "plan.yaml"]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn interrupted_plan_ends_at_once() {
    let environment = TestEnvironment::new();
    environment.write(
        "plan.yaml",
        "version: 1\nname: slow\nsteps: { app: { kind: vault.policy, name: app, rules: { a: [read] } } }\n",
    );
    for signal in [Signal::INT, Signal::TERM] {
        // It takes the connection and never answers.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut command: Command = environment.command(&["plan", "plan.yaml"]);
        command.env("VAULT_ADDR", format!("http://{}", listener.local_addr().expect("bound")));
        command.env_remove("GROUNDWORK_VAULT_NODES").stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        let _connection = listener.accept().expect("it asks");
        let told = Instant::now();
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let ran = Ran::of(child.wait_with_output().expect("it ends"));
        assert_eq!(ran.code, 1, "{signal:?}: {ran:?}");
        assert!(ran.stderr.contains("nothing was changed"), "{ran:?}");
        // The server would have been waited for much longer.
        assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    }
}
