//! The list of containers, and what can be done to one or many of them.

use super::form::Filled;
use super::frame::{OrPage, Visit, capital};
use super::words;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::container::request::{Changed, ContainerFilter, RemoveOptions, StopOptions};
use engine::container::{Container, State};
use engine::{Error, Subject};
use serde::Deserialize;
use web::format::count;
use web::view::container::ContainerList;
use web::view::message::Confirm;
use web::view::page::Choice;
use web::view::{Field, Flash, Tone};

/// What the list shows and how.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Listing {
    q: String,
    state: String,
    sort: String,
}

/// `GET /ui/containers`
pub async fn list(visit: Visit, Query(asked): Query<Listing>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let host = words::host(&frame.host);
    let all = app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)?;
    let total = all.len();
    let query = asked.q.trim().to_lowercase();
    let found: Vec<&Container> = all.iter().filter(|c| matches(c, &query)).collect();
    let keep = words::keep(&[("q", &asked.q), ("sort", &asked.sort)]);
    let chip = |key: &str, text: &str| {
        let count = found.iter().filter(|c| in_state(c, key)).count();
        let href = if key.is_empty() {
            format!("{}/containers?{}", frame.base, keep.trim_start_matches('&'))
        } else {
            format!("{}/containers?state={key}{keep}", frame.base)
        };
        (count > 0 || key.is_empty() || asked.state == key).then(|| Choice {
            href,
            text: text.into(),
            count: count.to_string(),
            chosen: asked.state == key,
        })
    };
    let chips = [
        ("", "All"),
        ("running", "Running"),
        ("unhealthy", "Unhealthy"),
        ("paused", "Paused"),
        ("restarting", "Restarting"),
        ("failed", "Failed"),
        ("exited", "Exited"),
        ("created", "Created"),
    ];
    let chips = chips.into_iter().filter_map(|(key, text)| chip(key, text)).collect();
    let mut shown: Vec<&Container> = found.iter().copied().filter(|c| in_state(c, &asked.state)).collect();
    sort(&mut shown, &asked.sort);
    let view = ContainerList {
        page: frame.page("Containers", "containers"),
        rows: shown.iter().map(|c| words::row(c, &frame.base, &host)).collect(),
        chips,
        columns: words::columns(
            &[("name", "Name"), ("state", "State"), ("image", "Image"), ("status", "Status")],
            &asked.sort,
            &words::keep(&[("q", &asked.q), ("state", &asked.state)]),
        ),
        query: asked.q,
        state: asked.state,
        sort: asked.sort,
        total,
    };
    Ok(frame.show(&view))
}

fn matches(container: &Container, query: &str) -> bool {
    query.is_empty()
        || container.name.to_lowercase().contains(query)
        || container.spec.image.to_lowercase().contains(query)
        || container.id.as_str().starts_with(query)
        || container.spec.labels.get("com.docker.compose.project").is_some_and(|p| p.to_lowercase().contains(query))
}

fn in_state(container: &Container, state: &str) -> bool {
    match state {
        "" => true,
        "unhealthy" => container.state.is_up() && container.health.as_ref().is_some_and(|h| h.status == "unhealthy"),
        "failed" => matches!(&container.state, State::Exited(f) | State::Dead(f) if f.code != 0),
        "exited" => matches!(&container.state, State::Exited(f) if f.code == 0),
        state => container.state.word() == state,
    }
}

/// Newest first unless a column is chosen.
fn sort(containers: &mut [&Container], by: &str) {
    let (key, down) = by.strip_prefix('-').map_or((by, false), |key| (key, true));
    match key {
        "name" => containers.sort_by_cached_key(|c| c.name.to_lowercase()),
        "image" => containers.sort_by_cached_key(|c| c.spec.image.to_lowercase()),
        "state" => containers.sort_by_cached_key(|c| (!c.state.is_up(), c.state.word(), c.name.to_lowercase())),
        // What changed last stands first.
        "status" => containers.sort_by_key(|c| {
            std::cmp::Reverse(match &c.state {
                State::Running(r) | State::Paused(r) => r.started,
                State::Exited(f) | State::Dead(f) | State::Restarting(f) => f.finished,
                State::Created | State::Removing => c.created,
            })
        }),
        _ => return,
    }
    if down {
        containers.reverse();
    }
}

/// What a button does. The word in the form and the words in the notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Start,
    Stop,
    Restart,
    Pause,
    Unpause,
    Kill,
}

impl Act {
    fn of(word: &str) -> Result<Self, Error> {
        Ok(match word {
            "start" => Act::Start,
            "stop" => Act::Stop,
            "restart" => Act::Restart,
            "pause" => Act::Pause,
            "unpause" => Act::Unpause,
            "kill" => Act::Kill,
            _ => return Err(Error::invalid(format!("there is no action {word:?}"))),
        })
    }

    fn done(self) -> &'static str {
        match self {
            Act::Start => "Started",
            Act::Stop => "Stopped",
            Act::Restart => "Restarted",
            Act::Pause => "Paused",
            Act::Unpause => "Resumed",
            Act::Kill => "Killed",
        }
    }

    async fn on(self, app: &crate::App, who: &Subject, name: &str) -> Result<Changed, Error> {
        match self {
            Act::Start => app.engine.start(who, name).await,
            Act::Stop => app.engine.stop(who, name, &StopOptions::default()).await,
            Act::Restart => app.engine.restart(who, name, &StopOptions::default()).await.map(|()| Changed::Yes),
            Act::Pause => app.engine.pause(who, name).await.map(|()| Changed::Yes),
            Act::Unpause => app.engine.unpause(who, name).await.map(|()| Changed::Yes),
            Act::Kill => app.engine.kill(who, name, "").await.map(|()| Changed::Yes),
        }
    }
}

/// `POST /ui/containers/{name}/do`
pub async fn act(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let act = Act::of(form.get("do")).or_page(&frame)?;
    let flash = match act.on(&app, &who, &name).await {
        Ok(Changed::Yes) => Flash { tone: Tone::Ok, text: format!("{} {name}.", act.done()) },
        Ok(Changed::AlreadySo) => Flash { tone: Tone::Plain, text: format!("{name} was so already.") },
        Err(e) if e.is_not_found() => return Err(frame.wrong(&e)),
        // The person stays on the page they were on and reads why.
        Err(e) => Flash { tone: Tone::Err, text: capital(&e.to_string()) },
    };
    Ok(frame.to(form.get("back"), Some(flash)))
}

/// `POST /ui/containers/bulk`: one action on the ticked ones, or (`one`) a row's own button.
pub async fn bulk(visit: Visit, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let (word, chosen): (&str, Vec<&str>) = match form.get("one").split_once(' ') {
        Some((word, id)) => (word, vec![id]),
        None => (form.get("do"), form.all("c").collect()),
    };
    let back = form.get("back");
    if chosen.is_empty() {
        return Ok(frame.to(back, Some(Flash { tone: Tone::Warn, text: "Select some containers first.".into() })));
    }
    if word == "remove" {
        return ask_many(&app, &who, &frame, &chosen).await;
    }
    let act = Act::of(word).or_page(&frame)?;
    // Side by side: a stop can take its ten seconds.
    let outcomes = futures_util::future::join_all(chosen.iter().map(|id| act.on(&app, &who, id))).await;
    let done = outcomes.iter().filter(|o| o.is_ok()).count();
    let failed: Vec<String> = outcomes.iter().filter_map(|o| o.as_ref().err().map(|e| capital(&e.to_string()))).collect();
    let flash = match (done, failed.first()) {
        (_, None) => Flash { tone: Tone::Ok, text: format!("{} {}.", act.done(), count(done, "container", "containers")) },
        (0, Some(why)) => Flash { tone: Tone::Err, text: why.clone() },
        (_, Some(why)) => Flash {
            tone: Tone::Warn,
            text: format!("{} {}; {} failed: {why}", act.done(), count(done, "container", "containers"), failed.len()),
        },
    };
    Ok(frame.to(back, Some(flash)))
}

async fn ask_many(app: &crate::App, who: &Subject, frame: &super::frame::Frame, chosen: &[&str]) -> Result<Response, Response> {
    let mut names = Vec::new();
    let mut up = 0;
    for id in chosen {
        let container = app.engine.container(who, id).await.or_page(frame)?;
        up += usize::from(container.state.is_up());
        names.push(container.name);
    }
    let title = format!("Remove {}?", count(names.len(), "container", "containers"));
    Ok(frame.show(&confirm(frame, &title, format!("{}/containers/remove", frame.base), names, up, format!("{}/containers", frame.base))))
}

fn confirm(frame: &super::frame::Frame, title: &str, action: String, names: Vec<String>, up: usize, back: String) -> Confirm {
    let mut consequences = vec!["What was written outside volumes is gone for good.".to_owned()];
    match (up, names.len()) {
        (0, _) => {}
        (_, 1) => consequences.push("It is running: its processes are killed first.".into()),
        (n, _) => consequences.push(format!("{n} of them are running: their processes are killed first.")),
    }
    Confirm {
        page: frame.page(title, "containers"),
        action,
        text: if names.len() == 1 { "This container will be removed.".into() } else { "These containers will be removed.".into() },
        hidden: names.iter().map(|n| ("c".to_owned(), n.clone())).collect(),
        objects: names,
        consequences,
        checks: vec![Field::check("volumes", "Also remove their anonymous volumes").hint("Volumes that have a name stay in any case.")],
        button: "Remove".into(),
        back,
    }
}

/// `GET /ui/containers/{name}/remove`
pub async fn ask_remove(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let up = usize::from(container.state.is_up());
    let href = words::href(&frame.base, &container);
    let title = format!("Remove {}?", container.name);
    Ok(frame.show(&confirm(&frame, &title, format!("{href}/remove"), vec![container.name], up, href)))
}

/// `POST /ui/containers/{name}/remove`
pub async fn remove(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let options = RemoveOptions { force: true, volumes: form.has("volumes") };
    app.engine.remove_container(&who, &name, options).await.or_page(&frame)?;
    Ok(frame.went("/containers", format!("Removed {name}.")))
}

/// `POST /ui/containers/remove`
pub async fn remove_many(visit: Visit, form: Filled) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let options = RemoveOptions { force: true, volumes: form.has("volumes") };
    let chosen: Vec<&str> = form.all("c").collect();
    let outcomes = futures_util::future::join_all(chosen.iter().map(|name| app.engine.remove_container(&who, name, options))).await;
    let failed = outcomes.iter().find_map(|o| o.as_ref().err());
    let done = outcomes.iter().filter(|o| o.is_ok()).count();
    let said = format!("Removed {}.", count(done, "container", "containers"));
    Ok(match failed {
        None => frame.went("/containers", said),
        Some(why) => frame.to(
            &format!("{}/containers", frame.base),
            Some(Flash { tone: Tone::Err, text: format!("{said} {}", capital(&why.to_string())) }),
        ),
    })
}
