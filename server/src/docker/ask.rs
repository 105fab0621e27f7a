//! What a request says beside its path: query and JSON body, with Docker's ideas of booleans and emptiness.

use super::error::Failure;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use engine::{Error, Result};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

/// The query, in order. The last of several values counts, as in Docker, except where all are asked for.
pub struct Args(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Args {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::<Vec<(String, String)>>::try_from_uri(&parts.uri) {
            Ok(Query(pairs)) => Ok(Args(pairs)),
            Err(e) => Err(Error::invalid(format!("invalid query: {e}")).into()),
        }
    }
}

impl Args {
    /// A value, if it is there.
    pub fn get(&self, key: &str) -> Option<&str> {
        // Go's `Form.Get` takes the first.
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A value; absent is empty.
    pub fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }

    /// All values of a repeated key.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(k, _)| k == key).map(|(_, v)| v.clone()).collect()
    }

    /// A boolean: everything but `0`, `no`, `false`, `none` and nothing is true.
    pub fn flag(&self, key: &str) -> bool {
        !matches!(self.text(key).trim().to_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A boolean that is `default` while nobody mentions it.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        match self.get(key) {
            None => default,
            Some(_) => self.flag(key),
        }
    }

    /// A whole number that may be absent.
    pub fn int(&self, key: &str) -> Result<Option<i64>> {
        match self.text(key) {
            "" => Ok(None),
            text => match text.parse() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(Error::invalid(format!("invalid value for {key}: {text:?} is no whole number"))),
            },
        }
    }

    /// Filters, whose keys must be among these.
    pub fn filters(&self, keys: &[&str]) -> Result<engine::Filters> {
        super::filters::parse(self.get("filters"), keys)
    }
}

/// The name in a path. An object may be called what an action is called (`/networks/create`): there the router matched the
/// word, and the name is that word.
pub struct Name(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Name(name)),
            Err(_) => match parts.uri.path().rsplit('/').next() {
                Some(word) if !word.is_empty() && !word.contains('%') => Ok(Name(word.to_owned())),
                _ => Err(Failure::Http(StatusCode::NOT_FOUND, "page not found".to_owned())),
            },
        }
    }
}

/// A JSON body; an empty one is `null`.
pub struct Json(pub Value);

impl<S: Send + Sync> FromRequest<S> for Json {
    type Rejection = Failure;
    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        read_json(&parts.headers, body).await.map(Json)
    }
}

/// Reads a JSON body of at most 4 MiB. Without a body no Content-Type is needed.
pub async fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, Failure> {
    let bytes = crate::route::whole(headers, body).await.map_err(|refusal| Failure::Http(refusal.status, refusal.message))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        // A length of 0 says that there is none; a body that was begun and has nothing in it is a mistake.
        if headers.contains_key(header::TRANSFER_ENCODING) && headers.contains_key(header::CONTENT_TYPE) {
            return Err(Error::invalid("invalid JSON: got EOF while reading request body").into());
        }
        return Ok(Value::Null);
    }
    let text = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes())).unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        let text = format!("unsupported Content-Type header ({text}): must be 'application/json'");
        return Err(Error::invalid(text).into());
    }
    serde_json::from_slice(&bytes).map_err(|e| Error::invalid(what_is_wrong(&bytes, &e)).into())
}

/// What is wrong with a document, in the words of Go's decoder, which clients' tests look for.
fn what_is_wrong(bytes: &[u8], error: &serde_json::Error) -> String {
    let own = error.to_string();
    // serde counts columns in bytes, from 1; the byte there is the one it did not expect.
    let line = bytes.split(|b| *b == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let culprit = line.get(error.column().saturating_sub(1)..).and_then(|rest| match std::str::from_utf8(rest) {
        Ok(text) => text.chars().next(),
        Err(_) => None,
    });
    let place = match own.split(" at line ").next().unwrap_or_default() {
        text if text.starts_with("EOF while parsing") => return "invalid JSON: unexpected EOF".to_owned(),
        "trailing characters" => return "unexpected content after JSON".to_owned(),
        "key must be a string" | "trailing comma" => "looking for beginning of object key string",
        "expected value" | "expected ident" => "looking for beginning of value",
        "expected `:`" => "after object key",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        _ => return format!("invalid JSON: {own}"),
    };
    culprit.map_or_else(|| format!("invalid JSON: {own}"), |c| format!("invalid JSON: invalid character {c:?} {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(query: &str) -> Args {
        let uri: http::Uri = format!("/x?{query}").parse().unwrap();
        Args(Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn booleans_are_dockers() {
        for yes in ["1", "true", "True", "TRUE", "yes", "on", "2"] {
            assert!(args(&format!("a={yes}")).flag("a"), "{yes}");
        }
        for no in ["", "0", "false", "False", "no", "none", "+"] {
            assert!(!args(&format!("a={no}")).flag("a"), "{no:?}");
        }
        assert!(!args("").flag("a"));
        assert!(args("").flag_or("a", true));
        assert!(!args("a=0").flag_or("a", true));
    }

    #[test]
    fn values_repeat() {
        let args = args("names=a&names=b%2Fc&t=-1");
        assert_eq!(args.all("names"), ["a", "b/c"]);
        assert_eq!(args.get("names"), Some("a"));
        assert_eq!(args.int("t").unwrap(), Some(-1));
        assert!(super::tests::args("t=x").int("t").is_err());
    }

    async fn json(content_type: Option<&str>, body: impl Into<Body>) -> Result<Value, Failure> {
        let mut headers = HeaderMap::new();
        if let Some(ct) = content_type {
            headers.insert(header::CONTENT_TYPE, ct.parse().unwrap());
        }
        read_json(&headers, body.into()).await
    }

    #[tokio::test]
    async fn bodies() {
        let ok = serde_json::json!({"a": 1});
        for ct in [Some("application/json"), Some("Application/JSON; charset=utf-8")] {
            assert_eq!(json(ct, "{\"a\":1}").await.unwrap(), ok);
        }
        assert_eq!(json(Some("text/plain"), "").await.unwrap(), Value::Null);
        let is_json = Some("application/json");
        assert_eq!(json(None, "").await.unwrap(), Value::Null);
        for (ct, body) in [(Some("text/plain"), "{}"), (None, "{}"), (is_json, "{bad"), (is_json, "{} {}"), (is_json, "{\"a\":1")] {
            assert_eq!(json(ct, body).await.unwrap_err().status(), 400, "{body}");
        }
        let large = format!("\"{}\"", "x".repeat(crate::route::JSON_MAX));
        assert_eq!(json(is_json, large).await.unwrap_err().status(), 413);
        let deep = "[".repeat(100_000);
        assert_eq!(json(is_json, deep).await.unwrap_err().status(), 400);
    }

    #[test]
    fn what_is_wrong_is_said_as_go_says_it() {
        for (body, text) in [
            ("{invalid json", "invalid JSON: invalid character 'i' looking for beginning of object key string"),
            ("{\"a\":1} x", "unexpected content after JSON"),
            ("{} {}", "unexpected content after JSON"),
            ("{\"a\"", "invalid JSON: unexpected EOF"),
            ("[1,\n  x]", "invalid JSON: invalid character 'x' looking for beginning of value"),
            ("{\"a\" 1}", "invalid JSON: invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid JSON: invalid character '2' after object key:value pair"),
        ] {
            let error = serde_json::from_str::<Value>(body).unwrap_err();
            assert_eq!(what_is_wrong(body.as_bytes(), &error), text);
        }
    }
}
