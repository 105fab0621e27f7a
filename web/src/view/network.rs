//! Pages about networks.

use super::page::Page;
use super::piece::{Fact, Field, When};
use askama::Template;

/// The list.
#[derive(Template)]
#[template(path = "networks.html")]
#[allow(missing_docs)]
pub struct NetworkList {
    pub page: Page,
    pub rows: Vec<NetworkListRow>,
    /// Said instead of the list when there can be none; empty: there can.
    pub unsupported: String,
}

/// One row.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct NetworkListRow {
    pub href: String,
    pub name: String,
    pub driver: String,
    pub subnets: String,
    pub containers: usize,
    pub internal: bool,
    pub predefined: bool,
    pub created: When,
}

/// One network.
#[derive(Template)]
#[template(path = "network.html")]
#[allow(missing_docs)]
pub struct NetworkDetail {
    pub page: Page,
    pub name: String,
    pub href: String,
    pub predefined: bool,
    pub facts: Vec<Fact>,
    pub members: Vec<MemberRow>,
    pub labels: Vec<(String, String)>,
}

/// A container in it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MemberRow {
    pub href: String,
    pub name: String,
    pub address: String,
    pub mac: String,
}

/// The form that makes one.
#[derive(Template)]
#[template(path = "network_new.html")]
#[allow(missing_docs)]
pub struct NetworkNew {
    pub page: Page,
    pub name: Field,
    pub subnet: Field,
    pub gateway: Field,
    pub internal: Field,
    pub error: String,
}
