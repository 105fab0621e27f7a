//! Pages that say one thing: an error, or a question before something that cannot be undone.

use super::page::Page;
use super::piece::Field;
use askama::Template;

/// An error, inside the frame when somebody is signed in.
#[derive(Template)]
#[template(path = "message.html")]
#[allow(missing_docs)]
pub struct Message {
    pub page: Page,
    /// 404.
    pub code: u16,
    /// What failed, with which name.
    pub text: String,
    /// What to try.
    pub hints: Vec<String>,
    /// Where to go: address, words.
    pub back: (String, String),
}

/// The same for somebody who is not signed in, or whom we could not ask who they are.
#[derive(Template)]
#[template(path = "message_bare.html")]
#[allow(missing_docs)]
pub struct BareMessage {
    pub page: Page,
    pub code: u16,
    pub text: String,
    pub hints: Vec<String>,
    pub back: (String, String),
}

/// A question before something that cannot be undone.
#[derive(Template)]
#[template(path = "confirm.html")]
#[allow(missing_docs)]
pub struct Confirm {
    pub page: Page,
    /// Where the answer goes.
    pub action: String,
    /// What will happen.
    pub text: String,
    /// To which objects.
    pub objects: Vec<String>,
    /// What goes with it and cannot come back.
    pub consequences: Vec<String>,
    /// Things to tick; unticked.
    pub checks: Vec<Field>,
    /// Further fields that go with the answer.
    pub hidden: Vec<(String, String)>,
    /// The word on the button.
    pub button: String,
    /// Where "no" leads.
    pub back: String,
}
