//! The shapes dockerd's answers have, recorded from it (`testdata/shapes.json`): every key path and its type.
//! Only tests use them.

use serde_json::Value;
use std::collections::BTreeMap;

fn paths(value: &Value, at: &str, out: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let slot = out.entry(at.to_owned()).or_insert(kind);
    if *slot == "null" {
        *slot = kind;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let id = key.len() >= 12 && key.len() <= 64 && key.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                paths(value, &format!("{at}.{}", if id { "<id>" } else { key }), out);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| paths(value, &format!("{at}[]"), out)),
        _ => {}
    }
}

/// Panics with what the recording `name` has and `value` has not.
pub fn holds(name: &str, value: &Value) {
    let all: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(include_str!("../testdata/shapes.json")).expect("the recordings are JSON");
    let recorded = all.get(name).unwrap_or_else(|| panic!("no recording {name}"));
    let mut ours = BTreeMap::new();
    paths(value, "", &mut ours);
    let missing: Vec<String> = recorded
        .iter()
        .filter(|(path, kind)| ours.get(path.as_str()) != Some(&kind.as_str()))
        .map(|(path, kind)| format!("{path}: {} instead of {kind}", ours.get(path.as_str()).unwrap_or(&"missing")))
        .collect();
    assert!(missing.is_empty(), "{name}: {missing:#?}");
}
