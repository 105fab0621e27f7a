//! Search, as a page and inside the palette.

use super::page::Page;
use askama::Template;

/// What was found.
#[derive(Template)]
#[template(path = "search.html")]
#[allow(missing_docs)]
pub struct Search {
    pub page: Page,
    pub query: String,
    pub hits: Vec<Hit>,
}

/// One hit.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Hit {
    pub href: String,
    pub icon: &'static str,
    pub text: String,
    pub kind: &'static str,
}
