//! The guard in front of a sandbox's AWS: who is let in, and who is not.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::support::{Ran, TestEnvironment};

/// What is let through; everything else that the script tries is refused.
const SERVED: [&str; 7] =
    ["own key", "root of another account", "issued key", "session", "presigned link", "signed", "health"];

fn ask(environment: &TestEnvironment, credentials: &TestEnvironment) -> Ran {
    let (python, modules) = environment.python();
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guard.py")).arg(environment.sandbox.aws_url());
    credentials.sandbox.apply_to(&mut command);
    command.env("PYTHONPATH", modules).env("PYTHONDONTWRITEBYTECODE", "1");
    Ran::of(command.output().expect("python starts"))
}

#[test]
fn emulator_serves_holders_of_its_credentials_only() {
    let environment = TestEnvironment::new();
    let ran = ask(&environment, &environment);
    assert_eq!(ran.code, 0, "{ran:?}");
    let tried: BTreeMap<String, Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    assert!(tried.len() > 50, "{tried:#?}");
    for (what, outcome) in &tried {
        assert_eq!(outcome == "served", SERVED.contains(&what.as_str()), "{what}: {outcome}");
        // Refused, not broken.
        let code = outcome.as_u64().unwrap_or(403);
        assert!((400..500).contains(&code), "{what}: {outcome}");
    }

    let other = TestEnvironment::new();
    let refused = ask(&environment, &other);
    assert!(refused.code != 0 && refused.stderr.contains("InvalidClientTokenId"), "{refused:?}");
}

#[test]
fn emulator_runs_no_programs_and_connects_nowhere() {
    let environment = TestEnvironment::new();
    let (python, modules) = environment.python();
    let guard = environment.sandbox.dir().join("config");
    let script = "import guard, os, socket, subprocess\n\
        guard.confine()\n\
        def refused(call):\n    \
            try:\n        call()\n    \
            except PermissionError:\n        return\n    \
            raise SystemExit(f'{call} was possible')\n\
        refused(lambda: subprocess.run(['true']))\n\
        refused(lambda: os.system('true'))\n\
        refused(os.fork)\n\
        refused(lambda: os.execv('/bin/true', ['true']))\n\
        refused(lambda: os.posix_spawn('/bin/true', ['true'], {}))\n\
        refused(lambda: socket.create_connection(('127.0.0.1', 9)))\n\
        from ministack.services import lambda_svc, codebuild, ecs\n\
        from ministack.core import lambda_runtime\n\
        assert not hasattr(lambda_svc, 'handle_request') and not hasattr(codebuild, 'handle_request')\n\
        refused(lambda: subprocess.Popen(['true']))\n";
    let mut command = Command::new(python);
    command.args(["-c", script]).env("PYTHONPATH", format!("{}:{modules}", guard.display()));
    let ran = Ran::of(command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("python starts"));
    assert_eq!(ran.code, 0, "{ran:?}");
}
