//! The way in and out: set-up, sign-in, sign-out, the colours, and addresses that lead nowhere.

use super::form::Filled;
use super::frame::{Frame, Visit, capital, is_ours, remember_theme};
use crate::App;
use crate::auth::secret::Secret;
use crate::auth::{Peer, Refusal, session};
use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::net::IpAddr;
use web::view::door::{Login, Setup};
use web::view::{Field, Flash, Tone};

/// The connection a request came by, as the listener says.
pub type From = Option<Extension<Peer>>;

fn place(peer: From) -> Option<IpAddr> {
    match peer {
        Some(Extension(Peer::Tcp { address, .. })) => Some(address.ip()),
        _ => None,
    }
}

fn agent(headers: &HeaderMap) -> &str {
    headers.get(header::USER_AGENT).and_then(|a| a.to_str().ok()).unwrap_or("")
}

/// `GET /`
pub async fn root() -> Response {
    Redirect::to("/ui/").into_response()
}

/// Where one wanted to go, and the set-up token of the printed address.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    next: String,
    token: String,
}

/// `GET /ui/login`
pub async fn login_form(State(app): State<App>, frame: Frame, Query(asked): Query<Asked>) -> Response {
    if frame.who().is_some() {
        return frame.to(&asked.next, None);
    }
    if !app.accounts.is_set_up() {
        return frame.to("/ui/setup", None);
    }
    frame.show(&login_view(&frame, "", &asked.next, String::new()))
}

fn login_view(frame: &Frame, name: &str, next: &str, error: String) -> Login {
    let name_field = Field::new("name", "Name").required().autocomplete("username").with(name);
    Login {
        page: frame.page("Sign in", ""),
        name: if name.is_empty() { name_field.focus() } else { name_field },
        password: Field::password("password", "Password", "current-password"),
        next: if is_ours(next) { next.to_owned() } else { "/ui/".to_owned() },
        error,
    }
}

/// `POST /ui/login`
pub async fn login(State(app): State<App>, frame: Frame, peer: From, headers: HeaderMap, form: Filled) -> Response {
    let (name, next) = (form.get("name"), form.get("next"));
    match app.accounts.sign_in(name, form.exact("password"), place(peer), agent(&headers)).await {
        Ok(secret) => signed_in(&frame, &secret, next, None),
        Err(refusal) => frame.show_with(refusal.status, &login_view(&frame, name, next, sentence(&refusal))),
    }
}

/// Always a new session, whatever cookie came with the request.
fn signed_in(frame: &Frame, secret: &Secret, next: &str, flash: Option<Flash>) -> Response {
    let mut response = frame.to(next, flash);
    response.headers_mut().append(header::SET_COOKIE, session::set_cookie(secret));
    response
}

fn sentence(refusal: &Refusal) -> String {
    let text = capital(&refusal.message);
    if text.ends_with('.') { text } else { format!("{text}.") }
}

/// `POST /ui/logout`
pub async fn logout(visit: Visit, headers: HeaderMap, _form: Filled) -> Response {
    if let Some(id) = session::presented(&headers).and_then(|secret| visit.app.accounts.session_id(&secret))
        && let Err(e) = visit.app.accounts.end_session(&visit.who, id).await
    {
        // The cookie goes in any case; the session then ends by itself.
        tracing::warn!(error = ?e, "a session could not be ended");
    }
    let mut response = frame_to_login(&visit.frame);
    response.headers_mut().append(header::SET_COOKIE, session::clear_cookie());
    response
}

fn frame_to_login(frame: &Frame) -> Response {
    frame.to("/ui/login", Some(Flash { tone: Tone::Plain, text: "You are signed out.".into() }))
}

/// `GET /ui/setup`
pub async fn setup_form(State(app): State<App>, frame: Frame, Query(asked): Query<Asked>) -> Response {
    if app.accounts.is_set_up() {
        return frame.to("/ui/login", None);
    }
    frame.show(&setup_view(&frame, &asked.token, "", String::new()))
}

fn setup_view(frame: &Frame, token: &str, name: &str, error: String) -> Setup {
    Setup {
        page: frame.page("Set up Wharf", ""),
        token: Field::new("token", "One-time token")
            .required()
            .mono()
            .with(token)
            .hint("It was printed when the server started, and lies in a file only root can read."),
        known: !token.is_empty(),
        name: Field::new("name", "Name").required().focus().autocomplete("username").with(name).hint("Small letters and digits."),
        password: Field::password("password", "Password", "new-password").hint("Longer is better than stranger."),
        again: Field::password("again", "Password again", "new-password"),
        error,
    }
}

/// `POST /ui/setup`
pub async fn setup(State(app): State<App>, frame: Frame, peer: From, headers: HeaderMap, form: Filled) -> Response {
    let (token, name) = (form.get("token"), form.get("name"));
    if form.exact("password") != form.exact("again") {
        let mut view = setup_view(&frame, token, name, String::new());
        view.again.wrong("The two are not the same.");
        return frame.show_with(StatusCode::UNPROCESSABLE_ENTITY, &view);
    }
    match app.accounts.set_up(token, name, form.exact("password"), place(peer), agent(&headers)).await {
        Ok(secret) => {
            let flash = Flash { tone: Tone::Ok, text: format!("Welcome, {name}. You administer this host.") };
            signed_in(&frame, &secret, "/ui/", Some(flash))
        }
        Err(refusal) => frame.show_with(refusal.status, &setup_view(&frame, token, name, sentence(&refusal))),
    }
}

/// `POST /ui/theme`
pub async fn theme(frame: Frame, form: Filled) -> Response {
    let mut response = frame.to(form.get("back"), None);
    remember_theme(response.headers_mut(), form.get("theme"));
    response
}

/// Any other address under `/ui/`.
pub async fn nothing_here(frame: Frame) -> Response {
    frame.wrong(&engine::Error::new(engine::Kind::NotFound, "there is no page at this address"))
}
