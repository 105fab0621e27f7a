//! What a tenant can have, made through the API: one of each kind, with all the ways to call it.

use e2e::Server;
use e2e::http::{self, Until};

/// A kind of object that belongs to somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Container,
    Exec,
    Image,
    Network,
    Volume,
    /// Of a container that is gone.
    Log,
    Operation,
    Trashed,
    Token,
    Certificate,
}

pub const KINDS: [Kind; 10] = [
    Kind::Container,
    Kind::Exec,
    Kind::Image,
    Kind::Network,
    Kind::Volume,
    Kind::Log,
    Kind::Operation,
    Kind::Trashed,
    Kind::Token,
    Kind::Certificate,
];

/// Makes one as the account `uid`; the ways to call it, the plainest first. `tag` makes its name one of its own.
pub fn make(server: &Server, uid: u32, kind: Kind, tag: &str) -> Vec<String> {
    let ask = |path: &str, body: &str, wanted: u16| {
        let socket = server.socket();
        let headers = [("Content-Type", "application/json")];
        let answer = http::by_account(uid, || http::send(&socket, "POST", path, &headers, body.as_bytes(), Until::End));
        let answer = answer.unwrap_or_else(|e| panic!("POST {path}: {e}"));
        assert_eq!(answer.status, wanted, "POST {path}: {}", answer.text());
        answer
    };
    let short = |id: &str| id[..12].to_owned();
    match kind {
        Kind::Container => {
            // A pty and open input, so that attaching and resizing have something to hold.
            let body = r#"{"Image":"busybox","Cmd":["sleep","1000"],"Tty":true,"OpenStdin":true,"HostConfig":{"NetworkMode":"none"}}"#;
            let name = format!("annsbox{tag}");
            let id = text(&ask(&format!("/containers/create?name={name}"), body, 201), "Id");
            ask(&format!("/containers/{id}/start"), "", 204);
            vec![name, short(&id), id]
        }
        Kind::Exec => {
            let container = &make(server, uid, Kind::Container, &format!("exec{tag}"))[0];
            vec![text(&ask(&format!("/containers/{container}/exec"), r#"{"Cmd":["sleep","1000"],"AttachStdout":true}"#, 201), "Id")]
        }
        Kind::Image => {
            // By a commit it has an id that nobody else has.
            let container = &make(server, uid, Kind::Container, &format!("image{tag}"))[0];
            let path = format!("/commit?container={container}&repo=anns{tag}&tag=tag&comment=made%20{tag}");
            let id = text(&ask(&path, "{}", 201), "Id");
            vec![format!("anns{tag}:tag"), short(id.trim_start_matches("sha256:")), id]
        }
        Kind::Network => {
            let name = format!("annsnetwork{tag}");
            let id = text(&ask("/networks/create", &format!(r#"{{"Name":"{name}"}}"#), 201), "Id");
            vec![name, short(&id), id]
        }
        Kind::Volume => {
            let name = format!("annsvolume{tag}");
            ask("/volumes/create", &format!(r#"{{"Name":"{name}"}}"#), 201);
            vec![name]
        }
        Kind::Log => {
            let body = r#"{"Image":"busybox","Cmd":["echo","said"],"HostConfig":{"NetworkMode":"none"}}"#;
            let name = format!("annslog{tag}");
            let id = text(&ask(&format!("/containers/create?name={name}"), body, 201), "Id");
            ask(&format!("/containers/{id}/start"), "", 204);
            ask(&format!("/containers/{id}/wait"), "", 200);
            let socket = server.socket();
            let gone = http::by_account(uid, || http::send(&socket, "DELETE", &format!("/containers/{id}"), &[], b"", Until::End));
            assert_eq!(gone.unwrap_or_else(|e| panic!("DELETE: {e}")).status, 204);
            vec![name, short(&id), id]
        }
        Kind::Operation => {
            // A pull from a port where nobody listens: it fails at once, and is kept.
            number(|| text(&ask("/api/v1/images/pull", r#"{"image":"127.0.0.1:1/anns:tag"}"#, 202), "id"))
        }
        Kind::Trashed => number(|| {
            let name = &make(server, uid, Kind::Volume, &format!("gone{tag}"))[0];
            let path = format!("/volumes/{name}");
            let gone = http::by_account(uid, || http::send(&server.socket(), "DELETE", &path, &[], b"", Until::End));
            assert_eq!(gone.expect("an answer").status, 204);
            let list = http::by_account(uid, || http::send(&server.socket(), "GET", "/api/v1/trash", &[], b"", Until::End));
            list.expect("an answer").json()[0]["id"].to_string()
        }),
        Kind::Token => number(|| ask("/api/v1/tokens", r#"{"name":"annstoken"}"#, 201).json()["id"].to_string()),
        Kind::Certificate => number(|| ask("/api/v1/certificates", "{}", 201).json()["id"].to_string()),
    }
}

/// Makes things that are called by a number until the number is one that pages do not have in them for other reasons.
fn number(mut make: impl FnMut() -> String) -> Vec<String> {
    loop {
        let id = make();
        if id.len() > 1 {
            return vec![id];
        }
    }
}

fn text(answer: &http::Response, field: &str) -> String {
    answer.json()[field].as_str().unwrap_or_else(|| panic!("an answer without {field}: {}", answer.text())).to_owned()
}

/// A name of the same shape for which nothing exists.
pub fn absent(name: &str) -> String {
    if name.chars().all(|c| c.is_ascii_digit()) && name.len() < 12 {
        return format!("9{name}9999");
    }
    match name.strip_prefix("sha256:") {
        Some(digest) => format!("sha256:{}", "b".repeat(digest.len())),
        None if name.len() >= 12 && name.chars().all(|c| c.is_ascii_hexdigit()) => "b".repeat(name.len()),
        None => name.replace("anns", "nils"),
    }
}
