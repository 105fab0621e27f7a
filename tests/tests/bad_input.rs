//! Requests that no client sends: each gets the status and the text that dockerd gives, and nothing comes of it.

use e2e::Server;
use e2e::http::{self, Until};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Sends bytes as they are and gives the status of what comes back, and all of it.
fn raw(server: &Server, bytes: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(server.socket()).expect("the socket");
    stream.set_read_timeout(Some(e2e::PATIENCE)).expect("a limit");
    // A server that refuses may close before it has read all.
    stream.write_all(bytes).ok();
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    let text = String::from_utf8_lossy(&answer).into_owned();
    (text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0), text)
}

#[test]
fn malformed_requests_are_refused_before_anything_happens() {
    let server = Server::start_with(e2e::Options::default());
    let docker = server.load_busybox();
    let create = "POST /containers/create HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let body = r#"{"Image":"busybox"}"#;
    let length = body.len();
    for (what, rest, status) in [
        ("two lengths", format!("Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{body}", length + 1), 400),
        ("one length twice", format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{body}"), 400),
        ("length and chunks", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        ("a length that is none", format!("Content-Length: x\r\n\r\n{body}"), 400),
        ("a negative length", format!("Content-Length: -1\r\n\r\n{body}"), 400),
        ("a body cut off", format!("Content-Length: {}\r\n\r\n{body}", length + 5), 400),
        ("a chunk cut off", "Transfer-Encoding: chunked\r\n\r\n20\r\n{\"Image\"".to_owned(), 400),
        ("a chunk of no size", "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n".to_owned(), 400),
        ("too large, and says so", "Content-Length: 1000000000000\r\n\r\n".to_owned(), 413),
        ("too large, in chunks", format!("Transfer-Encoding: chunked\r\n\r\n500000\r\n{}\r\n0\r\n\r\n", " ".repeat(0x50_0000)), 413),
        ("too many headers", format!("{}\r\n", "X: y\r\n".repeat(5000)), 431),
        ("a header folded", format!("X: a\r\n b\r\nContent-Length: {length}\r\n\r\n{body}"), 400),
        ("a header with NUL", format!("X: a\0b\r\nContent-Length: {length}\r\n\r\n{body}"), 400),
    ] {
        let (got, text) = raw(&server, format!("{create}{rest}").as_bytes());
        // A server that closes while the client still sends may lose its answer on the way; that it did nothing is seen below.
        assert!(got == status || got == 0 && status >= 413, "{what}: {got} {}", text.chars().take(400).collect::<String>());
    }
    for (line, status) in [
        ("GET /_ping HTTP/9.9\r\n\r\n", 400),
        ("GET\r\n\r\n", 400),
        ("\0\0\0\0\r\n\r\n", 400),
        ("GET /containers/%ff%fe/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        ("GET /v1.99/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        ("GET /v1.1/info HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
        ("GET /v1.51/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        ("GET /containers/..%2f..%2fetc/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        ("GET /containers/a%00b/json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    ] {
        let (got, text) = raw(&server, line.as_bytes());
        assert_eq!(got, status, "{line:?}: {text}");
    }
    assert_eq!(docker.text(&["ps", "-aq"]), "", "one of them made a container");
    assert_eq!(server.request("GET", "/_ping", None).status, 200);
}

#[test]
fn wrong_fields_and_types_are_named() {
    let server = Server::start_with(e2e::Options::default());
    let docker = server.load_busybox();
    let long = "x".repeat(300);
    for (body, status, text) in [
        ("", 400, ""),
        ("null", 400, ""),
        ("[]", 400, "object"),
        ("{", 400, "EOF"),
        (r#"{"Image":5}"#, 400, "Image"),
        (r#"{"Image":"busybox","Cmd":{"a":1}}"#, 400, "Cmd"),
        (r#"{"Image":"busybox","HostConfig":[]}"#, 400, "HostConfig"),
        (r#"{"Image":"busybox","HostConfig":{"Memory":"much"}}"#, 400, "Memory"),
        (r#"{"Image":"busybox","HostConfig":{"Memory":1}}"#, 400, "6MB"),
        (r#"{"Image":"busybox","HostConfig":{"Memory":9223372036854775808}}"#, 400, "Memory"),
        (r#"{"Image":"busybox","HostConfig":{"NanoCpus":-1}}"#, 400, ""),
        (r#"{"Image":"busybox","HostConfig":{"Priviledged":true}}"#, 400, "Priviledged"),
        (r#"{"Image":"busybox","NoSuchField":1}"#, 400, "NoSuchField"),
        (r#"{"Image":"busybox","image":"other"}"#, 400, "twice"),
        (r#"{"Image":"busybox","HostConfig":{"Binds":["a:b:c:d"]}}"#, 500, "invalid volume specification"),
        (r#"{"Image":"busybox","HostConfig":{"RestartPolicy":{"Name":"sometimes"}}}"#, 400, "restart policy"),
        (r#"{"Image":"busybox","HostConfig":{"PortBindings":{"http":[{}]}}}"#, 400, "port"),
        (r#"{"Image":"busybox","HostConfig":{"NetworkMode":"container:"}}"#, 400, "container"),
        (r#"{"Image":"busybox","Env":["=x"]}"#, 400, "env"),
        (r#"{"Image":"busybox","WorkingDir":"relative"}"#, 400, "relative"),
        (r#"{"Image":"no such image"}"#, 400, "invalid reference format"),
        (r#"{"Image":"case/UPPER"}"#, 400, "must be lowercase"),
        (r#"{"Image":"absent:1"}"#, 404, "No such image: absent:1"),
        (r#"{"Image":"host:port/x"}"#, 400, "invalid reference format"),
        (r#"{"Image":"a//b"}"#, 400, "invalid reference format"),
        (r#"{"Image":"a@sha256:123"}"#, 400, "invalid reference format"),
        (r#"{"Image":""}"#, 400, ""),
    ] {
        let answer = server.request("POST", "/containers/create", Some(body));
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        assert!(answer.text().to_lowercase().contains(&text.to_lowercase()), "{body}: {}", answer.text());
        assert!(answer.json()["message"].is_string(), "{body}: no message in {}", answer.text());
    }
    for name in ["a", "-x", "a b", "a/b", "ä", "..", long.as_str()] {
        let path = format!("/containers/create?name={}", name.replace(' ', "%20").replace('ä', "%C3%A4"));
        let answer = server.request("POST", &path, Some(r#"{"Image":"busybox"}"#));
        let fine = name.len() == 300;
        assert!(answer.status == 400 || fine && answer.status < 500, "{name}: {} {}", answer.status, answer.text());
    }
    for filters in ["{", "[]", r#"{"status":"x"}"#, r#"{"status":["sideways"]}"#, r#"{"nosuch":["x"]}"#, "5"] {
        let path = format!(
            "/containers/json?filters={}",
            filters.replace('"', "%22").replace('{', "%7B").replace('}', "%7D").replace('[', "%5B").replace(']', "%5D")
        );
        let answer = server.request("GET", &path, None);
        assert_eq!(answer.status, 400, "{filters}: {}", answer.text());
    }
    drop(docker);
}

#[test]
fn ids_of_any_length_are_found_or_said_to_be_ambiguous() {
    let server = Server::start_with(e2e::Options::default());
    let docker = server.load_busybox();
    let mut ids: Vec<String> = (0..40).map(|_| docker.text(&["create", "--network", "none", "busybox", "true"])).collect();
    ids.sort();
    for id in [&ids[0], &ids[20]] {
        for length in 1..=64 {
            let prefix = &id[..length];
            let matching = ids.iter().filter(|other| other.starts_with(prefix)).count();
            let answer = server.request("GET", &format!("/containers/{prefix}/json"), None);
            if matching == 1 {
                assert_eq!((answer.status, answer.json()["Id"].as_str()), (200, Some(id.as_str())), "{prefix}");
            } else {
                assert_eq!(answer.status, 400, "{prefix}: {}", answer.text());
                assert!(
                    answer.text().contains("Multiple IDs found with provided prefix") || answer.text().contains("ambiguous"),
                    "{}",
                    answer.text()
                );
            }
        }
        let longer = server.request("GET", &format!("/containers/{id}0/json"), None);
        assert_eq!(longer.status, 404, "{}", longer.text());
    }
}

#[test]
fn a_program_that_cannot_be_run_is_126_or_127() {
    let server = Server::start_with(e2e::Options::default());
    let docker = server.load_busybox();
    for (command, code, text) in [
        (&["busybox", "absent"][..], 127, "executable file not found in $PATH"),
        (&["busybox", "/absent"], 127, "no such file or directory"),
        (&["busybox", "/etc"], 126, ""),
        (&["--entrypoint", "/tmp", "busybox"], 126, ""),
        (&["-w", "/etc/hosts", "busybox", "true"], 125, "not a directory"),
        (&["-u", "nobody-here", "busybox", "true"], 125, "unable to find user nobody-here"),
    ] {
        let output = docker.run(&[&["run", "--rm"], command].concat());
        assert_eq!(output.code, code, "{command:?}: {}", output.stderr);
        assert!(output.stderr.contains(text), "{command:?}: {}", output.stderr);
    }
    docker.text(&["run", "-d", "--name", "box", "busybox", "sh", "-c", "echo x > /plain; mkdir /d; sleep 1000"]);
    for (command, code) in [(&["absent"][..], 127), (&["/absent"], 127), (&["/plain"], 126), (&["/d"], 126)] {
        let output = docker.run(&[&["exec", "box"], command].concat());
        assert_eq!(output.code, code, "exec {command:?}: {}", output.stderr);
    }
}

/// What a registry or an archive says of its blobs is checked before anything of it can be seen.
#[test]
fn archives_that_lie_list_nothing() {
    let server = Server::start_with(e2e::Options::default());
    let docker = server.docker();
    let good = e2e::image::Image::busybox().archive(&["lies:1"]);
    let load = |bytes: &[u8]| {
        let socket = server.socket();
        let headers = [("Content-Type", "application/x-tar")];
        http::send(&socket, "POST", "/images/load", &headers, bytes, Until::End).expect("an answer")
    };
    let mut flipped = good.clone();
    // The middle is in the layer, whose digest the configuration gives.
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (what, bytes) in [
        ("a flipped bit", flipped.as_slice()),
        ("cut in the middle", &good[..good.len() / 2]),
        ("nothing", &[]),
        ("no archive", b"this is not an archive at all, it is only text, but longer than a block of five hundred and twelve bytes"),
        ("zeros", &[0; 10240]),
    ] {
        let answer = load(bytes);
        let said = answer.status >= 400 || answer.text().contains("\"error\"");
        assert!(said, "{what}: {} {}", answer.status, answer.text());
        assert_eq!(docker.text(&["images", "-aq"]), "", "{what} left an image");
    }
    assert_eq!(load(&good).status, 200);
    docker.text(&["run", "--rm", "lies:1", "true"]);
    e2e::until("nothing is left over", || (server.wharf(&["doctor", "--orphans"]).code == 0).then_some(()));
}
