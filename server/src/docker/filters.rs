//! Docker's filters: JSON in a query value, in either of its two forms.

use engine::{Error, Filters, Result};
use serde_json::Value;

/// Reads `{"label": ["a=b"]}` or the older `{"label": {"a=b": true}}` (which today's CLI still sends). Every key must be one
/// of `keys`; one without values asks for nothing.
///
/// # Errors
/// `Invalid`, with Docker's text for a key it does not know.
pub fn parse(text: Option<&str>, keys: &[&str]) -> Result<Filters> {
    let filters = read(text)?;
    match filters.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(Error::invalid(format!("invalid filter '{key}'"))),
        None => Ok(filters.into_iter().filter(|(_, values)| !values.is_empty()).collect()),
    }
}

/// The same, dropping keys that are not among `keys`.
pub fn parse_some(text: Option<&str>, keys: &[&str]) -> Result<Filters> {
    let filters = read(text)?;
    Ok(filters.into_iter().filter(|(key, values)| keys.contains(&key.as_str()) && !values.is_empty()).collect())
}

fn read(text: Option<&str>) -> Result<Filters> {
    let mut filters = Filters::new();
    let text = text.unwrap_or_default();
    if text.is_empty() {
        return Ok(filters);
    }
    let invalid = || Error::invalid(format!("invalid filter: expected JSON as in {{\"label\":[\"a=b\"]}}, got {text}"));
    let Value::Object(map) = serde_json::from_str(text).map_err(|_| invalid())? else { return Err(invalid()) };
    for (key, value) in map {
        let values: Vec<String> = match value {
            Value::Array(list) => {
                let text = |value| match value {
                    Value::String(text) => Ok(text),
                    _ => Err(invalid()),
                };
                list.into_iter().map(text).collect::<Result<_>>()?
            }
            Value::Object(set) if set.values().all(Value::is_boolean) => set.into_iter().map(|(value, _)| value).collect(),
            _ => return Err(invalid()),
        };
        filters.insert(key, values);
    }
    Ok(filters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let keys = ["label", "name"];
        let parsed = parse(Some(r#"{"label":["a=b","c"],"name":{"x":true,"y":false}}"#), &keys).unwrap();
        assert_eq!(parsed["label"], ["a=b", "c"]);
        assert_eq!(parsed["name"], ["x", "y"]);
        for nothing in [None, Some(""), Some("{}"), Some(r#"{"label":[]}"#), Some(r#"{"label":{}}"#)] {
            assert!(parse(nothing, &keys).unwrap().is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_not_a_filter() {
        let text = |t| parse(Some(t), &["label"]).unwrap_err().to_string();
        assert_eq!(text(r#"{"nosuch":["1"]}"#), "invalid filter 'nosuch'");
        for bad in ["{x", "[]", r#""label""#, r#"{"label":"a"}"#, r#"{"label":[1]}"#, r#"{"label":{"a":1}}"#] {
            assert!(text(bad).starts_with("invalid filter"), "{bad}");
        }
    }
}
