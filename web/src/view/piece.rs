//! Small pieces of HTML that many pages share: icons, badges, facts, form fields, times, meters. Each is plain data that
//! prints itself with everything escaped, so that templates can place it as it is.

use askama::filters::HtmlSafe;
use std::fmt::{self, Display, Formatter, Write};

/// Text with the five characters that mean something in HTML replaced.
pub struct Escaped<'a>(pub &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Text as one segment of a URL path or query value: everything but unreserved characters percent-encoded.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            _ => {
                let _ = write!(out, "%{b:02X}");
            }
        }
    }
    out
}

/// A drawing of the sprite, hidden from screen readers: the word beside it says the same.
pub struct Icon(pub &'static str);

impl Display for Icon {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<svg class=\"icon\" aria-hidden=\"true\"><use href=\"{}#{}\"/></svg>", crate::assets::url("icons.svg"), self.0)
    }
}
impl HtmlSafe for Icon {}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// Going well.
    Ok,
    /// Going on right now.
    Live,
    /// Worth a look.
    Warn,
    /// Wrong.
    Err,
}

impl Tone {
    /// The class.
    pub fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Ok => "ok",
            Tone::Live => "live",
            Tone::Warn => "warn",
            Tone::Err => "err",
        }
    }
}

/// A state: a word, a glyph of its own shape and a colour, so that colour alone never tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Badge {
    /// What it says.
    pub word: String,
    /// Its shape.
    pub glyph: &'static str,
    /// Its colour.
    pub tone: Tone,
}

impl Badge {
    /// A badge.
    pub fn new(word: impl Into<String>, glyph: &'static str, tone: Tone) -> Self {
        Self { word: word.into(), glyph, tone }
    }

    /// The badge of a container's state. `code` is the exit code; `health` is empty without a health check.
    pub fn container(state: &str, code: i32, oom: bool, health: &str) -> Self {
        match (state, health) {
            ("running", "unhealthy") => Self::new("unhealthy", "▲", Tone::Warn),
            ("running", "starting") => Self::new("starting", "◐", Tone::Live),
            ("running", _) => Self::new("running", "●", Tone::Ok),
            ("paused", _) => Self::new("paused", "❚❚", Tone::Live),
            ("restarting", _) => Self::new("restarting", "↻", Tone::Warn),
            ("exited", _) if oom => Self::new("out of memory", "✕", Tone::Err),
            ("exited", _) if code == 0 => Self::new("exited (0)", "○", Tone::Plain),
            ("exited", _) => Self::new(format!("failed ({code})"), "✕", Tone::Err),
            ("created", _) => Self::new("created", "◌", Tone::Plain),
            ("removing", _) => Self::new("removing", "◍", Tone::Live),
            ("dead", _) => Self::new("dead", "✕", Tone::Err),
            (other, _) => Self::new(other, "◌", Tone::Plain),
        }
    }
}

impl Display for Badge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"badge {}\"><i aria-hidden=\"true\">{}</i>{}</span>", self.tone.class(), self.glyph, Escaped(&self.word))
    }
}
impl HtmlSafe for Badge {}

/// A moment: an age for the eye, the exact time on pointing at it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct When {
    /// RFC 3339, UTC.
    pub exact: String,
    /// `3 h ago`.
    pub text: String,
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.exact.is_empty() {
            return write!(f, "<span class=\"muted\">{}</span>", Escaped(&self.text));
        }
        let exact = Escaped(&self.exact);
        write!(f, "<time datetime=\"{exact}\" title=\"{exact}\" class=\"nowrap\">{}</time>", Escaped(&self.text))
    }
}
impl HtmlSafe for When {}

/// A value beside its label.
#[derive(Debug, Clone)]
pub enum Value {
    /// Words.
    Text(String),
    /// Something to be read letter by letter: an id, a path, a command.
    Code(String),
    /// The same with a button that copies it.
    Copy(String),
    /// Somewhere to go: address, text.
    Link(String, String),
    /// An address outside Wharf: address, text.
    Out(String, String),
    /// Several short ones.
    Tags(Vec<String>),
    /// A moment.
    When(When),
    /// A state.
    Badge(Badge),
    /// What is not there, said in words.
    Nothing(&'static str),
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(t) => Escaped(t).fmt(f),
            Value::Code(t) => write!(f, "<code>{}</code>", Escaped(t)),
            Value::Copy(t) => write!(
                f,
                "<code>{0}</code> <button type=\"button\" class=\"button quiet small square\" data-copy=\"{0}\" aria-label=\"Copy\" hidden>{1}</button>",
                Escaped(t),
                Icon("copy")
            ),
            Value::Link(to, t) => write!(f, "<a href=\"{}\">{}</a>", Escaped(to), Escaped(t)),
            Value::Out(to, t) => write!(f, "<a href=\"{}\" target=\"_blank\" rel=\"noopener noreferrer\">{}</a>", Escaped(to), Escaped(t)),
            Value::Tags(tags) => {
                for (i, t) in tags.iter().enumerate() {
                    write!(f, "{}<span class=\"tag\">{}</span>", if i == 0 { "" } else { " " }, Escaped(t))?;
                }
                Ok(())
            }
            Value::When(when) => when.fmt(f),
            Value::Badge(badge) => badge.fmt(f),
            Value::Nothing(words) => write!(f, "<span class=\"muted\">{words}</span>"),
        }
    }
}
impl HtmlSafe for Value {}

/// A label and its value.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What it is.
    pub label: String,
    /// How it is.
    pub value: Value,
}

impl Fact {
    /// A fact.
    pub fn new(label: impl Into<String>, value: Value) -> Self {
        Self { label: label.into(), value }
    }
}

impl Display for Fact {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<dt>{}</dt><dd>{}</dd>", Escaped(&self.label), self.value)
    }
}
impl HtmlSafe for Fact {}

/// How much of a limit is used.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Of what.
    pub label: String,
    /// `210 MiB of 512 MiB`.
    pub text: String,
    /// 0–100; `None` where there is no limit to compare with.
    pub percent: Option<u8>,
}

impl Display for Meter {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<div class=\"meter-row\"><div class=\"top\"><b>{}</b><span>{}</span></div>", Escaped(&self.label), Escaped(&self.text))?;
        if let Some(percent) = self.percent {
            let tone = match percent {
                0..80 => "",
                80..95 => " warn",
                _ => " err",
            };
            // Drawn, because a <meter> looks different in each browser, and a width in a style attribute is refused by our policy.
            write!(
                f,
                "<svg class=\"gauge{tone}\" role=\"meter\" aria-valuemin=\"0\" aria-valuemax=\"100\" aria-valuenow=\"{percent}\" aria-label=\"{}\"><rect width=\"{percent}%\" height=\"6\" rx=\"3\"/></svg>",
                Escaped(&self.label)
            )?;
        }
        f.write_str("</div>")
    }
}
impl HtmlSafe for Meter {}

/// How a field is filled in.
#[derive(Debug, Clone, Default)]
pub enum Input {
    /// One line.
    #[default]
    Text,
    /// One line that is not shown. Never filled in again.
    Password,
    /// So many lines.
    Area(u8),
    /// One of (value, words).
    Select(Vec<(String, String)>),
    /// On or off; on when the value is not empty.
    Check,
}

/// A form field with what was filled in and what is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Field {
    /// Its name in the form.
    pub name: &'static str,
    /// What it asks for.
    pub label: &'static str,
    /// What is filled in.
    pub value: String,
    /// What is wrong with it; empty: nothing.
    pub error: String,
    hint: &'static str,
    placeholder: &'static str,
    autocomplete: &'static str,
    list: &'static str,
    required: bool,
    mono: bool,
    focus: bool,
    input: Input,
}

impl Field {
    /// A field of one line.
    pub fn new(name: &'static str, label: &'static str) -> Self {
        Self { name, label, autocomplete: "off", ..Self::default() }
    }
    /// A hidden one-liner; `autocomplete` is `current-password` or `new-password`.
    pub fn password(name: &'static str, label: &'static str, autocomplete: &'static str) -> Self {
        Self { input: Input::Password, autocomplete, required: true, ..Self::new(name, label) }
    }
    /// Several lines, in a fixed-width face.
    pub fn area(name: &'static str, label: &'static str, lines: u8) -> Self {
        Self { input: Input::Area(lines), ..Self::new(name, label) }
    }
    /// One of several.
    pub fn select(name: &'static str, label: &'static str, options: Vec<(String, String)>) -> Self {
        Self { input: Input::Select(options), ..Self::new(name, label) }
    }
    /// A box to tick.
    pub fn check(name: &'static str, label: &'static str) -> Self {
        Self { input: Input::Check, ..Self::new(name, label) }
    }
    /// With words below that help.
    pub fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }
    /// With an example inside.
    pub fn example(mut self, placeholder: &'static str) -> Self {
        self.placeholder = placeholder;
        self
    }
    /// What the browser may fill in: `username`, ….
    pub fn autocomplete(mut self, what: &'static str) -> Self {
        self.autocomplete = what;
        self
    }
    /// Suggestions from the `<datalist>` of this id.
    pub fn suggestions(mut self, list: &'static str) -> Self {
        self.list = list;
        self
    }
    /// Must be filled in.
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
    /// May be left empty (passwords are required otherwise).
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
    /// In a fixed-width face.
    pub fn mono(mut self) -> Self {
        self.mono = true;
        self
    }
    /// Where typing begins.
    pub fn focus(mut self) -> Self {
        self.focus = true;
        self
    }
    /// Filled in.
    pub fn with(mut self, value: impl Into<String>) -> Self {
        self.value = value.into();
        self
    }
    /// Wrong.
    pub fn wrong(&mut self, error: impl Into<String>) {
        self.error = error.into();
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.name;
        let described = match (self.hint.is_empty(), self.error.is_empty()) {
            (true, true) => String::new(),
            (false, true) => format!(" aria-describedby=\"{name}-hint\""),
            (true, false) => format!(" aria-invalid=\"true\" aria-describedby=\"{name}-wrong\""),
            (false, false) => format!(" aria-invalid=\"true\" aria-describedby=\"{name}-wrong {name}-hint\""),
        };
        let mut common = format!("id=\"{name}\" name=\"{name}\"{described}");
        if self.required {
            common.push_str(" required");
        }
        if self.focus {
            common.push_str(" autofocus");
        }
        if let Input::Check = self.input {
            let checked = if self.value.is_empty() { "" } else { " checked" };
            write!(f, "<label class=\"check\"><input type=\"checkbox\" value=\"1\" {common}{checked}><span>{}", Escaped(self.label))?;
            if !self.hint.is_empty() {
                write!(f, "<small id=\"{name}-hint\">{}</small>", Escaped(self.hint))?;
            }
            return f.write_str("</span></label>");
        }
        write!(f, "<div class=\"field\"><label for=\"{name}\">{}</label>", Escaped(self.label))?;
        let class = if self.mono { "input mono" } else { "input" };
        let typing = format!(
            "placeholder=\"{}\" autocomplete=\"{}\" autocapitalize=\"off\" spellcheck=\"false\"",
            Escaped(self.placeholder),
            self.autocomplete
        );
        let list = if self.list.is_empty() { String::new() } else { format!(" list=\"{}\"", self.list) };
        match &self.input {
            Input::Text => write!(f, "<input class=\"{class}\" type=\"text\" {common} value=\"{}\" {typing}{list}>", Escaped(&self.value))?,
            Input::Password => write!(f, "<input class=\"{class}\" type=\"password\" {common} {typing}>")?,
            // The newline after the tag is dropped by HTML; without it a leading newline of the value would be.
            Input::Area(rows) => {
                write!(f, "<textarea class=\"{class}\" rows=\"{rows}\" {common} {typing}>\n{}</textarea>", Escaped(&self.value))?
            }
            Input::Select(options) => {
                write!(f, "<select class=\"{class}\" {common}>")?;
                for (value, words) in options {
                    let selected = if *value == self.value { " selected" } else { "" };
                    write!(f, "<option value=\"{}\"{selected}>{}</option>", Escaped(value), Escaped(words))?;
                }
                f.write_str("</select>")?;
            }
            Input::Check => {}
        }
        if !self.error.is_empty() {
            write!(f, "<p class=\"wrong\" id=\"{name}-wrong\">{}</p>", Escaped(&self.error))?;
        }
        if !self.hint.is_empty() {
            write!(f, "<p class=\"hint\" id=\"{name}-hint\">{}</p>", Escaped(self.hint))?;
        }
        f.write_str("</div>")
    }
}
impl HtmlSafe for Field {}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "\"><script>alert('1')</script>&";

    #[test]
    fn nothing_hostile_gets_through_any_piece() {
        let mut field = Field::new("x", "X").with(HOSTILE);
        field.wrong(HOSTILE);
        let mut area = Field::area("y", "Y", 3).with(format!("</textarea>{HOSTILE}"));
        area.wrong(HOSTILE);
        for html in [
            Badge::new(HOSTILE, "●", Tone::Ok).to_string(),
            Badge::container(HOSTILE, 1, false, HOSTILE).to_string(),
            When { exact: HOSTILE.into(), text: HOSTILE.into() }.to_string(),
            Value::Text(HOSTILE.into()).to_string(),
            Value::Copy(HOSTILE.into()).to_string(),
            Value::Link(HOSTILE.into(), HOSTILE.into()).to_string(),
            Value::Tags(vec![HOSTILE.into(), HOSTILE.into()]).to_string(),
            Fact::new(HOSTILE, Value::Code(HOSTILE.into())).to_string(),
            Meter { label: HOSTILE.into(), text: HOSTILE.into(), percent: Some(3) }.to_string(),
            field.to_string(),
            area.to_string(),
            Field::select("z", "Z", vec![(HOSTILE.into(), HOSTILE.into())]).with(HOSTILE).to_string(),
        ] {
            assert!(!html.contains("<script") && !html.contains("\">&lt;/textarea") && html.contains("&lt;script"), "{html}");
        }
        assert_eq!(segment("a/b c?d\"é"), "a%2Fb%20c%3Fd%22%C3%A9");
    }

    #[test]
    fn a_password_is_never_filled_in_again() {
        assert!(!Field::password("p", "P", "new-password").with("hunter2").to_string().contains("hunter2"));
    }

    #[test]
    fn each_state_has_a_shape_of_its_own_colour() {
        for (state, code, oom, health, word, glyph) in [
            ("running", 0, false, "", "running", "●"),
            ("running", 0, false, "healthy", "running", "●"),
            ("running", 0, false, "starting", "starting", "◐"),
            ("running", 0, false, "unhealthy", "unhealthy", "▲"),
            ("exited", 0, false, "", "exited (0)", "○"),
            ("exited", 137, true, "", "out of memory", "✕"),
            ("exited", 2, false, "", "failed (2)", "✕"),
            ("created", 0, false, "", "created", "◌"),
        ] {
            let badge = Badge::container(state, code, oom, health);
            assert_eq!((badge.word.as_str(), badge.glyph), (word, glyph));
        }
    }
}
