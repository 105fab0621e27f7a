//! `POST /build` in its classic form, and what is remembered of builds. The body is the context; the answer is the stream
//! that clients since Docker 1.0 read: `Step 1/4 : …`, ` ---> id`, output as it comes, the image's id at the end.

use super::archive::{drain, upload};
use super::ask::Args;
use super::error::Answer;
use super::images::known_platform;
use super::reply::{json, json_stream, list_or_null};
use super::wire;
use crate::{App, Who};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine::build::{BuildCacheEntry, BuildEvent, BuildEvents, BuildRequest, PRUNE_FILTERS, PruneBuilds, StepFailed};
use engine::container::Resources;
use engine::container::request::StreamKind;
use engine::container::spec::Ulimit;
use engine::image::RegistryAuth;
use engine::progress::Progress;
use engine::{Error, Result};
use futures_util::StreamExt;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// `POST /build`
pub async fn build(State(app): State<App>, Who(who): Who, args: Args, headers: HeaderMap, body: Body) -> Answer {
    let request = match request(&args, &headers) {
        Ok(request) => request,
        Err(error) => {
            // The client is still sending its context, and hears the answer only when it is through.
            drain(body.into_data_stream()).await;
            return Err(error.into());
        }
    };
    let quiet = args.flag("q");
    let events = app.engine.build(&who, request, Some(upload(body))).await?;
    Ok(answer(events, quiet))
}

/// `POST /build/cancel`
pub async fn cancel(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    app.engine.cancel_build(&who, args.text("id")).await?;
    Ok(StatusCode::OK.into_response())
}

/// `POST /build/prune`
pub async fn prune(State(app): State<App>, Who(who): Who, args: Args) -> Answer {
    let bytes = |key| Ok::<_, Error>(args.int(key)?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0));
    let keep_bytes = bytes("keep-storage")?.max(bytes("reserved-space")?).max(bytes("max-used-space")?);
    let mut filters = args.filters(&[&["label", "label!"], &PRUNE_FILTERS[..]].concat())?;
    // `docker system prune --filter label=…` sends it here too. What is remembered of builds has no labels: none has this one.
    filters.remove("label!");
    if filters.remove("label").is_some() {
        return Ok(json(&json!({ "CachesDeleted": Value::Null, "SpaceReclaimed": 0 })));
    }
    let pruned = app.engine.prune_builds(&who, &PruneBuilds { keep_bytes, filters }).await?;
    Ok(json(&json!({ "CachesDeleted": list_or_null(&pruned.removed), "SpaceReclaimed": pruned.reclaimed })))
}

/// A row of `df`.
pub fn cache_row(entry: &BuildCacheEntry) -> Value {
    json!({
        "ID": entry.id,
        "Type": entry.kind,
        "Description": entry.description,
        "InUse": entry.in_use,
        "Shared": false,
        "Size": entry.size,
        "CreatedAt": entry.created.to_string(),
        "LastUsedAt": entry.last_used.to_string(),
        "UsageCount": entry.uses,
    })
}

/// What the query asks for. Every key that dockerd knows is read; what cannot be done is refused, never dropped.
fn request(args: &Args, headers: &HeaderMap) -> Result<BuildRequest> {
    if args.text("version") == "2" {
        return Err(Error::new(
            engine::Kind::Unsupported,
            "builds with BuildKit through POST /build are not supported: install docker-buildx, or set DOCKER_BUILDKIT=0 for the classic builder",
        ));
    }
    if args.flag("squash") {
        return Err(Error::unsupported("squashing layers"));
    }
    if !matches!(args.text("isolation"), "" | "default") {
        return Err(Error::invalid(format!("invalid isolation: {:?}: it is for Windows", args.text("isolation"))));
    }
    if !matches!(args.text("outputs"), "" | "null" | "[]") {
        return Err(Error::unsupported("build outputs other than an image"));
    }
    if !args.text("platform").is_empty() {
        known_platform(args.text("platform"))?;
    }
    let number = |key| Ok::<_, Error>(args.int(key)?.unwrap_or(0));
    let resources = Resources {
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: args.text("cpusetcpus").to_owned(),
        cpuset_mems: args.text("cpusetmems").to_owned(),
        ulimits: ulimits(args)?,
        ..Resources::default()
    };
    let labels: BTreeMap<String, Option<String>> = map(args, "labels")?;
    Ok(BuildRequest {
        dockerfile: args.text("dockerfile").to_owned(),
        remote: args.text("remote").to_owned(),
        tags: args.all("t").into_iter().filter(|t| !t.is_empty()).collect(),
        target: args.text("target").to_owned(),
        args: map(args, "buildargs")?,
        labels: labels.into_iter().map(|(k, v)| (k, v.unwrap_or_default())).collect(),
        no_cache: args.flag("nocache"),
        pull: args.flag("pull"),
        platform: args.text("platform").to_owned(),
        network: match args.text("networkmode") {
            "default" => String::new(),
            mode => mode.to_owned(),
        },
        extra_hosts: args.all("extrahosts").iter().flat_map(|h| h.split(',')).filter(|h| !h.is_empty()).map(str::to_owned).collect(),
        shm_size: number("shmsize")?,
        resources,
        security_opt: list(args, "securityopt")?,
        auths: auths(headers)?,
        cache_from: list(args, "cachefrom")?,
        id: args.text("buildid").to_owned(),
        ..BuildRequest::default()
    })
}

fn decoded<T: serde::de::DeserializeOwned + Default>(args: &Args, key: &str) -> Result<T> {
    match args.text(key) {
        "" | "null" => Ok(T::default()),
        text => serde_json::from_str(text).map_err(|e| Error::invalid(format!("error reading {key}: {e}"))),
    }
}

fn list(args: &Args, key: &str) -> Result<Vec<String>> {
    decoded(args, key)
}

fn map(args: &Args, key: &str) -> Result<BTreeMap<String, Option<String>>> {
    decoded(args, key)
}

fn ulimits(args: &Args) -> Result<Vec<Ulimit>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct One {
        name: String,
        soft: i64,
        hard: i64,
    }
    let list: Vec<One> = decoded(args, "ulimits")?;
    Ok(list.into_iter().map(|u| Ulimit { name: u.name, soft: u.soft, hard: u.hard }).collect())
}

/// `X-Registry-Config`: credentials by registry, which the CLI names by URL or host.
fn auths(headers: &HeaderMap) -> Result<BTreeMap<String, RegistryAuth>> {
    let Some(header) = headers.get("x-registry-config").and_then(|v| v.to_str().ok()).filter(|h| !h.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let bad = || Error::invalid("invalid X-Registry-Config header: expected the base64 of a JSON object");
    let bytes = wire::base64_any(header).ok_or_else(bad)?;
    let value: Option<serde_json::Map<String, Value>> = serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let mut auths = BTreeMap::new();
    for (key, value) in value.unwrap_or_default() {
        let host = key.trim_start_matches("https://").trim_start_matches("http://").split('/').next().unwrap_or_default();
        let host = if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host };
        auths.insert(host.to_owned(), wire::image::registry_auth(value)?);
    }
    Ok(auths)
}

/// The classic stream. Quiet: nothing but the id, or all that was said if it fails.
fn answer(events: BuildEvents, quiet: bool) -> Response {
    if !quiet {
        let lines = events.flat_map(|event| futures_util::stream::iter(lines(&event)));
        return json_stream(lines.map(|value| Ok(wire::progress::line(&value))));
    }
    let mut kept: Vec<Value> = Vec::new();
    let lines = events.flat_map(move |event| {
        let out = match &event {
            BuildEvent::Built(id, ..) => vec![json!({ "stream": format!("{id}\n") })],
            BuildEvent::Failed(_) => kept.drain(..).chain(lines(&event)).collect(),
            other => {
                kept.extend(lines(other));
                Vec::new()
            }
        };
        futures_util::stream::iter(out)
    });
    json_stream(lines.map(|value| Ok(wire::progress::line(&value))))
}

/// What one event is on the wire.
fn lines(event: &BuildEvent) -> Vec<Value> {
    let text = |text: String| json!({ "stream": text });
    match event {
        BuildEvent::Step { number, total, text: shown } => {
            vec![text(format!("Step {number}/{total} : {shown}")), text("\n".to_owned())]
        }
        BuildEvent::Pull(_, fact) => match fact {
            Progress::Failed(_) => Vec::new(),
            fact => vec![wire::progress::progress(fact)],
        },
        BuildEvent::Cached => vec![text(" ---> Using cache\n".to_owned())],
        BuildEvent::Running(id) => vec![text(format!(" ---> Running in {}\n", id.short()))],
        BuildEvent::Output(_, StreamKind::Stdout, bytes) => vec![text(String::from_utf8_lossy(bytes).into_owned())],
        // Bright red, as dockerd has always written it.
        BuildEvent::Output(_, StreamKind::Stderr, bytes) => {
            vec![text(format!("\u{1b}[91m{}\u{1b}[0m", String::from_utf8_lossy(bytes)))]
        }
        // For those who show vertexes.
        BuildEvent::Definition(..) | BuildEvent::Begin(_) | BuildEvent::Transfer { .. } | BuildEvent::End(..) => Vec::new(),
        BuildEvent::Removed(id) => vec![text(format!(" ---> Removed intermediate container {}\n", id.short()))],
        BuildEvent::Warning(shown) => vec![text(shown.clone())],
        // dockerd's classic builder has no checks, and its clients do not expect them.
        BuildEvent::Advice(_) => Vec::new(),
        BuildEvent::Done(id) => vec![text(format!(" ---> {}\n", &id.hex()[..12]))],
        BuildEvent::Built(id, names, _) => {
            let mut all = vec![json!({ "aux": { "ID": id.to_string() } }), text(format!("Successfully built {}\n", &id.hex()[..12]))];
            all.extend(names.iter().map(|n| text(format!("Successfully tagged {n}\n"))));
            all
        }
        BuildEvent::Failed(error) => vec![failed(error)],
    }
}

/// A failure; a step's exit code goes with it.
fn failed(error: &Error) -> Value {
    use std::error::Error as _;
    let mut value = wire::progress::failed(error);
    if let Some(step) = error.source().and_then(|s| s.downcast_ref::<StepFailed>()) {
        value["errorDetail"]["code"] = json!(step.code);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::FromRequestParts;
    use bytes::Bytes;
    use engine::{ContainerId, Digest, Kind};

    async fn asked(query: &str, headers: &HeaderMap) -> Result<BuildRequest> {
        let (mut parts, ()) = http::Request::builder().uri(format!("/build?{query}")).body(()).unwrap().into_parts();
        let args = Args::from_request_parts(&mut parts, &()).await.unwrap();
        request(&args, headers)
    }

    #[tokio::test]
    async fn queries_are_read() {
        let none = HeaderMap::new();
        let query = "t=a:1&t=b&dockerfile=x/Dockerfile&buildargs=%7B%22A%22:%221%22,%22B%22:null%7D&labels=%7B%22l%22:%22v%22%7D&nocache=1&pull=true&target=t\
             &networkmode=none&shmsize=1048576&memory=5&memswap=-1&cpushares=2&cpusetcpus=0&cpuperiod=3&cpuquota=4&q=1&rm=1&forcerm=0&session=&buildid=id\
             &ulimits=%5B%7B%22Name%22:%22nofile%22,%22Hard%22:2,%22Soft%22:1%7D%5D&securityopt=null&cachefrom=%5B%5D&cgroupparent=&version=1&extrahosts=a:1.2.3.4";
        let r = asked(query, &none).await.unwrap();
        assert_eq!(
            (r.tags.len(), r.dockerfile.as_str(), r.target.as_str(), r.network.as_str(), r.id.as_str()),
            (2, "x/Dockerfile", "t", "none", "id")
        );
        assert_eq!(r.args, BTreeMap::from([("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]));
        assert!(r.no_cache && r.pull && r.labels["l"] == "v" && r.extra_hosts == ["a:1.2.3.4"]);
        assert_eq!((r.resources.memory, r.resources.memory_swap, r.resources.cpu_quota, r.resources.ulimits[0].hard), (5, -1, 4, 2));
        assert!(asked("buildargs=null&networkmode=default", &none).await.unwrap().network.is_empty());
        for (query, kind) in [
            ("version=2", Kind::Unsupported),
            ("squash=1", Kind::Unsupported),
            ("isolation=hyperv", Kind::Invalid),
            ("buildargs=%5B1%5D", Kind::Invalid),
            ("memory=x", Kind::Invalid),
            ("outputs=%5B%7B%7D%5D", Kind::Unsupported),
        ] {
            assert_eq!(asked(query, &none).await.err().map(|e| e.kind()), Some(kind), "{query}");
        }
    }

    #[tokio::test]
    async fn credentials_by_registry() {
        use base64::Engine as _;
        let config = r#"{"https://index.docker.io/v1/":{"username":"u","password":"p"},"r:5000":{"username":"x"}}"#;
        let mut headers = HeaderMap::new();
        headers.insert("x-registry-config", base64::engine::general_purpose::URL_SAFE.encode(config).parse().unwrap());
        let auths = asked("", &headers).await.unwrap().auths;
        assert_eq!((auths["docker.io"].username.as_str(), auths["r:5000"].username.as_str()), ("u", "x"));
        headers.insert("x-registry-config", "*".parse().unwrap());
        assert!(asked("", &headers).await.is_err());
    }

    #[test]
    fn the_stream_is_dockers() {
        let id = ContainerId::random();
        let image = Digest::of(b"x");
        let short = &image.hex()[..12];
        let all: Vec<Value> = [
            BuildEvent::Step { number: 1, total: 4, text: "FROM bb".into() },
            BuildEvent::Done(image),
            BuildEvent::Running(id.clone()),
            BuildEvent::Output(1, StreamKind::Stdout, Bytes::from_static(b"out\n")),
            BuildEvent::Output(1, StreamKind::Stderr, Bytes::from_static(b"err\n")),
            BuildEvent::Removed(id.clone()),
            BuildEvent::Built(image, vec!["leg:latest".into()], true),
        ]
        .iter()
        .flat_map(lines)
        .collect();
        let container = id.short();
        assert_eq!(
            all,
            [
                json!({"stream": "Step 1/4 : FROM bb"}),
                json!({"stream": "\n"}),
                json!({"stream": format!(" ---> {short}\n")}),
                json!({"stream": format!(" ---> Running in {container}\n")}),
                json!({"stream": "out\n"}),
                json!({"stream": "\u{1b}[91merr\n\u{1b}[0m"}),
                json!({"stream": format!(" ---> Removed intermediate container {container}\n")}),
                json!({"aux": {"ID": image.to_string()}}),
                json!({"stream": format!("Successfully built {short}\n")}),
                json!({"stream": "Successfully tagged leg:latest\n"}),
            ]
        );
        let text = "The command '/bin/sh -c exit 7' returned a non-zero code: 7";
        let error = Error::invalid(text).because(StepFailed { code: 7, command: String::new() });
        assert_eq!(lines(&BuildEvent::Failed(error)), [json!({"errorDetail": {"code": 7, "message": text}, "error": text})]);
    }

    #[tokio::test]
    async fn quiet_says_the_id_or_everything() {
        let body = async |events: Vec<BuildEvent>| {
            let response = answer(Box::pin(futures_util::stream::iter(events)), true);
            String::from_utf8(axum::body::to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap()
        };
        let step = || BuildEvent::Step { number: 1, total: 1, text: "FROM x".into() };
        let id = Digest::of(b"x");
        assert_eq!(body(vec![step(), BuildEvent::Built(id, vec![], true)]).await, format!("{{\"stream\":\"{id}\\n\"}}\r\n"));
        let failed = body(vec![step(), BuildEvent::Failed(Error::invalid("no"))]).await;
        assert!(failed.contains("Step 1/1") && failed.contains("\"error\":\"no\""), "{failed}");
    }
}
