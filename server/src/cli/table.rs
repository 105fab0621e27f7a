//! Lists of JSON objects as tables for people.

use serde_json::Value;

/// Prints `rows` with these columns (heading, field), or as JSON.
pub(super) fn print(rows: &Value, columns: &[(&str, &str)], json: bool) {
    print!("{}", render(rows, columns, json));
}

fn render(rows: &Value, columns: &[(&str, &str)], json: bool) -> String {
    if json {
        return format!("{rows:#}\n");
    }
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|(heading, _)| (*heading).to_owned()).collect()];
    for row in rows.as_array().into_iter().flatten() {
        lines.push(columns.iter().map(|(_, field)| cell(&row[*field])).collect());
    }
    let width = |c: usize| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(text, w)| format!("{text:<w$}")).collect();
        out.push_str(cells.join("   ").trim_end());
        out.push('\n');
    }
    out
}

/// What came from people or images must not steer the terminal.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => seconds(text).to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        // A membership: who or where, and as what.
        Value::Object(fields) => {
            let name = fields.iter().find(|(field, _)| *field != "role").map(|(_, v)| cell(v)).unwrap_or_default();
            fields.get("role").map_or(name.clone(), |role| format!("{name} ({})", cell(role)))
        }
        Value::Number(n) => n.to_string(),
    };
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A time without its fraction; any other text as it is.
fn seconds(text: &str) -> &str {
    match text.parse::<jiff::Timestamp>() {
        Ok(_) => text.split_once('.').map_or(text, |(whole, _)| whole),
        Err(_) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_line_up_and_control_characters_do_not_pass() {
        let rows = json!([{"a": "x\u{1b}[2J", "b": null}, {"a": "longer text", "b": [1, true]}, {"a": "2026-11-24T09:33:34.412Z", "b": [{"role": "owner", "user": "ada"}]}]);
        assert_eq!(
            render(&rows, &[("A", "a"), ("BEE", "b")], false),
            "A                     BEE\nx\u{fffd}[2J                 -\nlonger text           1, yes\n2026-11-24T09:33:34   ada (owner)\n"
        );
    }
}
