//! What all pages share: who looks, in which colours, where they are, and what the last action said. The extractor `Frame`
//! gathers it, `show` renders a view, `went` answers an action, `OrPage` turns an engine's error into a page.

use crate::App;
use crate::auth::Refusal;
use crate::auth::session::FormToken;
use crate::auth::who::{MaybeWho, Who};
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use engine::{Error, Kind, Role, Subject};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use std::convert::Infallible;
use std::sync::Arc;
use web::Template;
use web::view::message::{BareMessage, Message};
use web::view::piece::segment;
use web::view::{Flash, Page, Person, Tone};

const FLASH: &str = "__Host-wharf-flash";
const THEME: &str = "__Host-wharf-theme";

/// The surroundings of a page.
pub struct Frame {
    app: App,
    who: Option<Arc<Subject>>,
    token: FormToken,
    theme: &'static str,
    flash: Option<Flash>,
    here: String,
    /// Host and port as the browser wrote them.
    pub host: String,
    /// `/ui/t/<tenant>`, or `/ui` for nobody.
    pub base: String,
}

impl FromRequestParts<App> for Frame {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let Ok(MaybeWho(who)) = MaybeWho::from_request_parts(parts, app).await;
        let Ok(token) = FormToken::from_request_parts(parts, app).await;
        let base = who.as_ref().map_or("/ui".to_owned(), |w| format!("/ui/t/{}", segment(&w.tenant_name)));
        let path = parts.uri.path_and_query().map_or("/ui/", |p| p.as_str());
        let here = match path.strip_prefix("/ui/") {
            // Pages of the person, not of a tenant, keep their one address.
            Some(rest) if !["account", "users", "audit"].iter().any(|p| rest.starts_with(p)) => format!("{base}/{rest}"),
            _ => path.to_owned(),
        };
        // HTTP/2 has the host in the URI, HTTP/1.1 in its header.
        let header = || parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
        let host = parts.uri.authority().map(|a| a.as_str()).or_else(header).unwrap_or("").to_owned();
        let flash = cookie(&parts.headers, FLASH).and_then(|text| read_flash(&text));
        Ok(Self { app: app.clone(), who, token, theme: theme(&parts.headers), flash, here, host, base })
    }
}

impl Frame {
    /// The page's frame.
    pub fn page(&self, title: impl Into<String>, section: &'static str) -> Page {
        let person = self.who.as_ref().map(|who| {
            let tenants: Vec<String> =
                who.user.map_or(Vec::new(), |u| self.app.accounts.tenants().of_user(u).into_iter().map(|(t, _)| t.name.clone()).collect());
            Person {
                name: who.name.clone(),
                tenant: who.tenant_name.clone(),
                // Choosing among one is no choice.
                tenants: if tenants.len() > 1 { tenants } else { Vec::new() },
                admin: who.role == Role::Admin,
            }
        });
        let running = self.who.as_ref().map_or(0, |who| self.app.operations.list(who).iter().filter(|o| o.is_running()).count());
        Page {
            title: title.into(),
            section,
            person,
            theme: self.theme,
            csrf: self.token.as_str().to_owned(),
            flash: self.flash.clone(),
            running,
            here: self.here.clone(),
            base: self.base.clone(),
        }
    }

    /// A page.
    pub fn show<T: Template>(&self, view: &T) -> Response {
        self.show_with(StatusCode::OK, view)
    }

    /// A page with another status: a form that needs correcting.
    pub fn show_with<T: Template>(&self, status: StatusCode, view: &T) -> Response {
        let mut response = match view.render() {
            Ok(html) => {
                (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], html).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "a page could not be rendered");
                (StatusCode::INTERNAL_SERVER_ERROR, "this page could not be made").into_response()
            }
        };
        if self.flash.is_some() {
            set_cookie(response.headers_mut(), FLASH, "", Some(0));
        }
        response
    }

    /// The answer to an action that worked: on to a page (within the tenant's pages) that says so.
    pub fn went(&self, path: &str, said: impl Into<String>) -> Response {
        self.to(&format!("{}{path}", self.base), Some(Flash { tone: Tone::Ok, text: said.into() }))
    }

    /// On to an address of ours, with or without a notice.
    pub fn to(&self, address: &str, flash: Option<Flash>) -> Response {
        let mut response = StatusCode::SEE_OTHER.into_response();
        // Anything but a path of our own pages would make this an open redirect.
        let address = if is_ours(address) { address } else { "/ui/" };
        if let Ok(value) = HeaderValue::try_from(address) {
            response.headers_mut().insert(header::LOCATION, value);
        }
        if let Some(flash) = flash {
            let text: String = flash.text.chars().take(600).collect();
            set_cookie(response.headers_mut(), FLASH, &segment(&format!("{}:{text}", flash.tone.class())), Some(60));
        }
        response
    }

    /// A page that says what went wrong and what to try.
    pub fn wrong(&self, error: &Error) -> Response {
        let (status, title, hints) = explain(error);
        let text = capital(&error.to_string());
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(?error, page = %self.here, "a page failed");
        }
        let (page, code, back) = (self.page(title, ""), status.as_u16(), (format!("{}/", self.base), "Home".into()));
        if self.who.is_some() {
            self.show_with(status, &Message { page, code, text, hints, back })
        } else {
            self.show_with(status, &BareMessage { page, code, text, hints, back })
        }
    }

    /// The same for a refusal before any handler.
    pub fn refused(&self, refusal: &Refusal) -> Response {
        let kind = match refusal.status {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::CONFLICT => Kind::Conflict,
            StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
            _ => Kind::Forbidden,
        };
        self.wrong(&Error::new(kind, refusal.message.clone()))
    }

    /// Who looks; pages that need somebody take `Who` beside the frame.
    pub fn who(&self) -> Option<&Arc<Subject>> {
        self.who.as_ref()
    }
}

/// Turns an error into a page.
pub trait OrPage<T> {
    /// The value, or the page that says why there is none.
    ///
    /// # Errors
    /// The page.
    #[allow(clippy::result_large_err)] // The error is the answer itself, moved once a request.
    fn or_page(self, frame: &Frame) -> Result<T, Response>;
}

impl<T> OrPage<T> for engine::Result<T> {
    fn or_page(self, frame: &Frame) -> Result<T, Response> {
        self.map_err(|error| frame.wrong(&error))
    }
}

/// Everything a page of somebody takes.
pub struct Visit {
    /// Who asks.
    pub who: Arc<Subject>,
    /// The engine and the rest.
    pub app: App,
    /// The surroundings.
    pub frame: Frame,
}

impl FromRequestParts<App> for Visit {
    type Rejection = Response;
    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let Who(who) = Who::from_request_parts(parts, app).await?;
        let Ok(frame) = Frame::from_request_parts(parts, app).await;
        Ok(Self { who, app: app.clone(), frame })
    }
}

/// What a person at a browser sees when a request was refused before its handler: who is not signed in is led to the login,
/// others read why.
pub fn refused(refusal: &Refusal, uri: &Uri, headers: &HeaderMap) -> Response {
    if refusal.status == StatusCode::UNAUTHORIZED {
        let next = uri.path_and_query().map_or("/ui/", |p| p.as_str());
        return axum::response::Redirect::to(&format!("/ui/login?next={}", segment(next))).into_response();
    }
    let title = if refusal.status == StatusCode::NOT_FOUND { "Not found" } else { "Not allowed" };
    let page = Page { title: title.into(), theme: theme(headers), base: "/ui".into(), here: "/ui/".into(), ..Page::default() };
    let view = BareMessage {
        page,
        code: refusal.status.as_u16(),
        text: capital(&refusal.message),
        hints: vec!["Go back, reload the page, and try once more.".into()],
        back: ("/ui/".into(), "Home".into()),
    };
    match view.render() {
        Ok(html) => (refusal.status, [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], html)
            .into_response(),
        Err(_) => (refusal.status, refusal.message.clone()).into_response(),
    }
}

/// Status, title and what to try.
fn explain(error: &Error) -> (StatusCode, &'static str, Vec<String>) {
    let hints = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
    match error.kind() {
        Kind::NotFound => (
            StatusCode::NOT_FOUND,
            "Not found",
            hints(&[
                "It may have been removed or renamed: look at the list.",
                "It may belong to another tenant: choose that one in the side bar.",
            ]),
        ),
        Kind::Invalid => (StatusCode::BAD_REQUEST, "That does not work", hints(&["Go back and correct what is named above."])),
        Kind::Conflict => (
            StatusCode::CONFLICT,
            "Not in this state",
            hints(&["Something else is in the way, or it is so already: look at its page again."]),
        ),
        Kind::Forbidden => (
            StatusCode::FORBIDDEN,
            "Not allowed",
            hints(&["Ask an administrator of this host for a grant: wharf grant add --tenant T KIND[=VALUE]"]),
        ),
        Kind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "Not here yet", hints(&["Wharf knows what this is, but cannot do it yet."])),
        Kind::Exhausted => (
            StatusCode::INSUFFICIENT_STORAGE,
            "No room left",
            hints(&[
                "Remove what you no longer need: stopped containers, unused images and volumes.",
                "Ask an administrator for a larger quota.",
            ]),
        ),
        Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Not just now", hints(&["Try again in a moment."])),
        Kind::Internal => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something broke",
            hints(&["Try again. If it stays so, the server's log says more to an administrator."]),
        ),
    }
}

/// The status of an error.
pub fn status(error: &Error) -> StatusCode {
    explain(error).0
}

/// The text with a capital first letter.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}

/// Whether an address leads to our own pages and nowhere else.
pub fn is_ours(address: &str) -> bool {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    // A browser takes `..` out before it asks: what begins with /ui/ would end elsewhere.
    let leads_up = path.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."));
    address.starts_with("/ui/") && !leads_up && !path.contains("//") && !address.contains(['\\', '\r', '\n', '\t'])
}

/// Remembers the colours.
pub fn remember_theme(headers: &mut HeaderMap, theme: &str) {
    let (value, age) = match theme {
        "light" | "dark" => (theme, 365 * 24 * 3600),
        _ => ("", 0),
    };
    set_cookie(headers, THEME, value, Some(age));
}

fn theme(headers: &HeaderMap) -> &'static str {
    match cookie(headers, THEME).as_deref() {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|l| l.to_str().ok());
    lines.flat_map(|l| l.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// `value` is already fit for a cookie: percent-encoded or a word.
fn set_cookie(headers: &mut HeaderMap, name: &str, value: &str, age: Option<u32>) {
    let age = age.map_or(String::new(), |s| format!("; Max-Age={s}"));
    if let Ok(value) = HeaderValue::try_from(format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}")) {
        headers.append(header::SET_COOKIE, value);
    }
}

fn read_flash(cookie: &str) -> Option<Flash> {
    let text = percent_decode(cookie)?;
    let (tone, text) = text.split_once(':')?;
    let tone = match tone {
        "ok" => Tone::Ok,
        "warn" => Tone::Warn,
        "err" => Tone::Err,
        _ => Tone::Plain,
    };
    (!text.is_empty()).then(|| Flash { tone, text: text.to_owned() })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b == b'%' {
            let pair = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()?);
        } else {
            bytes.push(b);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_stay_in_our_pages() {
        for (address, ours) in [
            ("/ui/", true),
            ("/ui/t/a/containers?x=y", true),
            ("//evil/ui/", false),
            ("https://evil/ui/", false),
            ("/ui\\evil", false),
            ("/ui/\r\nSet-Cookie: x", false),
            ("/ui/../containers/json", false),
            ("/ui/%2E./..//evil.test", false),
            ("/ui/search?q=../..//x", true),
            ("/containers/json", false),
            ("", false),
        ] {
            assert_eq!(is_ours(address), ours, "{address}");
        }
    }

    #[test]
    fn a_notice_survives_its_cookie_whatever_is_in_it() {
        let text = "Stopped \"a;b\" = 100 % — fertig";
        let cookie = segment(&format!("ok:{text}"));
        assert!(!cookie.contains([';', '"', ' ', '=']));
        assert_eq!(read_flash(&cookie), Some(Flash { tone: Tone::Ok, text: text.into() }));
        assert_eq!(read_flash("%zz"), None);
        assert_eq!(read_flash("%"), None);
    }
}
