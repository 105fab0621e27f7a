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
