//! The human status of a container (`Up 2 seconds (healthy)`), which clients parse.

use engine::container::view::{Health, State};
use jiff::Timestamp;

/// A span as Docker says it: `Less than a second`, `About a minute`, `3 weeks`.
pub fn span(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// The `Status` text of a container at `now`.
pub fn status(state: &State, health: Option<&Health>, now: Timestamp) -> String {
    let since = |then: Timestamp| span(now.as_second() - then.as_second());
    match state {
        State::Created => "Created".to_owned(),
        State::Paused(up) => format!("Up {} (Paused)", since(up.started)),
        State::Running(up) => match health.map(|h| h.status.as_str()) {
            None | Some("" | "none") => format!("Up {}", since(up.started)),
            Some("starting") => format!("Up {} (health: starting)", since(up.started)),
            Some(word) => format!("Up {} ({word})", since(up.started)),
        },
        State::Restarting(end) => format!("Restarting ({}) {} ago", end.code, since(end.finished)),
        State::Exited(end) if end.started.is_none() => "Created".to_owned(),
        State::Exited(end) => format!("Exited ({}) {} ago", end.code, since(end.finished)),
        State::Removing => "Removal In Progress".to_owned(),
        State::Dead(_) => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::container::view::{Finished, Running};

    #[test]
    fn spans_are_dockers() {
        const DAY: i64 = 86_400;
        for (seconds, text) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (2, "2 seconds"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (59 * DAY, "8 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn statuses_are_dockers() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        let before = |s: i64| Timestamp::from_second(1_700_000_000 - s).unwrap();
        let up = |s: i64| Running { pid: 5, started: before(s), ended_before: None };
        let end =
            |s: i64, code| Finished { code, oom_killed: false, error: String::new(), started: Some(before(s + 9)), finished: before(s) };
        let never = Finished { started: None, ..end(1, 127) };
        let health = |word: &str| Some(Health { status: word.to_owned(), ..Health::default() });
        for (state, health, text) in [
            (State::Created, None, "Created"),
            (State::Running(up(2)), None, "Up 2 seconds"),
            (State::Running(up(0)), health("starting"), "Up Less than a second (health: starting)"),
            (State::Running(up(70)), health("healthy"), "Up About a minute (healthy)"),
            (State::Running(up(70)), health("unhealthy"), "Up About a minute (unhealthy)"),
            (State::Paused(up(5)), health("healthy"), "Up 5 seconds (Paused)"),
            (State::Restarting(end(1, 1)), None, "Restarting (1) 1 second ago"),
            (State::Exited(end(180, 0)), None, "Exited (0) 3 minutes ago"),
            (State::Exited(end(3, 137)), health("unhealthy"), "Exited (137) 3 seconds ago"),
            (State::Exited(never), None, "Created"),
            (State::Removing, None, "Removal In Progress"),
            (State::Dead(end(3, 1)), None, "Dead"),
        ] {
            assert_eq!(status(&state, health.as_ref(), now), text);
        }
    }
}
