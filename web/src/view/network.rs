//! Pages about networks.

use super::page::Page;
use super::piece::{Badge, Fact, Field, When};
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
    /// Containers to connect; empty: none, or a network that nobody joins.
    pub connect: Option<Field>,
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

/// The map: networks on the left, containers in the middle, the outside on the right; and the same as a table.
#[derive(Template)]
#[template(path = "network_map.html")]
#[allow(missing_docs)]
pub struct NetworkMap {
    pub page: Page,
    pub width: usize,
    pub height: usize,
    pub boxes: Vec<MapBox>,
    pub lines: Vec<MapLine>,
    pub rows: Vec<MapRow>,
}

/// A box of the map.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MapBox {
    /// Its class: `net`, `box` or `world`.
    pub kind: &'static str,
    pub href: String,
    pub name: String,
    /// A second line.
    pub note: String,
    pub x: usize,
    pub y: usize,
    pub width: usize,
}

/// A line of the map: right, down or up, right.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MapLine {
    pub published: bool,
    pub x1: usize,
    pub y1: usize,
    pub middle: usize,
    pub x2: usize,
    pub y2: usize,
}

/// A line of the table.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct MapRow {
    pub href: String,
    pub container: String,
    pub network: String,
    pub network_href: String,
    pub address: String,
    pub published: String,
}

/// The question who reaches whom, and the answers.
#[derive(Template)]
#[template(path = "network_explain.html")]
#[allow(missing_docs)]
pub struct NetworkExplain {
    pub page: Page,
    pub from: Field,
    pub to: Field,
    pub port: Field,
    pub proto: Field,
    pub answers: Vec<ExplainAnswer>,
    pub error: String,
}

/// One answer.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ExplainAnswer {
    pub question: String,
    pub verdict: Badge,
    pub reasons: Vec<String>,
    pub facts: Vec<Fact>,
}
