//! Events: how they look, and which of them a filter lets through.

use crate::docker::filters;
use engine::event::Event;
use engine::{Filters, Result};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The filters `events` knows.
const KEYS: [&str; 15] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "builder",
];

/// Which events a client wants.
#[derive(Debug, Default)]
pub struct Wanted {
    filters: Filters,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
}

impl Wanted {
    /// From the query's `filters`, `since` and `until`. Unlike elsewhere, dockerd takes keys here that it does not know, and
    /// they ask for nothing.
    pub fn parse(filters: Option<&str>, since: &str, until: &str) -> Result<Self> {
        Ok(Self { filters: filters::parse_some(filters, &KEYS)?, since: super::time::parse(since)?, until: super::time::parse(until)? })
    }

    /// Whether the filters let this event through. Times are the caller's to check.
    pub fn takes(&self, event: &Event) -> bool {
        self.filters.iter().all(|(key, values)| match key.as_str() {
            "type" => values.iter().any(|v| v == event.kind),
            // `exec_create: sh` and `health_status: healthy` carry a suffix, and match by what comes before it too.
            "event" => values.iter().any(|v| *v == event.action || event.action.split(": ").next() == Some(v)),
            "label" => values.iter().all(|v| label_matches(v, event)),
            "scope" => values.iter().any(|v| v == "local"),
            // An image is also known by the containers made from it.
            "image" => values.iter().any(|v| match event.kind {
                "image" => names(v, event) || names_repository(v, event),
                "container" => event.attributes.get("image").is_some_and(|image| same_image(v, image)),
                _ => false,
            }),
            "container" | "network" | "volume" | "daemon" | "plugin" | "service" | "node" | "secret" | "config" | "builder" => {
                values.iter().any(|v| event.kind == key && names(v, event))
            }
            _ => false,
        })
    }
}

/// Whether `text` is the object's id, its beginning, or its name.
fn names(text: &str, event: &Event) -> bool {
    let text = text.strip_prefix('/').unwrap_or(text);
    event.id.starts_with(text) || event.attributes.get("name").is_some_and(|name| name == text)
}

/// Whether `text` is the repository, with or without tag, of an image event.
fn names_repository(text: &str, event: &Event) -> bool {
    same_image(text, &event.id) || event.attributes.get("name").is_some_and(|name| same_image(text, name))
}

/// Whether two image names are the same, a missing tag matching any.
fn same_image(wanted: &str, name: &str) -> bool {
    wanted == name || repository(name) == wanted || (repository(wanted) == wanted && format!("{wanted}:latest") == name)
}

/// A name without tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rfind(':') {
        // A colon before the last slash belongs to a port.
        Some(colon) if !name[colon..].contains('/') => &name[..colon],
        _ => name,
    }
}

fn label_matches(wanted: &str, event: &Event) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => event.attributes.get(key).is_some_and(|v| v == value),
        None => event.attributes.contains_key(wanted),
    }
}

/// An event as Docker writes it.
pub fn event(e: &Event) -> Value {
    let mut value = json!({
        "Type": e.kind,
        "Action": e.action,
        "Actor": { "ID": e.id, "Attributes": e.attributes },
        "scope": "local",
        "time": e.time.as_second(),
        "timeNano": i64::try_from(e.time.as_nanosecond()).unwrap_or(i64::MAX),
    });
    // The words of API 1.21, which Docker kept up to 1.51, for containers and images.
    if let Value::Object(map) = &mut value
        && matches!(e.kind, "container" | "image")
    {
        map.insert("status".to_owned(), json!(e.action));
        map.insert("id".to_owned(), json!(e.id));
        if let (Some(image), "container") = (e.attributes.get("image"), e.kind) {
            map.insert("from".to_owned(), json!(image));
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn sample(kind: &'static str, action: &str, id: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            tenant: engine::TenantId(1),
            kind,
            action: action.into(),
            id: id.into(),
            attributes: attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>(),
            time: Timestamp::new(1_700_000_000, 5).unwrap(),
        }
    }

    #[test]
    fn an_event_as_docker_writes_it() {
        let e = event(&sample("container", "die", "abc", &[("image", "alpine"), ("exitCode", "3")]));
        assert_eq!(
            e,
            json!({"Type": "container", "Action": "die", "Actor": {"ID": "abc", "Attributes": {"image": "alpine", "exitCode": "3"}},
                "scope": "local", "time": 1_700_000_000, "timeNano": 1_700_000_000_000_000_005_i64,
                "status": "die", "id": "abc", "from": "alpine"})
        );
        assert!(event(&sample("network", "connect", "n", &[])).get("status").is_none());
    }

    #[test]
    fn filters_let_through_what_docker_lets_through() {
        let start = sample("container", "start", "abcdef", &[("name", "web"), ("image", "nginx:alpine"), ("tier", "1")]);
        let exec = sample("container", "exec_create: sh -c true", "abcdef", &[("name", "web")]);
        let health = sample("container", "health_status: healthy", "abcdef", &[]);
        let connect = sample("network", "connect", "net1", &[("name", "front"), ("container", "abcdef")]);
        let volume = sample("volume", "destroy", "data", &[("driver", "local")]);
        let pull = sample("image", "pull", "host:5000/app:1", &[("name", "host:5000/app")]);
        for (filters, event, expected) in [
            ("{}", &start, true),
            (r#"{"type":["container"]}"#, &start, true),
            (r#"{"type":["network","volume"]}"#, &start, false),
            (r#"{"type":{"network":true}}"#, &connect, true),
            (r#"{"container":["web"]}"#, &start, true),
            (r#"{"container":["/web"]}"#, &start, true),
            (r#"{"container":["abc"]}"#, &start, true),
            (r#"{"container":["we"]}"#, &start, false),
            // dockerd goes by the object an event is of, not by what else it names.
            (r#"{"container":["abcdef"]}"#, &connect, false),
            (r#"{"event":["start","stop"]}"#, &start, true),
            (r#"{"event":["exec_create"]}"#, &exec, true),
            (r#"{"event":["exec"]}"#, &exec, false),
            (r#"{"event":["health_status"]}"#, &health, true),
            (r#"{"event":["health_status: healthy"]}"#, &health, true),
            (r#"{"event":["health_status: unhealthy"]}"#, &health, false),
            (r#"{"label":["tier"]}"#, &start, true),
            (r#"{"label":["tier=1"]}"#, &start, true),
            (r#"{"label":["tier=1","other"]}"#, &start, false),
            (r#"{"image":["nginx"]}"#, &start, true),
            (r#"{"image":["nginx:alpine"]}"#, &start, true),
            (r#"{"image":["ngin"]}"#, &start, false),
            (r#"{"image":["host:5000/app"]}"#, &pull, true),
            (r#"{"network":["front"]}"#, &connect, true),
            (r#"{"network":["front"]}"#, &start, false),
            (r#"{"volume":["data"]}"#, &volume, true),
            (r#"{"type":["volume"],"event":["destroy"]}"#, &volume, true),
            (r#"{"type":["volume"],"event":["create"]}"#, &volume, false),
        ] {
            let wanted = Wanted::parse(Some(filters), "", "").unwrap();
            assert_eq!(wanted.takes(event), expected, "{filters} on {event:?}");
        }
        let wanted = Wanted::parse(Some(r#"{"nosuch":["1"]}"#), "", "").unwrap();
        assert!(wanted.takes(&start));
    }

    #[test]
    fn repositories_keep_their_port() {
        assert_eq!(repository("host:5000/app:1"), "host:5000/app");
        assert_eq!(repository("host:5000/app"), "host:5000/app");
        assert_eq!(repository("app:1@sha256:00"), "app");
    }
}
