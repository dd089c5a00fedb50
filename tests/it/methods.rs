//! A stand-in for the auth methods and the engine that HashiCorp Vault has and OpenBao lacks, before a real
//! OpenBao.
//!
//! No HashiCorp Vault can be had for these tests. What is answered here is what its documentation and the
//! plugins' sources say (<https://developer.hashicorp.com/vault/api-docs/auth>,
//! <https://developer.hashicorp.com/vault/api-docs/secret/aws>): which fields there are, how each is read
//! back, and what is refused. Everything else goes to the server behind it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use crate::sweep::http::Message;

/// What is played: where such plugins are listed, what their paths begin with, how the catalogue calls
/// them, and their names.
const PLAYED: [(&str, &str, &str, &[&str]); 2] = [
    ("sys/auth", "auth/", "auth", &["aws", "azure", "gcp", "github"]),
    ("sys/mounts", "", "secret", &["aws"]),
];

/// The stand-in; it ends with the value.
pub struct Methods {
    /// Its URL.
    pub url: String,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Methods {
    /// A stand-in before the server at `url`.
    pub fn before(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let side =
            Arc::new(Side { server: url.trim_start_matches("http://").to_owned(), kept: Mutex::default() });
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let side = Arc::clone(&side);
                // A client that went away is no failure of the stand-in.
                std::thread::spawn(move || side.serve(&client).unwrap_or_default());
            }
        });
        Self { url: format!("http://{address}"), address, stop }
    }
}

impl Drop for Methods {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

/// What is mounted, path to type, and what is in it, path to fields.
#[derive(Default)]
struct Kept {
    mounted: BTreeMap<String, String>,
    things: BTreeMap<String, Map<String, Value>>,
}

struct Side {
    server: String,
    kept: Mutex<Kept>,
}

/// What is answered: a status, and `data`.
type Answer = (u16, Value);

impl Side {
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        let Some(request) = Message::request(client)? else { return Ok(()) };
        let mut parts = request.start.split(' ');
        let (method, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let path = path.trim_start_matches("/v1/");
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let played = self.kept.lock().expect("unpoisoned").play(method, path, &body);
        let answer = match played {
            Some(_) if request.header("x-vault-token").is_none() => reply((403, json!("permission denied"))),
            Some(answer) => reply(answer),
            None => self.forward(request.clone(), path)?,
        };
        client.write_all(&answer.bytes())?;
        client.shutdown(Shutdown::Both)
    }

    fn forward(&self, mut request: Message, path: &str) -> io::Result<Message> {
        // An answer to HTTP/1.0 comes in one piece.
        request.start = request.start.replace("HTTP/1.1", "HTTP/1.0");
        let mut server = TcpStream::connect(&self.server)?;
        server.write_all(&request.bytes())?;
        let answer = Message::answer(&server)?;
        let is_list = path == "sys/plugins/catalog" || PLAYED.iter().any(|(list, ..)| *list == path);
        if !is_list || !request.start.starts_with("GET") || !answer.is_success() {
            return Ok(answer);
        }
        let mut told: Value = serde_json::from_slice(&answer.body)?;
        self.kept.lock().expect("unpoisoned").add_to(path, &mut told);
        Ok(Message::reply(200, "application/json", &told.to_string()))
    }
}

fn reply((status, data): Answer) -> Message {
    let body = match (status, data) {
        (400.., Value::String(error)) => json!({ "errors": [error] }).to_string(),
        (400.., _) => json!({ "errors": [] }).to_string(),
        (204, _) => String::new(),
        (_, data) => json!({ "data": data }).to_string(),
    };
    Message::reply(status, "application/json", &body)
}

impl Kept {
    /// Adds what is played to what the server lists.
    fn add_to(&self, path: &str, told: &mut Value) {
        for (list, prefix, class, names) in PLAYED {
            if path == "sys/plugins/catalog" {
                let known = told["data"][class].as_array_mut().expect("a list of plugins");
                known.extend(names.iter().map(|name| json!(name)));
            }
            for (at, name) in self.mounted.iter().filter(|(at, _)| path == list && begin(at) == prefix) {
                let config =
                    json!({ "default_lease_ttl": 0, "max_lease_ttl": 0, "token_type": "default-service" });
                told["data"][format!("{}/", at.trim_start_matches(prefix))] = json!({
                    "type": name, "description": "", "accessor": format!("{class}_{name}_1"), "config": config,
                    "local": false, "seal_wrap": false, "options": null,
                });
            }
        }
    }

    /// The answer to a request that is about what is played.
    fn play(&mut self, method: &str, path: &str, body: &Value) -> Option<Answer> {
        for (list, prefix, _, names) in PLAYED {
            if let Some(at) = path.strip_prefix(list).and_then(|rest| rest.strip_prefix('/')) {
                return self.mount(method, format!("{prefix}{at}"), names, body);
            }
        }
        let (at, rest) = path.trim_start_matches("auth/").split_once('/')?;
        let at = format!("{}{at}", begin(path));
        let endpoint = endpoint(&at, self.mounted.get(&at)?, rest);
        Some(match (endpoint, method) {
            (None, _) => (404, Value::Null),
            (Some(endpoint), "GET") => match self.things.get(&path.to_lowercase()) {
                Some(kept) => (200, (endpoint.tell)(kept)),
                None => endpoint.unset.map_or((404, Value::Null), |unset| (200, unset)),
            },
            (Some(_), "DELETE") => {
                self.things.remove(&path.to_lowercase());
                (204, Value::Null)
            }
            (Some(endpoint), _) => self.write(&endpoint, &path.to_lowercase(), body),
        })
    }

    fn mount(&mut self, method: &str, at: String, names: &[&str], body: &Value) -> Option<Answer> {
        let name = body["type"].as_str().unwrap_or_default();
        match method {
            "POST" | "PUT" if names.contains(&name) => {
                self.mounted.insert(at, name.to_owned());
                Some((204, Value::Null))
            }
            "DELETE" => {
                self.mounted.remove(&at)?;
                self.things.retain(|path, _| !path.starts_with(&format!("{at}/")));
                Some((204, Value::Null))
            }
            _ => None,
        }
    }

    /// What a request leaves out stays as it was, or becomes what a new thing has.
    fn write(&mut self, endpoint: &Endpoint, path: &str, body: &Value) -> Answer {
        let before = self.things.get(path);
        let mut kept = before.cloned().unwrap_or_default();
        for (name, form, default) in &endpoint.fields {
            match body.get(*name) {
                Some(value) => kept.insert((*name).to_owned(), form.keep(value)),
                None if endpoint.whole || before.is_none() => {
                    kept.insert((*name).to_owned(), default.clone())
                }
                None => None,
            };
        }
        if let Some(error) = (endpoint.refuse)(before, &kept, body) {
            return (400, json!(error));
        }
        self.things.insert(path.to_owned(), kept);
        (204, Value::Null)
    }
}

/// What the paths of a mounted plugin begin with.
fn begin(path: &str) -> &'static str {
    if path.starts_with("auth/") { "auth/" } else { "" }
}

/// How a field is kept.
#[derive(Clone, Copy)]
enum Form {
    /// As it comes.
    AsIs,
    /// Networks, those of a single address without their length.
    Networks,
    /// Names of HTTP headers in their canonical form.
    Headers,
    /// An address that ends with a slash.
    Base,
    /// Seconds, told in nanoseconds.
    Nanoseconds,
    /// A list of `key:value`, told as a map.
    Labels,
    /// A JSON text without its whitespace.
    Document,
}

impl Form {
    fn keep(self, value: &Value) -> Value {
        let texts = || value.as_array().into_iter().flatten().filter_map(Value::as_str);
        match self {
            Self::AsIs => value.clone(),
            Self::Networks => texts().map(|network| network.trim_end_matches("/32")).collect(),
            Self::Headers => texts().map(canonical).collect(),
            Self::Base => json!(format!("{}/", value.as_str().unwrap_or_default().trim_end_matches('/'))),
            Self::Nanoseconds => json!(value.as_u64().unwrap_or_default() * 1_000_000_000),
            Self::Document => {
                let text = value.as_str().unwrap_or_default();
                json!(
                    serde_json::from_str(text)
                        .map_or(text.to_owned(), |document: Value| document.to_string())
                )
            }
            Self::Labels => {
                let pairs = texts().filter_map(|label| label.split_once(':'));
                Value::Object(pairs.map(|(key, value)| (key.to_owned(), json!(value))).collect())
            }
        }
    }
}

/// As Go's `textproto.CanonicalMIMEHeaderKey` writes it.
fn canonical(name: &str) -> String {
    let part = |part: &str| {
        let (first, rest) = part.split_at(1.min(part.len()));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split('-').map(part).collect::<Vec<_>>().join("-")
}

type Field = (&'static str, Form, Value);
type Fields = Map<String, Value>;

/// A path of a method.
struct Endpoint {
    fields: Vec<Field>,
    /// Why a request is refused, given what was there, what would be, and the request.
    refuse: fn(Option<&Fields>, &Fields, &Value) -> Option<&'static str>,
    /// What is told of what is kept.
    tell: fn(&Fields) -> Value,
    /// What is told of what was never written.
    unset: Option<Value>,
    /// Whether a write is of the whole: what it leaves out becomes what a new thing has.
    whole: bool,
}

impl Endpoint {
    fn of(fields: Vec<Field>) -> Self {
        Self { fields, refuse: |_, _, _| None, tell: |kept| json!(kept), unset: None, whole: false }
    }
}

/// Fields that are told as they came and are empty at first.
fn plain(names: &[&'static str], default: &Value) -> Vec<Field> {
    names.iter().map(|name| (*name, Form::AsIs, default.clone())).collect()
}

/// The fields of tokens, which all roles have.
fn token_fields() -> Vec<Field> {
    let mut fields = plain(
        &["token_ttl", "token_max_ttl", "token_explicit_max_ttl", "token_period", "token_num_uses"],
        &json!(0),
    );
    fields.push(("token_policies", Form::AsIs, json!([])));
    fields.push(("token_no_default_policy", Form::AsIs, json!(false)));
    fields.push(("token_type", Form::AsIs, json!("default")));
    fields.push(("token_bound_cidrs", Form::Networks, json!([])));
    fields
}

fn with_id(mut told: Value) -> Value {
    told["role_id"] = json!("6bbfab2b-ca32-6044-4829-4515728d87b1");
    told
}

fn without(kept: &Fields, hidden: &[&str]) -> Value {
    kept.iter()
        .filter(|(name, _)| !hidden.contains(&name.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

fn endpoint(at: &str, plugin: &str, path: &str) -> Option<Endpoint> {
    let (folder, _) = path.rsplit_once('/').unwrap_or((path, ""));
    if begin(at).is_empty() {
        return match folder {
            "config" if path == "config/root" => Some(aws_root()),
            "roles" => Some(aws_engine_role()),
            _ => None,
        };
    }
    match (plugin, folder) {
        ("aws", "config") if path == "config/client" => Some(aws_client()),
        ("aws", "config/sts") => Some(Endpoint::of(plain(&["sts_role", "external_id"], &json!("")))),
        ("aws", "role") => Some(aws_role()),
        ("gcp", "config") => Some(gcp_config()),
        ("gcp", "role") => Some(gcp_role()),
        ("azure", "config") => Some(azure_config()),
        ("azure", "role") => Some(azure_role()),
        ("github", "config") => Some(github_config()),
        ("github", "map/teams" | "map/users") => {
            let fields = vec![("value", Form::AsIs, json!(""))];
            Some(Endpoint { unset: Some(json!({ "key": "", "value": "" })), ..Endpoint::of(fields) })
        }
        _ => None,
    }
}

fn aws_client() -> Endpoint {
    let texts = [
        "access_key",
        "secret_key",
        "endpoint",
        "iam_endpoint",
        "sts_endpoint",
        "sts_region",
        "iam_server_id_header_value",
        "role_arn",
    ];
    let mut fields = plain(&texts, &json!(""));
    fields.push(("use_sts_region_from_client", Form::AsIs, json!(false)));
    fields.push(("max_retries", Form::AsIs, json!(-1)));
    fields.push(("allowed_sts_header_values", Form::Headers, Value::Null));
    Endpoint { tell: |kept| without(kept, &["secret_key"]), ..Endpoint::of(fields) }
}

/// Every write of the engine's configuration is of the whole: what is left out is as in a new one.
fn aws_root() -> Endpoint {
    let texts = ["access_key", "secret_key", "region", "iam_endpoint", "sts_endpoint"];
    let mut fields = plain(&texts, &json!(""));
    fields.push(("max_retries", Form::AsIs, json!(-1)));
    Endpoint { whole: true, tell: |kept| without(kept, &["secret_key"]), ..Endpoint::of(fields) }
}

fn aws_engine_role() -> Endpoint {
    let mut fields = plain(&["role_arns", "policy_arns", "iam_groups", "iam_tags"], &Value::Null);
    fields.extend(plain(&["credential_type", "user_path", "permissions_boundary_arn"], &json!("")));
    fields.extend(plain(&["default_sts_ttl", "max_sts_ttl"], &json!(0)));
    fields.push(("policy_document", Form::Document, json!("")));
    let refuse = |_: Option<&Fields>, kept: &Fields, _: &Value| {
        let of = |kind: &str| kept["credential_type"] == kind;
        let given = |name: &str| !is_empty(&kept[name]);
        let lasts = |name: &str| kept[name].as_u64().is_some_and(|seconds| seconds > 0);
        match () {
            () if !["iam_user", "assumed_role", "federation_token", "session_token"]
                .iter()
                .any(|kind| of(kind)) =>
            {
                Some("unrecognized credential_type")
            }
            () if given("role_arns") && !of("assumed_role") => {
                Some("cannot supply role_arns when credential_type isn't assumed_role")
            }
            () if of("assumed_role") && !given("role_arns") => {
                Some("must supply role_arns when credential_type is assumed_role")
            }
            () if (lasts("default_sts_ttl") || lasts("max_sts_ttl")) && of("iam_user") => {
                Some("default_sts_ttl is only valid for assumed_role, federation_token and session_token")
            }
            () if given("user_path") && !of("iam_user") => {
                Some("user_path parameter only valid for iam_user credential type")
            }
            () if given("permissions_boundary_arn") && !of("iam_user") => {
                Some("cannot supply permissions_boundary_arn when credential_type isn't iam_user")
            }
            () => None,
        }
    };
    Endpoint { refuse, ..Endpoint::of(fields) }
}

const OF_INSTANCES: [&str; 7] = [
    "bound_account_id",
    "bound_ami_id",
    "bound_ec2_instance_id",
    "bound_iam_instance_profile_arn",
    "bound_iam_role_arn",
    "bound_subnet_id",
    "bound_vpc_id",
];

fn aws_role() -> Endpoint {
    let mut fields = token_fields();
    fields.extend(plain(&OF_INSTANCES, &json!([])));
    fields.extend(plain(&["bound_iam_principal_arn", "bound_region"], &json!([])));
    fields.extend(plain(&["inferred_entity_type", "inferred_aws_region", "role_tag"], &json!("")));
    fields.extend(plain(&["allow_instance_migration", "disallow_reauthentication"], &json!(false)));
    fields.push(("auth_type", Form::AsIs, json!("iam")));
    fields.push(("resolve_aws_unique_ids", Form::AsIs, json!(true)));
    Endpoint { refuse: refuse_aws_role, tell: |kept| with_id(json!(kept)), ..Endpoint::of(fields) }
}

fn refuse_aws_role(before: Option<&Fields>, kept: &Fields, body: &Value) -> Option<&'static str> {
    let is_ec2 = kept["auth_type"] == "ec2";
    let given = |names: &[&str]| names.iter().any(|name| body.get(*name).is_some());
    let bound = |name: &str| !is_empty(&kept[name]);
    let changes = |name: &str| before.is_some_and(|before| before[name] != kept[name]);
    let inferred = bound("inferred_entity_type");
    match () {
        () if changes("auth_type") => Some("changing auth_type on a role is not allowed"),
        () if changes("resolve_aws_unique_ids") && kept["resolve_aws_unique_ids"] == false => {
            Some("changing resolve_aws_unique_ids from true to false is not allowed")
        }
        () if !is_ec2 && given(&["role_tag", "disallow_reauthentication", "allow_instance_migration"]) => {
            Some("tried to enable role_tag when not using ec2 auth method")
        }
        () if inferred != bound("inferred_aws_region") => {
            Some("specified inferred_entity_type but not inferred_aws_region")
        }
        () if !is_ec2 && !inferred && OF_INSTANCES.iter().any(|name| bound(name)) => {
            Some("specified bound_account_id but not specifying ec2 auth_type or inferring ec2_instance")
        }
        () if !is_ec2 && bound("bound_region") => {
            Some("specified bound_region but not specifying ec2 auth_type")
        }
        () if is_ec2 && bound("bound_iam_principal_arn") => {
            Some("specified bound_iam_principal_arn but not specifying iam auth_type")
        }
        () if !OF_INSTANCES
            .iter()
            .chain(&["bound_region", "bound_iam_principal_arn"])
            .any(|name| bound(name)) =>
        {
            Some("at least one bound parameter should be specified on the role")
        }
        () => None,
    }
}

/// What the Google Cloud method notes by default.
fn noted() -> [(&'static str, Value); 2] {
    [
        ("iam_metadata", json!(["project_id", "role", "service_account_id", "service_account_email"])),
        ("gce_metadata", json!(["instance_id", "project_id", "role", "zone"])),
    ]
}

fn gcp_config() -> Endpoint {
    let mut fields = plain(&["credentials", "iam_alias", "gce_alias", "custom_endpoint"], &Value::Null);
    fields.extend(noted().map(|(name, default)| (name, Form::AsIs, default)));
    let tell = |kept: &Fields| {
        let credentials = kept["credentials"].as_str().unwrap_or_default();
        let credentials: Value = serde_json::from_str(credentials).unwrap_or_default();
        let mut told = without(kept, &["credentials"]);
        for name in ["client_email", "project_id", "private_key_id"] {
            told[name] = credentials[name].clone();
        }
        told.as_object()
            .into_iter()
            .flatten()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect()
    };
    let refuse = |_: Option<&Fields>, kept: &Fields, _: &Value| {
        let known =
            |name: &str, values: &[&str]| kept[name].as_str().is_none_or(|alias| values.contains(&alias));
        let known =
            known("iam_alias", &["role_id", "unique_id"]) && known("gce_alias", &["role_id", "instance_id"]);
        (!known).then_some("invalid alias type")
    };
    let unset = Value::Object(noted().map(|(name, value)| (name.to_owned(), value)).into_iter().collect());
    Endpoint { tell, refuse, unset: Some(unset), ..Endpoint::of(fields) }
}

const OF_GCE: [&str; 4] = ["bound_zones", "bound_regions", "bound_instance_groups", "bound_labels"];
const OF_IAM: [&str; 2] = ["max_jwt_exp", "allow_gce_inference"];

fn gcp_role() -> Endpoint {
    let mut fields = token_fields();
    fields.push(("type", Form::AsIs, json!("")));
    fields.push(("add_group_aliases", Form::AsIs, json!(false)));
    fields.extend(plain(&["bound_service_accounts", "bound_projects"], &json!([])));
    fields.extend(plain(&OF_GCE[..3], &json!([])));
    fields.push(("bound_labels", Form::Labels, json!({})));
    fields.push(("max_jwt_exp", Form::AsIs, json!(900)));
    fields.push(("allow_gce_inference", Form::AsIs, json!(true)));
    let refuse = |before: Option<&Fields>, kept: &Fields, body: &Value| {
        let foreign: &[&str] = if kept["type"] == "iam" { &OF_GCE } else { &OF_IAM };
        match () {
            () if foreign.iter().any(|name| body.get(*name).is_some()) => {
                Some("invalid args found for role of type")
            }
            () if before.is_some_and(|before| before["type"] != kept["type"]) => {
                Some("role type cannot be changed")
            }
            () if kept["type"] == "iam" && is_empty(&kept["bound_service_accounts"]) => {
                Some("IAM role type must have at least one service account")
            }
            () => None,
        }
    };
    // What is empty, or belongs to the other type, is left out.
    let tell = |kept: &Fields| {
        let foreign: &[&str] = if kept["type"] == "iam" { &OF_GCE } else { &OF_IAM };
        let told = kept.iter().filter(|(name, value)| {
            !foreign.contains(&name.as_str()) && (name.starts_with("token_") || !is_empty(value))
        });
        with_id(told.map(|(k, v)| (k.clone(), v.clone())).collect())
    };
    Endpoint { refuse, tell, ..Endpoint::of(fields) }
}

fn azure_config() -> Endpoint {
    let texts = ["tenant_id", "resource", "environment", "client_id", "client_secret"];
    let mut fields = plain(&texts, &json!(""));
    fields.push(("root_password_ttl", Form::AsIs, json!(15_768_000)));
    fields.push(("max_retries", Form::AsIs, json!(3)));
    fields.push(("retry_delay", Form::Nanoseconds, json!(4_000_000_000_u64)));
    fields.push(("max_retry_delay", Form::Nanoseconds, json!(60_000_000_000_u64)));
    Endpoint { tell: |kept| without(kept, &["client_secret"]), ..Endpoint::of(fields) }
}

fn azure_role() -> Endpoint {
    const BOUNDS: [&str; 6] = [
        "bound_service_principal_ids",
        "bound_group_ids",
        "bound_locations",
        "bound_subscription_ids",
        "bound_resource_groups",
        "bound_scale_sets",
    ];
    let mut fields = token_fields();
    fields.extend(plain(&BOUNDS, &Value::Null));
    let refuse = |_: Option<&Fields>, kept: &Fields, _: &Value| {
        let nobody = BOUNDS.iter().all(|name| is_empty(&kept[*name]));
        nobody.then_some("must have at least one bound constraint when creating/updating a role")
    };
    Endpoint { refuse, ..Endpoint::of(fields) }
}

fn github_config() -> Endpoint {
    let mut fields = token_fields();
    fields.push(("organization", Form::AsIs, json!("")));
    // The method asks GitHub when it is not told.
    fields.push(("organization_id", Form::AsIs, json!(9919)));
    fields.push(("base_url", Form::Base, json!("")));
    let refuse = |_: Option<&Fields>, kept: &Fields, _: &Value| {
        is_empty(&kept["organization"]).then_some("organization is a required parameter")
    };
    Endpoint { refuse, ..Endpoint::of(fields) }
}
