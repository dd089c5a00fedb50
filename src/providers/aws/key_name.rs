//! The KMS key of a resource under any of its names: services return an ARN, an id, or the alias that
//! was set.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::AwsClient;
use super::kms_key;
use crate::error::{ErrorKind, Result};

/// A live key, with the known aliases.
#[derive(Clone, Debug, Default)]
pub struct LiveKey {
    /// The service's name for it; `None` for the default key of AWS.
    pub name: Option<String>,
    aliases: Arc<HashMap<String, String>>,
}

impl LiveKey {
    /// Adds the aliases; one list serves all steps. A caller that may not list aliases compares the
    /// names as they are.
    pub async fn named(client: &AwsClient, name: Option<String>) -> Result<Self> {
        if name.is_none() {
            return Ok(Self::default());
        }
        let aliases = match kms_key::aliases(client).await {
            Err(error) if error.kind == ErrorKind::Denied => Arc::default(),
            aliases => aliases?,
        };
        Ok(Self { name, aliases })
    }

    /// Whether it is the declared one.
    pub fn is(&self, declared: Option<&str>) -> bool {
        let live = self.name.as_deref();
        let ids = live.and_then(|live| self.id(live)).zip(declared.and_then(|declared| self.id(declared)));
        kms_key::is_same_key(live, declared) || ids.is_some_and(|(live, declared)| live == declared)
    }

    /// The id of the key behind a name.
    fn id<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        match name.find("alias/") {
            Some(start) => self.aliases.get(&name[start..]).map(String::as_str),
            None => name.rsplit('/').next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_matches_any_of_its_names() {
        let arn = "arn:aws:kms:us-east-1:123456789012:key/abc";
        let aliases = Arc::new(HashMap::from([("alias/x".to_owned(), "abc".to_owned())]));
        let live = |name: &str| LiveKey { name: Some(name.to_owned()), aliases: aliases.clone() };
        let names = [arn, "abc", "alias/x", "arn:aws:kms:us-east-1:123456789012:alias/x"];
        for (live_name, declared) in names.iter().flat_map(|a| names.iter().map(move |b| (a, b))) {
            assert!(live(live_name).is(Some(declared)), "{live_name} is {declared}");
        }
        assert!(!live(arn).is(Some("alias/y")) && !live(arn).is(None) && !live("alias/x").is(Some("abd")));
        assert!(LiveKey::default().is(None) && !LiveKey::default().is(Some("abc")));
    }
}
