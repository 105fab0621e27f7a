//! `GET /events`: what happened since, then what happens, until.

use super::ask::Args;
use super::error::Answer;
use super::reply::json_stream;
use super::wire::event::{Wanted, event};
use crate::{App, Who};
use axum::extract::State;
use engine::event::Event;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use std::convert::Infallible;
use std::sync::Arc;

/// `GET /events`
pub async fn events(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let wanted = Wanted::parse(args.get("filters"), args.text("since"), args.text("until"))?;
    if let (Some(since), Some(until)) = (wanted.since, wanted.until)
        && since > until
    {
        let text = format!("`since` time ({}) cannot be after `until` time ({})", args.text("since"), args.text("until"));
        return Err(engine::Error::invalid(text).into());
    }
    let (kept, live) = app.engine.events(&who);
    let past: Vec<String> = past(&kept, &wanted).iter().map(|e| line(e)).collect();
    // What lies ahead of `until`; none if it has passed.
    let left = wanted.until.map(|until| std::time::Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default());
    let end = async move {
        match left {
            None => std::future::pending().await,
            Some(left) => tokio::time::sleep(left).await,
        }
    };
    let coming = stream::unfold((live, wanted), |(mut live, wanted)| async move {
        loop {
            let e = live.recv().await?;
            if wanted.takes(&e) {
                return Some((line(&e), (live, wanted)));
            }
        }
    });
    let lines = stream::iter(past).chain(coming.take_until(Box::pin(end)));
    Ok(json_stream(lines.map(Ok::<_, Infallible>)))
}

/// The kept events a client wants: those between `since` and `until`; none if it names neither.
fn past<'a>(kept: &'a [Arc<Event>], wanted: &Wanted) -> Vec<&'a Arc<Event>> {
    if wanted.since.is_none() && wanted.until.is_none() {
        return Vec::new();
    }
    let inside = |e: &&Arc<Event>| wanted.since.is_none_or(|since| e.time >= since) && wanted.until.is_none_or(|until| e.time <= until);
    kept.iter().filter(inside).filter(|e| wanted.takes(e)).collect()
}

fn line(e: &Event) -> String {
    format!("{}\n", event(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_what_lies_between() {
        let at = |second| {
            Arc::new(Event {
                tenant: engine::TenantId(1),
                kind: "container",
                action: format!("a{second}"),
                id: "x".into(),
                attributes: Default::default(),
                time: Timestamp::from_second(second).unwrap(),
            })
        };
        let kept: Vec<_> = (1..=5).map(at).collect();
        let actions = |since: &str, until: &str| {
            let wanted = Wanted::parse(None, since, until).unwrap();
            past(&kept, &wanted).iter().map(|e| e.action.clone()).collect::<Vec<_>>()
        };
        assert!(actions("", "").is_empty());
        assert_eq!(actions("4", ""), ["a4", "a5"]);
        assert_eq!(actions("", "2"), ["a1", "a2"]);
        assert_eq!(actions("2", "3"), ["a2", "a3"]);
        assert_eq!(actions("2.5", "3.5"), ["a3"]);
    }
}
