//! From a row of the server's table of routes to the requests that name an object through it. Every row must find its place
//! here: one that does not fails the test, so that nobody adds a route without saying what it names.

use crate::objects::Kind;
use wharf::route::{Face, Permission, Route};

/// How a route comes to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Naming {
    /// Requests that name an object of this kind; `NAME` stands for what it is called.
    Objects(Vec<(Kind, Ask)>),
    /// It names no object of a tenant, for this reason.
    Nothing(&'static str),
}

/// A request in which `NAME` is still to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub method: String,
    pub path: String,
    pub body: String,
    pub form: bool,
}

impl Ask {
    /// With the object's name.
    pub fn naming(&self, name: &str) -> Self {
        Self { path: self.path.replace("NAME", name), body: self.body.replace("NAME", name), ..self.clone() }
    }
}

/// What a route names.
///
/// # Panics
/// When this table does not know the route.
pub fn naming(route: &Route) -> Naming {
    if route.permission == Permission::Admin {
        return Naming::Nothing("an administrator's routes show everything, and nothing to others");
    }
    let path = route.path.trim_start_matches("/api/v1").trim_start_matches("/ui");
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    if !route.path.contains('{') {
        return plain(route, path);
    }
    let kind = match (route.face, segments.as_slice()) {
        (_, ["containers", ..]) => Kind::Container,
        (_, ["images", ..]) => Kind::Image,
        (_, ["networks", ..]) => Kind::Network,
        (_, ["volumes", ..]) => Kind::Volume,
        (Face::Api | Face::Pages, ["logs", ..]) => Kind::Log,
        (Face::Docker, ["exec", ..]) => Kind::Exec,
        (Face::Api | Face::Pages, ["trash", ..]) => Kind::Trashed,
        (Face::Api | Face::Pages, ["operations", ..]) => Kind::Operation,
        (Face::Api, ["tokens", ..]) | (Face::Pages, ["account", "tokens", ..]) => Kind::Token,
        (Face::Api, ["certificates", ..]) | (Face::Pages, ["account", "certificates", ..]) => Kind::Certificate,
        (Face::Pages, ["account", "sessions", ..]) => return Naming::Nothing("sessions are the browser test's"),
        (Face::Pages, ["static", _]) => return Naming::Nothing("files that are the same for everybody"),
        (Face::Pages, ["{*path}"]) => return Naming::Nothing("what no page is"),
        (Face::Docker, ["distribution", ..]) => return Naming::Nothing("a question to a registry"),
        (Face::Docker, ["plugins" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..]) => {
            return Naming::Nothing("there are none of these");
        }
        (Face::Docker, [service, _]) if wharf::docker::buildkit::SERVICES.contains(service) => {
            return Naming::Nothing("calls in protobuf: the door's own tests name another's sessions and builds");
        }
        _ => panic!("{} {} names something that this test does not know: give it a place in {}", route.method, route.path, file!()),
    };
    Naming::Objects(variants(route).into_iter().map(|ask| (kind, ask)).collect())
}

fn ask(route: &Route, path: String, body: &str) -> Ask {
    let form = route.face == Face::Pages;
    let body = if ["GET", "HEAD", "DELETE"].contains(&route.method.as_str()) { "" } else { body };
    Ask { method: route.method.to_string(), path, body: body.to_owned(), form }
}

/// The requests of a route with the name in its path. Bodies are such that the owner's request is done.
fn variants(route: &Route) -> Vec<Ask> {
    let mut path = String::new();
    let mut rest = route.path.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        let (_, behind) = after.split_once('}').expect("a placeholder's end");
        path.push_str(before);
        path.push_str("NAME");
        rest = behind;
    }
    path.push_str(rest);
    let one = |suffix: &str, body: &str| vec![ask(route, format!("{path}{suffix}"), body)];
    let end = route.path.rsplit('/').next().unwrap_or_default();
    match (route.face, route.method.as_str(), end) {
        // Docker's image routes take name and action in one.
        (Face::Docker, "GET", "{*name}") => {
            ["/json", "/history", "/get"].iter().map(|action| ask(route, format!("{path}{action}"), "")).collect()
        }
        (Face::Docker, "POST", "{*name}") => {
            ["/tag?repo=stolen&tag=1", "/push?tag=1"].iter().map(|action| ask(route, format!("{path}{action}"), "")).collect()
        }
        // Forced, the removal of a volume that is not there is none that fails.
        (Face::Docker, "DELETE", _) if !route.path.starts_with("/volumes") => one("?force=1", ""),
        (Face::Docker, "GET" | "HEAD", "archive") => one("?path=/etc", ""),
        (Face::Docker, "PUT", "archive") => one("?path=/etc", EMPTY_TAR),
        (Face::Docker, "GET", "logs") => one("?stdout=1", ""),
        (Face::Docker, "GET", "stats") => one("?stream=0&one-shot=1", ""),
        (Face::Docker, "POST", "rename") => one("?name=renamed", ""),
        (Face::Docker, "POST", "resize") => one("?h=20&w=20", ""),
        (Face::Docker, "POST", "stop" | "restart") => one("?t=0", ""),
        (Face::Docker, "POST", "attach") => one("?stream=1&stdout=1", ""),
        (Face::Docker, "GET", "ws") => one("?stream=1&stdout=1", ""),
        (Face::Docker, "POST", "exec") => one("", r#"{"Cmd":["true"]}"#),
        (Face::Docker, "POST", "start") if route.path.starts_with("/exec") => one("", r#"{"Detach":true}"#),
        (Face::Docker, "POST", "update") => one("", r#"{"CpuShares":100}"#),
        (Face::Docker, "POST", "connect" | "disconnect") => one("", r#"{"Container":"everybodysbox"}"#),
        (Face::Pages, "POST", "connect" | "disconnect") => one("", "container=everybodysbox"),
        (Face::Pages, "POST", "do") => one("", "do=pause"),
        (Face::Pages, "POST", "tag") => one("", "name=stolen:1"),
        (Face::Pages, "POST", "ticket") => one("", "command=sh"),
        (Face::Pages, "POST", "remove") => one("", "force=on&yes=on&all=on"),
        (Face::Api, "DELETE", _) => one("?force=true", ""),
        (Face::Api, "POST", "kill" | "stop" | "restart") => one("", "{}"),
        (Face::Api, "GET", "exec") => one("?command=[\"true\"]", ""),
        (Face::Pages, "POST", _) => one("", "sent=1"),
        (_, "POST" | "PUT", _) => one("", "{}"),
        _ => one("", ""),
    }
}

/// Two empty blocks: an archive without entries (pax(1)).
const EMPTY_TAR: &str = match std::str::from_utf8(&[0; 1024]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Routes without a name in their path, some of which take one in their query or body.
fn plain(route: &Route, path: &str) -> Naming {
    let objects = |list: &[(Kind, &str, &str)]| {
        Naming::Objects(list.iter().map(|(kind, query, body)| (*kind, ask(route, format!("{}{query}", route.path), body))).collect())
    };
    use Kind::{Container, Image, Network, Volume};
    match (route.face, route.method.as_str(), path) {
        (Face::Docker, "POST", "/containers/create") => objects(&[
            (Image, "", r#"{"Image":"NAME"}"#),
            (Container, "", r#"{"Image":"busybox","HostConfig":{"VolumesFrom":["NAME"]}}"#),
            (Container, "", r#"{"Image":"busybox","HostConfig":{"NetworkMode":"container:NAME"}}"#),
            (Container, "", r#"{"Image":"busybox","HostConfig":{"PidMode":"container:NAME"}}"#),
            (Container, "", r#"{"Image":"busybox","HostConfig":{"IpcMode":"container:NAME"}}"#),
            (Container, "", r#"{"Image":"busybox","HostConfig":{"Links":["NAME:other"]}}"#),
            (Network, "", r#"{"Image":"busybox","HostConfig":{"NetworkMode":"NAME"}}"#),
            (Image, "", r#"{"Image":"busybox","HostConfig":{"Mounts":[{"Type":"image","Source":"NAME","Target":"/m"}]}}"#),
        ]),
        (Face::Docker, "POST", "/commit") => objects(&[(Container, "?container=NAME&repo=stolen", "{}")]),
        (Face::Docker, "GET", "/images/get") => objects(&[(Image, "?names=NAME", "")]),
        (Face::Docker, "GET", "/containers/json") => objects(&[
            (Container, r#"?all=1&filters={"id":["NAME"]}"#, ""),
            (Container, r#"?all=1&filters={"before":["NAME"]}"#, ""),
            (Container, r#"?all=1&filters={"since":["NAME"]}"#, ""),
            (Image, r#"?all=1&filters={"ancestor":["NAME"]}"#, ""),
            (Network, r#"?all=1&filters={"network":["NAME"]}"#, ""),
            (Volume, r#"?all=1&filters={"volume":["NAME"]}"#, ""),
        ]),
        (Face::Docker, "GET", "/images/json") => objects(&[
            (Image, r#"?filters={"reference":["NAME"]}"#, ""),
            (Image, r#"?filters={"before":["NAME"]}"#, ""),
            (Image, r#"?filters={"since":["NAME"]}"#, ""),
        ]),
        (Face::Docker, "GET", "/networks" | "/networks/") => {
            objects(&[(Network, r#"?filters={"id":["NAME"]}"#, ""), (Network, r#"?filters={"name":["NAME"]}"#, "")])
        }
        (Face::Docker, "GET", "/volumes") => objects(&[(Volume, r#"?filters={"name":["NAME"]}"#, "")]),
        (Face::Docker, "POST", "/networks/create") => objects(&[(Network, "", r#"{"Name":"x","ConfigFrom":{"Network":"NAME"}}"#)]),
        (Face::Api, "POST", "/containers") => objects(&[(Image, "", r#"{"image":"NAME"}"#)]),
        (Face::Pages, "POST", "/containers/new") => objects(&[(Image, "", "image=NAME")]),
        (Face::Pages, "POST", "/containers/bulk") => objects(&[(Container, "", "c=NAME&do=stop")]),
        (Face::Pages, "POST", "/containers/remove") => objects(&[(Container, "", "c=NAME")]),
        (Face::Pages, "GET", "/containers/new" | "/images/pull") => objects(&[(Image, "?image=NAME", "")]),
        (Face::Pages, "GET", "/containers") => objects(&[(Container, "?q=NAME", "")]),
        (Face::Pages, "GET", "/images") => objects(&[(Image, "?q=NAME", "")]),
        (Face::Pages, "GET", "/search") => {
            objects(&[(Container, "?q=NAME", ""), (Image, "?q=NAME", ""), (Network, "?q=NAME", ""), (Volume, "?q=NAME", "")])
        }
        (Face::Api | Face::Pages, "GET", "/logs/search") => objects(&[(Kind::Log, "?q=said&log=NAME", "")]),
        (_, "GET", _) => Naming::Nothing("a list: it must not show what is another's"),
        // Public doors of people, and what makes an object of one's own or clears what is one's own.
        (Face::Pages, "POST", "/theme" | "/login" | "/logout" | "/setup") => Naming::Nothing("doors"),
        (Face::Pages, "POST", "/account/password" | "/account/tokens" | "/account/certificates") => Naming::Nothing("one's own"),
        (Face::Pages, "POST", "/volumes/new" | "/networks/new") => Naming::Nothing("makes"),
        (Face::Pages, "POST", "/images/pull" | "/images/prune" | "/volumes/prune" | "/trash/empty") => Naming::Nothing("one's own"),
        (Face::Api, "DELETE", "/trash") => Naming::Nothing("one's own"),
        (Face::Api, "POST", "/tokens" | "/certificates" | "/volumes" | "/networks" | "/images/pull") => Naming::Nothing("makes"),
        (Face::Docker, "POST", "/images/create" | "/images/load" | "/volumes/create" | "/auth" | "/build") => Naming::Nothing("makes"),
        (Face::Docker, "POST", p) if p.ends_with("/prune") || p == "/build/cancel" => Naming::Nothing("one's own"),
        (Face::Docker, "POST", "/grpc" | "/session") => Naming::Nothing("a connection, on which one's own sessions and builds are found"),
        (Face::Docker, _, p) if p.starts_with("/plugins") || p.starts_with("/swarm") => Naming::Nothing("there are none of these"),
        (Face::Docker, "POST", "/services/create" | "/secrets/create" | "/configs/create") => Naming::Nothing("there are none of these"),
        // Objects whose name is an action's: the same handlers as with any other name.
        (Face::Docker, "DELETE" | "PUT", p) if p.split('/').count() == 3 => Naming::Nothing("a name that is an action's"),
        _ => panic!("{} {} has no place in {}: what does it name?", route.method, route.path, file!()),
    }
}
