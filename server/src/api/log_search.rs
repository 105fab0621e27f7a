//! Searching logs over the API.

use super::containers::LogJson;
use super::logs::time;
use super::wire::{Answer, Message, lines};
use crate::{App, Who};
use axum::extract::{Query, State};
use axum::response::Response;
use engine::Error;
use engine::log::{Found, Hit, Pattern, Query as Search};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

/// What is searched for, and where.
#[derive(Debug, Clone, Deserialize, Default, utoipa::IntoParams)]
#[serde(default)]
pub struct SearchQuery {
    /// Text that lines contain; empty: every line.
    pub q: String,
    /// `q` is an expression in the syntax of the Rust crate regex (no look-around, no back references).
    pub regex: bool,
    /// Capital and small letters are alike.
    pub ignore_case: bool,
    /// One log, by its container's id or name; absent: all of the tenant.
    pub log: Option<String>,
    /// From this time on.
    pub since: Option<String>,
    /// Until this time.
    pub until: Option<String>,
    /// `stdout` or `stderr`; absent: both.
    pub stream: Option<String>,
    /// Lines around each hit, at most 50.
    pub context: Option<usize>,
    /// `newest` (as without it) or `oldest`: which come first.
    pub order: Option<String>,
    /// Hits of this answer, 100 without it and at most 10000.
    pub limit: Option<usize>,
    /// Where an earlier answer ended.
    pub cursor: Option<String>,
}

impl SearchQuery {
    /// As the engine takes it.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn search(&self) -> engine::Result<Search> {
        let some = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        let stream = some(&self.stream);
        let (stdout, stderr) = match stream.as_deref() {
            None => (true, true),
            Some("stdout") => (true, false),
            Some("stderr") => (false, true),
            Some(other) => return Err(Error::invalid(format!("the stream {other:?} is not known: say stdout or stderr"))),
        };
        let newest_first = match self.order.as_deref() {
            None | Some("" | "newest") => true,
            Some("oldest") => false,
            Some(other) => return Err(Error::invalid(format!("the order {other:?} is not known: say newest or oldest"))),
        };
        let pattern = if self.regex { Pattern::expression(&self.q, self.ignore_case) } else { Pattern::text(&self.q, self.ignore_case) };
        Ok(Search {
            pattern: pattern?,
            log: some(&self.log),
            stdout,
            stderr,
            since: time("since", self.since.as_deref()).map_err(|e| e.0)?,
            until: time("until", self.until.as_deref()).map_err(|e| e.0)?,
            context: self.context.unwrap_or(0),
            newest_first,
            limit: self.limit.unwrap_or(100),
            after: some(&self.cursor).map(|c| c.parse()).transpose()?,
        })
    }
}

/// What a search gives, one object a line: hits, and at last how it ended.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum FoundJson {
    /// A line that matches.
    Hit {
        /// Its container's id.
        log: String,
        /// Its container's name.
        name: String,
        /// The how manieth container of that name.
        generation: u32,
        /// The line.
        #[serde(flatten)]
        line: LogJson,
        /// Where it matches: from which character of `text` on to before which.
        matches: Vec<(usize, usize)>,
        /// Lines before it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        before: Vec<LogJson>,
        /// Lines after it.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        after: Vec<LogJson>,
        /// A search with this cursor goes on behind this hit.
        cursor: String,
    },
    /// The end of the answer.
    End {
        /// Where to go on; absent: everything was searched.
        cursor: Option<String>,
        /// Whether the search worked as long as one may: the cursor goes on where it stopped.
        out_of_time: bool,
        /// Bytes that were read.
        bytes: u64,
        /// Logs that could not be read: name and why.
        unread: Vec<(String, String)>,
    },
}

impl From<Found> for FoundJson {
    fn from(found: Found) -> Self {
        match found {
            Found::Hit(hit) => {
                let Hit { log, line, ranges, before, after, cursor } = *hit;
                let json = LogJson::from(&line);
                let characters = |end: usize| String::from_utf8_lossy(&line.bytes[..end]).chars().count();
                Self::Hit {
                    log: log.0.to_string(),
                    name: log.1.clone(),
                    generation: log.2,
                    line: json,
                    matches: ranges.into_iter().map(|(from, to)| (characters(from), characters(to))).collect(),
                    before: before.iter().map(LogJson::from).collect(),
                    after: after.iter().map(LogJson::from).collect(),
                    cursor: cursor.to_string(),
                }
            }
            Found::End { cursor, out_of_time, bytes, unread } => {
                Self::End { cursor: cursor.map(|c| c.to_string()), out_of_time, bytes, unread }
            }
        }
    }
}

/// Lines of the tenant's logs that match, of containers that are gone as well: a stream that goes on only while it is read.
#[utoipa::path(get, path = "/api/v1/logs/search", params(SearchQuery), responses((status = 200, body = FoundJson, content_type = "application/x-ndjson"), (status = 400, body = Message), (status = 404, body = Message)))]
pub async fn search(State(app): State<App>, Who(who): Who, Query(query): Query<SearchQuery>) -> Answer<Response> {
    let found = app.engine.search_logs(&who, query.search()?).await?;
    Ok(lines(found.map(|found| Ok(FoundJson::from(found)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_wrongly_is_named() {
        let error = |query: SearchQuery| query.search().unwrap_err().to_string();
        assert!(error(SearchQuery { q: "(".into(), regex: true, ..SearchQuery::default() }).contains("cannot be used"));
        assert!(error(SearchQuery { stream: Some("both".into()), ..SearchQuery::default() }).contains("say stdout or stderr"));
        assert!(error(SearchQuery { order: Some("best".into()), ..SearchQuery::default() }).contains("newest or oldest"));
        assert!(error(SearchQuery { since: Some("yesterday".into()), ..SearchQuery::default() }).contains("since"));
        assert!(error(SearchQuery { cursor: Some("x".into()), ..SearchQuery::default() }).contains("no cursor"));
        // Text is no expression.
        SearchQuery { q: "(".into(), ..SearchQuery::default() }.search().unwrap();
    }
}
