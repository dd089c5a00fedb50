//! AWS's things are tried, each fault is found at its step, and nothing is left in buckets and tables.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_iam::types::StatusType;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, VersioningConfiguration,
};
use serde_json::{Value, json};

use super::verify;
use crate::aws::{config, dynamodb, s3};
use crate::canary::leaks;
use crate::support::{Cluster, block_on, text_of};

/// Everything but the bucket that locks, whose trial takes as long as its lock.
const QUICK: [&str; 15] = [
    "bucket_key",
    "idle_key",
    "off_key",
    "signing_key",
    "bucket",
    "locks",
    "sessions",
    "person",
    "person_key",
    "retired_key",
    "alerts",
    "on_call",
    "quiet",
    "alarm",
    "quiet_alarm",
];

fn steps(outside: &str) -> Value {
    let alarm = |name: &str, targets: Value| {
        json!({
            "kind": "aws.cloudwatch_alarm", "name": name, "namespace": "Verify", "metric": "Faults",
            "statistic": "Sum", "comparison": ">", "threshold": 5, "alarm_actions": targets,
        })
    };
    json!({
        "bucket_key": { "kind": "aws.kms_key", "alias": "alias/verify-bucket" },
        "idle_key": { "kind": "aws.kms_key", "alias": "alias/verify-idle" },
        "off_key": { "kind": "aws.kms_key", "alias": "alias/verify-off", "enabled": false },
        "signing_key": {
            "kind": "aws.kms_key", "alias": "alias/verify-signing", "rotation": false,
            "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY",
        },
        "bucket": {
            "kind": "aws.s3_bucket", "name": "verify-kept", "encryption": { "kms_key": "{{ bucket_key.arn }}" },
        },
        "locked": {
            "kind": "aws.s3_bucket", "name": "verify-locked", "object_lock": true,
            "object_lock_retention": { "mode": "governance", "days": 1 },
        },
        "locks": {
            "kind": "aws.dynamodb_table", "name": "verify-locks", "preset": "terraform_lock", "protect": false,
            "deletion_protection": { "off": "a test deletes it" },
        },
        "sessions": {
            "kind": "aws.dynamodb_table", "name": "verify-sessions",
            "hash_key": { "name": "user", "type": "S" }, "range_key": { "name": "started", "type": "N" },
        },
        "person": {
            "kind": "aws.iam_user", "name": "verify-person", "managed_policies": ["{{ reading.arn }}"],
            "inline_policies": { "own": [{ "allow": "sns:Publish", "on": "*" }] },
        },
        "reading": {
            "kind": "aws.iam_policy", "name": "verify-reading",
            "document": [{ "allow": ["s3:Get*", "s3:PutObject"], "on": "arn:aws:s3:::verify-kept/*" }],
        },
        "reader": {
            "kind": "aws.iam_role", "name": "verify-reader", "trust": [{ "service": "ec2.amazonaws.com" }],
            "managed_policies": ["{{ reading.arn }}"],
        },
        "text": {
            "kind": "aws.secret", "name": "verify/text", "value": { "generate": { "length": 20 } },
            "tags": { "rotation_days": "90" },
        },
        "parameter": {
            "kind": "aws.ssm_parameter", "name": "/verify/parameter", "value": "plain", "tags": { "rotation_days": "soon" },
        },
        "person_key": { "kind": "aws.iam_access_key", "user": "{{ person.name }}" },
        "retired": { "kind": "aws.iam_user", "name": "verify-retired" },
        "retired_key": { "kind": "aws.iam_access_key", "user": "{{ retired.name }}", "status": "inactive" },
        "alerts": { "kind": "aws.sns_topic", "name": "verify-alerts" },
        "on_call": {
            "kind": "aws.sns_subscription", "topic": "{{ alerts.arn }}", "protocol": "email",
            "endpoint": "on-call@candlefish.example",
        },
        "quiet": { "kind": "aws.sns_topic", "name": "verify-quiet" },
        "alarm": alarm("verify-alarm", json!(["{{ alerts.arn }}", outside])),
        "quiet_alarm": alarm("verify-quiet-alarm", json!(["{{ quiet.arn }}"])),
    })
}

/// An object and a lock of a verification that was killed long ago.
fn leave_what_a_killed_run_leaves(cluster: &Cluster) {
    let object = s3(&cluster.environment).put_object().bucket("verify-kept");
    let object = object.key(".groundwork-verify/1000000000-ab12").body(b"left".to_vec().into());
    block_on(object.send()).expect("an object");
    let lock = dynamodb(&cluster.environment).put_item().table_name("verify-locks");
    let lock = lock.item("LockID", AttributeValue::S("groundwork-verify".to_owned()));
    block_on(lock.item("Began", AttributeValue::N("1000000000".to_owned())).send()).expect("a lock");
}

/// A fault, the trial that finds it, and how it is undone.
struct Fault<'a> {
    step: &'static str,
    tried: &'static str,
    does: Box<dyn Fn() + 'a>,
    undoes: Box<dyn Fn() + 'a>,
}

fn fault<'a>(
    step: &'static str,
    tried: &'static str,
    does: impl Fn() + 'a,
    undoes: impl Fn() + 'a,
) -> Fault<'a> {
    Fault { step, tried, does: Box::new(does), undoes: Box::new(undoes) }
}

#[test]
fn faults_of_aws_are_found_at_their_step_and_nothing_is_left() {
    let cluster = Cluster::new("verify-aws");
    let aws = config(&cluster.environment.sandbox);
    let outside = make_topic(&aws, "verify-outside");
    cluster.declare(&steps(&outside));
    cluster.apply(&[]);
    let quiet = topic_arn(&outside, "verify-quiet");
    subscribe(&aws, &quiet);

    leave_what_a_killed_run_leaves(&cluster);

    let told = verify(&cluster, &["parameter"]);
    assert_eq!(
        told.with("failed"),
        ["parameter: is younger than its rotation_days (soon)"],
        "{:#}",
        told.report
    );
    let mut mended = steps(&outside);
    mended["parameter"]["tags"]["rotation_days"] = json!("30");
    cluster.declare(&mended);
    cluster.apply(&[]);
    let green = verify(&cluster, &[]);
    assert_eq!(green.code, 0, "{:#}", green.report);
    for (step, tried) in [
        ("bucket_key", "encrypts and decrypts through its alias"),
        ("off_key", "the disabled key is not used"),
        ("signing_key", "gives its public key through its alias"),
        ("bucket", "encrypts an object that asks for no encryption"),
        ("bucket", "keeps what is overwritten"),
        ("bucket", "a reader without credentials is refused"),
        ("bucket", "a writer without credentials is refused"),
        ("locked", "does not give up a locked version, until its lock ends"),
        ("locks", "of two writers of one lock, one gets it"),
        ("sessions", "answers a read"),
        ("person_key", "AWS takes the key for its user's"),
        ("retired_key", "AWS refuses the inactive key"),
        ("alarm", &format!("its topic {outside} exists")),
        ("person", "IAM allows it"),
        ("reader", "IAM allows it"),
        ("text", "is younger than its rotation_days (90)"),
        ("bucket", "removes what a killed verification left: 1"),
        ("quiet", "its alarms reach a subscriber"),
    ] {
        assert!(green.proves(step, tried), "{step}: {tried} is not among {:#?}", green.with("proven"));
    }
    println!("one green verification: {} in {} ms", green.report["api_calls"], green.report["ms"]);
    assert_eq!(left(&cluster), Vec::<String>::new());

    for fault in faults(&cluster, &aws, &outside, &quiet) {
        (fault.does)();
        let found = verify(&cluster, &QUICK);
        let what = format!("{}: {}", fault.step, fault.tried);
        assert_eq!(found.accused(), [fault.step], "{what}: {:#}", found.report);
        assert!(found.with("failed").contains(&what), "{what}: {:#?}", found.with("failed"));
        (fault.undoes)();
    }
    let green = verify(&cluster, &QUICK);
    assert_eq!(green.code, 0, "{:#}", green.report);
    assert_eq!(left(&cluster), Vec::<String>::new());
    tell_no_secret(&cluster);
}

fn faults<'a>(cluster: &'a Cluster, aws: &'a SdkConfig, outside: &'a str, quiet: &'a str) -> Vec<Fault<'a>> {
    let apply = || drop(cluster.apply(&[]));
    let enable = |alias: &'static str, is_enabled: bool| move || enable(aws, alias, is_enabled);
    let activate = |user: &'static str, status: StatusType| move || activate(aws, user, &status);
    let as_declared = groundwork::verify::AS_DECLARED;
    vec![
        fault("bucket", "keeps what is overwritten", || suspend(cluster), apply),
        fault(
            "bucket",
            "encrypts an object that asks for no encryption",
            || encrypt_otherwise(cluster),
            apply,
        ),
        fault("bucket", as_declared, || drop_policy(cluster), apply),
        fault(
            "idle_key",
            "encrypts and decrypts through its alias",
            enable("alias/verify-idle", false),
            enable("alias/verify-idle", true),
        ),
        fault(
            "off_key",
            "the disabled key is not used",
            enable("alias/verify-off", true),
            enable("alias/verify-off", false),
        ),
        fault(
            "person_key",
            "AWS takes the key for its user's",
            activate("verify-person", StatusType::Inactive),
            activate("verify-person", StatusType::Active),
        ),
        fault(
            "retired_key",
            "AWS refuses the inactive key",
            activate("verify-retired", StatusType::Active),
            activate("verify-retired", StatusType::Inactive),
        ),
        fault("locks", as_declared, || delete_table(cluster), apply),
        fault("on_call", as_declared, move || unsubscribe(aws, &topic_arn(outside, "verify-alerts")), apply),
        fault(
            "quiet",
            "its alarms reach a subscriber",
            move || unsubscribe(aws, quiet),
            move || subscribe(aws, quiet),
        ),
        fault(
            "alarm",
            "its topic arn:aws:sns:us-east-1:000000000000:verify-outside exists",
            move || delete_topic(aws, outside),
            || drop(make_topic(aws, "verify-outside")),
        ),
        fault("alarm", as_declared, || switch_alarm(aws, false), || switch_alarm(aws, true)),
    ]
}

fn enable(aws: &SdkConfig, alias: &str, is_enabled: bool) {
    let kms = aws_sdk_kms::Client::new(aws);
    block_on(async {
        let found = kms.describe_key().key_id(alias).send().await.expect("a key");
        let id = found.key_metadata.expect("a key").key_id;
        if is_enabled {
            kms.enable_key().key_id(id).send().await.expect("enabled");
        } else {
            kms.disable_key().key_id(id).send().await.expect("disabled");
        }
    });
}

fn activate(aws: &SdkConfig, user: &str, status: &StatusType) {
    let iam = aws_sdk_iam::Client::new(aws);
    block_on(async {
        let keys = iam.list_access_keys().user_name(user).send().await.expect("keys");
        let key = keys.access_key_metadata[0].access_key_id.clone().expect("an id");
        let request = iam.update_access_key().user_name(user).access_key_id(key);
        request.status(status.clone()).send().await.expect("changed");
    });
}

fn delete_table(cluster: &Cluster) {
    let request = dynamodb(&cluster.environment).delete_table().table_name("verify-locks");
    block_on(request.send()).expect("deleted");
}

fn drop_policy(cluster: &Cluster) {
    let request = s3(&cluster.environment).delete_bucket_policy().bucket("verify-kept");
    block_on(request.send()).expect("deleted");
}

fn delete_topic(aws: &SdkConfig, topic: &str) {
    block_on(aws_sdk_sns::Client::new(aws).delete_topic().topic_arn(topic).send()).expect("deleted");
}

fn switch_alarm(aws: &SdkConfig, is_on: bool) {
    let alarms = aws_sdk_cloudwatch::Client::new(aws);
    block_on(async {
        if is_on {
            alarms.enable_alarm_actions().alarm_names("verify-alarm").send().await.expect("on");
        } else {
            alarms.disable_alarm_actions().alarm_names("verify-alarm").send().await.expect("off");
        }
    });
}

fn suspend(cluster: &Cluster) {
    let suspended = VersioningConfiguration::builder().status(BucketVersioningStatus::Suspended).build();
    let request = s3(&cluster.environment).put_bucket_versioning().bucket("verify-kept");
    block_on(request.versioning_configuration(suspended).send()).expect("suspended");
}

fn encrypt_otherwise(cluster: &Cluster) {
    let by = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256);
    let rule = ServerSideEncryptionRule::builder()
        .apply_server_side_encryption_by_default(by.build().expect("complete"))
        .build();
    let rules = ServerSideEncryptionConfiguration::builder().rules(rule).build().expect("complete");
    let request = s3(&cluster.environment).put_bucket_encryption().bucket("verify-kept");
    block_on(request.server_side_encryption_configuration(rules).send()).expect("changed");
}

fn make_topic(aws: &SdkConfig, name: &str) -> String {
    let made = block_on(aws_sdk_sns::Client::new(aws).create_topic().name(name).send());
    made.expect("a topic").topic_arn.expect("an ARN")
}

/// The ARN of another topic in the same place.
fn topic_arn(beside: &str, name: &str) -> String {
    let (place, _) = beside.rsplit_once(':').expect("an ARN");
    format!("{place}:{name}")
}

fn subscribe(aws: &SdkConfig, topic: &str) {
    let request = aws_sdk_sns::Client::new(aws).subscribe().topic_arn(topic).protocol("email");
    block_on(request.endpoint("somebody@candlefish.example").send()).expect("subscribed");
}

fn unsubscribe(aws: &SdkConfig, topic: &str) {
    let sns = aws_sdk_sns::Client::new(aws);
    block_on(async {
        let found = sns.list_subscriptions_by_topic().topic_arn(topic).send().await.expect("subscriptions");
        for one in found.subscriptions() {
            sns.unsubscribe().set_subscription_arn(one.subscription_arn.clone()).send().await.expect("gone");
        }
    });
}

/// What is in the buckets and the lock table.
fn left(cluster: &Cluster) -> Vec<String> {
    let (s3, dynamodb) = (s3(&cluster.environment), dynamodb(&cluster.environment));
    block_on(async {
        let mut left = Vec::new();
        for bucket in ["verify-kept", "verify-locked"] {
            let found = s3.list_object_versions().bucket(bucket).send().await.expect("versions");
            left.extend(found.versions().iter().filter_map(|one| one.key.clone()));
            left.extend(found.delete_markers().iter().filter_map(|one| one.key.clone()));
        }
        let items = dynamodb.scan().table_name("verify-locks").send().await.expect("items");
        left.extend(items.items().iter().map(|item| format!("{item:?}")));
        left
    })
}

/// No format shows the secret half of a key.
fn tell_no_secret(cluster: &Cluster) {
    let kept = cluster.custody().into_iter().filter(|(name, _)| name.contains("/access-key/"));
    let secrets: Vec<(String, Vec<u8>)> = kept
        .map(|(name, object)| {
            let pair: Value = serde_json::from_slice(&object).expect("JSON");
            (name, text_of(&pair["secret_access_key"]).into())
        })
        .collect();
    assert_eq!(secrets.len(), 2);
    for format in ["human", "json", "junit", "markdown"] {
        let ran = cluster
            .run(&[&["verify", "plan.yaml", "--format", format, "--verbose"], QUICK.as_slice()].concat());
        let text = [ran.stdout, ran.stderr].concat();
        assert!(!text.is_empty(), "{format}");
        assert!(leaks(text.as_bytes(), &secrets).is_empty(), "{format}");
    }
}
