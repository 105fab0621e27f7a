//! The page that searches logs. Works without scripts; every search has an address of its own.

use super::frame::Visit;
use super::logs::Colours;
use crate::api::log_search::SearchQuery;
use axum::extract::Query;
use axum::response::Response;
use engine::container::request::LogLine;
use engine::log::{Found, Hit};
use futures_util::StreamExt;
use web::view::container::LogRow;
use web::view::log::{LogHit, LogSearch};
use web::view::piece::segment;

/// Hits on a page.
const HITS: usize = 100;

/// `GET /ui/logs/search`
pub async fn search(visit: Visit, Query(mut asked): Query<SearchQuery>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    asked.limit = Some(HITS);
    let mut view = LogSearch {
        page: frame.page("Search logs", "logs"),
        query: asked.q.clone(),
        regex: asked.regex,
        ignore_case: asked.ignore_case,
        log: asked.log.clone().unwrap_or_default(),
        logs: Vec::new(),
        since: asked.since.clone().unwrap_or_default(),
        until: asked.until.clone().unwrap_or_default(),
        stream: asked.stream.clone().unwrap_or_default(),
        context: asked.context.unwrap_or(0),
        oldest: asked.order.as_deref() == Some("oldest"),
        asked: !asked.q.is_empty(),
        hits: Vec::new(),
        more: String::new(),
        notes: Vec::new(),
        error: String::new(),
    };
    match app.engine.kept_logs(&who).await {
        Ok(logs) => {
            let mut names: Vec<String> = logs.into_iter().map(|log| log.name).collect();
            names.sort();
            names.dedup();
            view.logs = names;
        }
        Err(error) => return Err(frame.wrong(&error)),
    }
    if !view.asked {
        return Ok(frame.show(&view));
    }
    let found = match asked.search() {
        Ok(search) => app.engine.search_logs(&who, search).await,
        Err(error) => Err(error),
    };
    let mut found = match found {
        Ok(found) => Box::pin(found),
        Err(error) if error.is_not_found() => return Err(frame.wrong(&error)),
        Err(error) => {
            view.error = super::frame::capital(&error.to_string());
            return Ok(frame.show(&view));
        }
    };
    while let Some(next) = found.next().await {
        match next {
            Found::Hit(hit) => view.hits.push(row(&frame.base, &hit)),
            Found::End { cursor, out_of_time, bytes, unread } => {
                view.more = cursor.map_or(String::new(), |cursor| address(&asked, &cursor.to_string()));
                if out_of_time {
                    view.notes.push("This took as long as a search may: go on for the rest.".into());
                }
                view.notes.push(format!("{} read.", engine::size::binary(bytes)));
                view.notes.extend(unread.into_iter().map(|(name, why)| format!("The log of {name} could not be read: {why}")));
            }
        }
    }
    Ok(frame.show(&view))
}

/// The same search, going on behind a place.
fn address(asked: &SearchQuery, cursor: &str) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let flag = |on: bool| if on { "true" } else { "" }.to_owned();
    let pairs = [
        ("q", asked.q.clone()),
        ("regex", flag(asked.regex)),
        ("ignore_case", flag(asked.ignore_case)),
        ("log", text(&asked.log)),
        ("since", text(&asked.since)),
        ("until", text(&asked.until)),
        ("stream", text(&asked.stream)),
        ("context", asked.context.map_or(String::new(), |n| n.to_string())),
        ("order", text(&asked.order)),
        ("cursor", cursor.to_owned()),
    ];
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", segment(value)));
    format!("?{}", pairs.collect::<Vec<_>>().join("&"))
}

fn row(base: &str, hit: &Hit) -> LogHit {
    let mut colours = Colours::default();
    let mut dated = |line: &LogLine| LogRow { time: line.time.strftime("%b %e %H:%M:%S.%3f").to_string(), ..colours.row(line) };
    let before: Vec<LogRow> = hit.before.iter().map(&mut dated).collect();
    let mut itself = dated(&hit.line);
    let after: Vec<LogRow> = hit.after.iter().map(&mut dated).collect();
    itself.html = marked(&hit.line.bytes, &hit.ranges);
    itself.marked = !before.is_empty() || !after.is_empty();
    let name = if hit.log.2 > 1 { format!("{} ({})", hit.log.1, hit.log.2) } else { hit.log.1.clone() };
    LogHit {
        href: format!("{base}/logs/{}?at={}#hit", hit.log.0, segment(&hit.cursor.to_string())),
        name,
        lines: before.into_iter().chain([itself]).chain(after).collect(),
    }
}

/// A line with the places marked that match.
fn marked(line: &[u8], ranges: &[(usize, usize)]) -> String {
    // Each piece is made HTML by itself; colours go on from one to the next.
    let mut converter = web::ansi::Converter::default();
    let (mut html, mut at) = (String::new(), 0);
    for (from, to) in ranges {
        html.push_str(&converter.line(&line[at..*from]));
        html.push_str("<mark>");
        html.push_str(&converter.line(&line[*from..*to]));
        html.push_str("</mark>");
        at = *to;
    }
    html.push_str(&converter.line(&line[at..]));
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_is_marked_and_escaped() {
        assert_eq!(marked(b"a <b> a\n", &[(0, 1), (2, 5)]), "<mark>a</mark> <mark>&lt;b&gt;</mark> a");
        assert_eq!(marked(b"plain\n", &[]), "plain");
    }

    #[test]
    fn the_next_page_asks_the_same() {
        let asked = SearchQuery { q: "a&b".into(), regex: true, order: Some("oldest".into()), ..SearchQuery::default() };
        assert_eq!(address(&asked, "1-x-2"), "?q=a%26b&regex=true&order=oldest&cursor=1-x-2");
    }
}
