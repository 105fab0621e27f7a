//! One's own account.

use super::page::Page;
use super::piece::{Badge, Fact, Field, When};
use askama::Template;

/// The account page.
#[derive(Template)]
#[template(path = "account.html")]
#[allow(missing_docs)]
pub struct Account {
    pub page: Page,
    pub facts: Vec<Fact>,
    pub current: Field,
    pub new: Field,
    pub again: Field,
    pub sessions: Vec<SessionRow>,
    pub tokens: Vec<TokenRow>,
    pub token_name: Field,
    pub token_scope: Field,
    pub token_expires: Field,
    /// A token that was made just now: shown once.
    pub fresh: Option<Fresh>,
    pub certificates: Vec<CertificateRow>,
    /// `unix:///run/wharf/wharf.sock`.
    pub socket: String,
    /// `https://host:8443`.
    pub address: String,
}

/// A secret that is shown once.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Fresh {
    pub name: String,
    pub secret: String,
}

/// A browser that is signed in.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct SessionRow {
    pub id: String,
    pub agent: String,
    pub address: String,
    pub since: When,
    pub seen: When,
    pub this: bool,
}

/// An API token.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct TokenRow {
    pub id: String,
    pub name: String,
    pub scope: String,
    pub tenant: String,
    pub created: When,
    pub expires: When,
    pub used: When,
    pub badge: Badge,
}

/// A client certificate.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct CertificateRow {
    pub id: String,
    pub name: String,
    pub tenant: String,
    pub created: When,
    pub expires: When,
    pub badge: Badge,
}
