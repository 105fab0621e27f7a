//! What every page needs: title, who looks at it, theme, the form token, the notice after an action.

use super::piece::{Escaped, Icon, Tone};
use std::fmt::{self, Display, Formatter};

/// The frame of a page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The page's own title.
    pub title: String,
    /// Which entry of the side bar it belongs to: home, containers, images, volumes, networks, logs, operations, audit, users,
    /// account.
    pub section: &'static str,
    /// Who is signed in.
    pub person: Option<Person>,
    /// `light`, `dark`, or empty: as the system is.
    pub theme: &'static str,
    /// The session's form token.
    pub csrf: String,
    /// What the last action said.
    pub flash: Option<Flash>,
    /// How many operations of this person are running.
    pub running: usize,
    /// Path and query of this page, for coming back to it.
    pub here: String,
    /// What addresses of objects begin with: `/ui/t/<tenant>`, so that an address can be given to a colleague.
    pub base: String,
}

/// Who is signed in.
#[derive(Debug, Clone, Default)]
pub struct Person {
    /// User name.
    pub name: String,
    /// The tenant that lists show.
    pub tenant: String,
    /// Other tenants of this person.
    pub tenants: Vec<String>,
    /// Whether the admin pages are shown.
    pub admin: bool,
}

impl Person {
    /// One or two letters for the round mark.
    pub fn initials(&self) -> String {
        self.name.chars().filter(|c| c.is_alphanumeric()).take(2).collect()
    }
}

/// A notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flash {
    /// Good or bad.
    pub tone: Tone,
    /// What happened.
    pub text: String,
}

/// The hidden field with the form token.
pub struct Csrf<'a>(&'a str);

impl Display for Csrf<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<input type=\"hidden\" name=\"form_token\" value=\"{}\">", Escaped(self.0))
    }
}
impl askama::filters::HtmlSafe for Csrf<'_> {}

impl Page {
    /// Where a static file is served.
    pub fn asset(&self, name: &str) -> &'static str {
        crate::assets::url(name)
    }

    /// A drawing.
    pub fn icon(&self, name: &'static str) -> Icon {
        Icon(name)
    }

    /// The hidden field every form carries.
    pub fn token(&self) -> Csrf<'_> {
        Csrf(&self.csrf)
    }

    /// `aria-current` for the side bar.
    pub fn current(&self, section: &str) -> &'static str {
        if self.section == section { "page" } else { "" }
    }

    /// Whether the administrator's pages are shown.
    pub fn admin(&self) -> bool {
        self.person.as_ref().is_some_and(|p| p.admin)
    }
}

/// One step of the way to a page: address and words.
#[derive(Debug, Clone)]
pub struct Crumb {
    /// Where it leads.
    pub href: String,
    /// What it says.
    pub text: String,
}

impl Crumb {
    /// A step.
    pub fn new(href: impl Into<String>, text: impl Into<String>) -> Self {
        Self { href: href.into(), text: text.into() }
    }
}

/// One of a row of filters, tabs or sort orders.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Where it leads.
    pub href: String,
    /// What it says.
    pub text: String,
    /// How many it would show; empty: not said.
    pub count: String,
    /// Whether it is chosen.
    pub chosen: bool,
}

/// The head of a column that can be sorted by.
#[derive(Debug, Clone)]
pub struct Column {
    /// Where sorting by it leads.
    pub href: String,
    /// What it says.
    pub text: &'static str,
    /// `ascending`, `descending` or `none`, for `aria-sort`.
    pub sort: &'static str,
}
