//! Passwords in URLs and connection strings, in the notations that web servers, directories and
//! databases take.

use std::ops::Range;

use super::mask::MASK;

/// Keys of passwords in connection strings, in lower case.
const PASSWORDS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "sslpassword",
    "bindpw",
    "x-bindpw",
    "bindpass",
    "bindpassword",
    "accountkey",
    "sharedaccesskey",
    "sharedaccesssignature",
];
/// Keys that stand beside a password in a connection string and not in other text, in lower case.
const COMPANIONS: [&str; 22] = [
    "accountname",
    "address",
    "addr",
    "bindname",
    "data source",
    "database",
    "dbname",
    "driver",
    "dsn",
    "endpoint",
    "host",
    "hostaddr",
    "initial catalog",
    "port",
    "server",
    "service",
    "sslmode",
    "uid",
    "user",
    "user id",
    "userid",
    "username",
];
/// Words before a colon that are not users.
const NO_USERS: [&str; 10] = ["mailto", "acct", "sip", "sips", "xmpp", "urn", "arn", "tel", "sha256", "ssh"];
/// Schemes whose servers take an `@` in a path.
const WITH_PATHS: [&str; 6] = ["http", "https", "ldap", "ldaps", "s3", "file"];
/// The quotes that end a stretch of text in a file.
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// The passwords in the addresses that stand in a text of any kind.
pub fn passwords(text: &str) -> Vec<Range<usize>> {
    let mut found = in_urls(text);
    found.extend(in_driver_names(text));
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let moved = |range: Range<usize>| range.start + start..range.end + start;
        found.extend(in_pairs(line, false).into_iter().map(moved));
        start += line.len();
    }
    merged(found)
}

/// The passwords in a value that is one address or connection string. This covers notations that, in
/// the middle of a file, look like other text.
pub fn passwords_of(value: &str) -> Vec<Range<usize>> {
    let mut found = in_pairs(value, true);
    if found.is_empty() {
        found.extend(in_user_info(value));
    }
    found.extend(passwords(value));
    merged(found)
}

/// In the order of the text, with those that overlap made one.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut all: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// Whether a field of this name holds an address.
pub fn is_address_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = ["url", "uri", "urls", "dsn", "address", "addr", "endpoint", "connection_string"];
    ends.iter().any(|end| name == *end || name.strip_suffix(end).is_some_and(|rest| rest.ends_with('_')))
}

/// `SCHEME://USER:PASSWORD@HOST`.
fn in_urls(text: &str) -> Vec<Range<usize>> {
    let is_end = |c: char| c.is_whitespace() || "<>/?#".contains(c) || QUOTES.contains(&c);
    let urls = text.match_indices("://").filter_map(|(at, mark)| {
        let authority = text[at + mark.len()..].split(is_end).next()?;
        literal(text, authority.rsplit_once('@')?.0)
    });
    urls.collect()
}

/// `USER:PASSWORD@tcp(HOST)`.
fn in_driver_names(text: &str) -> Vec<Range<usize>> {
    let is_end = |c: char| c.is_whitespace() || QUOTES.contains(&c);
    let marks = ["@tcp(", "@tcp6(", "@unix(", "@udp("].iter().flat_map(|mark| text.match_indices(mark));
    let found = marks.filter_map(|(at, _)| {
        let user = text[..at].rsplit(is_end).next()?;
        literal(text, user.rsplit_once("://").map_or(user, |(_, user)| user))
    });
    found.collect()
}

/// `USER:PASSWORD@HOST/NAME` with or without a scheme, and Oracle's `USER/PASSWORD@HOST:PORT/NAME`.
fn in_user_info(value: &str) -> Option<Range<usize>> {
    let (scheme, body) = value.split_once("://").unwrap_or(("", value));
    let end = if WITH_PATHS.contains(&scheme) { body.find('/') } else { None };
    let (user, host) = body[..end.unwrap_or(body.len())].rsplit_once('@')?;
    let user =
        [":thin:", ":oci:"].iter().find_map(|mark| user.split_once(mark)).map_or(user, |(_, user)| user);
    let name = user.split([':', '/']).next()?.to_ascii_lowercase();
    if name.contains(char::is_whitespace) || NO_USERS.contains(&name.as_str()) {
        return None;
    }
    match user[name.len()..].chars().next()? {
        '/' if scheme.is_empty() && is_oracle_host(host) => {
            let password = &user[name.len() + 1..];
            (!is_placeholder(password)).then(|| range(value, password))
        }
        ':' => literal(value, user).filter(|found| !begins_with_port(&value[found.clone()])),
        _ => None,
    }
}

/// `//HOST`, `HOST:PORT/NAME`, a description in brackets, or a name that is described elsewhere.
fn is_oracle_host(host: &str) -> bool {
    let is_name = |host: &str| host.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c));
    host.starts_with("//")
        || host.starts_with('(')
        || host.contains(':') && host.contains('/')
        || is_name(host)
}

/// In `HOST:PORT/PATH@REST` there is no password.
fn begins_with_port(password: &str) -> bool {
    password.split_once('/').is_some_and(|(port, _)| port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The password after `USER:`, unless it is none in truth; `user` is a part of `text`.
fn literal(text: &str, user: &str) -> Option<Range<usize>> {
    let (_, password) = user.split_once(':')?;
    (!is_placeholder(password)).then(|| range(text, password))
}

/// `host=HOST password=PASSWORD`, `Server=HOST;Password=PASSWORD`, `URL?password=PASSWORD`. Of a
/// `whole` value, quotes belong to the password.
fn in_pairs(text: &str, whole: bool) -> Vec<Range<usize>> {
    let lower = text.to_ascii_lowercase();
    let keys = |names: &[&str]| {
        let all = names.iter().flat_map(|name| lower.match_indices(name)).filter_map(|(at, name)| {
            let before = lower[..at].chars().next_back();
            let value = lower[at + name.len()..].trim_start_matches(' ').strip_prefix('=')?;
            let begins =
                before.is_none_or(|c| c.is_whitespace() || ";&?,!({".contains(c) || QUOTES.contains(&c));
            begins.then(|| (before, lower.len() - value.len()))
        });
        all.collect::<Vec<_>>()
    };
    let in_string = !keys(&COMPANIONS).is_empty();
    let found = keys(&PASSWORDS).into_iter().filter(|(before, at)| {
        let in_query = before.is_some_and(|c| "?&;".contains(c)) && lower[..*at].contains("://");
        in_string || in_query
    });
    let passwords = found.map(|(before, at)| value(text[at..].trim_start_matches(' '), before, whole));
    passwords.filter(|password| !is_placeholder(password)).map(|password| range(text, password)).collect()
}

/// A value at the beginning of `text`, whose key comes after `before`.
fn value(text: &str, before: Option<char>, whole: bool) -> &str {
    let closing = match text.chars().next() {
        Some(quote) if QUOTES.contains(&quote) => Some(quote),
        Some('{') if !text.starts_with("{{") => Some('}'),
        _ => None,
    };
    if let Some(inside) = closing.and_then(|closing| text[1..].split_once(closing)) {
        return inside.0;
    }
    let ends: &[char] = match before {
        Some('?' | '&') => &['&', '#', ' ', '\t', '\n'],
        Some(',' | '!') => &[',', '\n'],
        Some(';') => &[';', '\n'],
        _ if text.contains(';') => &[';', '\n'],
        _ => &[' ', '\t', '\n'],
    };
    text.split(|c| ends.contains(&c) || !whole && QUOTES.contains(&c)).next().unwrap_or_default().trim_end()
}

/// Whether this is not a password but a placeholder for one, or a masked one.
fn is_placeholder(password: &str) -> bool {
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let between = |start, end| {
        password
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(end))
            .is_some_and(|name| !name.is_empty())
    };
    ["{{", "{%", "${", "%s", MASK].iter().any(|mark| password.contains(mark))
        || password.strip_prefix('$').is_some_and(is_word)
        || between('<', '>')
        || between('{', '}')
        || password.chars().all(|c| "*•….xX".contains(c))
        // A value that is not known yet.
        || password.contains(|c: char| ('\u{e000}'..='\u{f8ff}').contains(&c))
}

/// Where `part` is in `text`, of which it is a slice.
fn range(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str, ranges: Vec<Range<usize>>) -> Vec<&str> {
        ranges.into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn passwords_are_found_in_every_notation() {
        for value in [
            "postgres://app:hunter2@db.example.net/app",
            "redis://:hunter2@cache:6379/0",
            "mongodb+srv://app:hunter2@a.example.net,b.example.net/app?tls=true",
            "sqlserver://sa:hunter2@db:1433?database=app",
            "jdbc:mysql://app:hunter2@db/app",
            "https://hook:hunter2@hooks.example.net/notify",
            "ldaps://admin:hunter2@ldap.example.net",
            "app:hunter2@tcp(db:3306)/app?parseTime=true",
            "app:hunter2@unix(/run/mysqld.sock)/app",
            "host=db user=app password=hunter2 dbname=app",
            "host = db password = 'hunter2' user = app",
            "password=hunter2 host=db",
            "Server=db;Database=app;User Id=sa;Password=hunter2;Encrypt=true",
            "Driver={ODBC Driver 18};Server=db;UID=sa;PWD={hunter2}",
            "sqlserver://db:1433?user id=sa&password=hunter2&database=app",
            "jdbc:sqlserver://db:1433;user=sa;password=hunter2;encrypt=true",
            "jdbc:postgresql://db/app?user=app&password=hunter2",
            "ldap://ldap.example.net/dc=x????!bindname=cn=admin,x-bindpw=hunter2",
        ] {
            assert_eq!(cut(value, passwords(value)), ["hunter2"], "{value}");
            assert_eq!(cut(value, passwords_of(value)), ["hunter2"], "{value}");
            let text = format!("# a file\nurl: \"{value}\"\nnext: 1\n");
            assert_eq!(cut(&text, passwords(&text)), ["hunter2"], "{text}");
        }
    }

    #[test]
    fn whole_value_allows_further_password_notations() {
        for (value, password) in [
            ("app:hunter2@db.example.net/app", "hunter2"),
            ("app:hunter2@/app", "hunter2"),
            ("scott/hunter2@db:1521/orcl", "hunter2"),
            ("scott/hunter2@//db:1521/orcl", "hunter2"),
            ("scott/hunter2@orcl", "hunter2"),
            ("Server=tcp:db,1433;Password=a@b;Database=app", "a@b"),
            ("jdbc:oracle:thin:scott/hunter2@//db:1521/orcl", "hunter2"),
            ("postgres://app:hunt/er#2@db/app", "hunt/er#2"),
            ("postgres://app:p@ss:w0rd$@db/app", "p@ss:w0rd$"),
            ("Server=db;Password=two words;Database=app", "two words"),
        ] {
            assert_eq!(cut(value, passwords_of(value)), [password], "{value}");
        }
    }

    #[test]
    fn placeholders_and_other_text_have_no_password() {
        for value in [
            "postgresql://{{username}}:{{password}}@db.example.internal:5432/orders",
            "{{username}}:{{password}}@tcp(db:3306)/",
            "{{username}}/{{password}}@//db:1521/orcl",
            "sqlserver://{{username}}:{{password}}@db:1433",
            "server=db;user id={{username}};password={{password}}",
            "host=db password=${PASSWORD} user=app",
            "postgres://app:$PASSWORD@db/app",
            "postgres://app:<password>@db/app",
            "postgres://app:****@db/app",
            "jdbc:oracle:thin:@//db:1521/orcl",
            "https://example.net/a:b@c",
            "postgres://db:5432/app?application_name=a@b",
            "https://vault.example.net:8200",
            "arn:aws:sqs:us-east-1:123456789012:alerts",
            "mailto:ops@example.net",
            "on-call@example.net",
            "password=hunter2",
            "registry.example.net/app@sha256:0011",
            "",
        ] {
            assert!(passwords_of(value).is_empty() && passwords(value).is_empty(), "{value}");
        }
    }

    #[test]
    fn address_fields_are_known_by_their_names() {
        for name in ["connection_url", "url", "endpoint", "iam_endpoint", "VAULT_ADDR", "api_addr", "dsn"] {
            assert!(is_address_field(name), "{name}");
        }
        for name in ["allowed_uri_sans", "name", "curl", "x_forwarded_for_authorized_addrs"] {
            assert!(!is_address_field(name), "{name}");
        }
    }

    #[test]
    fn any_text_can_be_searched() {
        for text in ["ä://ö:ü@", "@tcp(", "password=", "é=é;password=é", "İ password=x host=y", "://:@", "/@"]
        {
            let _ = (passwords(text), passwords_of(text));
        }
    }
}
