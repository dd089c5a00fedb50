//! What a request is, told from outside of the tool.

use super::http::Message;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// The AWS emulator.
    Aws,
    /// A Vault node.
    Vault,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Who is asked.
    pub service: Service,
    /// What is asked, without anything that changes from run to run.
    pub label: String,
    /// Whether it can change something.
    pub writes: bool,
    /// Whether it carries a Vault token.
    pub authenticated: bool,
    notation: Notation,
}

/// How a service writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    Json,
    Query,
    S3,
    Vault,
}

/// Requests whose answer comes only once, as the journal names them.
pub const ONCE: [(&str, &str); 2] =
    [("iam:CreateAccessKey", "iam:CreateAccessKey"), ("POST sys/init", "sys/init")];

impl Call {
    /// What `request` asks `service`.
    pub fn of(service: Service, request: &Message) -> Self {
        let mut words = request.start.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (label, writes, notation) = match service {
            Service::Vault => vault(method, target),
            Service::Aws => aws(method, target, request),
        };
        Self { service, label, writes, authenticated: request.header("x-vault-token").is_some(), notation }
    }

    /// The operation in the journal, when the answer comes only once.
    pub fn once(&self) -> Option<&'static str> {
        ONCE.iter().find(|(label, _)| self.label.starts_with(label)).map(|(_, operation)| *operation)
    }

    /// What is asked, without what it is asked about.
    pub fn operation(&self) -> &str {
        self.label.split(' ').next().unwrap_or_default()
    }

    /// An internal error.
    pub fn error(&self) -> Message {
        match self.notation {
            Notation::Vault => Message::reply(500, "application/json", r#"{"errors":["internal error"]}"#),
            _ => self.aws_error(500, "InternalFailure", "InternalError"),
        }
    }

    /// Too many requests.
    pub fn throttled(&self) -> Message {
        match self.notation {
            Notation::Vault => {
                Message::reply(429, "application/json", r#"{"errors":["rate limit quota exceeded"]}"#)
            }
            Notation::S3 => self.aws_error(503, "", "SlowDown"),
            _ => self.aws_error(400, "ThrottlingException", "Throttling"),
        }
    }

    /// The caller may not.
    pub fn denied(&self) -> Message {
        match self.notation {
            Notation::Vault => Message::reply(403, "application/json", r#"{"errors":["permission denied"]}"#),
            Notation::Json => self.aws_error(400, "AccessDeniedException", ""),
            _ => self.aws_error(403, "", "AccessDenied"),
        }
    }

    /// The KMS key must be enabled first.
    pub fn disabled(&self) -> Message {
        self.aws_error(400, "DisabledException", "")
    }

    fn aws_error(&self, status: u16, json: &str, xml: &str) -> Message {
        const TEXT: &str = "made by the test";
        let error = format!("<Error><Type>Sender</Type><Code>{xml}</Code><Message>{TEXT}</Message></Error>");
        match self.notation {
            Notation::Json => {
                let body = format!(r#"{{"__type":"{json}","message":"{TEXT}"}}"#);
                Message::reply(status, "application/x-amz-json-1.1", &body)
            }
            Notation::S3 => Message::reply(status, "application/xml", &error),
            _ => Message::reply(status, "text/xml", &format!("<ErrorResponse>{error}</ErrorResponse>")),
        }
    }
}

fn vault(method: &str, target: &str) -> (String, bool, Notation) {
    let path = target.trim_start_matches("/v1/").split('?').next().unwrap_or_default();
    let path = if method == "LIST" || target.contains("list=true") {
        format!("{path} (list)")
    } else {
        path.to_owned()
    };
    let method = if method == "PUT" { "POST" } else { method };
    let reads = matches!(method, "GET" | "LIST" | "HEAD")
        || path.ends_with("/login")
        || path == "sys/capabilities-self"
        || path == "auth/token/lookup-self";
    (format!("{method} {path}"), !reads, Notation::Vault)
}

fn aws(method: &str, target: &str, request: &Message) -> (String, bool, Notation) {
    if let Some(operation) = request.header("x-amz-target").and_then(|name| name.rsplit('.').next()) {
        return (format!("{}:{operation}", scope(request)), changes(operation), Notation::Json);
    }
    if let Some(operation) = request.field("Action") {
        let thing = ["UserName", "RoleName", "PolicyName"].iter().find_map(|name| request.field(name));
        let thing = thing.map(|thing| format!(" {thing}")).unwrap_or_default();
        let label = format!("{}:{operation}{thing}", scope(request));
        return (label, changes(&operation), Notation::Query);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let keys: Vec<&str> = query.split('&').filter_map(|pair| pair.split('=').next()).collect();
    let keys: Vec<&str> = keys.into_iter().filter(|key| !key.is_empty() && *key != "x-id").collect();
    (
        format!("s3:{method} {} {}", undated(path), keys.join("&")).trim_end().to_owned(),
        !matches!(method, "GET" | "HEAD"),
        Notation::S3,
    )
}

/// The path of an object without the time in its name, which backups have: `…/20261128T083212Z-76.snap`.
fn undated(path: &str) -> String {
    let parts = path.split('/').map(|part| {
        let is_dated = part.len() > 16 && part.as_bytes()[8] == b'T' && part.as_bytes()[15] == b'Z';
        let end = part.find('.').filter(|_| is_dated && part[..8].bytes().all(|byte| byte.is_ascii_digit()));
        end.map_or(part.to_owned(), |end| format!("TIME{}", &part[end..]))
    });
    parts.collect::<Vec<_>>().join("/")
}

/// The service in the signature: `…/20260101/us-east-1/iam/aws4_request`.
fn scope(request: &Message) -> &str {
    request.header("authorization").and_then(|text| text.split('/').nth(3)).unwrap_or("aws")
}

fn changes(operation: &str) -> bool {
    const READING: [&str; 8] =
        ["Get", "BatchGet", "List", "Describe", "Head", "Simulate", "Encrypt", "Decrypt"];
    !READING.iter().any(|prefix| operation.starts_with(prefix))
}
