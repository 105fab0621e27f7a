//! Another tenant's object is an absent one: for every route of the server that names an object, whatever the object is called
//! by, the answer to a stranger is byte for byte what an object that never was gives. The routes are taken from the server's
//! own table, so a new one is tested the day it is added.

mod asking;
mod objects;

use asking::{Ask, Naming};
use e2e::http::{self, Response, Until};
use e2e::{Options, Server};
use objects::{KINDS, Kind, absent};
use std::collections::BTreeMap;
use wharf::route::{Face, Permission, Route};

const ANN: u32 = 5;
const BEN: u32 = 6;
const ADAM: u32 = 7;
/// An account of the host that has no user here.
const NOBODY: u32 = 9;

/// A server with Ann, Ben and the administrator Adam, each with busybox.
fn house() -> Server {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
    }
    server.wharf(&["user", "add", "adam", "--admin", "--unix-user", &ADAM.to_string()]).succeeded();
    for uid in [ANN, BEN, ADAM] {
        server.load_busybox_for(&server.docker_as(uid));
        server.docker_as(uid).text(&["create", "--name", "everybodysbox", "--network", "none", "busybox", "true"]);
    }
    server
}

/// How a request goes out: as a plain one, or as one that wants to become a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Plain,
    WebSocket,
}

impl Ask {
    fn send(&self, server: &Server, uid: u32, manner: Manner, until: Until) -> Response {
        let mut headers = Vec::new();
        if !self.body.is_empty() {
            headers.push(("Content-Type", if self.form { "application/x-www-form-urlencoded" } else { "application/json" }));
        }
        if manner == Manner::WebSocket {
            headers.extend([
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("Origin", "http://wharf"),
            ]);
        }
        let path = ['"', '{', '}', '[', ']'].iter().fold(self.path.clone(), |path, c| path.replace(*c, &format!("%{:02X}", *c as u32)));
        let socket = server.socket();
        http::by_account(uid, || http::send(&socket, &self.method, &path, &headers, self.body.as_bytes(), until))
            .unwrap_or_else(|e| panic!("{} {path}: {e}", self.method))
    }

    fn manners(&self) -> &'static [Manner] {
        if self.method == "GET" { &[Manner::Plain, Manner::WebSocket] } else { &[Manner::Plain] }
    }
}

/// What can be told from an answer: the asked name taken out, and the random ids of things made.
fn told(response: &Response, name: &str) -> (u16, Vec<String>, String) {
    let (repository, short) = (name.split(':').next().unwrap_or(name), name.starts_with("anns") || name.starts_with("nils"));
    let out = |text: &str| {
        // A number stands in other numbers: only alone it is the name.
        if name.len() < 12 && name.chars().all(|c| c.is_ascii_digit()) {
            let words = text.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
            let word = |w: &str| {
                w.strip_prefix(name)
                    .filter(|rest| rest.len() < 2 && !rest.starts_with(char::is_alphanumeric))
                    .map(|rest| format!("NAME{rest}"))
            };
            return words.map(|w| word(w).unwrap_or_else(|| w.to_owned())).collect();
        }
        let text = text.replace(name, "NAME").replace(&encoded(name), "NAME");
        // The name of an image is also told without its tag.
        if short { text.replace(repository, "NAME") } else { text }
    };
    let headers = response
        .headers
        .iter()
        // What differs in length only because the names do is no difference.
        .filter(|(name, _)| name != "content-length" && name != "date")
        .map(|(header, value)| without_operation(format!("{header}: {}", out(value))))
        .collect();
    (response.status, headers, without_ids(&out(&response.text())))
}

/// The number of the operation that an answer leads to: each is the next one.
fn without_operation(text: String) -> String {
    match text.split_once("/operations/") {
        Some((before, after)) if !after.is_empty() && after.chars().all(|c| c.is_ascii_digit()) => format!("{before}/operations/N"),
        _ => text,
    }
}

fn encoded(name: &str) -> String {
    name.replace(':', "%3A").replace('/', "%2F")
}

/// 64 hexadecimal digits are a random id.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() == 64 { "ID" } else { &run });
        run.clear();
        out.push(c);
    }
    out
}

fn table() -> Vec<(Route, Vec<(Kind, Ask)>)> {
    let mut list = wharf::app::routes().list();
    // This one begins a pull where there is no such image, which all pages count while it runs.
    list.sort_by_key(|route| route.method == "POST" && route.path == "/ui/containers/new");
    list.into_iter()
        .map(|route| match asking::naming(&route) {
            Naming::Objects(asks) => (route, asks),
            Naming::Nothing(_) => (route, Vec::new()),
        })
        .collect()
}

#[test]
fn a_strangers_object_is_an_absent_one_through_every_route() {
    let server = house();
    let objects: BTreeMap<Kind, Vec<String>> = KINDS.iter().map(|kind| (*kind, objects::make(&server, ANN, *kind, ""))).collect();
    let (mut asked, mut wrong) = (0, Vec::new());
    for (route, asks) in table() {
        for (kind, ask) in asks {
            for (who, uid) in [("ben", BEN), ("adam, administrator", ADAM)] {
                // A token or certificate is an administrator's to end, whose ever it is.
                if uid == ADAM && matches!(kind, Kind::Token | Kind::Certificate) {
                    continue;
                }
                for (name, manner) in objects[&kind].iter().flat_map(|name| ask.manners().iter().map(move |m| (name, *m))) {
                    let nobodys = absent(name);
                    assert_ne!(&nobodys, name);
                    let foreign = ask.naming(name).send(&server, uid, manner, Until::End);
                    let nothing = ask.naming(&nobodys).send(&server, uid, manner, Until::End);
                    let what = format!("{who}, {manner:?}: {} {} as {} {}", route.method, route.path, ask.path, ask.body);
                    let (foreign_told, nothing_told) = (told(&foreign, name), told(&nothing, &nobodys));
                    if foreign_told != nothing_told {
                        wrong.push(format!("{what} with {name}:\n  {foreign_told:?}\nbut for nothing\n  {nothing_told:?}"));
                    } else if route.path.contains('{') && foreign.status < 400 && (foreign.status, ask.method.as_str()) != (304, "DELETE") {
                        // A push says in its stream that there is no such image.
                        if !foreign.text().contains("\"error\"") {
                            wrong.push(format!("{what}: {}", foreign.status));
                        }
                    }
                    asked += 1;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} answers differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 700, "only {asked} requests were made: has the table of routes moved?");
    // And Ann still has everything.
    for (kind, names) in &objects {
        for (route, asks) in table().into_iter().filter(|(route, _)| route.method == "GET" && route.path.contains('{')) {
            for (_, ask) in asks.iter().filter(|(of, _)| of == kind) {
                let answer = ask.naming(&names[0]).send(&server, ANN, Manner::Plain, Until::Headers);
                assert!(answer.status != 500 && answer.status != 404, "{kind:?} is gone: {} gives {}", route.path, answer.status);
            }
        }
    }
    server.wharf(&["audit", "verify"]).succeeded();
}

/// The other half: the requests of the test above do reach one's own object, so that what a stranger gets is not the answer to
/// a request that nobody could make.
#[test]
fn ones_own_object_is_none_that_is_absent() {
    let server = house();
    let (mut made, mut wrong) = (0, Vec::new());
    for (route, asks) in table() {
        for (kind, ask) in asks {
            // Refused or not built for anybody, whatever is named; a form that gives back what was typed; filters that name what
            // a container uses; and what needs a registry that answers.
            let same = ["checkpoints", "ConfigFrom", r#""Type":"image""#, "?image=", "ancestor", r#"{"network""#, r#"{"volume""#, "/push"];
            if same.iter().any(|s| ask.path.contains(s) || ask.body.contains(s)) || route.method == "PUT" && kind == Kind::Volume {
                continue;
            }
            // Some are WebSockets and nothing else.
            let only = ask.path.ends_with("/ws") || ask.path.contains("/ws?") || route.path == "/api/v1/containers/{name}/exec";
            for manner in ask.manners().iter().filter(|manner| !only || **manner == Manner::WebSocket) {
                made += 1;
                let names = objects::make(&server, ANN, kind, &format!("{made}x"));
                let what = format!("{manner:?}: {} {} as {} {} with one of {names:?}", route.method, route.path, ask.path, ask.body);
                // In a path an object is found by each of its names; a change happens once, so there the plainest must do.
                // A filter or form may want one of them.
                let change = route.method != "GET";
                let differs: Vec<bool> =
                    names.iter().take(if change { 1 } else { names.len() }).map(|name| differs(&server, &ask, *manner, name)).collect();
                let good = if route.path.contains('{') { differs.iter().all(|d| *d) } else { differs.contains(&true) };
                if !good {
                    wrong.push(format!("{what}: {differs:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} requests do not reach one's own object:\n{}", wrong.len(), wrong.join("\n"));
    assert!(made > 150, "only {made} objects were asked for: has the table of routes moved?");
}

/// Whether Ann's request for her own object gives something else than the same for one that is not there.
fn differs(server: &Server, ask: &Ask, manner: Manner, name: &str) -> bool {
    let nobodys = absent(name);
    let own = ask.naming(name).send(server, ANN, manner, Until::Headers);
    let nothing = ask.naming(&nobodys).send(server, ANN, manner, Until::Headers);
    if own.status != nothing.status {
        return own.status != 404;
    }
    if told(&own, name) != told(&nothing, &nobodys) {
        return true;
    }
    if ask.method != "GET" && own.status < 400 {
        return false;
    }
    // Lists and pages that always come; they all end.
    let own = ask.naming(name).send(server, ANN, manner, Until::End);
    let nothing = ask.naming(&nobodys).send(server, ANN, manner, Until::End);
    told(&own, name) != told(&nothing, &nobodys)
}

/// A list, a page, a counter: whatever comes without a name has nothing of another tenant in it.
#[test]
fn sec_a13_no_list_and_no_page_shows_what_is_anothers() {
    let server = house();
    let objects: BTreeMap<Kind, Vec<String>> = KINDS.iter().map(|kind| (*kind, objects::make(&server, ANN, *kind, ""))).collect();
    let mut read = 0;
    for (route, _) in table() {
        let endless = ["/events", "/ui/ws/events"].contains(&route.path.as_str());
        if route.method != "GET" || route.path.contains('{') || route.permission == Permission::Admin || endless {
            continue;
        }
        for (who, uid) in [("ben", BEN), ("adam, administrator", ADAM)] {
            let query = if route.path == "/containers/json" { "?all=1" } else { "" };
            let ask = Ask { method: "GET".to_owned(), path: format!("{}{query}", route.path), body: String::new(), form: false };
            let answer = ask.send(&server, uid, Manner::Plain, Until::End);
            for (kind, names) in &objects {
                for name in names.iter().filter(|name| name.len() > 8) {
                    assert!(!answer.text().contains(name.as_str()), "{who}: {} shows the {kind:?} {name}", route.path);
                }
            }
            read += 1;
        }
    }
    assert!(read > 40, "only {read} pages and lists were read");
}

#[test]
fn nobody_gets_the_login_page_or_401() {
    let server = house();
    let objects: BTreeMap<Kind, Vec<String>> = KINDS.iter().map(|kind| (*kind, objects::make(&server, ANN, *kind, ""))).collect();
    for (route, asks) in table().into_iter().filter(|(route, _)| route.permission != Permission::Public) {
        let path = route
            .path
            .replace("{*", "{")
            .split('{')
            .enumerate()
            .map(|(n, part)| if n == 0 { part.to_owned() } else { format!("x{}", part.split_once('}').map_or("", |(_, b)| b)) })
            .collect();
        let bare = Ask { method: route.method.to_string(), path, body: String::new(), form: route.face == Face::Pages };
        let named = asks.into_iter().map(|(kind, ask)| ask.naming(&objects[&kind][0]));
        for ask in named.chain([bare]) {
            for manner in ask.manners() {
                let answer = ask.send(&server, NOBODY, *manner, Until::End);
                let what = format!("{manner:?} {} {}: {} {}", ask.method, ask.path, answer.status, answer.text());
                match route.face {
                    Face::Docker | Face::Api => assert_eq!(answer.status, 401, "{what}"),
                    Face::Pages if answer.status == 303 => {
                        assert!(answer.header("location").is_some_and(|to| to.starts_with("/ui/login")), "{what}");
                    }
                    Face::Pages => assert_eq!(answer.status, 401, "{what}"),
                }
            }
        }
    }
}

#[test]
fn sec_a13_lists_events_and_counters_show_ones_own() {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
    }
    let ann = server.docker_as(ANN);
    server.load_busybox_for(&ann);
    ann.text(&["volume", "create", "annsvolume"]);
    ann.text(&["network", "create", "annsnetwork"]);
    ann.text(&["run", "-d", "--name", "annsbox", "busybox", "sleep", "1000"]);
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
    let server = house();
    let (ben, nobody) = (server.token("ben"), "no such token".to_owned());
    let mut asked = 0;
    for route in wharf::app::routes().list() {
        if route.permission == Permission::Public {
            continue;
        }
        let path: String = route.path.split(['{', '}']).enumerate().map(|(n, part)| if n % 2 == 0 { part } else { "ann" }).collect();
        let ask = |token: &str| {
            let body = ["POST", "PUT"].contains(&route.method.as_str()).then_some("{}");
            http::Request { method: route.method.as_str(), path: &path, token: Some(token), body }.send(&server.socket())
        };
        if route.permission == Permission::Admin {
            let answer = ask(&ben);
            assert_eq!(answer.status, 403, "{} {}: {}", route.method, route.path, answer.text());
            asked += 1;
        }
        let answer = ask(&nobody);
        let refused = answer.status == 401 || route.face == Face::Pages && answer.status == 303;
        assert!(refused, "{} {} with a wrong token: {} {}", route.method, route.path, answer.status, answer.text());
    }
    assert!(asked >= 20, "only {asked} routes need an administrator: has the table moved?");
}
