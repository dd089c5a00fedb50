//! A Vault server past the program, and its own description of what it takes.

use serde_json::{Map, Value};

use super::vault::Profile;

/// The server, past the program.
pub(super) struct Server {
    http: reqwest::Client,
    address: String,
    token: String,
}

/// What the server refused.
pub(super) type Refused = String;

impl Server {
    pub(super) fn here() -> Self {
        let variable = |name: &str| std::env::var(name).expect("started by the outer test");
        // Some requests break the server's connection.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        Self { http, address: variable("VAULT_ADDR"), token: variable("VAULT_TOKEN") }
    }

    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refused> {
        let verb = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let url = format!("{}/v1/{path}", self.address);
        let mut request = self.http.request(verb, url).header("X-Vault-Token", &self.token);
        if !body.is_null() {
            let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
            request = request.header("Content-Type", kind).body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
        match status.is_success() {
            true => Ok(serde_json::from_str(&text).unwrap_or_default()),
            false => Err(format!("{status} {text}")),
        }
    }

    pub(super) async fn read(&self, path: &str) -> Result<Map<String, Value>, Refused> {
        let answer = self.ask("GET", path, &Value::Null).await?;
        let fields = answer.get("data").filter(|data| data.is_object()).unwrap_or(&answer);
        Ok(fields.as_object().cloned().unwrap_or_default())
    }

    /// OpenBao's description of its whole API, with the mounts that it has.
    pub(super) async fn description(&self) -> Value {
        let path = "sys/internal/specs/openapi";
        self.ask("GET", path, &Value::Null).await.expect("a description")
    }
}

/// What the server says of one path: whether it takes patches, and the fields that can be written.
pub(super) struct Described {
    pub(super) method: &'static str,
    pub(super) fields: Map<String, Value>,
}

/// The description of a path, by the template that fits it best: the one with the most words of it.
pub(super) fn described(description: &Value, path: &str) -> Option<Described> {
    let wanted: Vec<&str> = path.split('/').collect();
    let paths = description["paths"].as_object()?;
    let rated = paths.iter().filter_map(|(template, operations)| {
        let parts: Vec<&str> = template.trim_start_matches('/').split('/').collect();
        Some((fit(&parts, &wanted)?, operations))
    });
    let (_, operations) = rated.max_by_key(|(words, _)| *words)?;
    let schema = |operation: &Value| {
        let schema = operation["requestBody"]["content"].as_object()?.values().next()?["schema"].clone();
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
        let schema = name.map_or(schema.clone(), |name| description["components"]["schemas"][name].clone());
        schema["properties"].as_object().cloned()
    };
    let method = if operations.get("patch").is_some() { "PATCH" } else { "POST" };
    Some(Described { method, fields: schema(&operations["post"]).unwrap_or_default() })
}

/// How many words a template has in common with a path that it describes; a parameter stands for one
/// word or more.
pub(super) fn fit(template: &[&str], path: &[&str]) -> Option<usize> {
    match (template, path) {
        ([], []) => Some(0),
        ([part, template @ ..], [_, rest @ ..]) if part.starts_with('{') => {
            fit(template, rest).or_else(|| fit(&[&[*part], template].concat(), rest))
        }
        ([part, template @ ..], [word, rest @ ..]) if part == word => Some(fit(template, rest)? + 1),
        _ => None,
    }
}

/// Whether two values are the same; there are servers that say of nothing that it is `null`.
pub(super) fn same(one: Option<&Value>, other: Option<&Value>) -> bool {
    let is_nothing = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        Some(_) => false,
    };
    one == other || is_nothing(one) && is_nothing(other)
}

/// Where the fields of a thing are.
pub(super) struct Place<'a> {
    pub(super) server: &'a Server,
    pub(super) read: String,
    pub(super) write: String,
    pub(super) method: &'static str,
}

impl Place<'_> {
    pub(super) async fn read(&self, profile: &Profile) -> Result<Map<String, Value>, Refused> {
        let mut fields = self.server.read(&self.read).await?;
        for path in &profile.also {
            fields.extend(self.server.read(path).await?);
        }
        fields.retain(|name, _| !profile.moving.contains(name));
        Ok(fields)
    }

    /// Writes these fields, and those that every write must have.
    pub(super) async fn write(
        &self,
        profile: &Profile,
        mut fields: Map<String, Value>,
    ) -> Result<(), Refused> {
        fields.retain(|_, value| !value.is_null());
        let with = profile.with.iter().filter(|(name, _)| !fields.contains_key(*name));
        let with: Map<String, Value> = with.map(|(name, value)| (name.clone(), value.clone())).collect();
        fields.extend(with);
        self.server.ask(self.method, &self.write, &Value::Object(fields)).await.map(drop)
    }

    /// Gives the field the first of `values` that is legal. What the thing is then, if that worked.
    pub(super) async fn set(
        &self,
        profile: &Profile,
        before: &Map<String, Value>,
        name: &str,
        values: Vec<Value>,
    ) -> Result<Option<Map<String, Value>>, Refused> {
        for value in values {
            let mut only = profile.together.get(name).cloned().unwrap_or_default();
            only.insert(name.to_owned(), value);
            let mut all = before.clone();
            // The new name of an old one would win.
            all.remove(&format!("token_{name}"));
            all.extend(only.clone());
            // A patch is what it says; other writes may replace what they leave out.
            let bodies = if self.method == "PATCH" || profile.merges { vec![only] } else { vec![all, only] };
            for body in bodies {
                if self.write(profile, body).await.is_err() {
                    continue;
                }
                let after = self.read(profile).await?;
                let differs = |key: &String| !same(after.get(key), before.get(key));
                if after.keys().any(differs) {
                    return Ok(Some(after));
                }
            }
        }
        Ok(None)
    }
}
