//! Another tenant's object is an absent one: for every route of the server that names an object, whatever the object is called
//! by, the answer to a stranger is byte for byte what an object that never was gives. The routes are taken from the server's
//! own table, so a new one is tested the day it is added.

use e2e::http::{Request, Response};
use e2e::{Options, Server};
use wharf::route::{Face, Permission, Route};

const ANN: u32 = 5;
const BEN: u32 = 6;

/// What Ann has, by kind: all the ways to say its name.
struct Objects {
    container: Vec<String>,
    image: Vec<String>,
    network: Vec<String>,
    volume: Vec<String>,
    exec: Vec<String>,
}

/// Names of the same shapes for which nothing exists.
struct Absent;

impl Absent {
    fn of(name: &str) -> String {
        let hex = name.chars().all(|c| c.is_ascii_hexdigit());
        match name.strip_prefix("sha256:") {
            Some(digest) => format!("sha256:{}", "0".repeat(digest.len())),
            None if hex && name.len() >= 8 => "0".repeat(name.len()),
            None => name.replace("anns", "none"),
        }
    }
}

fn make(server: &Server) -> Objects {
    let docker = server.docker_as(ANN);
    server.load_busybox_for(&docker);
    docker.text(&["tag", "busybox", "anns:tag"]);
    docker.text(&["volume", "create", "annsvolume"]);
    let network = docker.text(&["network", "create", "annsnetwork"]);
    let id = docker.text(&["run", "-d", "--name", "annsbox", "busybox", "sleep", "1000"]);
    let image = docker.text(&["image", "inspect", "-f", "{{.Id}}", "anns:tag"]);
    let token = server.token("ann");
    let body = r#"{"Cmd":["sleep","1000"],"AttachStdout":true}"#;
    let made =
        Request { method: "POST", path: &format!("/containers/{id}/exec"), token: Some(&token), body: Some(body) }.send(&server.socket());
    let exec = made.json()["Id"].as_str().unwrap_or_else(|| panic!("making an exec: {}", made.text())).to_owned();
    let short = |id: &str| id[..12].to_owned();
    Objects {
        container: vec!["annsbox".to_owned(), short(&id), id],
        image: vec!["anns:tag".to_owned(), short(image.trim_start_matches("sha256:")), image],
        network: vec!["annsnetwork".to_owned(), short(&network), network],
        volume: vec!["annsvolume".to_owned()],
        exec: vec![exec],
    }
}

/// The names to put into a route's path, if it names an object.
fn names<'a>(objects: &'a Objects, route: &Route) -> Option<&'a [String]> {
    let path = &route.path;
    if !path.contains('{') {
        return None;
    }
    let kind = path.trim_start_matches("/api/v1").trim_start_matches("/ui").split('/').nth(1)?;
    Some(match kind {
        "containers" => &objects.container,
        "images" => &objects.image,
        "networks" => &objects.network,
        "volumes" => &objects.volume,
        "exec" => &objects.exec,
        _ => return None,
    })
}

fn fill(route: &Route, name: &str) -> String {
    let mut path = String::new();
    let mut rest = route.path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, behind) = after.split_once('}').expect("a placeholder's end");
        path.push_str(before);
        path.push_str(name);
        // Docker's image routes take name and action in one: the plainest action.
        if placeholder.starts_with('*') && route.path == "/images/{*name}" {
            path.push_str(match route.method.as_str() {
                "GET" => "/json",
                "POST" => "/tag?repo=stolen&tag=1",
                _ => "",
            });
        }
        rest = behind;
    }
    path + rest
}

fn body(route: &Route) -> Option<&'static str> {
    match route.method.as_str() {
        "POST" | "PUT" => Some("{}"),
        _ => None,
    }
}

/// What can be told from an answer, with the asked name taken out.
fn told(response: &Response, name: &str) -> (u16, Vec<String>, String) {
    let headers = response.headers.iter().map(|(name, _)| name.clone()).collect();
    (response.status, headers, response.text().replace(name, "NAME"))
}

#[test]
fn a_strangers_object_is_an_absent_one_through_every_route() {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
    }
    let objects = make(&server);
    server.wharf(&["user", "add", "adam", "--admin", "--unix-user", "7"]).succeeded();
    let tokens = [("ben", server.token("ben")), ("adam, administrator", server.token("adam"))];
    let mut asked = 0;
    for route in wharf::app::routes().list() {
        // Pages take a session's cookie only: what a token gets there is a way to sign in.
        if route.face == Face::Pages || route.permission == Permission::Public || route.permission == Permission::Admin {
            continue;
        }
        let Some(names) = names(&objects, &route) else { continue };
        for (who, token) in &tokens {
            for name in names {
                let absent = Absent::of(name);
                assert_ne!(&absent, name);
                let ask = |name: &str| {
                    let path = fill(&route, name);
                    Request { method: route.method.as_str(), path: &path, token: Some(token), body: body(&route) }.send(&server.socket())
                };
                let (foreign, nothing) = (ask(name), ask(&absent));
                assert_eq!(told(&foreign, name), told(&nothing, &absent), "{who}: {} {} with {name}", route.method, route.path);
                assert!(
                    foreign.status >= 400 || route.method == "DELETE" && foreign.status == 304,
                    "{who}: {} {}: {}",
                    route.method,
                    route.path,
                    foreign.status
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "only {asked} requests were made: has the table of routes moved?");
    // And Ann still has everything.
    let docker = server.docker_as(ANN);
    assert_eq!(docker.inspect("annsbox", "{{.State.Running}}"), "true");
    docker.text(&["image", "inspect", "anns:tag"]);
    docker.text(&["network", "inspect", "annsnetwork"]);
    docker.text(&["volume", "inspect", "annsvolume"]);
}

#[test]
fn lists_events_and_counters_show_ones_own() {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
    }
    make(&server);
    let ben = server.docker_as(BEN);
    for list in [&["ps", "-aq"][..], &["images", "-aq"], &["volume", "ls", "-q"]] {
        assert_eq!(ben.text(list), "", "{list:?}");
    }
    assert!(!ben.text(&["network", "ls", "--format", "{{.Name}}"]).contains("anns"));
    assert_eq!(ben.text(&["info", "--format", "{{.Containers}} {{.ContainersRunning}} {{.Images}}"]), "0 0 0");
    let events = ben.text(&["events", "--since", "1h", "--until", &e2e::soon()]);
    assert_eq!(events, "", "events of another tenant: {events}");
    for prune in [&["container", "prune", "-f"][..], &["image", "prune", "-af"], &["volume", "prune", "-af"], &["network", "prune", "-f"]] {
        ben.run(prune).succeeded();
    }
    let ann = server.docker_as(ANN);
    assert_eq!(ann.inspect("annsbox", "{{.State.Running}}"), "true");
    assert!(ann.text(&["volume", "ls", "-q"]).contains("annsvolume"), "another's prune took a volume");
    // A name that Ann uses is free for Ben.
    server.load_busybox_for(&ben);
    ben.text(&["volume", "create", "annsvolume"]);
    ben.text(&["network", "create", "annsnetwork"]);
    ben.text(&["run", "-d", "--name", "annsbox", "busybox", "sleep", "1000"]);
}

#[test]
fn only_administrators_administer() {
    let server = Server::start_with(Options::default());
    server.add_user("ben", BEN);
    let token = server.token("ben");
    let mut asked = 0;
    for route in wharf::app::routes().list() {
        if route.permission != Permission::Admin || route.face == Face::Pages {
            continue;
        }
        let path = fill(&route, "ann");
        let answer = Request { method: route.method.as_str(), path: &path, token: Some(&token), body: body(&route) }.send(&server.socket());
        assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.path, answer.text());
        asked += 1;
    }
    assert!(asked >= 10, "only {asked} routes need an administrator: has the table moved?");
    for route in wharf::app::routes().list() {
        if route.permission == Permission::Public || route.face == Face::Pages {
            continue;
        }
        let path = fill(&route, "ann");
        let answer =
            Request { method: route.method.as_str(), path: &path, token: Some("no such token"), body: body(&route) }.send(&server.socket());
        assert_eq!(answer.status, 401, "{} {} with a wrong token: {}", route.method, route.path, answer.text());
    }
}
