//! Forms as they come in: every one is checked for the session's token before a handler sees a field of it.

use super::frame::Frame;
use crate::App;
use crate::auth::session::FormToken;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};

/// A form's fields, in order, line ends made plain.
#[derive(Debug, Default)]
pub struct Filled(Vec<(String, String)>);

impl Filled {
    /// A field's value, without surrounding blanks; empty when it was not sent.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v.trim())
    }

    /// A field's value exactly as typed: passwords.
    pub fn exact(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, v)| v)
    }

    /// All values of a name: ticked boxes.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Whether a box was ticked.
    pub fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// A field's lines, without the empty ones.
    pub fn lines(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).lines().map(str::trim).filter(|l| !l.is_empty())
    }

    #[cfg(test)]
    pub fn of(pairs: &[(&str, &str)]) -> Self {
        Self(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }
}

impl FromRequest<App> for Filled {
    type Rejection = Response;
    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let Ok(token) = FormToken::from_request_parts(&mut parts, app).await;
        let Ok(frame) = Frame::from_request_parts(&mut parts, app).await;
        let form = axum::extract::Form::<Vec<(String, String)>>::from_request(Request::from_parts(parts, body), app).await;
        let axum::extract::Form(fields) = form.map_err(IntoResponse::into_response)?;
        let filled = Self(fields.into_iter().map(|(n, v)| (n, v.replace("\r\n", "\n"))).collect());
        match token.check(filled.get("form_token")) {
            Ok(()) => Ok(filled),
            Err(refusal) => Err(frame.refused(&refusal)),
        }
    }
}

/// Splits a command as a shell would: blanks separate, quotes and backslashes keep together. Nothing is expanded.
///
/// # Errors
/// An open quote, or a backslash at the end.
pub fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a ' is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next() {
                        Some('"') => break,
                        Some('\\') => match rest.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a \" is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a \" is not closed"),
                    }
                }
            }
            '\\' => match rest.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("nothing follows the last \\"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_as_a_shell_would() {
        for (text, expected) in [
            ("", vec![]),
            ("  nginx  -g 'daemon off;' ", vec!["nginx", "-g", "daemon off;"]),
            ("sh -c \"echo \\\"hi\\\" $HOME\"", vec!["sh", "-c", "echo \"hi\" $HOME"]),
            ("a'b'\"c\"d e\\ f ''", vec!["abcd", "e f", ""]),
            ("\"a\\nb\"", vec!["a\\nb"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(words(text).is_err(), "{text}");
        }
    }
}
