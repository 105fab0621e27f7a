//! Progress streams (pull, push, load, import): JSON objects with CRLF after each, errors among them once the first byte
//! is out.

use engine::progress::Progress;
use engine::size::docker as size;
use serde_json::{Value, json};

/// One line. Docker's HTML-safe escapes (`\u003c`) are not needed: JSON readers see the same text.
pub fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.extend_from_slice(b"\r\n");
    line
}

/// One fact as Docker writes it.
pub fn progress(fact: &Progress) -> Value {
    match fact {
        Progress::Status { id, status, bytes } => {
            let mut value = json!({ "status": status });
            let Value::Object(map) = &mut value else { return value };
            if let Some(id) = id {
                map.insert("id".to_owned(), json!(id));
            }
            match bytes {
                None => {
                    // Docker has an empty object here for parts, and old clients look into it.
                    if id.is_some() {
                        map.insert("progressDetail".to_owned(), json!({}));
                    }
                }
                Some((done, None)) => {
                    map.insert("progressDetail".to_owned(), json!({ "current": done }));
                    map.insert("progress".to_owned(), json!(size(*done)));
                }
                Some((done, Some(total))) => {
                    map.insert("progressDetail".to_owned(), json!({ "current": done, "total": total }));
                    map.insert("progress".to_owned(), json!(bar(*done, *total)));
                }
            }
            value
        }
        Progress::Text(text) => json!({ "stream": text }),
        Progress::Aux(aux) => json!({ "aux": aux }),
        Progress::Failed(error) => failed(error),
    }
}

/// A failure after the first byte.
pub fn failed(error: &engine::Error) -> Value {
    let text = error.to_string();
    json!({ "errorDetail": { "message": text }, "error": text })
}

/// `[====>    ]  1.2MB/3.4MB`, fifty wide, as clients print it that know no better.
fn bar(done: u64, total: u64) -> String {
    let fifty = (done.min(total) * 50).checked_div(total).map_or(50, |n| n as usize);
    let arrow = if fifty < 50 { ">" } else { "" };
    format!("[{}{arrow}{}]  {}/{}", "=".repeat(fifty), " ".repeat(50 - fifty - arrow.len()), size(done), size(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_dockers() {
        let text = |fact: Progress| String::from_utf8(line(&progress(&fact))).unwrap();
        assert_eq!(text(Progress::status("Pulling from library/alpine")), "{\"status\":\"Pulling from library/alpine\"}\r\n");
        let part: Value = serde_json::from_str(&text(Progress::part("3.20", "Pulling"))).unwrap();
        assert_eq!(part, json!({"id": "3.20", "status": "Pulling", "progressDetail": {}}));
        let half =
            progress(&Progress::Status { id: Some("a".into()), status: "Downloading".into(), bytes: Some((512_000, Some(1_024_000))) });
        assert_eq!(half["progressDetail"], json!({"current": 512_000, "total": 1_024_000}));
        assert_eq!(half["progress"], format!("[{}>{}]     512kB/1.024MB", "=".repeat(25), " ".repeat(24)).replace("     512", "  512"));
        assert_eq!(text(Progress::Text("Loaded image: x\n".into())), "{\"stream\":\"Loaded image: x\\n\"}\r\n");
        let failed = progress(&Progress::Failed(engine::Error::invalid("no")));
        assert_eq!(failed, json!({"errorDetail": {"message": "no"}, "error": "no"}));
    }

    #[test]
    fn bars() {
        assert_eq!(bar(10, 10), format!("[{}]  10B/10B", "=".repeat(50)));
        assert_eq!(bar(0, 10), format!("[>{}]  0B/10B", " ".repeat(49)));
        assert_eq!(bar(20, 10).len(), bar(10, 10).len());
    }
}
