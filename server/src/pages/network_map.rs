//! Networks seen whole: the map, and who reaches whom.

use super::frame::{OrPage, Visit, capital};
use super::words;
use axum::extract::Query;
use axum::response::Response;
use engine::Filters;
use engine::container::request::ContainerFilter;
use engine::network::{Explanation, Tried};
use serde::Deserialize;
use std::collections::BTreeMap;
use web::view::network::{ExplainAnswer, MapBox, MapLine, MapRow, NetworkExplain, NetworkMap};
use web::view::piece::{Badge, Tone, segment};
use web::view::{Fact, Field, Value};

/// Heights and places of the drawing, in pixels.
const STEP: usize = 48;
const BOX: usize = 220;
const GAP: usize = 80;
/// More rows than anybody looks through: the table has all of them.
const DRAWN: usize = 200;

/// `GET /ui/networks/map`
pub async fn map(visit: Visit) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let networks = app.engine.networks(&who, &Filters::new()).await.or_page(&frame)?;
    let containers = app.engine.containers(&who, &ContainerFilter::default()).await.or_page(&frame)?;
    let published: BTreeMap<&str, (String, String)> = containers
        .iter()
        .map(|c| {
            let ports: Vec<String> =
                c.ports.iter().map(|p| format!("{}→{}", std::net::SocketAddr::new(p.ip, p.port), p.container)).collect();
            (c.id.as_str(), (words::href(&frame.base, c), ports.join(", ")))
        })
        .collect();
    let mut view = NetworkMap {
        page: frame.page("Map of networks", "networks"),
        width: 3 * BOX + 2 * GAP + 4,
        height: STEP,
        boxes: Vec::new(),
        lines: Vec::new(),
        rows: Vec::new(),
    };
    // A container has one box, at the height where its first network is drawn.
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let (columns, mut y) = ([2, 2 + BOX + GAP, 2 + 2 * (BOX + GAP)], 2);
    for network in networks.iter().filter(|n| !n.containers.is_empty()) {
        let href = format!("{}/networks/{}", frame.base, segment(&network.spec.name));
        let subnets: Vec<&str> = network.spec.ipam.iter().map(|p| p.subnet.as_str()).collect();
        let note = format!("{}{} {}", network.spec.driver, if network.spec.internal { ", internal" } else { "" }, subnets.join(" "));
        let top = y;
        for (id, member) in &network.containers {
            let (container_href, ports) = published.get(id.as_str()).cloned().unwrap_or_default();
            let container_href =
                if container_href.is_empty() { format!("{}/containers/{}", frame.base, segment(&member.name)) } else { container_href };
            let address: Vec<String> =
                [member.ipv4.map(|a| a.0.to_string()), member.ipv6.map(|a| a.0.to_string())].into_iter().flatten().collect();
            view.rows.push(MapRow {
                href: container_href.clone(),
                container: member.name.clone(),
                network: network.spec.name.clone(),
                network_href: href.clone(),
                address: address.join(", "),
                published: ports.clone(),
            });
            if view.rows.len() > DRAWN {
                continue;
            }
            let at = match places.get(id.as_str()) {
                Some(at) => *at,
                None => {
                    let at = y;
                    y += STEP;
                    places.insert(id.as_str().to_owned(), at);
                    let note = short(&address.join(", "), 30);
                    view.boxes.push(MapBox {
                        kind: "box",
                        href: container_href.clone(),
                        name: short(&member.name, 26),
                        note,
                        x: columns[1],
                        y: at,
                        width: BOX,
                    });
                    if !ports.is_empty() {
                        view.boxes.push(MapBox {
                            kind: "world",
                            href: container_href,
                            name: "Published".into(),
                            note: short(&ports, 32),
                            x: columns[2],
                            y: at,
                            width: BOX,
                        });
                        view.lines.push(MapLine {
                            published: true,
                            x1: columns[1] + BOX,
                            y1: at + 18,
                            middle: columns[2],
                            x2: columns[2],
                            y2: at + 18,
                        });
                    }
                    at
                }
            };
            view.lines.push(MapLine {
                published: false,
                x1: columns[0] + BOX,
                y1: top + 18,
                middle: columns[0] + BOX + GAP / 2,
                x2: columns[1],
                y2: at + 18,
            });
        }
        view.boxes.push(MapBox {
            kind: "net",
            href,
            name: short(&network.spec.name, 26),
            note: short(&note, 34),
            x: columns[0],
            y: top,
            width: BOX,
        });
        // A network whose containers all stand elsewhere has a line of its own.
        y = y.max(top + STEP);
    }
    view.height = y;
    Ok(frame.show(&view))
}

fn short(text: &str, most: usize) -> String {
    if text.chars().count() <= most { text.to_owned() } else { text.chars().take(most - 1).chain(['…']).collect() }
}

/// What is asked, as the form sends it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    from: String,
    to: String,
    port: String,
    proto: String,
}

/// `GET /ui/networks/explain`
pub async fn explain(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let containers = app.engine.containers(&who, &ContainerFilter::default()).await.or_page(&frame)?;
    let names: Vec<(String, String)> = containers.iter().map(|c| (c.name.clone(), c.name.clone())).collect();
    let mut origins = vec![("@outside".to_owned(), "outside this host".to_owned()), ("@host".to_owned(), "this host".to_owned())];
    origins.extend(names.iter().cloned());
    let protocols = ["tcp", "udp", "sctp"].map(|p| (p.to_owned(), p.to_uppercase())).to_vec();
    let mut view = NetworkExplain {
        page: frame.page("Who reaches whom?", "networks"),
        from: Field::select("from", "From", origins).with(asked.from.as_str()),
        to: Field::select("to", "To", names).with(asked.to.as_str()),
        port: Field::new("port", "Port").mono().required().example("80").with(asked.port.as_str()),
        proto: Field::select("proto", "Protocol", protocols).with(asked.proto.as_str()),
        answers: Vec::new(),
        error: String::new(),
    };
    if asked.to.is_empty() || asked.port.is_empty() {
        return Ok(frame.show(&view));
    }
    let proto = if asked.proto.is_empty() { "tcp" } else { &asked.proto };
    let mut origins = vec![asked.from.as_str()];
    // The second half of the question is always: and from outside?
    if !matches!(asked.from.as_str(), "" | "@outside") {
        origins.push("@outside");
    }
    for from in origins {
        let answer = async { app.engine.explain(&who, from, &asked.to, format!("{}/{proto}", asked.port).parse()?).await };
        match answer.await {
            Ok(answer) => view.answers.push(told(from, &asked, proto, answer)),
            Err(e) => view.error = capital(&e.to_string()),
        }
    }
    Ok(frame.show(&view))
}

fn told(from: &str, asked: &Asked, proto: &str, answer: Explanation) -> ExplainAnswer {
    let from = match from {
        "" | "@outside" => "Outside",
        "@host" => "This host",
        name => name,
    };
    let verdict = match (answer.reachable, answer.tried) {
        (true, Some(Tried::Open)) => Badge::new("reached", "●", Tone::Ok),
        (true, Some(Tried::Refused)) => Badge::new("open, nobody listens", "▲", Tone::Warn),
        (true, Some(Tried::Silent | Tried::NoRoute)) => Badge::new("open, no answer", "▲", Tone::Warn),
        (true, None) => Badge::new("open", "●", Tone::Ok),
        // The firewall is not what we believe it to be.
        (false, Some(Tried::Open)) => Badge::new("closed, yet it answers", "✕", Tone::Err),
        (false, _) => Badge::new("closed", "○", Tone::Plain),
    };
    let mut facts = Vec::new();
    if let Some(at) = answer.at.filter(|_| answer.reachable) {
        facts.push(Fact::new("Address", Value::Code(at.to_string())));
    }
    if !answer.names.is_empty() {
        facts.push(Fact::new("Names", Value::Code(answer.names.join(" "))));
    }
    for at in &answer.published {
        facts.push(Fact::new("Published", Value::Code(at.to_string())));
    }
    ExplainAnswer { question: format!("{from} → {}:{}/{proto}", asked.to, asked.port), verdict, reasons: answer.reasons, facts }
}
