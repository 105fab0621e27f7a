//! Reading JSON requests as Docker's decoder does, but without letting anything slip by.
//!
//! Docker decodes with Go: keys match without regard to case, `null` is the same as absent, unknown keys are dropped. The
//! last is dangerous on a shared host (a misspelt `"ReadonlyRootFs": true` must not give a writable container), so here a
//! key nobody asked for is an error unless its value is the default one. Each request type takes its fields by name from
//! a [`Fields`] and ends with [`Fields::finish`].

use engine::{Error, Result};
use serde_json::Value;
use std::collections::BTreeMap;

/// A JSON object whose fields are being taken. Keys are kept in lower case beside their own spelling.
pub struct Fields {
    at: String,
    fields: BTreeMap<String, (String, Value)>,
}

/// The JSON type's name, as a person would say it.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether Go would decode this to a type's zero value: such a value asks for nothing.
fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_default),
    }
}

impl Fields {
    /// The fields of `value`, which stands at `at` in the request (empty: it is the request). `null` has none.
    ///
    /// # Errors
    /// `Invalid` when it is no object, or has one key in two spellings (which one counts would depend on the reader).
    pub fn of(at: &str, value: Value) -> Result<Self> {
        let map = match value {
            Value::Null => serde_json::Map::new(),
            Value::Object(map) => map,
            other => {
                let at = if at.is_empty() { "the request body" } else { at };
                return Err(Error::invalid(format!("invalid JSON: {at}: expected an object, got {}", kind(&other))));
            }
        };
        let mut fields = BTreeMap::new();
        for (key, value) in map {
            if let Some((other, _)) = fields.insert(key.to_lowercase(), (key.clone(), value)) {
                return Err(Error::invalid(format!("invalid JSON: {key} is given twice (also as {other})")));
            }
        }
        Ok(Self { at: at.to_owned(), fields })
    }

    fn name(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    fn expected(&self, key: &str, what: &str, got: &Value) -> Error {
        Error::invalid(format!("invalid JSON: {}: expected {what}, got {}", self.name(key), kind(got)))
    }

    /// Takes a field as it is; absent is `null`.
    pub fn value(&mut self, key: &str) -> Value {
        self.fields.remove(&key.to_lowercase()).map_or(Value::Null, |(_, v)| v)
    }

    /// Takes a text; absent is empty.
    pub fn text(&mut self, key: &str) -> Result<String> {
        Ok(self.text_or_absent(key)?.unwrap_or_default())
    }

    /// Takes a text that may be absent.
    pub fn text_or_absent(&mut self, key: &str) -> Result<Option<String>> {
        match self.value(key) {
            Value::Null => Ok(None),
            Value::String(s) => Ok(Some(s)),
            other => Err(self.expected(key, "a string", &other)),
        }
    }

    /// Takes a boolean; absent is false.
    pub fn flag(&mut self, key: &str) -> Result<bool> {
        Ok(self.flag_or_absent(key)?.unwrap_or_default())
    }

    /// Takes a boolean that may be absent.
    pub fn flag_or_absent(&mut self, key: &str) -> Result<Option<bool>> {
        match self.value(key) {
            Value::Null => Ok(None),
            Value::Bool(b) => Ok(Some(b)),
            other => Err(self.expected(key, "a boolean", &other)),
        }
    }

    /// Takes a whole number; absent is 0.
    pub fn int(&mut self, key: &str) -> Result<i64> {
        Ok(self.int_or_absent(key)?.unwrap_or_default())
    }

    /// Takes a whole number that may be absent.
    pub fn int_or_absent(&mut self, key: &str) -> Result<Option<i64>> {
        match self.value(key) {
            Value::Null => Ok(None),
            Value::Number(n) if n.is_i64() => Ok(n.as_i64()),
            other => Err(self.expected(key, "a whole number of 64 bits", &other)),
        }
    }

    /// Takes a number that must fit a narrower type; absent is its default.
    pub fn number<T: TryFrom<i64> + Default>(&mut self, key: &str) -> Result<T> {
        let n = self.int(key)?;
        T::try_from(n).map_err(|_| Error::invalid(format!("invalid JSON: {}: {n} is out of range", self.name(key))))
    }

    /// Takes a list of texts; absent is empty.
    pub fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        Ok(self.texts_or_absent(key)?.unwrap_or_default())
    }

    /// Takes a list of texts; `null` and absent differ from `[]`.
    pub fn texts_or_absent(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        match self.value(key) {
            Value::Null => Ok(None),
            Value::Array(list) => {
                let mut texts = Vec::with_capacity(list.len());
                for item in list {
                    match item {
                        Value::String(s) => texts.push(s),
                        other => return Err(self.expected(key, "a list of strings", &other)),
                    }
                }
                Ok(Some(texts))
            }
            other => Err(self.expected(key, "a list of strings", &other)),
        }
    }

    /// Takes a list of texts that clients may also write as one text (Docker's `strslice`).
    pub fn words_or_absent(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        match self.value(key) {
            Value::String(s) => Ok(Some(vec![s])),
            other => {
                self.fields.insert(key.to_lowercase(), (key.to_owned(), other));
                self.texts_or_absent(key)
            }
        }
    }

    /// Takes an object of texts; absent is empty.
    pub fn map(&mut self, key: &str) -> Result<BTreeMap<String, String>> {
        match self.value(key) {
            Value::Null => Ok(BTreeMap::new()),
            Value::Object(map) => {
                let mut texts = BTreeMap::new();
                for (name, value) in map {
                    let value = match value {
                        Value::String(s) => s,
                        Value::Null => String::new(),
                        other => return Err(self.expected(&format!("{key}.{name}"), "a string", &other)),
                    };
                    texts.insert(name, value);
                }
                Ok(texts)
            }
            other => Err(self.expected(key, "an object", &other)),
        }
    }

    /// Takes the keys of an object used as a set: `{"80/tcp": {}}`.
    pub fn set(&mut self, key: &str) -> Result<Vec<String>> {
        match self.value(key) {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => {
                for (name, value) in &map {
                    if !is_default(value) {
                        return Err(self.expected(&format!("{key}.{name}"), "an empty object", value));
                    }
                }
                Ok(map.into_iter().map(|(name, _)| name).collect())
            }
            other => Err(self.expected(key, "an object", &other)),
        }
    }

    /// Takes an object; absent and `null` are `None`.
    pub fn object(&mut self, key: &str) -> Result<Option<Fields>> {
        match self.value(key) {
            Value::Null => Ok(None),
            value => Fields::of(&self.name(key), value).map(Some),
        }
    }

    /// Takes a list of objects; absent is empty.
    pub fn objects(&mut self, key: &str) -> Result<Vec<Fields>> {
        match self.value(key) {
            Value::Null => Ok(Vec::new()),
            Value::Array(list) => {
                let name = self.name(key);
                list.into_iter().enumerate().map(|(i, v)| Fields::of(&format!("{name}[{i}]"), v)).collect()
            }
            other => Err(self.expected(key, "a list of objects", &other)),
        }
    }

    /// Takes an object of objects: name → fields.
    pub fn named_objects(&mut self, key: &str) -> Result<Vec<(String, Fields)>> {
        match self.value(key) {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => {
                let at = self.name(key);
                map.into_iter().map(|(name, v)| Ok((name.clone(), Fields::of(&format!("{at}.{name}"), v)?))).collect()
            }
            other => Err(self.expected(key, "an object", &other)),
        }
    }

    /// The keys that are left, as they were written.
    pub fn keys(&self) -> Vec<String> {
        self.fields.values().map(|(key, _)| key.clone()).collect()
    }

    /// Takes fields that Docker has or had and that change nothing here, whatever they hold.
    pub fn legacy(&mut self, keys: &[&str]) {
        for key in keys {
            self.fields.remove(&key.to_lowercase());
        }
    }

    /// Takes fields that we know and do not serve: an error when one asks for something.
    pub fn unserved(&mut self, keys: &[&str]) -> Result<()> {
        for key in keys {
            if !is_default(&self.value(key)) {
                return Err(Error::unsupported(&self.name(key)));
            }
        }
        Ok(())
    }

    /// Ends the reading: whatever is left must ask for nothing.
    ///
    /// # Errors
    /// `Invalid`, naming the first field nobody knows.
    pub fn finish(self) -> Result<()> {
        match self.fields.values().find(|(_, value)| !is_default(value)) {
            None => Ok(()),
            Some((key, _)) => Err(Error::invalid(format!("unknown field {}", self.name(key)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Fields {
        Fields::of("", value).unwrap()
    }

    #[test]
    fn keys_match_in_any_case_and_null_is_absent() {
        let mut f = fields(json!({"hostNAME": "a", "User": null}));
        assert_eq!(f.text("Hostname").unwrap(), "a");
        assert_eq!(f.text("User").unwrap(), "");
        f.finish().unwrap();
    }

    #[test]
    fn one_key_in_two_spellings_is_refused() {
        let error = Fields::of("", json!({"Privileged": true, "privileged": false})).err().unwrap();
        assert!(error.to_string().contains("twice"), "{error}");
    }

    #[test]
    fn an_unknown_field_counts_only_if_it_asks_for_something() {
        fields(json!({"New": false, "Other": {"Deep": 0, "Text": ""}, "List": [], "Null": null})).finish().unwrap();
        for value in [json!({"New": true}), json!({"New": {"Deep": 1}}), json!({"New": [""]}), json!({"New": "x"})] {
            let error = fields(value).finish().unwrap_err();
            assert_eq!(error.to_string(), "unknown field New");
            assert_eq!(error.kind(), engine::Kind::Invalid);
        }
        let inner = fields(json!({"HostConfig": {"ReadonlyRootFs_": true}})).object("HostConfig").unwrap().unwrap();
        assert_eq!(inner.finish().unwrap_err().to_string(), "unknown field HostConfig.ReadonlyRootFs_");
    }

    #[test]
    fn wrong_types_name_the_field() {
        let error = fields(json!({"Memory": "1g"})).int("Memory").unwrap_err();
        assert_eq!(error.to_string(), "invalid JSON: Memory: expected a whole number of 64 bits, got a string");
        assert!(fields(json!({"Memory": 1.5})).int("Memory").is_err());
        assert!(fields(json!({"W": 70000})).number::<u16>("W").is_err());
        assert!(fields(json!({"Env": ["a", 1]})).texts("Env").is_err());
        assert!(Fields::of("", json!([1])).is_err());
    }

    #[test]
    fn null_absent_and_empty_lists_differ_where_docker_tells_them_apart() {
        let mut f = fields(json!({"Entrypoint": [], "Cmd": "echo hi", "Shell": null}));
        assert_eq!(f.words_or_absent("Entrypoint").unwrap(), Some(vec![]));
        assert_eq!(f.words_or_absent("Cmd").unwrap(), Some(vec!["echo hi".to_owned()]));
        assert_eq!(f.words_or_absent("Shell").unwrap(), None);
        assert_eq!(f.words_or_absent("Missing").unwrap(), None);
    }
}
