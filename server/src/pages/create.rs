//! The form that makes a container: from text to a specification, with what is wrong said beside the field.

use super::form::{Filled, words as split};
use super::frame::{OrPage, Visit, capital, status};
use axum::extract::Query;
use axum::response::Response;
use engine::container::spec::{ContainerPort, ContainerSpec, HostPort, RestartPolicy};
use engine::image::{ImageFilter, PullRequest};
use engine::{Error, Filters, Kind, Subject};
use http::StatusCode;
use serde::Deserialize;
use std::net::IpAddr;
use web::format::parse_bytes;
use web::view::container::{ContainerForm, ContainerNew};
use web::view::piece::segment;
use web::view::{Flash, Tone};

/// Sizes one can pick: value, name, what it is, memory in bytes, billionths of a CPU.
const SIZES: [(&str, &str, &str, i64, i64); 3] = [
    ("s", "Small", "256 MiB, 0.5 CPU", 256 << 20, 500_000_000),
    ("m", "Medium", "1 GiB, 1 CPU", 1 << 30, 1_000_000_000),
    ("l", "Large", "4 GiB, 2 CPUs", 4 << 30, 2_000_000_000),
];

/// What the address fills in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prefill {
    image: String,
}

/// `GET /ui/containers/new`
pub async fn form(visit: Visit, Query(prefill): Query<Prefill>) -> Result<Response, Response> {
    let mut form = empty(&visit).await;
    form.image.value = prefill.image;
    let view = filled_in(&visit, form, "m", String::new()).await.or_page(&visit.frame)?;
    Ok(visit.frame.show(&view))
}

/// `POST /ui/containers/new`
pub async fn create(visit: Visit, filled: Filled) -> Result<Response, Response> {
    let mut form = empty(&visit).await;
    for field in form.fields() {
        field.value = filled.get(field.name).to_owned();
    }
    let spec = match parse(&mut form, filled.get("size")) {
        Some(spec) => spec,
        None => {
            let view = filled_in(&visit, form, filled.get("size"), String::new()).await.or_page(&visit.frame)?;
            return Ok(visit.frame.show_with(StatusCode::UNPROCESSABLE_ENTITY, &view));
        }
    };
    match begin(&visit, filled.get("name"), spec, filled.has("start")).await {
        Ok(response) => Ok(response),
        Err(error) => {
            let status = status(&error);
            let view = filled_in(&visit, form, filled.get("size"), capital(&error.to_string())).await.or_page(&visit.frame)?;
            Ok(visit.frame.show_with(status, &view))
        }
    }
}

/// Makes it at once when its image is here; else an operation pulls the image first.
async fn begin(visit: &Visit, name: &str, spec: ContainerSpec, start: bool) -> Result<Response, Error> {
    let Visit { who, app, frame } = visit;
    match app.engine.image(who, &spec.image).await {
        Ok(_) => {
            let made = make(&app.engine, who, name, spec, start).await?;
            let flash = match &made.trouble {
                None => Flash { tone: Tone::Ok, text: format!("Made {}. {}", made.name, made.warnings.join(" ")).trim_end().to_owned() },
                Some(why) => Flash { tone: Tone::Err, text: format!("It was made, but could not be started: {why}") },
            };
            Ok(frame.to(&format!("{}/containers/{}", frame.base, segment(&made.name)), Some(flash)))
        }
        Err(e) if e.kind() == Kind::NotFound => {
            let request = PullRequest { image: spec.image.clone(), tag: tag(&spec.image), platform: None, auth: None };
            let title = format!("Pull {} and make a container of it", spec.image);
            let (engine, subject, name) = (app.engine.clone(), who.clone(), name.to_owned());
            let operation = app.operations.begin(who, "create", title, move |report| async move {
                report.consume(engine.pull(&subject, request).await?).await?;
                let made = make(&engine, &subject, &name, spec, start).await?;
                made.warnings.into_iter().for_each(|w| report.line(w));
                if let Some(why) = made.trouble {
                    report.line(format!("could not be started: {why}"));
                }
                let path = format!("/containers/{}", segment(&made.name));
                Ok(Some(crate::operations::Next { path, text: format!("Open {}", made.name) }))
            })?;
            Ok(frame.to(&format!("{}/operations/{}", frame.base, operation.id), None))
        }
        Err(e) => Err(e),
    }
}

/// Without tag or digest a pull would take all tags of the repository.
pub fn tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) { String::new() } else { "latest".into() }
}

/// A container that was made.
struct Made {
    name: String,
    warnings: Vec<String>,
    /// Why it could not be started. It stays: the person looks why on its page, and corrects or removes it.
    trouble: Option<Error>,
}

async fn make(engine: &engine::Engine, who: &Subject, name: &str, spec: ContainerSpec, start: bool) -> Result<Made, Error> {
    let created = engine.create_container(who, name, spec).await?;
    let id = created.id.as_str();
    let trouble = if start { engine.start(who, id).await.err() } else { None };
    let name = match engine.container(who, id).await {
        Ok(container) => container.name,
        // One that removes itself may be gone by now.
        Err(_) if !name.is_empty() => name.to_owned(),
        Err(_) => created.id.short().to_owned(),
    };
    Ok(Made { name, warnings: created.warnings, trouble })
}

async fn empty(visit: &Visit) -> ContainerForm {
    let mut networks = vec![("bridge".to_owned(), "bridge: out to the internet".to_owned())];
    // A form without one's own networks is better than none: the list is only offered.
    if let Ok(own) = visit.app.engine.networks(&visit.who, &Filters::new()).await {
        networks.extend(own.into_iter().filter(|n| !n.predefined).map(|n| (n.spec.name.clone(), n.spec.name)));
    }
    networks.push(("none".into(), "none: no network".into()));
    networks.push(("host".into(), "host: needs a grant".into()));
    ContainerForm::new(networks)
}

async fn filled_in(visit: &Visit, form: ContainerForm, size: &str, error: String) -> engine::Result<ContainerNew> {
    let images = visit.app.engine.images(&visit.who, &ImageFilter::default()).await?;
    let mut sizes: Vec<_> = SIZES.iter().map(|&(v, name, what, ..)| (v.to_owned(), name.to_owned(), what.to_owned(), v == size)).collect();
    sizes.push((String::new(), "Other".into(), "as written below".into(), !SIZES.iter().any(|s| s.0 == size)));
    Ok(ContainerNew {
        page: visit.frame.page("New container", "containers"),
        form,
        images: images.into_iter().flat_map(|i| i.tags).collect(),
        sizes,
        error,
    })
}

/// The specification, or nothing with what is wrong said in the fields.
fn parse(form: &mut ContainerForm, size: &str) -> Option<ContainerSpec> {
    let mut spec = ContainerSpec {
        image: form.image.value.clone(),
        user: form.user.value.clone(),
        working_dir: form.folder.value.clone(),
        ..ContainerSpec::default()
    };
    if spec.image.is_empty() {
        form.image.wrong("Say which image.");
    }
    match split(&form.command.value) {
        Ok(argv) => spec.cmd = (!argv.is_empty()).then_some(argv),
        Err(why) => form.command.wrong(capital(why)),
    }
    for line in lines(&form.env.value) {
        match line.split_once('=') {
            Some((name, _)) if !name.trim().is_empty() => spec.env.push(line),
            _ => form.env.wrong(format!("“{line}” is not NAME=value.")),
        }
    }
    for line in lines(&form.labels.value) {
        let (name, value) = line.split_once('=').unwrap_or((&line, ""));
        spec.labels.insert(name.trim().to_owned(), value.to_owned());
    }
    for line in lines(&form.ports.value) {
        match port(&line) {
            Ok((container, host)) => {
                spec.exposed_ports.push(container);
                spec.host.port_bindings.entry(container).or_default().push(host);
            }
            Err(why) => form.ports.wrong(format!("“{line}”: {why}")),
        }
    }
    for line in lines(&form.mounts.value) {
        match line.split(':').collect::<Vec<_>>()[..] {
            [source, target] | [source, target, "ro" | "rw"] if !source.is_empty() && target.starts_with('/') => {
                spec.host.binds.push(line.clone())
            }
            _ => form.mounts.wrong(format!("“{line}” is not volume:/path or volume:/path:ro.")),
        }
    }
    spec.host.network_mode = form.network.value.clone();
    spec.host.restart = match form.restart.value.as_str() {
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure(0),
        _ => RestartPolicy::No,
    };
    if let Some(&(.., memory, cpus)) = SIZES.iter().find(|s| s.0 == size) {
        spec.host.resources.memory = memory;
        spec.host.resources.nano_cpus = cpus;
    }
    // What is written counts more than what was picked.
    if !form.memory.value.is_empty() {
        match parse_bytes(&form.memory.value) {
            // Docker's own floor: below it no process starts.
            Some(n) if n >= 6 << 20 => spec.host.resources.memory = n,
            Some(_) => form.memory.wrong("At least 6m."),
            None => form.memory.wrong("A number with m or g: 512m, 1.5g."),
        }
    }
    if !form.cpus.value.is_empty() {
        match form.cpus.value.replace(',', ".").parse::<f64>() {
            Ok(n) if (0.01..=1024.0).contains(&n) => spec.host.resources.nano_cpus = (n * 1e9) as i64,
            _ => form.cpus.wrong("A number such as 0.5 or 2."),
        }
    }
    spec.tty = !form.tty.value.is_empty();
    spec.open_stdin = spec.tty;
    spec.host.read_only = !form.read_only.value.is_empty();
    spec.host.auto_remove = !form.auto_remove.value.is_empty();
    if spec.host.auto_remove && spec.host.restart != RestartPolicy::No {
        form.restart.wrong("A container that is removed when it exits cannot be restarted.");
    }
    form.fields().iter().all(|f| f.error.is_empty()).then_some(spec)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect()
}

/// `[[address:]host-port:]container-port[/protocol]`
pub fn port(text: &str) -> Result<(ContainerPort, HostPort), String> {
    let (front, inside) = text.rsplit_once(':').map_or((None, text), |(f, i)| (Some(f), i));
    let container: ContainerPort = inside.parse().map_err(|e: Error| e.to_string())?;
    let Some(front) = front else { return Ok((container, HostPort { ip: None, ports: (0, 0) })) };
    let (address, number) = match front.rsplit_once(':') {
        Some((address, number)) => (Some(address.trim_start_matches('[').trim_end_matches(']')), number),
        None => (None, front),
    };
    let ip: Option<IpAddr> = match address {
        None | Some("") => None,
        Some(a) => Some(a.parse().map_err(|_| format!("{a} is not an address"))?),
    };
    let number: u16 = if number.is_empty() { 0 } else { number.parse().map_err(|_| format!("{number} is not a port"))? };
    Ok((container, HostPort { ip, ports: (number, number) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(pairs: &[(&str, &str)]) -> (Option<ContainerSpec>, ContainerForm) {
        let mut form = ContainerForm::new(vec![]);
        for field in form.fields() {
            field.value = pairs.iter().find(|(n, _)| *n == field.name).map_or(String::new(), |(_, v)| (*v).to_owned());
        }
        let size = pairs.iter().find(|(n, _)| *n == "size").map_or("", |(_, v)| v);
        (parse(&mut form, size), form)
    }

    #[test]
    fn a_whole_form_becomes_a_specification() {
        let (spec, _) = fill(&[
            ("image", "nginx:alpine"),
            ("command", "nginx -g 'daemon off;'"),
            ("ports", "8080:80\n127.0.0.1:5353:53/udp\n[::1]:9000:9000\n443"),
            ("env", "A=b\nC=d=e"),
            ("mounts", "data:/data\n/home/a/x:/x:ro"),
            ("size", "s"),
            ("cpus", "1,5"),
            ("restart", "unless-stopped"),
            ("tty", "1"),
        ]);
        let spec = spec.unwrap();
        assert_eq!(spec.cmd.unwrap(), ["nginx", "-g", "daemon off;"]);
        assert_eq!(spec.env, ["A=b", "C=d=e"]);
        assert_eq!(spec.host.binds, ["data:/data", "/home/a/x:/x:ro"]);
        assert_eq!((spec.host.resources.memory, spec.host.resources.nano_cpus), (256 << 20, 1_500_000_000));
        assert_eq!(spec.host.restart, RestartPolicy::UnlessStopped);
        let ports: std::collections::BTreeSet<String> =
            spec.host.port_bindings.iter().map(|(c, h)| format!("{c} {:?} {:?}", h[0].ip, h[0].ports)).collect();
        let expected =
            ["53/udp Some(127.0.0.1) (5353, 5353)", "80/tcp None (8080, 8080)", "443/tcp None (0, 0)", "9000/tcp Some(::1) (9000, 9000)"];
        assert_eq!(ports, expected.map(String::from).into());
        assert!(spec.tty && spec.open_stdin);
    }

    #[test]
    fn what_is_wrong_is_said_beside_its_field() {
        let (spec, form) = fill(&[
            ("image", ""),
            ("command", "sh -c 'x"),
            ("ports", "eighty:80"),
            ("env", "NOVALUE"),
            ("mounts", "data:relative"),
            ("memory", "1 apple"),
            ("cpus", "-1"),
            ("auto_remove", "1"),
            ("restart", "always"),
        ]);
        assert!(spec.is_none());
        for field in [&form.image, &form.command, &form.ports, &form.env, &form.mounts, &form.memory, &form.cpus, &form.restart] {
            assert!(!field.error.is_empty(), "{}", field.name);
        }
    }

    #[test]
    fn only_a_bare_name_gets_a_tag() {
        for (image, expected) in [("nginx", "latest"), ("a/b", "latest"), ("h:5000/b", "latest"), ("nginx:1", ""), ("nginx@sha256:00", "")]
        {
            assert_eq!(tag(image), expected, "{image}");
        }
    }
}
