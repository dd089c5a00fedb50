//! Conditions of statements: <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::super::as_list;
use super::Truth;
use super::pattern::covers;

/// What is known of a request: the values of a key, or that it has none. Keys are in lower case, but for what
/// follows a `/`. Nothing is known of a key that is not here.
#[derive(Clone, Debug, Default)]
pub struct Context(BTreeMap<String, Option<Vec<String>>>);

impl Context {
    /// The same with the values of one more key.
    #[must_use]
    pub fn with(mut self, key: &str, values: &[&str]) -> Self {
        self.0.insert(folded(key), Some(values.iter().map(|value| (*value).to_owned()).collect()));
        self
    }

    /// The same with one more key that the request certainly lacks.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.0.insert(folded(key), None);
        self
    }

    /// What is known of a key: its values, or none.
    pub(super) fn get(&self, key: &str) -> Option<Option<&[String]>> {
        self.0.get(&folded(key)).map(|values| values.as_deref())
    }
}

/// Keys are case-insensitive, except for the names of tags.
fn folded(key: &str) -> String {
    match key.split_once('/') {
        Some((name, rest)) => format!("{}/{rest}", name.to_ascii_lowercase()),
        None => key.to_ascii_lowercase(),
    }
}

/// Whether all conditions of a statement are fulfilled. `fill` puts values into the variables of a text, if
/// they are known.
pub(super) fn met(conditions: &Value, context: &Context, fill: &dyn Fn(&str) -> Option<String>) -> Truth {
    let mut open = Vec::new();
    for (operator, keys) in conditions.as_object().into_iter().flatten() {
        for (key, values) in keys.as_object().into_iter().flatten() {
            let values: Vec<String> = as_list(Some(values)).iter().map(text).collect();
            let known: Option<Vec<String>> = values.iter().map(|value| fill(value)).collect();
            let answer = known.and_then(|values| single(operator, context.get(key), &values));
            match answer {
                Some(true) => {}
                Some(false) => return Truth::No,
                None => open.push(described(operator, key, &values)),
            }
        }
    }
    if open.is_empty() { Truth::Yes } else { Truth::Maybe(open.join(" and ")) }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn described(operator: &str, key: &str, values: &[String]) -> String {
    format!("{operator} {key} {}", values.join(" | "))
}

/// Operators that want no value to fit.
fn is_negated(operator: &str) -> bool {
    operator.contains("not")
}

/// One condition; `None` where it depends on what is not known.
fn single(operator: &str, actual: Option<Option<&[String]>>, expected: &[String]) -> Option<bool> {
    let lower = operator.to_ascii_lowercase();
    let actual = actual?;
    if lower == "null" {
        let wants_none = expected.first().is_none_or(|value| value.eq_ignore_ascii_case("true"));
        return Some(actual.is_none() == wants_none);
    }
    let (lower, if_exists) = match lower.strip_suffix("ifexists") {
        Some(rest) => (rest, true),
        None => (lower.as_str(), false),
    };
    let (quantifier, lower) = match lower.split_once(':') {
        Some((quantifier, rest)) => (quantifier, rest),
        None => ("", lower),
    };
    let Some(values) = actual else {
        let absent_is_fine = if_exists || quantifier == "forallvalues";
        return Some(absent_is_fine || (quantifier != "foranyvalue" && is_negated(lower)));
    };
    let fits = |value: &String| {
        let one = |expected: &String| compare(lower, value, expected);
        if is_negated(lower) { expected.iter().all(one) } else { expected.iter().any(one) }
    };
    Some(match quantifier {
        "forallvalues" => values.iter().all(fits),
        _ => values.iter().any(fits),
    })
}

/// Compares a value of the request with one of the policy.
fn compare(operator: &str, actual: &str, expected: &str) -> bool {
    let number = |wanted: fn(Ordering) -> bool| {
        let numbers = (actual.parse::<f64>().ok(), expected.parse::<f64>().ok());
        matches!(numbers, (Some(a), Some(b)) if a.partial_cmp(&b).is_some_and(wanted))
    };
    let date = |wanted: fn(Ordering) -> bool| matches!((time(actual), time(expected)), (Some(a), Some(b)) if wanted(a.cmp(&b)));
    match operator {
        "stringequals" | "binaryequals" => actual == expected,
        "stringnotequals" => actual != expected,
        "stringequalsignorecase" | "bool" => actual.eq_ignore_ascii_case(expected),
        "stringnotequalsignorecase" => !actual.eq_ignore_ascii_case(expected),
        "stringlike" => covers(expected, actual),
        "stringnotlike" => !covers(expected, actual),
        "arnequals" | "arnlike" => is_arn_like(actual, expected),
        "arnnotequals" | "arnnotlike" => !is_arn_like(actual, expected),
        "ipaddress" => in_network(actual, expected),
        "notipaddress" => !in_network(actual, expected),
        "numericequals" => number(Ordering::is_eq),
        "numericnotequals" => number(Ordering::is_ne),
        "numericlessthan" => number(Ordering::is_lt),
        "numericlessthanequals" => number(Ordering::is_le),
        "numericgreaterthan" => number(Ordering::is_gt),
        "numericgreaterthanequals" => number(Ordering::is_ge),
        "dateequals" => date(Ordering::is_eq),
        "datenotequals" => date(Ordering::is_ne),
        "datelessthan" => date(Ordering::is_lt),
        "datelessthanequals" => date(Ordering::is_le),
        "dategreaterthan" => date(Ordering::is_gt),
        "dategreaterthanequals" => date(Ordering::is_ge),
        _ => false,
    }
}

/// Each of the six parts of an ARN is compared by itself, so that a `*` does not reach over a colon.
fn is_arn_like(actual: &str, expected: &str) -> bool {
    let (actual_parts, parts): (Vec<&str>, Vec<&str>) =
        (actual.splitn(6, ':').collect(), expected.splitn(6, ':').collect());
    match parts.len() == 6 && actual_parts.len() == 6 {
        true => parts.iter().zip(&actual_parts).all(|(pattern, part)| covers(pattern, part)),
        false => covers(expected, actual),
    }
}

fn time(text: &str) -> Option<Timestamp> {
    let as_date = || format!("{text}T00:00:00Z").parse().ok();
    let as_seconds = || Timestamp::from_second(text.parse().ok()?).ok();
    text.parse().ok().or_else(as_seconds).or_else(as_date)
}

fn in_network(address: &str, network: &str) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse::<u32>().ok()),
        None => (network, None),
    };
    match (address.parse::<IpAddr>(), base.parse::<IpAddr>()) {
        (Ok(IpAddr::V4(address)), Ok(IpAddr::V4(base))) => {
            let length = length.unwrap_or(32).min(32);
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (Ok(IpAddr::V6(address)), Ok(IpAddr::V6(base))) => {
            let length = length.unwrap_or(128).min(128);
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn met_by(conditions: &Value) -> Truth {
        let context = Context::default()
            .with("aws:PrincipalArn", &["arn:aws:iam::1:role/app"])
            .with("aws:TagKeys", &["a", "b"])
            .with("n", &["5"])
            .with("aws:SourceIp", &["10.1.2.3"])
            .with("time", &["2026-11-28T00:00:00Z"])
            .with("aws:PrincipalTag/Team", &["blue"])
            .without("aws:MultiFactorAuthPresent");
        met(conditions, &context, &|text| Some(text.to_owned()))
    }

    #[test]
    fn operators_compare_as_documented() {
        let rows = [
            (json!({ "StringEquals": { "AWS:principalARN": "arn:aws:iam::1:role/app" } }), true),
            (json!({ "StringNotLike": { "aws:PrincipalArn": ["*x", "*app"] } }), false),
            (json!({ "ArnLike": { "aws:PrincipalArn": "arn:aws:iam::*:role/a*" } }), true),
            (json!({ "ArnNotEquals": { "aws:PrincipalArn": "arn:*:iam:*:1:role/*" } }), false),
            (json!({ "StringLike": { "aws:PrincipalArn": "arn:aws:*:role/app" } }), true),
            (json!({ "NumericLessThanEquals": { "n": "5" }, "NumericNotEquals": { "n": 4 } }), true),
            (json!({ "IpAddress": { "aws:SourceIp": ["192.168.0.0/16", "10.0.0.0/8"] } }), true),
            (json!({ "NotIpAddress": { "aws:SourceIp": "10.1.2.3" } }), false),
            (json!({ "DateGreaterThan": { "time": "2026-01-01" } }), true),
            (json!({ "DateLessThan": { "time": "1700000000" } }), false),
            (json!({ "Bool": { "aws:MultiFactorAuthPresent": "true" } }), false),
            (json!({ "BoolIfExists": { "aws:MultiFactorAuthPresent": "true" } }), true),
            (json!({ "Null": { "aws:MultiFactorAuthPresent": "true" } }), true),
            (json!({ "StringNotEquals": { "aws:MultiFactorAuthPresent": "x" } }), true),
            (json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["a", "b", "c"] } }), true),
            (json!({ "ForAllValues:StringEquals": { "aws:TagKeys": ["a"] } }), false),
            (json!({ "ForAnyValue:StringEquals": { "aws:TagKeys": ["b"] } }), true),
            (json!({ "StringEquals": { "aws:PrincipalTag/Team": "blue" } }), true),
        ];
        for (conditions, expected) in rows {
            assert_eq!(met_by(&conditions) == Truth::Yes, expected, "{conditions}");
        }
    }

    #[test]
    fn unknown_keys_leave_a_condition_open() {
        let open = json!({ "StringEquals": { "sts:ExternalId": "7c1f", "n": "5" } });
        assert_eq!(met_by(&open), Truth::Maybe("StringEquals sts:ExternalId 7c1f".to_owned()));
        let closed = json!({ "StringEquals": { "sts:ExternalId": "7c1f", "n": "6" } });
        assert_eq!(met_by(&closed), Truth::No);
        assert!(matches!(
            met_by(&json!({ "StringEquals": { "aws:PrincipalTag/team": "blue" } })),
            Truth::Maybe(_)
        ));
    }
}
