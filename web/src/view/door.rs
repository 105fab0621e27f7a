//! Pages for people who are not signed in.

use super::page::Page;
use super::piece::Field;
use askama::Template;

/// Signing in.
#[derive(Template)]
#[template(path = "login.html")]
#[allow(missing_docs)]
pub struct Login {
    pub page: Page,
    pub name: Field,
    pub password: Field,
    /// Where to go then.
    pub next: String,
    pub error: String,
}

/// The first start: making the administrator.
#[derive(Template)]
#[template(path = "setup.html")]
#[allow(missing_docs)]
pub struct Setup {
    pub page: Page,
    /// The one-time token from the printed URL.
    pub token: Field,
    /// Whether the token came with the URL and need not be typed.
    pub known: bool,
    pub name: Field,
    pub password: Field,
    pub again: Field,
    pub error: String,
}
