//! Pages through the whole router, with a real engine, as a browser would ask for them: cookies are kept, forms bring their
//! token. The engine's networks and cgroups belong to an instance of the test's own, in a network namespace of its own.

use crate::app::App;
use crate::auth::change::AddUser;
use crate::ca::Ca;
use crate::config::{Config, Place, ServeOptions};
use axum::Router;
use axum::body::Body;
use engine::runtime::Spawner;
use engine::{Engine, EngineConfig, Role, Scope, Subject, UserId, Via};
use http::{Request, StatusCode, header};
use jiff::Timestamp;
use std::collections::BTreeMap;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";

struct House {
    router: Router,
    app: App,
    _folder: tempfile::TempDir,
}

/// The server of a fresh data root with the users anna (an administrator) and ben. `None`, said loudly, where this host cannot
/// hold an engine.
async fn house() -> Option<House> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: an engine needs root");
        return None;
    }
    // Bridges and firewall tables of the engine stay in here and go with the test.
    #[allow(deprecated)]
    if let Err(e) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        println!("SKIPPED: no network namespace of our own: {e}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place { data_root: Some(folder.path().join("data")), run_dir: Some(folder.path().join("run")), ..Place::default() };
    let options = ServeOptions { listen: Some(vec!["none".into()]), ..ServeOptions::default() };
    let file = folder.path().join("wharf.toml");
    std::fs::write(&file, "").unwrap();
    let config = Config::load(&Place { config: Some(file), ..place }, options).unwrap();
    let opened = Engine::open(
        EngineConfig {
            data_root: config.data_root.clone(),
            run_dir: config.run_dir.clone(),
            insecure_registries: vec![],
            registry_mirrors: vec![],
            token_hosts: vec![],
            trash: config.trash,
            uid_pool: config.pool(),
            zygotes: 0,
            kept_logs: engine::log::Retention::default(),
            address_pools: config.address_pools.clone(),
        },
        Spawner::start().unwrap(),
    );
    let engine = match opened.await {
        Ok(engine) => engine,
        Err(e) if e.kind() == engine::Kind::Unsupported => {
            println!("SKIPPED: {e}");
            return None;
        }
        Err(e) => panic!("{e:?}"),
    };
    let accounts = crate::app::accounts(&engine, &config).await.unwrap();
    let ca = Ca::open(&config.data_root.join("tls"), Timestamp::now()).unwrap();
    let app = App::new(engine, accounts, ca, config, None).unwrap();
    for (name, admin) in [("anna", true), ("ben", false)] {
        let add = AddUser { name: name.into(), admin, password: Some(PASSWORD.into()), unix_user: None };
        app.accounts.add_user(&root(&app), add).await.unwrap();
    }
    Some(House { router: crate::app::routes().into_router(app.clone()), app, _folder: folder })
}

impl Drop for House {
    /// The instance's cgroups outlive an engine on purpose; those of a test do not outlive it.
    fn drop(&mut self) {
        let name = self.app.engine.instance().name();
        let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
        let v1 = hierarchies.flatten().map(|h| h.path().join(&name));
        for group in v1.chain([std::path::Path::new("/sys/fs/cgroup").join(&name)]) {
            prune(&group);
        }
    }
}

/// Removes a group and those below it; one that is in use stays, and so does what is above it.
fn prune(group: &std::path::Path) {
    for below in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if below.file_type().is_ok_and(|t| t.is_dir()) {
            prune(&below.path());
        }
    }
    let _ = std::fs::remove_dir(group);
}

fn root(app: &App) -> Subject {
    let tenant = app.accounts.tenants().personal_of(UserId::ROOT).unwrap();
    Subject {
        user: Some(UserId::ROOT),
        name: "root".into(),
        tenant: tenant.id,
        tenant_name: tenant.name.clone(),
        role: Role::Admin,
        unix: None,
        via: Via::Socket,
        ip: None,
        scope: Scope::Admin,
    }
}

/// A browser: keeps cookies, sends its origin with forms.
struct Browser<'a> {
    house: &'a House,
    cookies: BTreeMap<String, String>,
}

struct Page {
    status: StatusCode,
    to: String,
    html: String,
}

impl<'a> Browser<'a> {
    fn new(house: &'a House) -> Self {
        Self { house, cookies: BTreeMap::new() }
    }

    async fn signed_in(house: &'a House, name: &str) -> Self {
        let mut browser = Self::new(house);
        let page = browser.post("/ui/login", &[("name", name), ("password", PASSWORD), ("next", "/ui/")]).await;
        assert_eq!((page.status, page.to.as_str()), (StatusCode::SEE_OTHER, "/ui/"), "{}", page.html);
        browser
    }

    async fn get(&mut self, path: &str) -> Page {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// Sends a form with the token of the page it stands on.
    async fn fill(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let html = self.get("/ui/").await.html;
        let token =
            html.split("name=\"form_token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default().to_owned();
        let mut all = vec![("form_token", token.as_str())];
        all.extend_from_slice(fields);
        self.post(path, &all).await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let encoded = |text: &str| web::view::piece::segment(text);
        let body = fields.iter().map(|(n, v)| format!("{n}={}", encoded(v))).collect::<Vec<_>>().join("&");
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "https://wharf.test")
            .header("sec-fetch-site", "same-origin");
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn send(&mut self, mut request: Request<Body>) -> Page {
        let cookies = self.cookies.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("; ");
        if !cookies.is_empty() {
            request.headers_mut().insert(header::COOKIE, cookies.parse().unwrap());
        }
        request.headers_mut().insert(header::HOST, http::HeaderValue::from_static("wharf.test"));
        request.extensions_mut().insert(crate::auth::Peer::Tcp { address: "192.0.2.7:999".parse().unwrap(), certificate: None });
        let response = self.house.router.clone().oneshot(request).await.unwrap();
        for set in response.headers().get_all(header::SET_COOKIE) {
            let text = set.to_str().unwrap();
            assert!(text.contains("Secure") && text.contains("HttpOnly") && text.contains("Path=/;"), "{text}");
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let to = response.headers().get(header::LOCATION).map_or(String::new(), |l| l.to_str().unwrap().to_owned());
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), 8 << 20).await.unwrap();
        Page { status, to, html: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}

#[tokio::test]
async fn strangers_are_led_to_the_login_and_back() {
    let Some(house) = house().await else { return };
    let mut browser = Browser::new(&house);
    let page = browser.get("/ui/containers?state=running").await;
    assert_eq!((page.status, page.to.as_str()), (StatusCode::SEE_OTHER, "/ui/login?next=%2Fui%2Fcontainers%3Fstate%3Drunning"));
    let page = browser.post("/ui/login", &[("name", "anna"), ("password", "wrong"), ("next", "/ui/images")]).await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.html.contains("not right") && page.html.contains("value=\"anna\"") && !page.html.contains("wrong\""));
    // The next try for anna would have to wait.
    let page = browser.post("/ui/login", &[("name", "ben"), ("password", PASSWORD), ("next", "//evil.test/")]).await;
    assert_eq!((page.status, page.to.as_str()), (StatusCode::SEE_OTHER, "/ui/"), "an address elsewhere is not followed");
    assert_eq!(browser.get("/ui/").await.status, StatusCode::OK);
    assert_eq!(browser.fill("/ui/logout", &[]).await.to, "/ui/login");
    assert_eq!(browser.get("/ui/").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn every_page_opens_and_carries_no_inline_script() {
    let Some(house) = house().await else { return };
    let mut browser = Browser::signed_in(&house, "anna").await;
    for path in [
        "/ui/",
        "/ui/search?q=a",
        "/ui/containers?q=x&sort=-name",
        "/ui/containers/new",
        "/ui/images",
        "/ui/images/pull",
        "/ui/images/prune",
        "/ui/volumes",
        "/ui/volumes/new",
        "/ui/volumes/prune",
        "/ui/networks",
        "/ui/networks/new",
        "/ui/networks/bridge",
        "/ui/operations",
        "/ui/account",
        "/ui/users",
        "/ui/users/new",
        "/ui/users/ben",
        "/ui/audit",
        "/ui/audit?decision=denied&actor=anna",
        "/ui/t/anna/containers",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.html);
        assert!(page.html.contains("<h1") && !page.html.contains(" style=") && !page.html.contains("<style"), "{path}");
    }
    for path in [
        "/ui/nowhere",
        "/ui/containers/absent",
        "/ui/images/absent",
        "/ui/volumes/absent",
        "/ui/networks/absent",
        "/ui/operations/77",
        "/ui/users/absent",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::NOT_FOUND, "{path}");
        assert!(page.html.contains("What you can try"), "{path}");
    }
}

#[tokio::test]
async fn forms_make_change_and_remove() {
    let Some(house) = house().await else { return };
    let mut browser = Browser::signed_in(&house, "ben").await;
    let page = browser.fill("/ui/t/ben/volumes/new", &[("name", "data"), ("labels", "team=<b>web</b>")]).await;
    assert_eq!((page.status, page.to.as_str()), (StatusCode::SEE_OTHER, "/ui/t/ben/volumes/data"));
    let page = browser.get(&page.to).await;
    assert!(page.html.contains("Made data.") && page.html.contains("&#60;b&#62;web"), "{}", page.html);
    assert!(!browser.get("/ui/volumes/data").await.html.contains("Made data."), "a notice is said once");
    assert!(browser.get("/ui/t/ben/volumes/data/remove").await.html.contains("goes to the trash and can be restored"));
    assert_eq!(browser.fill("/ui/t/ben/volumes/data/remove", &[]).await.to, "/ui/t/ben/volumes");
    assert_eq!(browser.get("/ui/volumes/data").await.status, StatusCode::NOT_FOUND);
    let page = browser.fill("/ui/containers/new", &[("image", "x"), ("ports", "eighty:80"), ("env", "A=b")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.html.contains("id=\"ports-wrong\"") && page.html.contains("A=b</textarea>"), "what was typed stays");
}

#[tokio::test]
async fn sec_k01_a_form_without_the_sessions_token_changes_nothing() {
    let Some(house) = house().await else { return };
    let mut ben = Browser::signed_in(&house, "ben").await;
    for token in ["", "wrong"] {
        let page = ben.post("/ui/volumes/new", &[("form_token", token), ("name", "data")]).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
    }
    let mut anna = Browser::signed_in(&house, "anna").await;
    let html = anna.get("/ui/").await.html;
    let hers = html.split("name=\"form_token\" value=\"").nth(1).and_then(|r| r.split('"').next()).unwrap().to_owned();
    assert_eq!(ben.post("/ui/volumes/new", &[("form_token", &hers), ("name", "data")]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ben.get("/ui/volumes/data").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn sec_a14_another_tenants_object_looks_like_an_absent_one() {
    let Some(house) = house().await else { return };
    let mut anna = Browser::signed_in(&house, "anna").await;
    anna.fill("/ui/volumes/new", &[("name", "hers")]).await;
    anna.fill("/ui/networks/new", &[("name", "hers")]).await;
    assert_eq!(anna.get("/ui/volumes/hers").await.status, StatusCode::OK);
    let mut ben = Browser::signed_in(&house, "ben").await;
    for kind in ["volumes", "networks", "containers", "images"] {
        for end in ["", "/remove", "/logs", "/inspect", "/shell"] {
            let foreign = ben.get(&format!("/ui/{kind}/hers{end}")).await;
            let absent = ben.get(&format!("/ui/{kind}/gone{end}")).await;
            assert_eq!(foreign.status, StatusCode::NOT_FOUND, "{kind}{end}");
            assert_eq!(foreign.html.replace("hers", "gone"), absent.html, "{kind}{end}");
        }
    }
    // Nor does naming her tenant help, and a tenant that is not there looks the same.
    let (foreign, absent) = (ben.get("/ui/t/anna/volumes").await, ben.get("/ui/t/nobody/volumes").await);
    assert_eq!(foreign.status, StatusCode::NOT_FOUND);
    assert_eq!(foreign.html.replace("anna", "nobody"), absent.html);
    for path in ["/ui/users", "/ui/users/anna", "/ui/audit"] {
        assert_eq!(ben.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_a_disabled_user_is_out_at_once() {
    let Some(house) = house().await else { return };
    let mut anna = Browser::signed_in(&house, "anna").await;
    let mut ben = Browser::signed_in(&house, "ben").await;
    let page = ben.fill("/ui/account/tokens", &[("name", "ci"), ("scope", "read"), ("expires", "1d")]).await;
    assert_eq!(page.status, StatusCode::CREATED);
    let secret = page.html.split("<code>wharf_").nth(1).and_then(|r| r.split('<').next()).map(|s| format!("wharf_{s}")).unwrap();
    assert!(!ben.get("/ui/account").await.html.contains(&secret));
    let ask = || Request::get("/api/v1/me").header(header::AUTHORIZATION, format!("Bearer {secret}")).body(Body::empty()).unwrap();
    assert!(Browser::new(&house).send(ask()).await.html.contains("\"name\":\"ben\""));
    let page = ben.fill("/ui/account/tokens", &[("name", "more"), ("scope", "admin"), ("expires", "1d")]).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER, "no token reaches further than its owner");
    assert!(ben.get("/ui/account").await.html.contains("notice err"));
    assert_eq!(anna.fill("/ui/users/ben/disable", &[]).await.to, "/ui/users/ben");
    assert_eq!(ben.get("/ui/").await.status, StatusCode::SEE_OTHER);
    assert_eq!(Browser::new(&house).send(ask()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_k04_a_websocket_without_our_origin_is_refused_before_the_upgrade() {
    let Some(house) = house().await else { return };
    let mut browser = Browser::signed_in(&house, "anna").await;
    for path in ["/ui/ws/events", "/ui/containers/x/logs/ws", "/ui/containers/x/shell/ws"] {
        for origin in [None, Some("https://evil.test"), Some("null")] {
            let mut request = Request::get(path)
                .header(header::CONNECTION, "upgrade")
                .header(header::UPGRADE, "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
            if let Some(origin) = origin {
                request = request.header(header::ORIGIN, origin);
            }
            let page = browser.send(request.body(Body::empty()).unwrap()).await;
            assert!(matches!(page.status, StatusCode::FORBIDDEN | StatusCode::SEE_OTHER), "{path} {origin:?}: {}", page.status);
        }
    }
}

#[tokio::test]
async fn what_a_client_began_was_left_half_done_when_it_went_away() {
    // A browser that moved on cancelled the making of a tenant's networks between memory and database; no container of the
    // tenant could be started after that.
    let Some(house) = house().await else { return };
    let [began, go, ended] = [(); 3].map(|()| std::sync::Arc::new(tokio::sync::Notify::new()));
    let signals = (began.clone(), go.clone(), ended.clone());
    let slow = move || {
        let (began, go, ended) = signals.clone();
        async move {
            began.notify_one();
            go.notified().await;
            ended.notify_one();
            "done"
        }
    };
    let router = crate::Routes::pages().get("/ui/slow", crate::Permission::Public, slow).into_router(house.app.clone());
    let client = tokio::spawn(router.oneshot(Request::get("/ui/slow").body(Body::empty()).unwrap()));
    began.notified().await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
    go.notify_one();
    tokio::time::timeout(std::time::Duration::from_secs(30), ended.notified()).await.expect("the handler went with its client");
}
