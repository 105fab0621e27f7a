//! Volumes as people and programs meet them beside Docker's API: their files, and their trash.

use e2e::http::{self, Response, Until};
use e2e::{Options, Server};

const ANN: u32 = 5;
const BEN: u32 = 6;

fn house() -> Server {
    let server = Server::start_with(Options::default());
    for (name, uid) in [("ann", ANN), ("ben", BEN)] {
        server.add_user(name, uid);
        server.load_busybox_for(&server.docker_as(uid));
    }
    server
}

fn ask(server: &Server, uid: u32, method: &str, path: &str, body: &[u8]) -> Response {
    typed(server, uid, method, path, "application/octet-stream", body)
}

fn typed(server: &Server, uid: u32, method: &str, path: &str, content_type: &str, body: &[u8]) -> Response {
    let socket = server.socket();
    let headers = [("Content-Type", content_type)];
    http::by_account(uid, || http::send(&socket, method, path, &headers, body, Until::End))
        .unwrap_or_else(|e| panic!("{method} {path}: {e}"))
}

#[test]
fn files_go_in_and_out_by_the_api_and_containers_see_them() {
    let server = house();
    let ann = server.docker_as(ANN);
    ann.text(&[
        "run",
        "--rm",
        "-v",
        "data:/d",
        "busybox",
        "sh",
        "-c",
        "mkdir /d/sub; echo hi > /d/sub/a; ln -s /etc/passwd /d/out; chown 12:13 /d/sub",
    ]);
    let files = "/api/v1/volumes/data/files";
    let list = ask(&server, ANN, "GET", files, b"").json();
    assert_eq!(list["entries"][0]["name"], "sub", "{list}");
    assert_eq!((&list["entries"][0]["uid"], &list["entries"][1]["target"]), (&12.into(), &"/etc/passwd".into()), "{list}");
    let content = "/api/v1/volumes/data/content";
    let file = ask(&server, ANN, "GET", &format!("{content}?path=sub/a"), b"");
    assert_eq!((file.status, file.text().as_str()), (200, "hi\n"));
    assert!(file.header("content-disposition").is_some_and(|d| d.starts_with("attachment;")), "{:?}", file.headers);
    // The link leads into the volume, where there is no /etc.
    assert_eq!(ask(&server, ANN, "GET", &format!("{content}?path=out"), b"").status, 404);

    assert_eq!(ask(&server, ANN, "PUT", &format!("{content}?path=sub/b"), b"by us").status, 204);
    assert_eq!(ask(&server, ANN, "POST", "/api/v1/volumes/data/folders?path=sub/more", b"{}").status, 201);
    let seen =
        ann.text(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "cat /d/sub/b; echo; stat -c '%u:%g' /d/sub/b /d/sub/more"]);
    assert_eq!(seen, "by us\n12:13\n12:13");

    // A folder comes as a tar, and goes back in as one.
    let tar = ask(&server, ANN, "GET", &format!("{content}?path=sub"), b"");
    assert_eq!(ask(&server, ANN, "DELETE", &format!("{files}?path=sub"), b"").status, 204);
    assert_eq!(ask(&server, ANN, "GET", &format!("{files}?path=sub"), b"").status, 404);
    assert_eq!(ask(&server, ANN, "PUT", &format!("{content}?path=&unpack=true"), &tar.body).status, 204);
    assert_eq!(ask(&server, ANN, "GET", &format!("{content}?path=sub/b"), b"").text(), "by us");

    // Another's is none, whatever is asked.
    for (method, path) in [
        ("GET", files),
        ("GET", content),
        ("PUT", "/api/v1/volumes/data/content?path=x"),
        ("DELETE", "/api/v1/volumes/data/files?path=sub"),
    ] {
        let answer = ask(&server, BEN, method, path, b"x");
        assert_eq!((answer.status, answer.text().trim()), (404, r#"{"message":"get data: no such volume"}"#), "{method} {path}");
    }
    let audit = server.request("GET", "/api/v1/audit", None).text();
    assert!(audit.contains("volume.file_put") && audit.contains("data:/sub/b"), "no audit row: {audit}");
    server.wharf(&["audit", "verify"]).succeeded();
}

#[test]
fn an_upload_ends_at_the_quota() {
    let server = house();
    server.docker_as(ANN).text(&["volume", "create", "data"]);
    let used = ask(&server, ANN, "GET", "/api/v1/disk", b"").json()["total"].as_u64().expect("a number");
    server.wharf(&["tenant", "quota", "ann", "--disk", &(used + 1_000_000).to_string()]).succeeded();
    let big = vec![7u8; 1_500_000];
    let refused = ask(&server, ANN, "PUT", "/api/v1/volumes/data/content?path=big", &big);
    assert!(refused.status >= 400 && refused.text().contains("bytes that are left"), "{} {}", refused.status, refused.text());
    let list = ask(&server, ANN, "GET", "/api/v1/volumes/data/files", b"").json();
    assert_eq!(list["entries"].as_array().map(Vec::len), Some(0), "{list}");
    // As an archive too, here and into a container.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(big.len() as u64);
    tar.append_data(&mut header, "big", big.as_slice()).expect("a tar");
    let tar = tar.into_inner().expect("a tar");
    server.docker_as(ANN).text(&["create", "--name", "box", "busybox", "true"]);
    for path in ["/api/v1/volumes/data/content?unpack=true", "/containers/box/archive?path=/"] {
        let refused = ask(&server, ANN, "PUT", path, &tar);
        assert!(refused.status >= 400 && refused.text().contains("unpacks to more than"), "{path}: {} {}", refused.status, refused.text());
    }
    assert_eq!(ask(&server, ANN, "PUT", "/api/v1/volumes/data/content?path=small", &big[..500_000]).status, 204);
}

#[test]
fn a_form_uploads_as_a_browser_would() {
    let server = house();
    server.docker_as(ANN).text(&["volume", "create", "data"]);
    let form = "--X\r\nContent-Disposition: form-data; name=\"path\"\r\n\r\n\r\n--X\r\nContent-Disposition: form-data; name=\"file\"; \
                filename=\"C:\\dir\\a & b.txt\"\r\nContent-Type: text/html\r\n\r\n<b>bold</b>\r\n--X--\r\n";
    let sent = typed(&server, ANN, "POST", "/ui/volumes/data/files/upload", "multipart/form-data; boundary=X", form.as_bytes());
    assert_eq!(sent.status, 303, "{}", sent.text());
    let page = ask(&server, ANN, "GET", "/ui/volumes/data/files", b"").text();
    assert!(page.contains("a &#38; b.txt") || page.contains("a &amp; b.txt"), "{page}");
    // What somebody put there is never shown as a page of ours.
    let file = ask(&server, ANN, "GET", "/ui/volumes/data/files/download?path=a%20%26%20b.txt", b"");
    assert_eq!((file.header("content-type"), file.text().as_str()), (Some("application/octet-stream"), "<b>bold</b>"));
    let asked = ask(&server, ANN, "GET", "/ui/volumes/data/files/remove?path=a%20%26%20b.txt", b"");
    assert_eq!(asked.status, 200, "{}", asked.text());
    let removed =
        typed(&server, ANN, "POST", "/ui/volumes/data/files/remove", "application/x-www-form-urlencoded", b"path=a%20%26%20b.txt");
    assert_eq!(removed.status, 303, "{}", removed.text());
    assert!(ask(&server, ANN, "GET", "/ui/volumes/data/files", b"").text().contains("Nothing in here"));
}

fn trash(server: &Server, uid: u32) -> Vec<serde_json::Value> {
    ask(server, uid, "GET", "/api/v1/trash", b"").json().as_array().cloned().unwrap_or_default()
}

fn restore(server: &Server, uid: u32, id: &serde_json::Value, body: &str) -> Response {
    typed(server, uid, "POST", &format!("/api/v1/trash/{id}/restore"), "application/json", body.as_bytes())
}

#[test]
fn a_removed_volume_can_be_restored_and_docker_never_sees_it() {
    let mut server = house();
    let ann = server.docker_as(ANN);
    ann.text(&["volume", "create", "--label", "a=b", "data"]);
    ann.text(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo first > /d/f"]);
    ann.text(&["volume", "rm", "data"]);
    assert_eq!(ann.text(&["volume", "ls", "-q"]), "");
    assert!(ann.run(&["volume", "inspect", "data"]).stderr.contains("no such volume"));
    let count = |docker: &e2e::Docker| docker.text(&["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Size}}"]);
    assert!(count(&ann).contains("Local Volumes 0 0B"), "{}", count(&ann));
    // The name is free at once.
    ann.text(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "test ! -e /d/f"]);
    let id = trash(&server, ANN)[0]["id"].clone();
    let taken = restore(&server, ANN, &id, "{}");
    assert_eq!(taken.status, 409, "{}", taken.text());
    assert_eq!(restore(&server, BEN, &id, "{}").status, 404);
    // It outlives the server.
    server.restart();
    let restored = restore(&server, ANN, &id, r#"{"name":"old"}"#);
    assert_eq!((restored.status, restored.json()["labels"]["a"].as_str().unwrap_or_default().to_owned()), (201, "b".to_owned()));
    let ann = server.docker_as(ANN);
    assert_eq!(ann.text(&["run", "--rm", "-v", "old:/d", "busybox", "cat", "/d/f"]), "first");
    assert!(trash(&server, ANN).is_empty());
    // For good.
    assert_eq!(ask(&server, ANN, "DELETE", "/api/v1/volumes/old?purge=true", b"").status, 204);
    assert!(trash(&server, ANN).is_empty());
    ann.text(&["volume", "prune", "-af"]);
    let id = trash(&server, ANN)[0]["id"].clone();
    assert_eq!(ask(&server, BEN, "DELETE", &format!("/api/v1/trash/{id}"), b"").status, 404);
    assert_eq!(ask(&server, ANN, "DELETE", &format!("/api/v1/trash/{id}"), b"").status, 204);
    assert!(trash(&server, ANN).is_empty());
    // What goes with its container goes for good.
    ann.text(&["run", "--rm", "-v", "/anonymous", "busybox", "true"]);
    assert!(trash(&server, ANN).is_empty() && ann.text(&["volume", "ls", "-q"]).is_empty());
    server.wharf(&["audit", "verify"]).succeeded();
}

#[test]
fn the_oldest_trash_goes_when_its_tenant_needs_the_room() {
    let server = house();
    let ann = server.docker_as(ANN);
    for name in ["one", "two"] {
        ann.text(&["run", "--rm", "-v", &format!("{name}:/d"), "busybox", "sh", "-c", "head -c 3000000 /dev/urandom > /d/f"]);
        ann.text(&["volume", "rm", name]);
    }
    e2e::until("both are counted", || trash(&server, ANN).iter().all(|t| t["size"].is_number()).then_some(()));
    let disk = ask(&server, ANN, "GET", "/api/v1/disk", b"").json();
    assert!(disk["trash"].as_u64().is_some_and(|n| n >= 6_000_000) && disk["volumes"] == 0, "{disk}");
    let total = disk["total"].as_u64().expect("a number");
    server.wharf(&["tenant", "quota", "ann", "--disk", &(total - 1_000_000).to_string()]).succeeded();
    ann.text(&["volume", "create", "three"]);
    let left: Vec<_> = trash(&server, ANN).iter().map(|t| t["name"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(left, ["two"]);
}

/// A kill between what is written and what is done leaves a volume on one side or the other, never on none or both.
#[test]
fn a_kill_leaves_a_volume_here_or_in_the_trash() {
    let Some(binary) = e2e::server::failpoints_binary() else {
        return e2e::skip("no wharf with fault points: build one with --features failpoints and set WHARF_FAILPOINTS_BIN");
    };
    for (point, here, trashed) in [
        ("volume-remove-before-commit", 1, 0),
        ("volume-remove-after-commit", 0, 1),
        ("volume-restore-after-commit", 1, 0),
        ("volume-purge-after-commit", 0, 0),
    ] {
        let mut server = Server::start_with(Options { binary: Some(binary.clone()), ..Options::default() });
        let docker = server.load_busybox();
        docker.text(&["run", "--rm", "-v", "data:/d", "busybox", "sh", "-c", "echo kept > /d/f"]);
        let list = |server: &Server| server.request("GET", "/api/v1/trash", None).json();
        let (method, path) = if point.starts_with("volume-remove") {
            ("DELETE", "/volumes/data".to_owned())
        } else {
            docker.text(&["volume", "rm", "data"]);
            let id = list(&server)[0]["id"].to_string();
            if point.starts_with("volume-restore") {
                ("POST", format!("/api/v1/trash/{id}/restore"))
            } else {
                ("DELETE", format!("/api/v1/trash/{id}"))
            }
        };
        server.stop();
        server.start_again(vec![("FAILPOINTS".to_owned(), format!("{point}=pause"))]);
        let socket = server.socket();
        let asking = std::thread::spawn(move || {
            let headers = [("Content-Type", "application/json")];
            // The kill breaks the connection.
            let _ = http::send(&socket, method, &path, &headers, if method == "POST" { b"{}" } else { b"" }, Until::End);
        });
        std::thread::sleep(std::time::Duration::from_secs(2));
        assert!(!asking.is_finished(), "{point} was never reached");
        server.kill();
        asking.join().expect("the one who asked");
        server.start_again(Vec::new());
        assert_eq!(docker.text(&["volume", "ls", "-q"]).lines().count(), here, "{point}");
        let left = list(&server);
        assert_eq!(left.as_array().map(Vec::len), Some(trashed), "{point}: {left}");
        if trashed > 0 {
            let restored = server.request("POST", &format!("/api/v1/trash/{}/restore", left[0]["id"]), Some("{}"));
            assert_eq!(restored.status, 201, "{point}: {}", restored.text());
        }
        if here + trashed > 0 {
            assert_eq!(docker.text(&["run", "--rm", "-v", "data:/d", "busybox", "cat", "/d/f"]), "kept", "{point}");
        }
        let folders = std::fs::read_dir(server.folder().join("data/volumes")).expect("the volumes' folder").count();
        assert_eq!(folders, here + trashed, "{point}");
    }
}

#[test]
fn a_container_that_writes_past_the_quota_is_frozen_until_there_is_room() {
    let server = house();
    let ann = server.docker_as(ANN);
    ann.text(&["run", "-d", "--name", "quiet", "busybox", "sleep", "1000"]);
    let total = ask(&server, ANN, "GET", "/api/v1/disk", b"").json()["total"].as_u64().expect("a number");
    server.wharf(&["tenant", "quota", "ann", "--disk", &(total + 4_000_000).to_string()]).succeeded();
    let write = "while :; do head -c 300000 /dev/zero >> /d/x; sleep 0.1; done";
    ann.text(&["run", "-d", "--name", "greedy", "-v", "data:/d", "busybox", "sh", "-c", write]);
    let state = |name: &str| ann.inspect(name, "{{.State.Status}}");
    e2e::until("the writer is frozen", || (state("greedy") == "paused").then_some(()));
    assert_eq!(state("quiet"), "running");
    let refused = ann.run(&["unpause", "greedy"]);
    assert!(refused.code != 0 && refused.stderr.contains("disk quota reached"), "{refused:?}");
    let size = || ask(&server, ANN, "GET", "/api/v1/volumes/data/files", b"").json()["entries"][0]["size"].clone();
    let before = size();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(size(), before, "it writes on");
    let audit = server.request("GET", "/api/v1/audit", None).text();
    assert!(audit.contains("container.hold"), "no audit row");
    // Its files can be removed without it, and then it goes on by itself.
    assert_eq!(ask(&server, ANN, "DELETE", "/api/v1/volumes/data/files?path=x", b"").status, 204);
    e2e::until("the writer goes on", || (state("greedy") == "running").then_some(()));
    ann.text(&["rm", "-f", "greedy"]);
}
