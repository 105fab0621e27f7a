//! Docker's list filters: keys AND, values of a key OR, labels AND. A key that a list does not know is an error.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// Docker's filters: key → values.
pub type Filters = BTreeMap<String, Vec<String>>;

/// Refuses keys that are not `known`.
pub(crate) fn check_keys(filters: &Filters, known: &[&str]) -> Result<()> {
    match filters.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
        None => Ok(()),
    }
}

/// The values of a key, or `None` when the filter was not asked.
pub(crate) fn values<'a>(filters: &'a Filters, key: &str) -> Option<&'a [String]> {
    filters.get(key).filter(|values| !values.is_empty()).map(Vec::as_slice)
}

/// Whether one of the key's values is `value`.
pub(crate) fn is(filters: &Filters, key: &str, value: &str) -> bool {
    values(filters, key).is_none_or(|wanted| wanted.iter().any(|w| w == value))
}

/// Whether one of the key's values is `value` or matches it as a regular expression, as Docker's name and id filters do.
pub(crate) fn matches(filters: &Filters, key: &str, value: &str) -> bool {
    values(filters, key).is_none_or(|wanted| {
        wanted
            .iter()
            .any(|w| w == value || regex::RegexBuilder::new(w).size_limit(1 << 16).build().is_ok_and(|pattern| pattern.is_match(value)))
    })
}

/// Whether all values `name` or `name=value` of the key hold of `labels`.
pub(crate) fn labels(filters: &Filters, key: &str, labels: &BTreeMap<String, String>) -> bool {
    values(filters, key).is_none_or(|wanted| wanted.iter().all(|w| has_label(labels, w)))
}

/// Whether none of the values of `label!` holds.
pub(crate) fn lacks_labels(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    values(filters, "label!").is_none_or(|wanted| !wanted.iter().any(|w| has_label(labels, w)))
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
        None => labels.contains_key(wanted),
    }
}

/// A filter that is true or false, as Docker reads it.
pub(crate) fn flag(filters: &Filters, key: &str) -> Result<Option<bool>> {
    let Some(values) = values(filters, key) else { return Ok(None) };
    let one = |value: &str| match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("invalid filter '{key}={value}'"))),
    };
    let first = one(&values[0])?;
    for value in &values[1..] {
        if one(value)? != first {
            return Err(Error::invalid(format!("invalid filter '{key}': it is both true and false")));
        }
    }
    Ok(Some(first))
}

/// The `until` filter of prunes: a Unix time, an RFC 3339 time, or an age (`24h`, `1h30m`).
pub(crate) fn until(filters: &Filters) -> Result<Option<jiff::Timestamp>> {
    let Some(values) = values(filters, "until") else { return Ok(None) };
    if values.len() > 1 {
        return Err(Error::invalid("more than one until filter specified"));
    }
    let text = &values[0];
    let invalid = || Error::invalid(format!("invalid until filter {text:?}: expected a Unix time, an RFC 3339 time or an age such as 24h"));
    if let Ok(seconds) = text.parse::<f64>() {
        return jiff::Timestamp::from_nanosecond((seconds * 1e9) as i128).map(Some).map_err(|_| invalid());
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(time));
    }
    if let Ok(age) = text.parse::<jiff::SignedDuration>() {
        return jiff::Timestamp::now().checked_sub(age).map(Some).map_err(|_| invalid());
    }
    let local = text.parse::<jiff::civil::DateTime>().map_err(|_| invalid())?;
    jiff::tz::TimeZone::UTC.to_timestamp(local).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &[&str])]) -> Filters {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), v.iter().map(|s| (*s).to_owned()).collect())).collect()
    }

    #[test]
    fn keys_and_values_or_labels_and() {
        let labels_of = BTreeMap::from([("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
        assert!(labels(&of(&[("label", &["a", "b=2"])]), "label", &labels_of));
        assert!(!labels(&of(&[("label", &["a", "b=3"])]), "label", &labels_of));
        assert!(lacks_labels(&of(&[("label!", &["c", "a=2"])]), &labels_of));
        assert!(!lacks_labels(&of(&[("label!", &["c", "a=1"])]), &labels_of));
        assert!(matches(&of(&[("name", &["^web", "db"])]), "name", "mydb"));
        assert!(!matches(&of(&[("name", &["^web"])]), "name", "myweb"));
        assert!(matches(&of(&[("name", &["we("])]), "name", "we("), "an exact value need not be a pattern");
        assert!(is(&of(&[]), "status", "anything"));
        assert_eq!(check_keys(&of(&[("foo", &["1"])]), &["name"]).unwrap_err().to_string(), "invalid filter 'foo'");
    }

    #[test]
    fn until_takes_times_and_ages() {
        assert_eq!(until(&of(&[("until", &["10.5"])])).unwrap().unwrap().as_millisecond(), 10_500);
        assert_eq!(until(&of(&[("until", &["1970-01-01T00:00:10Z"])])).unwrap().unwrap().as_second(), 10);
        let hour_ago = until(&of(&[("until", &["1h"])])).unwrap().unwrap();
        assert!((jiff::Timestamp::now().as_second() - hour_ago.as_second() - 3600).abs() < 5);
        assert!(until(&of(&[("until", &["soon"])])).is_err());
        assert!(flag(&of(&[("dangling", &["maybe"])]), "dangling").is_err());
        assert_eq!(flag(&of(&[("dangling", &["1", "true"])]), "dangling").unwrap(), Some(true));
    }
}
