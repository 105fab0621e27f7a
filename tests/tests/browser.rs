//! What a person sees: the printed address, the first administrator, a container from the form, its shell and its log, in a
//! real Chromium; the same without scripts; and what other people's pages, labels and log lines can make that browser do.

use e2e::browser::{Browser, Wanted};
use e2e::{Options, Server, until};
use std::io::{Read, Write};

const PASSWORD: &str = "correct horse battery";

/// A server that listens on HTTPS, where the browser can get at it, and its origin.
fn house(browser: &Browser) -> (Server, String) {
    let server = Server::start_with(Options { https: true, ..Options::default() });
    let origin = format!("https://{}", until("the address is printed", || server.https()));
    browser.reach(origin.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port"));
    (server, origin)
}

/// Goes through set-up with the address the server printed: Amy is its administrator.
fn set_up(server: &Server, browser: &Browser) {
    let log = server.log();
    let at = log.find("https://127.0.0.1").and_then(|_| log.find("/ui/setup?token=")).expect("a printed address");
    let begin = log[..at].rfind("https://").expect("its beginning");
    let address = log[begin..].split_whitespace().next().expect("the address");
    browser.open(address);
    browser.find("input[name=name]").type_in("amy");
    browser.find("input[name=password]").type_in(PASSWORD);
    browser.find("input[name=again]").type_in(PASSWORD);
    browser.find("form[action='/ui/setup'] button").click();
    browser.find(".side .me");
}

fn sign_in(browser: &Browser, origin: &str) {
    browser.open(&format!("{origin}/ui/login"));
    browser.find("input[name=name]").fill("amy");
    browser.find("input[name=password]").fill(PASSWORD);
    browser.find("form[action='/ui/login'] button").click();
    browser.find(".side .me");
}

fn amys(server: &Server) -> e2e::Docker {
    server.docker().header("X-Wharf-Tenant", "amy")
}

#[test]
fn from_the_printed_address_to_a_shell_and_out_again() {
    let Some(browser) = Browser::start(Wanted::default()) else { return };
    let (server, origin) = house(&browser);
    set_up(&server, &browser);
    server.load_busybox_for(&amys(&server));

    browser.open(&format!("{origin}/ui/containers/new"));
    browser.find("input[name=image]").fill("busybox");
    browser.find("input[name=name]").fill("first");
    browser.find("[name=command]").fill("sh -c 'echo it begins; sleep 1000'");
    browser.script("document.querySelector('[name=command]').form.querySelector('button.primary').click()");
    browser.shows("h1", "first");
    until("the container runs", || (amys(&server).inspect("first", "{{.State.Running}}") == "true").then_some(()));

    browser.open(&format!("{origin}/ui/containers/first/shell"));
    browser.find("#shell-form button[type=submit]").click();
    browser.shows("#connection", "connected");
    browser.find(".xterm-helper-textarea").type_in("id\n");
    browser.shows(".xterm-rows", "uid=0(root) gid=0(root)");
    browser.find(".xterm-helper-textarea").type_in("exit 3\n");
    browser.shows(".xterm-rows", "exit code 3");

    browser.open(&format!("{origin}/ui/containers/first/logs"));
    browser.shows("#log", "it begins");
    browser.shows("#connection", "live");
    amys(&server).text(&["exec", "first", "sh", "-c", "echo and goes on > /proc/1/fd/1"]);
    browser.shows("#log", "and goes on");

    browser.find("form[action='/ui/logout'] button").click();
    browser.shows("h1", "Sign in");
    browser.open(&format!("{origin}/ui/containers/first"));
    assert!(browser.address().contains("/ui/login?next="), "signed out: {}", browser.address());
    server.wharf(&["audit", "verify"]).succeeded();
}

#[test]
fn every_page_and_form_works_without_scripts() {
    let Some(browser) = Browser::start(Wanted { scripts: false, ..Wanted::default() }) else { return };
    let (server, origin) = house(&browser);
    set_up(&server, &browser);
    let docker = amys(&server);
    server.load_busybox_for(&docker);

    browser.open(&format!("{origin}/ui/containers/new"));
    browser.find("input[name=image]").fill("busybox");
    browser.find("input[name=name]").fill("plain");
    browser.find("[name=command]").fill("sh -c 'echo it begins; sleep 1000'");
    browser.find("input[name=name]").type_in("\n");
    browser.shows("h1", "plain");
    assert_eq!(docker.inspect("plain", "{{.State.Running}}"), "true");

    browser.open(&format!("{origin}/ui/volumes/new"));
    browser.find("input[name=name]").fill("kept\n");
    browser.shows("h1", "kept");
    browser.open(&format!("{origin}/ui/networks/new"));
    browser.find("input[name=name]").fill("wires\n");
    browser.shows("h1", "wires");

    let image = docker.text(&["image", "inspect", "-f", "{{.Id}}", "busybox"]);
    let of = |kind: &str| match kind {
        "containers" => "plain".to_owned(),
        "images" => image.trim_start_matches("sha256:")[..12].to_owned(),
        "volumes" => "kept".to_owned(),
        "networks" => "wires".to_owned(),
        "users" => "amy".to_owned(),
        other => panic!("a page of {other} that this test does not know"),
    };
    let mut seen = 0;
    for route in wharf::app::routes().list() {
        // Downloads, and pages of what this test has none of (a file, a removed volume, a removed container's log).
        let other = [
            "/ui/static/{file}",
            "/ui/{*path}",
            "/ui/operations/{id}",
            "/ui/containers/{name}/logs/download",
            "/ui/volumes/{name}/files/download",
            "/ui/volumes/{name}/files/remove",
            "/ui/trash/{id}",
            "/ui/logs/{id}",
            "/ui/logs/{id}/download",
            "/ui/logs/{id}/remove",
        ];
        let page = route.face == wharf::route::Face::Pages && route.method == "GET";
        if !page || route.path.contains("/ws") || other.contains(&route.path.as_str()) {
            continue;
        }
        let path = match route.path.split_once('{') {
            None => route.path.clone(),
            Some((before, after)) => {
                let kind = before.trim_start_matches("/ui/").trim_end_matches('/');
                format!("{before}{}{}", of(kind), after.split_once('}').map_or("", |(_, rest)| rest))
            }
        };
        browser.open(&format!("{origin}{path}"));
        assert_eq!(browser.count("h1"), 1, "{path} has no heading:\n{}", browser.source());
        assert!(!browser.source().contains("What you can try"), "{path} is a page of errors:\n{}", browser.source());
        // Wider than the window: something does not wrap.
        let wider = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        let what = "return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > \
            document.documentElement.clientWidth).map((e) => e.outerHTML.slice(0, 120)).slice(0, 5).join('\\n')";
        assert_eq!(wider, 0, "{path} is too wide: {}", browser.script(what));
        seen += 1;
    }
    assert!(seen > 25, "only {seen} pages were seen");

    browser.open(&format!("{origin}/ui/containers/plain/logs"));
    browser.shows("#log", "it begins");
    browser.open(&format!("{origin}/ui/containers/plain"));
    browser.find("button[name=do][value=kill]").click();
    until("the container has ended", || (docker.inspect("plain", "{{.State.Running}}") == "false").then_some(()));
    browser.open(&format!("{origin}/ui/containers/plain/remove"));
    browser.find("main form button").click();
    assert_eq!(docker.text(&["ps", "-aq"]), "");
    browser.find("form[action='/ui/logout'] button").click();
    browser.shows("h1", "Sign in");
}

/// K1 (CVE-2025-54286) and K4: what pages of somebody else, opened in the browser of a person who is signed in, can do here.
/// They come from this host, over plain HTTP, as a page of a container with a published port would.
#[test]
fn sec_k_another_sites_page_changes_nothing_and_shows_nothing() {
    let Some(browser) = Browser::start(Wanted::default()) else { return };
    let (server, origin) = house(&browser);
    set_up(&server, &browser);
    let docker = amys(&server);
    server.load_busybox_for(&docker);
    docker.text(&["run", "-d", "--name", "target", "busybox", "sleep", "1000"]);
    for form in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let page = format!(
            "<form id=f method=post enctype='{form}' action='{origin}/ui/containers/target/do'><input name=do value=kill></form><script>f.submit()</script>"
        );
        browser.open(&serve(&browser, &page));
        until("the form was sent", || browser.address().starts_with(&origin).then_some(()));
        assert_eq!(docker.inspect("target", "{{.State.Running}}"), "true", "a form of another site ({form}) did it");
    }
    let page = serve(&browser, "<h1>other</h1>");
    browser.open(&page);
    for (how, path) in [
        ("POST", "/ui/containers/target/do"),
        ("POST", "/containers/target/kill"),
        ("POST", "/api/v1/containers/target/kill"),
        ("DELETE", "/api/v1/containers/target"),
    ] {
        let said = browser.promise(&format!(
            "const r = await fetch('{origin}{path}', {{ method: '{how}', credentials: 'include', mode: 'no-cors', body: '{how}' === 'POST' ? 'do=kill' : undefined }}); return r.type"
        ));
        assert!(said == "opaque" || said.as_str().is_some_and(|s| s.starts_with("failed")), "{path}: {said}");
        assert_eq!(docker.inspect("target", "{{.State.Running}}"), "true", "{how} {path} from another site did it");
    }
    for path in ["/ui/", "/api/v1/containers", "/containers/json"] {
        let said =
            browser.promise(&format!("const r = await fetch('{origin}{path}', {{ credentials: 'include' }}); return await r.text()"));
        assert!(said.as_str().is_some_and(|s| s.starts_with("failed")), "{path} was read by another site: {said}");
    }
    let host = origin.trim_start_matches("https://");
    for path in
        ["/ui/ws/events", "/ui/containers/target/logs/ws", "/ui/containers/target/shell/ws", "/containers/target/attach/ws?stream=1"]
    {
        let said = browser.promise(&format!(
            "return await new Promise((r) => {{ const s = new WebSocket('wss://{host}{path}'); s.onopen = () => r('open'); s.onerror = () => r('refused'); }})"
        ));
        assert_eq!(said, "refused", "{path} opens for another site");
    }
    // Clickjacking: our pages are shown in nobody's frame.
    browser.open(&serve(&browser, &format!("<iframe id=f src='{origin}/ui/containers/target' width=800 height=600></iframe>")));
    let inside = browser.script(
        "try { return document.getElementById('f').contentDocument === null ? 'foreign' : 'blank' } catch (e) { return 'foreign' }",
    );
    // Chromium shows an error page of its own (an opaque origin) in place of a refused one; that it is ours, it would say by its title.
    assert!(inside == "foreign" || inside == "blank", "{inside}");
    let headers = browser_headers(&browser, &origin);
    assert!(headers.contains("frame-ancestors 'none'") && headers.contains("x-frame-options: DENY"), "{headers}");
    // Addresses that lead elsewhere after signing in.
    for next in ["https://evil.test/", "//evil.test/", "/\\evil.test/", "/ui/../..//evil.test", "javascript:alert(1)"] {
        browser.open(&format!("{origin}/ui/login?next={}", next.replace('\\', "%5C")));
        assert!(browser.address().starts_with(&format!("{origin}/ui/")), "{next} leads to {}", browser.address());
    }
}

fn browser_headers(browser: &Browser, origin: &str) -> String {
    browser.open(&format!("{origin}/ui/"));
    let said = browser.promise("const r = await fetch('/ui/'); return [...r.headers].map(([n, v]) => n + ': ' + v).join('\\n')");
    said.as_str().expect("headers").to_owned()
}

#[test]
fn sec_k_cookies_are_ours_alone_and_a_planted_session_is_not_taken() {
    let Some(browser) = Browser::start(Wanted::default()) else { return };
    let (server, origin) = house(&browser);
    set_up(&server, &browser);
    let session = |browser: &Browser| {
        let cookies = browser.cookies();
        let cookie = cookies.iter().find(|c| c["name"] == "__Host-wharf").unwrap_or_else(|| panic!("no session in {cookies:?}"));
        assert!(cookie["secure"] == true && cookie["httpOnly"] == true && cookie["sameSite"] == "Lax" && cookie["path"] == "/", "{cookie}");
        cookie["value"].as_str().expect("a value").to_owned()
    };
    for cookie in browser.cookies() {
        assert!(cookie["name"].as_str().is_some_and(|n| n.starts_with("__Host-")), "{cookie}");
        assert!(cookie["secure"] == true && cookie["httpOnly"] == true, "{cookie}");
    }
    let first = session(&browser);
    assert_eq!(browser.script("return document.cookie"), "", "scripts see no cookie");
    let headers = browser_headers(&browser, &origin);
    let policy = headers.lines().find(|l| l.starts_with("content-security-policy")).expect("a policy").to_owned();
    assert!(!policy.contains("unsafe") && policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    browser.find("form[action='/ui/logout'] button").click();
    browser.shows("h1", "Sign in");

    // A session that somebody else knows, planted before the person signs in, is not the one she gets; nor does the old one live.
    for planted in ["a".repeat(64), first] {
        browser.plant(serde_json::json!({ "name": "__Host-wharf", "value": planted, "path": "/", "secure": true, "httpOnly": true }));
        browser.open(&format!("{origin}/ui/"));
        assert!(browser.address().contains("/ui/login"), "a planted session was taken: {}", browser.address());
        sign_in(&browser, &origin);
        assert_ne!(session(&browser), planted);
        browser.find("form[action='/ui/logout'] button").click();
        browser.shows("h1", "Sign in");
    }
}

/// What comes out of containers, images and the API is text in pages, whatever it looks like.
#[test]
fn sec_k_names_labels_and_log_lines_are_text() {
    let Some(browser) = Browser::start(Wanted::default()) else { return };
    let (server, origin) = house(&browser);
    set_up(&server, &browser);
    let docker = amys(&server);
    server.load_busybox_for(&docker);
    let evil = "\"'><img src=x onerror=window.hit=1><script>window.hit=1</script>{{7*7}}${7*7}</textarea></title><svg onload=window.hit=1>";
    let log = "printf '%s\\n' \"$EVIL\" \"\u{1b}[31m$EVIL\u{1b}[0m\" \"\u{1b}]8;;javascript:window.hit=1\u{7}link\u{1b}]8;;\u{7}\" '{\"level\":\"<img src=x onerror=window.hit=1>\"}' 'http://a/\"onmouseover=\"window.hit=1'; sleep 1000";
    let (label, env) = (format!("<img/src=x/onerror=window.hit=1>={evil}"), format!("EVIL={evil}"));
    docker.text(&[
        "run",
        "-d",
        "--name",
        "odd",
        "--label",
        &label,
        "-e",
        &env,
        "-w",
        &format!("/{}", evil.replace('/', "")),
        "--hostname",
        "odd",
        "busybox",
        "sh",
        "-c",
        log,
    ]);
    docker.text(&["volume", "create", "--label", &label, "odd"]);
    docker.text(&["network", "create", "--label", &label, "odd"]);
    docker.text(&["commit", "-m", evil, "-a", evil, "-c", "LABEL x=\"<img src=x onerror=window.hit=1>\"", "odd", "odd:1"]);
    // Refused names come back in messages, and in the audit log.
    docker.run(&["run", "--name", evil, "busybox"]);
    docker.run(&["run", "--rm", "busybox", evil]);
    server.wharf(&["user", "add", evil]);
    let image = docker.text(&["image", "inspect", "-f", "{{.Id}}", "odd:1"]);
    let image = &image.trim_start_matches("sha256:")[..12];
    let asked = "%22%27%3E%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E";
    for path in [
        "/ui/",
        "/ui/containers",
        "/ui/containers/odd",
        "/ui/containers/odd?env=show",
        "/ui/containers/odd/inspect",
        "/ui/containers/odd/logs",
        "/ui/containers/odd/shell",
        "/ui/containers/odd/remove",
        "/ui/volumes",
        "/ui/volumes/odd",
        "/ui/networks",
        "/ui/networks/odd",
        "/ui/images",
        "/ui/audit",
        "/ui/account",
        "/ui/users",
        &format!("/ui/images/{image}"),
        &format!("/ui/containers?q={asked}"),
        &format!("/ui/containers/odd/logs?q={asked}"),
        &format!("/ui/search?q={asked}"),
        &format!("/ui/containers/new?image={asked}"),
        &format!("/ui/containers/{asked}"),
        &format!("/ui/audit?actor={asked}&action={asked}"),
        &format!("/ui/t/{asked}/containers"),
        &format!("/ui/{asked}"),
    ] {
        browser.open(&format!("{origin}{path}"));
        // No tenant can be called so: that is refused before it is a page.
        assert!(browser.count("h1") == 1 || path.starts_with("/ui/t/"), "{path}: {}", browser.source());
        if path == "/ui/containers/odd/logs" {
            browser.shows("#connection", "live");
            browser.shows("#log", "<script>");
        }
        let hit = browser.script("return [window.hit ?? 0, document.querySelectorAll('img[src=x], svg[onload], [onmouseover], [href^=\"javascript:\" i]').length, [...document.scripts].filter((s) => !s.src).length]");
        assert_eq!(hit, serde_json::json!([0, 0, 0]), "{path}: a script of somebody's ran or stands there:\n{}", browser.source());
    }
}

/// A web server with one page, for as long as the test runs; its address.
fn serve(browser: &Browser, page: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    browser.reach(address.port());
    let address = format!("http://{address}/");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 4096];
            // A browser that opens connections ahead sends nothing on some.
            if stream.read(&mut request).is_ok_and(|n| n > 0) {
                stream.write_all(answer.as_bytes()).ok();
            }
        }
    });
    address
}

/// Writes pictures of every page into `WHARF_PICTURES`, light and dark, wide and as on a phone: to be looked at by people.
#[test]
fn pictures_of_every_page() {
    let Some(folder) = std::env::var_os("WHARF_PICTURES").map(std::path::PathBuf::from) else { return };
    let mut made = None;
    for (name, size, dark) in
        [("light", (1280, 900), false), ("dark", (1280, 900), true), ("phone", (390, 844), false), ("phone-dark", (390, 844), true)]
    {
        let Some(browser) = Browser::start(Wanted { scripts: true, size, dark }) else { return };
        let first = made.is_none();
        let (server, origin) = made.get_or_insert_with(|| house(&browser));
        if first {
            browser.open(&format!("{origin}/ui/setup"));
            browser.picture(&folder.join("setup.png"));
            set_up(server, &browser);
            let docker = amys(server);
            server.load_busybox_for(&docker);
            let words = "n=0; while [ $n -lt 40 ]; do n=$((n+1)); echo \"line $n of a log with some words in it\"; done; echo \"$(printf '\\033[31mred\\033[0m')\" >&2; sleep 10000";
            docker.text(&[
                "run",
                "-d",
                "--name",
                "web",
                "-p",
                "127.0.0.1::80",
                "--label",
                "com.docker.compose.project=shop",
                "busybox",
                "sh",
                "-c",
                words,
            ]);
            docker.text(&["create", "--name", "a-rather-long-name-of-a-container-that-somebody-chose", "busybox", "true"]);
            docker.run(&["run", "--name", "failed", "busybox", "sh", "-c", "exit 3"]);
            docker.text(&["volume", "create", "data"]);
            docker.text(&["network", "create", "back"]);
            server.add_user("ben", 6);
        } else {
            browser.reach(origin.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port"));
            browser.open(&format!("{origin}/ui/login"));
            browser.picture(&folder.join(format!("{name}-login.png")));
            sign_in(&browser, origin);
        }
        let image = amys(server).text(&["image", "inspect", "-f", "{{.Id}}", "busybox"]);
        let image = format!("images/{}", &image.trim_start_matches("sha256:")[..12]);
        for path in [
            "",
            "containers",
            "containers/new",
            "containers/web",
            "containers/web/logs",
            "containers/web/shell",
            "containers/web/inspect",
            "containers/web/remove",
            "images",
            &image,
            "images/pull",
            "volumes",
            "volumes/new",
            "volumes/data",
            "networks",
            "networks/back",
            "networks/new",
            "operations",
            "account",
            "users",
            "users/ben",
            "audit",
            "search?q=web",
            "nowhere",
        ] {
            browser.open(&format!("{origin}/ui/{path}"));
            if path.ends_with("shell") {
                browser.find("#shell-form button[type=submit]").click();
                browser.shows("#connection", "connected");
            }
            let file = path.replace(['/', '?', '='], "_");
            browser.picture(&folder.join(format!("{name}-{file}.png")));
        }
    }
}
