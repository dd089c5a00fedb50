//! Plans that mean harm, from random numbers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ILLEGAL;
use super::stage::{GUESS, KEY, RAW, Stage, Token, World};
use crate::fuzz::Random;
use crate::support::text_of;

/// Makes hostile plans and the worlds that they are looked at in.
pub struct Hostile<'a> {
    pub random: Random,
    pub stage: &'a Stage,
}

impl Hostile<'_> {
    fn chance(&mut self, one_in: usize) -> bool {
        self.random.below(one_in) == 0
    }

    /// A value of a secret. In the first world it is often what the plan guesses.
    fn value(&mut self, token: &Token, first: bool) -> String {
        if first && self.chance(2) {
            return GUESS.to_owned();
        }
        let mut text: String = (0..=self.random.below(40))
            .map(|_| char::from(b'a' + u8::try_from(self.random.below(26)).expect("a letter")))
            .collect();
        text += "-value";
        match self.random.below(if token.in_line || token.depth == 2 { 4 } else { 8 }) {
            0 => token.text.chars().map(|_| 'z').collect(),
            1 => text + "\"'\\<&>{{ data.password }}",
            2 => format!("{{\"user\": \"app\", \"password\": 1, \"{text}\": [true]}}"),
            3 => text,
            4 => text + "\n",
            5 => format!("-----BEGIN {text}-----\nAA==\n-----END-----\n"),
            6 => "0".to_owned(),
            _ => format!("\r\n\t{text}ä\u{f8f2}"),
        }
    }

    pub fn world(&mut self, first: bool) -> World {
        let tokens = &self.stage.tokens;
        let mut values: BTreeMap<&'static str, String> =
            tokens.iter().map(|token| (token.name, self.value(token, first))).collect();
        let key = KEY.get().cloned().unwrap_or_default();
        values.insert("sink", if first { key } else { "another".to_owned() });
        let raw = match self.random.below(3) {
            _ if first => GUESS.into(),
            0 => vec![0xff, 0xfe, b'\n'],
            1 => b"with a line break\n".to_vec(),
            _ => b"longer than the other one by far".to_vec(),
        };
        World { values, raw }
    }

    /// Any source of a field; templates insert those of `before`.
    fn source(&mut self, before: &[String], nested: bool) -> Value {
        match self.random.below(if nested { 7 } else { 8 }) {
            0 | 1 => json!(GUESS),
            2 => json!(format!("other-{}", self.random.below(9))),
            3 => {
                let name = *self.random.pick(&["W_OUTSIDE", "W_DOC", "W_TEXT", "W_PARAMETER", RAW]);
                json!({ "env": name })
            }
            4 => json!({ "file": *self.random.pick(&["filed.key", "raw.key", "guess.txt"]) }),
            5 => json!({ "generate": { "length": 8 + self.random.below(40) } }),
            6 => json!({ "template": self.template(before) }),
            _ => {
                json!({ "json": { "user": self.source(before, true), "password": self.source(before, true) } })
            }
        }
    }

    fn template(&mut self, before: &[String]) -> String {
        let mut text = String::new();
        for _ in 0..=self.random.below(4) {
            match (self.random.below(4), before.is_empty()) {
                (0, _) => text += *self.random.pick(&[GUESS, "db://", "@host", "\n", "\"", " x "]),
                (1, _) => text += "{{ plan.name | upper }}",
                (_, true) => text += "=",
                (_, false) => {
                    let field = self.random.pick(before).clone();
                    let filter =
                        *self.random.pick(&["", "", " | trim", " | urlencode", " | tojson", " | base64"]);
                    text += &format!("{{{{ data['{field}']{filter} }}}}");
                }
            }
        }
        text
    }

    /// Fields of a secret: some as `known`, some of others, some of the plan's own invention.
    fn data(&mut self, known: &Value) -> Value {
        let mut data = Map::new();
        let mut names: Vec<String> =
            known.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        let more = ["password", "user", "a", "doc", "outside", "probe"];
        names.extend(more.into_iter().filter(|_| self.chance(3)).map(str::to_owned).collect::<Vec<_>>());
        names.sort();
        names.dedup();
        for name in names {
            let before: Vec<String> = data.keys().cloned().collect();
            match known.get(&name) {
                Some(source) if !self.chance(3) => data.insert(name, source.clone()),
                Some(_) if self.chance(4) => None,
                _ => {
                    let source = self.source(&before, false);
                    data.insert(name, source)
                }
            };
        }
        if data.is_empty() {
            data.insert("probe".to_owned(), json!(GUESS));
        }
        // A field that was kept may insert one that was not.
        let inserted = ["user", "password"].iter().all(|name| data.contains_key(*name));
        if !inserted && data.get("uri") == known.get("uri") {
            data.shift_remove("uri");
            data.entry("probe").or_insert(json!(GUESS));
        }
        Value::Object(data)
    }

    /// A plan, and how many of its steps are about secrets.
    pub fn plan(&mut self) -> (Value, usize) {
        let mut steps = self.stage.steps.clone();
        let own = steps["own"]["data"].clone();
        let document = steps["document"]["data"].clone();
        steps["own"]["data"] = self.data(&own);
        steps["document"]["data"] = self.data(&document);
        if self.chance(3) {
            steps["document"].as_object_mut().expect("a step").shift_remove("data");
            steps["document"]["value"] = self.source(&[], false);
        }
        let (as_data, from_source) = (self.chance(2), self.chance(2));
        if as_data {
            steps["text"].as_object_mut().expect("a step").shift_remove("value");
            steps["text"]["data"] = self.data(&json!({}));
        } else if from_source {
            steps["text"]["value"] = self.source(&[], false);
        }
        if self.chance(2) {
            steps["parameter"]["value"] = self.source(&[], false);
        }
        if self.chance(2) {
            let path = *self.random.pick(&["sink", "foreign-one", "keys"]);
            let secret = *self.random.pick(&["aws_secret_access_key", "password", "user"]);
            let fields = json!({ "id": "aws_access_key_id", "secret": secret });
            steps["key"]["deliver"] =
                json!([{ "vault_kv": { "mount": "secret", "path": path, "fields": fields } }]);
        }
        for (id, step) in self.foreign() {
            steps.insert(id, step);
        }
        for (_, step) in &mut steps {
            let holds = ["vault.kv_secret", "aws.secret"].contains(&text_of(&step["kind"]));
            if holds && self.chance(3) {
                step["exact"] = json!(true);
            }
        }
        if self.chance(6) {
            let illegal = *self.random.pick(&ILLEGAL);
            steps["own"]["data"]["illegal"] = json!({ "template": illegal });
            steps["own"]["data"]["password"] = json!({ "generate": {} });
        }
        let count = steps.len();
        (Value::Object(steps), count)
    }

    /// Steps at the places of others.
    fn foreign(&mut self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for path in ["foreign-one", "foreign-two"] {
            all.push(json!({ "kind": "vault.kv_secret", "mount": "secret", "path": path, "data": self.data(&json!({})) }));
        }
        for name in ["foreign/text", "foreign/marked"] {
            all.push(match self.chance(2) {
                true => json!({ "kind": "aws.secret", "name": name, "value": self.source(&[], false) }),
                false => json!({ "kind": "aws.secret", "name": name, "data": self.data(&json!({})) }),
            });
        }
        for name in ["/foreign/secure", "/foreign/plain"] {
            all.push(match self.chance(2) {
                true => json!({ "kind": "aws.ssm_parameter", "name": name, "type": "secure_string",
                    "value": self.source(&[], false) }),
                false => json!({ "kind": "aws.ssm_parameter", "name": name, "value": GUESS }),
            });
        }
        let content = *self.random.pick(&[GUESS, "password: x\n"]);
        all.push(
            json!({ "kind": "aws.s3_object", "bucket": "two-worlds", "key": "foreign", "content": content }),
        );
        all.push(json!({ "kind": "file.template", "path": "foreign.conf", "content": content }));
        all.push(json!({ "kind": "vault.server_config", "path": "foreign.hcl",
            "api_addr": "https://a.example.net:8200", "cluster_addr": "https://a.example.net:8201",
            "raft": { "path": "/data", "node_id": "one" },
            "listeners": [{ "address": "0.0.0.0:8200", "tls_disable": true }] }));
        let mut named = Vec::new();
        for (number, mut step) in all.into_iter().enumerate() {
            if self.chance(3) {
                step["adopt"] = json!(true);
            }
            named.push((format!("foreign_{number}"), step));
        }
        named
    }
}
