//! Search over one's own objects and the pages: a page of its own, and what the palette shows.

use super::frame::{OrPage, Visit};
use super::words;
use axum::extract::Query;
use axum::response::Response;
use engine::container::request::ContainerFilter;
use engine::image::ImageFilter;
use engine::{Filters, Role};
use serde::Deserialize;
use web::view::piece::segment;
use web::view::search::{Hit, Search};

/// As many as can be looked through.
const HITS: usize = 40;

/// What is searched for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    q: String,
}

/// `GET /ui/search`
pub async fn search(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let base = &frame.base;
    let query = asked.q.trim().to_lowercase();
    let named = |name: &str| name.to_lowercase().contains(&query);
    let mut hits = Vec::new();
    for container in app.engine.containers(&who, &ContainerFilter { all: true, ..Default::default() }).await.or_page(&frame)? {
        if named(&container.name) || container.id.as_str().starts_with(&query) {
            let href = words::href(base, &container);
            hits.push(Hit { href: href.clone(), icon: "container", text: container.name.clone(), kind: "container" });
            // Nobody who types nothing wants three lines a container.
            if !query.is_empty() {
                hits.push(Hit { href: format!("{href}/logs"), icon: "logs", text: format!("{}: logs", container.name), kind: "page" });
                if container.state.is_up() {
                    hits.push(Hit {
                        href: format!("{href}/shell"),
                        icon: "shell",
                        text: format!("{}: shell", container.name),
                        kind: "page",
                    });
                }
            }
        }
    }
    let images = app.engine.images(&who, &ImageFilter::default()).await.or_page(&frame)?;
    for tag in images.iter().flat_map(|i| &i.tags).filter(|t| named(t)) {
        hits.push(Hit { href: format!("{base}/images/{}", segment(tag)), icon: "image", text: tag.clone(), kind: "image" });
    }
    // Kinds that the engine does not have yet have nothing to find.
    for volume in app.engine.volumes(&who, &Filters::new()).await.unwrap_or_default().into_iter().filter(|v| named(&v.name)) {
        hits.push(Hit { href: format!("{base}/volumes/{}", segment(&volume.name)), icon: "volume", text: volume.name, kind: "volume" });
    }
    for network in app.engine.networks(&who, &Filters::new()).await.unwrap_or_default().into_iter().filter(|n| named(&n.spec.name)) {
        hits.push(Hit {
            href: format!("{base}/networks/{}", segment(&network.spec.name)),
            icon: "network",
            text: network.spec.name,
            kind: "network",
        });
    }
    let mut places = vec![
        (format!("{base}/"), "home", "Home"),
        (format!("{base}/containers"), "container", "Containers"),
        (format!("{base}/containers/new"), "plus", "New container"),
        (format!("{base}/images"), "image", "Images"),
        (format!("{base}/images/pull"), "download", "Pull an image"),
        (format!("{base}/volumes"), "volume", "Volumes"),
        (format!("{base}/volumes/new"), "plus", "New volume"),
        (format!("{base}/networks"), "network", "Networks"),
        (format!("{base}/networks/new"), "plus", "New network"),
        (format!("{base}/logs"), "logs", "Logs"),
        (format!("{base}/operations"), "operation", "Operations"),
        ("/ui/account".into(), "user", "Account, tokens, password"),
    ];
    if who.role == Role::Admin {
        places.push(("/ui/users".into(), "users", "Users"));
        places.push(("/ui/audit".into(), "audit", "Audit log"));
    }
    let pages =
        places.into_iter().filter(|(.., text)| named(text)).map(|(href, icon, text)| Hit { href, icon, text: text.into(), kind: "page" });
    if query.is_empty() {
        // Nothing typed yet: where one can go stands first.
        hits.truncate(HITS / 4);
        hits = pages.chain(hits).collect();
    } else {
        hits.extend(pages);
    }
    hits.truncate(HITS);
    Ok(frame.show(&Search { page: frame.page("Search", ""), query: asked.q, hits }))
}
