//! One spelling per path: takes `/t/<tenant>` and `/v1.NN` off before routing, and turns away paths that are another
//! spelling of something (`//`, `.`, `..`), so that what the gate judged is what the handler sees.

use super::message;
use crate::auth::Refusal;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use std::convert::Infallible;
use std::fmt;

/// The newest version of Docker's API we speak.
pub const MAX_API_VERSION: ApiVersion = ApiVersion { major: 1, minor: 51 };
/// The oldest one.
pub const MIN_API_VERSION: ApiVersion = ApiVersion { major: 1, minor: 24 };

/// The version of Docker's API a request is made in: from its path, or ours where the path has none. An extractor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// Always 1.
    pub major: u32,
    /// 24 to 51.
    pub minor: u32,
}

impl ApiVersion {
    /// Whether it is 1.`minor` or newer.
    pub fn at_least(self, minor: u32) -> bool {
        self >= ApiVersion { major: 1, minor }
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        let number = |s: &str| if s.len() <= 4 && s.bytes().all(|b| b.is_ascii_digit()) { s.parse().ok() } else { None };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl<S: Sync> FromRequestParts<S> for ApiVersion {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<VersionInPath>().map_or(MAX_API_VERSION, |v| v.0))
    }
}

/// The version stood in the path: only Docker's routes may be reached so.
#[derive(Debug, Clone, Copy)]
pub(super) struct VersionInPath(pub ApiVersion);

/// The tenant stood in the path, as `/t/<tenant>/…`.
#[derive(Debug, Clone)]
pub(crate) struct TenantInPath(pub String);

/// The middleware around the router.
pub(super) async fn respell(mut request: Request, next: Next) -> Response {
    // Pages name the tenant behind `/ui`, so that an address can be given away: /ui/t/team/x is /t/team/ui/x.
    let respelled = tenant_of_pages(request.uri().path());
    if !is_text(request.uri().path()) {
        return message(StatusCode::BAD_REQUEST, "invalid path: it is not UTF-8");
    }
    match plain_path(respelled.as_deref().unwrap_or(request.uri().path())) {
        Err(Refused::Unknown) => return unknown(&request),
        Err(Refused::TooNew(v)) => {
            let text = format!("client version {v} is too new. Maximum supported API version is {MAX_API_VERSION}");
            let mut response = message(StatusCode::BAD_REQUEST, &text);
            crate::docker::stamp(&mut response);
            return response;
        }
        Err(Refused::TooOld(v)) => {
            // Plain text: clients of that age do not read JSON errors (measured on dockerd).
            let text = format!(
                "client version {v} is too old. Minimum supported API version is {MIN_API_VERSION}, \
                 please upgrade your client to a newer version\n"
            );
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
        Ok(plain) => {
            let (tenant, version) = (plain.tenant.map(str::to_owned), plain.version);
            if tenant.is_some() || version.is_some() {
                let path = if plain.path.is_empty() { "/" } else { plain.path };
                let Some(uri) = with_path(request.uri(), path) else {
                    return message(StatusCode::NOT_FOUND, "page not found");
                };
                *request.uri_mut() = uri;
            }
            if let Some(tenant) = tenant {
                request.extensions_mut().insert(TenantInPath(tenant));
            }
            if let Some(version) = version {
                request.extensions_mut().insert(VersionInPath(version));
            }
        }
    }
    next.run(request).await
}

/// What is at an address that is another spelling of something: nothing. Below `/ui` a person reads that.
fn unknown(request: &Request) -> Response {
    if !request.uri().path().starts_with("/ui/") {
        return message(StatusCode::NOT_FOUND, "page not found");
    }
    let refusal = Refusal { status: StatusCode::NOT_FOUND, message: "there is no page at this address".to_owned() };
    let mut response = crate::pages::refused(&refusal, request.uri(), request.headers());
    super::headers::add(super::Face::Pages, &mut response);
    response
}

/// Whether a path is text once its `%XX` are bytes: names of ours are.
fn is_text(path: &str) -> bool {
    percent_encoding::percent_decode_str(path).decode_utf8().is_ok()
}

/// `/ui/t/<tenant>/…` as `/t/<tenant>/ui/…`.
fn tenant_of_pages(path: &str) -> Option<String> {
    let rest = path.strip_prefix("/ui/t/")?;
    let (tenant, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // `/ui/t/team` is the team's first page.
    let rest = if rest.is_empty() { "/" } else { rest };
    Some(format!("/t/{tenant}/ui{rest}"))
}

/// A path without its prefixes.
#[derive(Debug, PartialEq, Eq)]
struct Plain<'a> {
    tenant: Option<&'a str>,
    version: Option<ApiVersion>,
    path: &'a str,
}

#[derive(Debug, PartialEq, Eq)]
enum Refused<'a> {
    Unknown,
    TooNew(&'a str),
    TooOld(&'a str),
}

fn plain_path(path: &str) -> Result<Plain<'_>, Refused<'_>> {
    let dotted = |s: &str| matches!(s.to_ascii_lowercase().as_str(), "." | ".." | "%2e" | "%2e%2e" | ".%2e" | "%2e.");
    let mut segments = path.split('/');
    // A path begins with a slash; what is before it (`*` of OPTIONS, nothing else) is no path of ours.
    if segments.next() != Some("") {
        return Err(Refused::Unknown);
    }
    let mut segments = segments.peekable();
    while let Some(segment) = segments.next() {
        let empty_inside = segment.is_empty() && segments.peek().is_some();
        if empty_inside || dotted(segment) || segment.contains('\\') {
            return Err(Refused::Unknown);
        }
    }
    let (tenant, rest) = match path.strip_prefix("/t/") {
        None => (None, path),
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (tenant, rest) = rest.split_at(end);
            if tenant.is_empty() || tenant.contains('%') {
                return Err(Refused::Unknown);
            }
            (Some(tenant), rest)
        }
    };
    let (version, rest) = match rest.strip_prefix("/v") {
        Some(tail) if tail.starts_with(|c: char| c.is_ascii_digit()) => {
            let end = tail.find('/').unwrap_or(tail.len());
            let (text, tail) = tail.split_at(end);
            if !text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
                (None, rest)
            } else {
                let version = ApiVersion::parse(text).ok_or(Refused::Unknown)?;
                if version > MAX_API_VERSION {
                    return Err(Refused::TooNew(text));
                }
                if version < MIN_API_VERSION {
                    return Err(Refused::TooOld(text));
                }
                (Some(version), tail)
            }
        }
        _ => (None, rest),
    };
    // The prefixes may not stand twice.
    if (tenant.is_some() || version.is_some()) && rest.starts_with("/t/") {
        return Err(Refused::Unknown);
    }
    Ok(Plain { tenant, version, path: rest })
}

/// The same URI with another path.
fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(path: &str) -> (Option<&str>, Option<String>, &str) {
        let p = plain_path(path).unwrap_or_else(|e| panic!("{path}: {e:?}"));
        (p.tenant, p.version.map(|v| v.to_string()), p.path)
    }

    #[test]
    fn prefixes_come_off() {
        assert_eq!(plain("/_ping"), (None, None, "/_ping"));
        assert_eq!(plain("/v1.47/containers/json"), (None, Some("1.47".into()), "/containers/json"));
        assert_eq!(plain("/t/team/v1.24/info"), (Some("team"), Some("1.24".into()), "/info"));
        assert_eq!(plain("/t/team/info"), (Some("team"), None, "/info"));
        assert_eq!(plain("/volumes/v1.2"), (None, None, "/volumes/v1.2"));
        assert_eq!(plain("/version"), (None, None, "/version"));
        assert_eq!(plain("/ui/"), (None, None, "/ui/"));
        assert_eq!(plain("/images/localhost:5000/a/b/json"), (None, None, "/images/localhost:5000/a/b/json"));
    }

    #[test]
    fn pages_name_the_tenant_behind_ui() {
        let ui = |path| tenant_of_pages(path).unwrap_or_default();
        assert_eq!(ui("/ui/t/team/containers/x"), "/t/team/ui/containers/x");
        assert_eq!(ui("/ui/t/team"), "/t/team/ui/");
        assert_eq!(ui("/ui/t/team/"), "/t/team/ui/");
        assert_eq!(plain_path(&ui("/ui/t/")), Err(Refused::Unknown));
        assert_eq!(plain_path(&ui("/ui/t/a/../../x")), Err(Refused::Unknown));
        assert!(tenant_of_pages("/ui/tea").is_none());
        assert_eq!(plain("/t/team/ui/containers"), (Some("team"), None, "/ui/containers"));
    }

    #[test]
    fn a_malformed_address_of_a_page_answers_with_a_page() {
        let ask = |path: &str| unknown(&Request::builder().uri(path).body(axum::body::Body::empty()).unwrap());
        for path in ["/ui/t//containers", "/ui/t/a%2fb/x", "/ui/../x"] {
            let answer = ask(path);
            assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8", "{path}");
            assert!(answer.headers().contains_key("content-security-policy"), "{path}");
        }
        assert_eq!(ask("/t//info").headers()["content-type"], "application/json");
    }

    #[test]
    fn versions_out_of_range_are_named() {
        assert_eq!(plain_path("/v1.99/info"), Err(Refused::TooNew("1.99")));
        assert_eq!(plain_path("/v9.9/info"), Err(Refused::TooNew("9.9")));
        assert_eq!(plain_path("/v1.12/info"), Err(Refused::TooOld("1.12")));
        assert_eq!(plain_path("/v1/info"), Err(Refused::Unknown));
        assert_eq!(plain_path("/v1.2.3/info"), Err(Refused::Unknown));
    }

    #[test]
    fn sec_a04_other_spellings_are_unknown() {
        for path in [
            "//info",
            "/v1.47//info",
            "/containers/../info",
            "/containers/./json",
            "/containers/%2e%2e/json",
            "/containers/%2E/json",
            "/t//info",
            "/t/a%2fb/info",
            "/t/a/t/b/info",
            "*",
            "/containers\\json",
        ] {
            assert_eq!(plain_path(path), Err(Refused::Unknown), "{path}");
        }
    }
}
