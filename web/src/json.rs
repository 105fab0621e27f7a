//! Pretty-printed JSON as coloured HTML for the inspect page.

/// JSON text (already indented) with keys, strings and numbers in spans; everything is escaped.
pub fn highlight(text: &str) -> String {
    let mut html = String::with_capacity(text.len() * 2);
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let (class, end) = match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at);
                let key = bytes[end..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                (if key { "k" } else { "s" }, end)
            }
            b'0'..=b'9' | b'-' | b'a'..=b'z' => {
                let len = bytes[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.')).count();
                ("n", at + len)
            }
            _ => {
                let len = bytes[at..].iter().take_while(|b| !matches!(b, b'"' | b'0'..=b'9' | b'-' | b'a'..=b'z')).count();
                ("", at + len)
            }
        };
        if class.is_empty() {
            escape(&text[at..end], &mut html);
        } else {
            html.push_str("<span class=\"");
            html.push_str(class);
            html.push_str("\">");
            escape(&text[at..end], &mut html);
            html.push_str("</span>");
        }
        at = end;
    }
    html
}

fn string_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn escape(text: &str, html: &mut String) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_strings_numbers_and_hostile_text() {
        assert_eq!(highlight("{\n  \"a\": 1\n}"), "{\n  <span class=\"k\">&quot;a&quot;</span>: <span class=\"n\">1</span>\n}");
        assert_eq!(
            highlight(r#"["<b>\"", null]"#),
            "[<span class=\"s\">&quot;&lt;b&gt;\\&quot;&quot;</span>, <span class=\"n\">null</span>]"
        );
        assert_eq!(highlight("\"open"), "<span class=\"s\">&quot;open</span>");
        assert_eq!(
            highlight("{ \"ä\\\\\": \"ü\" }"),
            "{ <span class=\"k\">&quot;ä\\\\&quot;</span>: <span class=\"s\">&quot;ü&quot;</span> }"
        );
    }
}
