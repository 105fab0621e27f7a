//! Questions about a Dockerfile instead of a build (`docker build --check`, `--call=outline|targets`; BuildKit's
//! `frontend/subrequests`): the answer is JSON for programs and text for people, in the result's metadata.

use super::grpc::Status;
use super::jobs::Job;
use crate::App;
use base64::Engine as _;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::Result as FrontendResult;
use engine::build::{BuildRequest, Examined};
use serde_json::{Value, json};
use std::sync::Arc;

/// What can be asked, and a sentence about it.
const QUESTIONS: [(&str, &str); 4] = [
    ("frontend.lint", "Lint a Dockerfile"),
    ("frontend.outline", "List all parameters current build target supports"),
    ("frontend.subrequests.describe", "List available subrequest types"),
    ("frontend.targets", "List all targets current build supports"),
];

/// Answers a question.
///
/// # Errors
/// For one that is not known, and when the Dockerfile cannot be had or read.
pub async fn answer(app: &App, job: &Arc<Job>, question: &str, request: BuildRequest) -> Result<FrontendResult, Status> {
    if !QUESTIONS.iter().any(|(name, _)| *name == question) {
        return Err(Status::unimplemented(&format!("asking the Dockerfile frontend ({question})")));
    }
    if question == "frontend.subrequests.describe" {
        let list: Vec<Value> = QUESTIONS
            .iter()
            .map(|(name, about)| json!({ "name": name, "version": "1.0.0", "type": "rpc", "description": about, "opts": null, "metadata": [] }))
            .collect();
        let text = QUESTIONS.iter().map(|(name, about)| format!("{name}: {about}\n")).collect();
        return Ok(result(&Value::Array(list), text, None));
    }
    let found = app.engine.examine_build(&job.who, request).await.map_err(|e| super::solve::failed(job, &e))?;
    Ok(match question {
        "frontend.lint" => {
            let (value, text) = lint(&found);
            let code = if found.findings.is_empty() { "0" } else { "1" };
            result(&value, text, Some(code))
        }
        "frontend.outline" => {
            let (value, text) = outline(&found);
            result(&value, text, None)
        }
        _ => {
            let (value, text) = targets(&found);
            result(&value, text, None)
        }
    })
}

fn result(value: &Value, text: String, code: Option<&str>) -> FrontendResult {
    let mut metadata = std::collections::HashMap::from([
        ("result.json".to_owned(), value.to_string().into_bytes()),
        ("result.txt".to_owned(), text.into_bytes()),
        ("version".to_owned(), b"1.0.0".to_vec()),
    ]);
    if let Some(code) = code {
        metadata.insert("result.statuscode".to_owned(), code.as_bytes().to_vec());
    }
    FrontendResult { metadata, ..FrontendResult::default() }
}

fn text(found: &Examined) -> String {
    base64::engine::general_purpose::STANDARD.encode(&found.text)
}

/// A line as these answers have it.
fn location(line: usize) -> Value {
    json!({ "sourceIndex": 0, "ranges": [{ "start": { "line": line }, "end": { "line": line } }] })
}

fn lint(found: &Examined) -> (Value, String) {
    let warnings: Vec<Value> = found
        .findings
        .iter()
        .map(|f| {
            json!({
                "ruleName": f.rule.name,
                "description": f.rule.about,
                "url": f.rule.url(),
                "detail": f.message,
                "location": location(f.line),
            })
        })
        .collect();
    let source = json!({ "filename": found.name, "language": "Dockerfile", "data": text(found) });
    let lines = String::from_utf8_lossy(&found.text).into_owned();
    let shown = found.findings.iter().map(|f| {
        let line = lines.lines().nth(f.line.saturating_sub(1)).unwrap_or_default();
        format!("\nWARNING: {} - {}\n{}\n{}:{}\n{:>4} | >>> {line}\n", f.rule.name, f.rule.url(), f.message, found.name, f.line, f.line)
    });
    (json!({ "warnings": warnings, "sources": [source] }), shown.collect())
}

fn outline(found: &Examined) -> (Value, String) {
    let stage = &found.file.stages[found.target];
    let name = stage.name.clone().unwrap_or_default();
    let args: Vec<Value> =
        found.outline.args.iter().map(|(name, value, line)| json!({ "name": name, "value": value, "location": location(*line) })).collect();
    let named = |list: &[(String, bool, usize)]| -> Vec<Value> {
        list.iter().map(|(name, required, line)| json!({ "name": name, "required": required, "location": location(*line) })).collect()
    };
    let mut shown = format!("TARGET: {}\n", if name.is_empty() { "default" } else { &name });
    for (title, rows) in [
        ("BUILD ARG", found.outline.args.iter().map(|(n, v, _)| format!("{n} {}", v.clone().unwrap_or_default())).collect::<Vec<_>>()),
        ("SECRET", found.outline.secrets.iter().map(|(n, r, _)| format!("{n}{}", if *r { " required" } else { "" })).collect()),
        ("SSH", found.outline.agents.iter().map(|(n, r, _)| format!("{n}{}", if *r { " required" } else { "" })).collect()),
    ] {
        if !rows.is_empty() {
            shown.push_str(&format!("\n{title}\n{}\n", rows.join("\n")));
        }
    }
    let value = json!({
        "name": name,
        "args": args,
        "secrets": named(&found.outline.secrets),
        "ssh": named(&found.outline.agents),
        "sources": [text(found)],
    });
    (value, shown)
}

fn targets(found: &Examined) -> (Value, String) {
    let last = found.file.stages.len().saturating_sub(1);
    let rows: Vec<Value> = found
        .file
        .stages
        .iter()
        .enumerate()
        .map(|(n, s)| {
            json!({
                "name": s.name.clone().unwrap_or_default(),
                "default": n == last,
                "base": s.from,
                "platform": s.platform.clone().unwrap_or_default(),
                "location": location(s.line),
            })
        })
        .collect();
    let shown =
        found.file.stages.iter().enumerate().map(|(n, s)| {
            format!("{}{}\n", s.name.clone().unwrap_or_else(|| format!("stage-{n}")), if n == last { " (default)" } else { "" })
        });
    (json!({ "targets": rows, "sources": [text(found)] }), format!("TARGET\n{}", shown.collect::<String>()))
}
