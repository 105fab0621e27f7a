//! The pages under `/ui`.

use crate::auth::Refusal;
use crate::route::Routes;
use axum::response::{IntoResponse, Redirect, Response};
use http::Uri;

/// The routes of the pages.
pub fn routes() -> Routes {
    Routes::pages()
}

/// What a person at a browser sees when a request was refused before its handler: who is not signed in is led to the login.
pub fn refused(refusal: &Refusal, uri: &Uri) -> Response {
    if refusal.status == http::StatusCode::UNAUTHORIZED {
        let next = uri.path_and_query().map_or("/ui/", |p| p.as_str());
        let next: String = form_encode(next);
        return Redirect::to(&format!("/ui/login?next={next}")).into_response();
    }
    (refusal.status, refusal.message.clone()).into_response()
}

/// Percent-encodes what may not stand in a query value.
fn form_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
