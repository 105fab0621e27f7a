//! What programs print, as HTML: escaped first, colours and weights (SGR, ECMA-48 8.3.117) as `<span class>`, every other
//! control sequence dropped. A log line can therefore neither inject markup nor, pasted into a terminal, control it.
//!
//! The 256-colour and true-colour forms are mapped to the nearest of the sixteen names, so that they fit both themes.

/// Turns a stream of lines into HTML; what is switched on in one line holds for the next, as in a terminal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converter {
    style: Style,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Style {
    foreground: Option<u8>,
    background: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
    strike: bool,
    reverse: bool,
}

impl Converter {
    /// One line (its newline, if any, is dropped) as HTML.
    pub fn line(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        // A carriage return within a line is a program drawing over its own line (progress bars): the last drawing counts.
        let text = text.rsplit_once('\r').map_or(text, |(_, last)| last);
        let mut html = String::with_capacity(text.len() + text.len() / 8);
        let mut open = false;
        let mut shown = Style::default();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\u{1b}' => match rest.peek() {
                    Some('[') => {
                        rest.next();
                        self.control_sequence(&mut rest);
                    }
                    Some(']' | 'P' | 'X' | '^' | '_') => {
                        rest.next();
                        string_sequence(&mut rest);
                    }
                    // Two-character escapes; with an intermediate byte three.
                    Some(c) if (' '..='/').contains(c) => {
                        rest.next();
                        rest.next();
                    }
                    Some(c) if ('0'..='~').contains(c) => {
                        rest.next();
                    }
                    _ => {}
                },
                '\u{9b}' => self.control_sequence(&mut rest),
                '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => string_sequence(&mut rest),
                '\t' => self.push(&mut html, &mut open, &mut shown, "\t"),
                // C0, DEL, C1, and the marks that reorder text on the screen (bidi overrides: "trojan source").
                '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
                '&' => self.push(&mut html, &mut open, &mut shown, "&amp;"),
                '<' => self.push(&mut html, &mut open, &mut shown, "&lt;"),
                '>' => self.push(&mut html, &mut open, &mut shown, "&gt;"),
                '"' => self.push(&mut html, &mut open, &mut shown, "&quot;"),
                '\'' => self.push(&mut html, &mut open, &mut shown, "&#39;"),
                c => self.push(&mut html, &mut open, &mut shown, c.encode_utf8(&mut [0; 4])),
            }
        }
        if open {
            html.push_str("</span>");
        }
        html
    }

    fn push(&self, html: &mut String, open: &mut bool, shown: &mut Style, text: &str) {
        if *shown != self.style {
            if *open {
                html.push_str("</span>");
            }
            *shown = self.style;
            *open = self.style != Style::default();
            if *open {
                html.push_str("<span class=\"");
                self.style.classes(html);
                html.push_str("\">");
            }
        }
        html.push_str(text);
    }

    /// After `ESC [`: parameters, intermediates, one final byte. Only `m` without private marks does something.
    fn control_sequence(&mut self, rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
        let mut parameters = String::new();
        let mut plain = true;
        while let Some(&c) = rest.peek() {
            match c {
                '0'..='9' | ';' | ':' => {
                    // No real sequence is longer; the rest of a longer one is dropped, not kept.
                    if parameters.len() < 128 {
                        parameters.push(c);
                    }
                    rest.next();
                }
                ' '..='?' => {
                    plain = false;
                    rest.next();
                }
                '@'..='~' => {
                    rest.next();
                    if c == 'm' && plain {
                        self.style.apply(&parameters);
                    }
                    return;
                }
                // Anything else ends a broken sequence and is looked at on its own.
                _ => return,
            }
        }
    }
}

/// After OSC, DCS, SOS, PM, APC: everything up to ST or BEL is dropped.
fn string_sequence(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = rest.next() {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' if rest.peek() == Some(&'\\') => {
                rest.next();
                return;
            }
            _ => {}
        }
    }
}

impl Style {
    fn apply(&mut self, parameters: &str) {
        let codes: Vec<u16> = parameters.split([';', ':']).map(|p| if p.is_empty() { 0 } else { p.parse().unwrap_or(u16::MAX) }).collect();
        let mut at = 0;
        while at < codes.len() {
            let code = codes[at];
            at += 1;
            match code {
                0 => *self = Style::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                4 | 21 => self.underline = true,
                7 => self.reverse = true,
                9 => self.strike = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                27 => self.reverse = false,
                29 => self.strike = false,
                30..=37 => self.foreground = Some((code - 30) as u8),
                38 | 48 => {
                    let (colour, used) = extended(&codes[at..]);
                    at += used;
                    if code == 38 {
                        self.foreground = colour.or(self.foreground);
                    } else {
                        self.background = colour.or(self.background);
                    }
                }
                39 => self.foreground = None,
                40..=47 => self.background = Some((code - 40) as u8),
                49 => self.background = None,
                90..=97 => self.foreground = Some((code - 90 + 8) as u8),
                100..=107 => self.background = Some((code - 100 + 8) as u8),
                _ => {}
            }
        }
    }

    fn classes(&self, html: &mut String) {
        // Black on white where reverse meets the default colours.
        let (foreground, background) = if self.reverse {
            (Some(self.background.unwrap_or(15)), Some(self.foreground.unwrap_or(7)))
        } else {
            (self.foreground, self.background)
        };
        let mut parts: Vec<String> = Vec::new();
        parts.extend(foreground.map(|c| format!("a-f{c}")));
        parts.extend(background.map(|c| format!("a-g{c}")));
        for (on, class) in [(self.bold, "a-b"), (self.dim, "a-d"), (self.italic, "a-i"), (self.underline, "a-u"), (self.strike, "a-s")] {
            if on {
                parts.push(class.into());
            }
        }
        html.push_str(&parts.join(" "));
    }
}

/// `5;n` or `2;r;g;b` after 38 or 48: the nearest of sixteen, and how many codes it took.
fn extended(codes: &[u16]) -> (Option<u8>, usize) {
    match codes {
        [5, n, ..] => (u8::try_from(*n).ok().map(nearest_of_256), 2),
        [2, r, g, b, ..] => (Some(nearest(*r, *g, *b)), 4),
        _ => (None, codes.len()),
    }
}

/// The 256 colours: sixteen names, a 6×6×6 cube, 24 greys (xterm's table).
fn nearest_of_256(n: u8) -> u8 {
    let level = |i: u8| if i == 0 { 0 } else { 55 + 40 * u16::from(i) };
    match n {
        0..=15 => n,
        16..=231 => {
            let i = n - 16;
            nearest(level(i / 36), level(i / 6 % 6), level(i % 6))
        }
        232..=255 => {
            let grey = 8 + 10 * u16::from(n - 232);
            nearest(grey, grey, grey)
        }
    }
}

fn nearest(r: u16, g: u16, b: u16) -> u8 {
    const NAMES: [(u16, u16, u16); 16] = [
        (0, 0, 0),
        (205, 0, 0),
        (0, 205, 0),
        (205, 205, 0),
        (0, 0, 238),
        (205, 0, 205),
        (0, 205, 205),
        (229, 229, 229),
        (127, 127, 127),
        (255, 0, 0),
        (0, 255, 0),
        (255, 255, 0),
        (92, 92, 255),
        (255, 0, 255),
        (0, 255, 255),
        (255, 255, 255),
    ];
    let distance =
        |&(r2, g2, b2): &(u16, u16, u16)| [(r, r2), (g, g2), (b, b2)].iter().map(|(x, y)| u32::from(x.abs_diff(*y)).pow(2)).sum::<u32>();
    let mut best = 0u8;
    for (i, name) in NAMES.iter().enumerate().skip(1) {
        if distance(name) < distance(&NAMES[usize::from(best)]) {
            best = i as u8;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_html() {
        for (line, html) in [
            ("plain\n", "plain"),
            ("crlf\r\n", "crlf"),
            ("<script>alert('x')</script> & \"q\"", "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;q&quot;"),
            ("\x1b[31mred\x1b[0m no", "<span class=\"a-f1\">red</span> no"),
            ("\x1b[1;92;44mx\x1b[m", "<span class=\"a-f10 a-g4 a-b\">x</span>"),
            ("\x1b[31m\x1b[1mx", "<span class=\"a-f1 a-b\">x</span>"),
            ("\x1b[7mx", "<span class=\"a-f15 a-g7\">x</span>"),
            ("\x1b[38;5;196mx", "<span class=\"a-f9\">x</span>"),
            ("\x1b[38;2;0;200;10mx", "<span class=\"a-f2\">x</span>"),
            ("\x1b[38;5mx", "x"),
            ("\x1b[99999999999999mx", "x"),
            ("10%\r50%\r100%", "100%"),
            ("tab\tkept", "tab\tkept"),
            ("bell\x07 back\x08 nul\0", "bell back nul"),
            ("\x1b[2J\x1b[H\x1b[?1049hclear", "clear"),
            ("\x1b]52;c;ZXZpbA==\x07clip", "clip"),
            ("\x1b]0;title\x1b\\t", "t"),
            ("\x1bP1;2|q\x1b\\dcs", "dcs"),
            ("\u{9b}31mc1", "<span class=\"a-f1\">c1</span>"),
            ("\u{9d}0;t\u{9c}x", "x"),
            ("\x1b(Bcharset\x1b=", "charset"),
            ("a\u{202e}b", "ab"),
            ("broken \x1b[31", "broken "),
            ("\x1b[31\u{e9}", "\u{e9}"),
        ] {
            assert_eq!(Converter::default().line(line.as_bytes()), html, "{line:?}");
        }
        assert_eq!(Converter::default().line(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_style_holds_until_it_is_reset() {
        let mut converter = Converter::default();
        assert_eq!(converter.line(b"\x1b[33mone\n"), "<span class=\"a-f3\">one</span>");
        assert_eq!(converter.line(b"two\n"), "<span class=\"a-f3\">two</span>");
        assert_eq!(converter.line(b"\x1b[0mthree\n"), "three");
    }

    #[test]
    fn no_line_of_hostile_pieces_opens_a_tag_of_its_own() {
        let pieces = ["<", ">", "\"", "'", "&", "\x1b", "[", "]", "3", "1", "m", ";", "\x07", "\u{9b}", "x", "\x1b[31m", "\x1b[0m"];
        let mut seed = 1u64;
        for _ in 0..20_000 {
            let mut line = String::new();
            for _ in 0..8 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                line.push_str(pieces[(seed >> 33) as usize % pieces.len()]);
            }
            let html = Converter::default().line(line.as_bytes());
            let rest = html.replace("<span class=\"", "").replace("</span>", "").replace("\">", "");
            assert!(!rest.contains(['<', '>', '"', '\'', '\x1b']), "{line:?} became {html}");
            assert_eq!(html.matches("<span").count(), html.matches("</span>").count());
        }
    }
}
