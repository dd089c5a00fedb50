//! Several accounts and regions in one plan, and roles that are assumed. The emulator keeps accounts
//! apart: an access key id of twelve digits is one's root, and a role is assumed in its own account.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::aws::{OWN, secret_key};
use crate::iam::iam;
use crate::kms::{behind, kms};
use crate::support::{Ran, TestEnvironment, block_on, step, summary};

const AUDIT: &str = "111111111111";

/// A role in another account that lets the sandbox's account in with an external id.
fn with_role() -> TestEnvironment {
    let environment = TestEnvironment::new();
    let iam = iam(&environment, AUDIT);
    let trust = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "sts:AssumeRole",
        "Principal": { "AWS": "000000000000" }, "Condition": { "StringEquals": { "sts:ExternalId": "shibboleth" } } }] });
    let all = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "*", "Resource": "*" }] });
    let role = iam.create_role().role_name("gw-deployer").assume_role_policy_document(trust.to_string());
    block_on(role.send()).expect("a role");
    let policy =
        iam.put_role_policy().role_name("gw-deployer").policy_name("all").policy_document(all.to_string());
    block_on(policy.send()).expect("its policy");
    environment
}

fn role(external_id: &str) -> Value {
    json!({ "role_arn": format!("arn:aws:iam::{AUDIT}:role/gw-deployer"), "external_id": external_id,
            "session_name": "gw-contract", "duration_seconds": 900 })
}

/// Writes the plan, and allows it the role and the profile.
fn declare(environment: &TestEnvironment, plan: &str) {
    environment.write("plan.yaml", plan);
    let role = format!("aws-role=arn:aws:iam::{AUDIT}:role/gw-deployer");
    environment.allow("plan.yaml", &["--trust", &role, "--trust", "aws-profile=audit"]);
}

/// A user in the plan's own account, one of the same name in another with a policy that it makes, and a
/// key in another region.
fn plan(audit: &Value) -> String {
    json!({
        "version": 1, "name": "accounts",
        "aws": { "region": "us-east-1", "account_id": "000000000000",
                 "aliases": { "audit": audit, "frankfurt": { "region": "eu-central-1" } } },
        "steps": {
            "own": { "kind": "aws.iam_user", "name": "gw-reader" },
            "limit": { "kind": "aws.iam_policy", "provider": "aws.audit", "name": "gw-limit",
                       "document": [{ "allow": "s3:*", "on": "*" }] },
            "other": { "kind": "aws.iam_user", "provider": "aws.audit", "name": "gw-reader",
                       "managed_policies": ["arn:aws:iam::{{ aws.aliases.audit.account_id }}:policy/gw-limit"] },
            "key": { "kind": "aws.kms_key", "provider": "aws.frankfurt", "alias": "alias/gw-frankfurt" },
        },
    })
    .to_string()
}

#[test]
fn one_plan_spans_several_accounts_and_regions() {
    let environment = with_role();
    declare(&environment, &plan(&json!({ "account_id": AUDIT, "assume_role": role("shibboleth") })));
    let shown = environment.plan("plan.yaml");
    assert_eq!(step(&shown, "own")["name"], "gw-reader");
    assert_eq!(step(&shown, "other")["name"], "gw-reader (aws.audit)");
    assert_eq!(step(&shown, "other")["needs"], json!(["limit"]), "what it needs is in its own account");
    let events = environment.apply("plan.yaml");
    assert_eq!(summary(&events)["api_calls"]["login"], 1, "{events:#?}");

    let arn = |account: &str| {
        let user = block_on(iam(&environment, account).get_user().user_name("gw-reader").send());
        user.expect("a user").user.expect("its description").arn
    };
    assert_eq!(arn(OWN), "arn:aws:iam::000000000000:user/gw-reader");
    assert_eq!(arn(AUDIT), format!("arn:aws:iam::{AUDIT}:user/gw-reader"));
    let behind = |region: &str| behind(&kms(&environment, region), "alias/gw-frankfurt");
    assert!(behind("eu-central-1").is_some() && behind("us-east-1").is_none());
    assert_eq!(summary(&environment.apply("plan.yaml"))["api_calls"]["write"], 0);
}

#[test]
fn saved_changeset_is_bound_to_all_its_accounts() {
    let environment = TestEnvironment::new();
    let plan = json!({
        "version": 1, "name": "accounts", "aws": { "region": "us-east-1", "aliases": { "audit": { "profile": "audit" } } },
        "steps": {
            "own": { "kind": "aws.iam_user", "name": "gw-reader" },
            "other": { "kind": "aws.iam_user", "provider": "aws.audit", "name": "gw-reader" },
        },
    });
    declare(&environment, &plan.to_string());
    let secret = secret_key(&environment.sandbox);
    let run = |audit: &str, arguments: &[&str]| {
        let profile = |name: &str, key: &str| {
            format!("[{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n")
        };
        let profiles = profile("default", OWN) + &profile("audit", audit);
        let file = environment.write("credentials", &profiles);
        let mut command = environment.command(arguments);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.env("AWS_SHARED_CREDENTIALS_FILE", file).env("AWS_CONFIG_FILE", "/dev/null");
        Ran::of(command.output().expect("the program starts"))
    };
    let is_made =
        |account: &str| block_on(iam(&environment, account).get_user().user_name("gw-reader").send()).is_ok();
    let saved = run(AUDIT, &["plan", "plan.yaml", "--out", "changes.json"]);
    assert_eq!(saved.code, 0, "{saved:?}");
    let text = std::fs::read_to_string(environment.folder.join("changes.json")).expect("saved");
    let saved: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(saved["content"]["identities"]["realms"]["aws.audit"]["account"], AUDIT);

    // The profile leads to another account now; the plan's own is the same.
    let elsewhere = "222222222222";
    let refused = run(elsewhere, &["apply", "changes.json", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    for words in ["where `aws.audit` is: expected account 111111111111, ", "is account 222222222222, "] {
        assert!(refused.stderr.contains(words), "{words} in {refused:?}");
    }
    assert!(!refused.stderr.contains("step "), "everything else differs too: {refused:?}");
    assert!(![OWN, AUDIT, elsewhere].into_iter().any(is_made), "nothing was written");
    assert_eq!(run(AUDIT, &["apply", "changes.json", "--yes"]).code, 0);
    assert!(is_made(OWN) && is_made(AUDIT) && !is_made(elsewhere));
}

#[test]
fn whole_plan_runs_as_an_assumed_role() {
    let environment = with_role();
    let plan = json!({
        "version": 1, "name": "accounts",
        "aws": { "region": "us-east-1", "account_id": AUDIT, "assume_role": role("shibboleth") },
        "steps": { "user": { "kind": "aws.iam_user", "name": "gw-worker" } },
    });
    declare(&environment, &plan.to_string());
    environment.apply("plan.yaml");
    assert!(block_on(iam(&environment, AUDIT).get_user().user_name("gw-worker").send()).is_ok());
    assert!(block_on(iam(&environment, OWN).get_user().user_name("gw-worker").send()).is_err());
}

#[test]
fn wrong_account_or_role_is_refused_before_reading() {
    let environment = with_role();
    declare(&environment, &plan(&json!({ "account_id": "222222222222", "assume_role": role("shibboleth") })));
    let wrong = environment.run(&["plan", "plan.yaml"]);
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("the plan is for account 222222222222"), "{wrong:?}");
    declare(&environment, &plan(&json!({ "assume_role": role("wrong-word") })));
    let refused = environment.run(&["plan", "plan.yaml"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let told = ["sts:AssumeRole", "gw-deployer", "external_id"];
    assert!(told.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
}

#[test]
fn invalid_provider_is_reported_with_its_place() {
    let environment = TestEnvironment::new();
    let text = "version: 1\nname: accounts\naws: { region: us-east-1, aliases: { audit: {} } }\nsteps:\n  \
        user: { kind: aws.iam_user, name: a, provider: aws.audti }\n  \
        key: { kind: aws.iam_access_key, user: a, provider: aws.audit }\n  \
        mount: { kind: vault.mount, path: m, type: kv, provider: aws.audit }\n";
    environment.write("plan.yaml", text);
    let ran = environment.run(&["validate", "plan.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let told = [
        "there is no provider `aws.audti`",
        "did you mean `aws.audit`?",
        "`aws.iam_access_key` is made only in the plan's own account",
        "`vault.mount` is not a kind of `aws`",
        "plan.yaml:5",
    ];
    for words in told {
        assert!(ran.stderr.contains(words), "{words} is not told: {}", ran.stderr);
    }
}

/// Passes everything on to the emulator and keeps what was asked.
fn eavesdrop(url: &str) -> (String, Arc<Mutex<Vec<u8>>>) {
    let server = url.trim_start_matches("http://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let upstream = TcpStream::connect(&server).expect("the emulator");
            let (answers, to_client) =
                (upstream.try_clone().expect("a stream"), client.try_clone().expect("a stream"));
            std::thread::spawn(move || pipe(answers, to_client, |_| {}));
            let ears = Arc::clone(&ears);
            std::thread::spawn(move || {
                pipe(client, upstream, |bytes| ears.lock().expect("unharmed").extend(bytes));
            });
        }
    });
    (address, heard)
}

fn pipe(mut from: TcpStream, mut to: TcpStream, mut hear: impl FnMut(&[u8])) {
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        hear(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
}

#[test]
fn mfa_code_from_stdin_reaches_only_sts() {
    let environment = with_role();
    let mut mfa = role("shibboleth");
    mfa["mfa_serial"] = json!("arn:aws:iam::000000000000:mfa/ann");
    declare(&environment, &plan(&json!({ "account_id": AUDIT, "assume_role": mfa })));
    let (address, heard) = eavesdrop(&environment.sandbox.aws_url());
    let run = |typed: &[u8]| {
        let mut command = environment.command(&["plan", "plan.yaml"]);
        Ran::fed(command.env("AWS_ENDPOINT_URL", &address), typed)
    };
    let silent = run(b"");
    assert_eq!(silent.code, 1, "{silent:?}");
    assert!(
        silent.stderr.contains("no code of the MFA device arn:aws:iam::000000000000:mfa/ann"),
        "{silent:?}"
    );
    heard.lock().expect("unharmed").clear();

    let given = run(b"314159\n");
    assert_eq!(given.code, 0, "{given:?}");
    let heard = String::from_utf8_lossy(&heard.lock().expect("unharmed")).into_owned();
    // One code is good for one session, which serves all steps of the account.
    assert_eq!(heard.matches("TokenCode=314159").count(), 1);
    assert_eq!(heard.matches("314159").count(), 1);
    assert!(heard.contains("SerialNumber=arn%3Aaws%3Aiam%3A%3A000000000000%3Amfa%2Fann"), "{heard}");
    assert!(!given.stdout.contains("314159") && !given.stderr.contains("314159"), "{given:?}");
}
