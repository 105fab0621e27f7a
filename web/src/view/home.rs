//! The first page.

use super::container::ContainerRow;
use super::operation::OperationRow;
use super::page::Page;
use super::piece::{Badge, Fact, Meter, When};
use askama::Template;

/// What needs a look, what runs, what is left.
#[derive(Template)]
#[template(path = "home.html")]
#[allow(missing_docs)]
pub struct Home {
    pub page: Page,
    pub figures: Vec<Figure>,
    /// Containers that need a look.
    pub attention: Vec<Attention>,
    /// The newest containers.
    pub containers: Vec<ContainerRow>,
    pub operations: Vec<OperationRow>,
    pub quota: Vec<Meter>,
    pub host: Vec<Fact>,
    pub events: Vec<Happened>,
}

/// A number with its noun.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Figure {
    pub href: String,
    pub number: String,
    pub text: String,
}

/// A container that needs a look.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Attention {
    pub href: String,
    pub name: String,
    pub badge: Badge,
    pub why: String,
}

/// Something that happened lately.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Happened {
    pub when: When,
    pub text: String,
    pub object: String,
    /// Empty where there is nothing to open.
    pub href: String,
}
