//! Pages of the administrator.

use super::page::{Choice, Page};
use super::piece::{Badge, Fact, Field, When};
use askama::Template;

/// The audit log.
#[derive(Template)]
#[template(path = "audit.html")]
#[allow(missing_docs)]
pub struct AuditList {
    pub page: Page,
    pub rows: Vec<AuditRow>,
    pub actor: String,
    pub action: String,
    pub decisions: Vec<Choice>,
    pub decision: String,
    /// Older rows; empty: none.
    pub older: String,
    /// The newest rows; empty: these are they.
    pub newest: String,
}

/// One row of it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct AuditRow {
    pub seq: String,
    pub when: When,
    pub actor: String,
    pub via: String,
    pub tenant: String,
    pub action: String,
    pub object: String,
    pub badge: Badge,
    pub detail: String,
    pub hash: String,
}

/// Everybody.
#[derive(Template)]
#[template(path = "users.html")]
#[allow(missing_docs)]
pub struct UserList {
    pub page: Page,
    pub rows: Vec<UserRow>,
}

/// One row of it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct UserRow {
    pub href: String,
    pub name: String,
    pub admin: bool,
    pub badge: Badge,
    pub unix: String,
    pub tenant: String,
    pub created: When,
    pub seen: When,
}

/// One person.
#[derive(Template)]
#[template(path = "user.html")]
#[allow(missing_docs)]
pub struct UserDetail {
    pub page: Page,
    pub name: String,
    pub href: String,
    pub disabled: bool,
    pub myself: bool,
    pub badge: Badge,
    pub facts: Vec<Fact>,
    pub grants: Vec<GrantRow>,
    pub grant: Field,
    pub expires: Field,
    pub error: String,
}

/// A permission beyond the default.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct GrantRow {
    pub id: String,
    pub what: String,
    pub by: String,
    pub expires: When,
}

/// The form that adds a person.
#[derive(Template)]
#[template(path = "user_new.html")]
#[allow(missing_docs)]
pub struct UserNew {
    pub page: Page,
    pub name: Field,
    pub password: Field,
    pub unix: Field,
    pub admin: Field,
    pub error: String,
}
