//! Proofs, refusals and reach, through the router without sockets.

use super::Peer;
use super::accounts::Accounts;
use super::change::{AddToken, AddUser};
use super::session::COOKIE;
use crate::api::admin::{self, Desk};
use crate::ca::Ca;
use crate::config::{Config, Place, ServeOptions};
use crate::route::{Permission, Routes};
use crate::{MaybeWho, Who};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use engine::audit::Audit;
use engine::inventory::Inventory;
use engine::tenant::{MemberRole, Pool, Tenants};
use engine::{Instance, Role, Scope, Subject, UserId, Via};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tower::ServiceExt;

/// A whole desk on a folder of its own.
pub(crate) struct House {
    pub desk: Desk,
    router: axum::Router,
    folder: tempfile::TempDir,
    _instance: Instance,
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

impl House {
    pub async fn new() -> Self {
        Self::with(false).await
    }

    async fn with(auto_provision: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let instance = Instance::open(&at("data"), &at("run")).unwrap();
        let inventory = Inventory::open(&at("data").join("wharf.db")).await.unwrap();
        std::fs::create_dir(at("etc")).unwrap();
        let pool = Pool { claims: at("claims"), etc: at("etc"), ..Pool::default() };
        let tenants = Tenants::open(&instance, inventory.clone(), pool).await.unwrap();
        let accounts = Accounts::open(inventory.clone(), tenants, Audit::open(inventory), auto_provision).await.unwrap();
        let ca = Ca::open(&at("data").join("tls"), Timestamp::now()).unwrap();
        std::fs::write(at("empty.toml"), "").unwrap();
        let place = Place { config: Some(at("empty.toml")), data_root: Some(at("data")), run_dir: Some(at("run")), socket: None };
        let config = Config::load(&place, ServeOptions::default()).unwrap();
        let desk = Desk::new(accounts, ca, &config, None).unwrap();
        let router = probes().merge(admin::routes()).into_router(desk.clone());
        Self { desk, router, folder, _instance: instance }
    }

    fn accounts(&self) -> &Accounts {
        &self.desk.accounts
    }

    /// Root, as the socket makes it.
    fn root(&self) -> Subject {
        let tenant = self.accounts().tenants().personal_of(UserId::ROOT).unwrap();
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

    pub async fn user(&self, name: &str, admin: bool, password: Option<&str>) {
        let add = AddUser { name: name.into(), admin, password: password.map(str::to_owned), unix_user: None };
        self.accounts().add_user(&self.root(), add).await.unwrap();
    }

    async fn token(&self, name: &str, scope: Scope) -> String {
        let owner = self.accounts().user(name).unwrap();
        let add = AddToken { name: "t".into(), tenant: None, scope, lifetime: SignedDuration::from_hours(1) };
        self.accounts().add_token(&self.root(), &owner, add).await.unwrap().1.reveal().to_owned()
    }

    async fn send(&self, request: Request) -> (StatusCode, Value) {
        let response = self.answer(request).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn answer(&self, request: Request) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn get(&self, path: &str, peer: Peer, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        self.send(request(Method::GET, path, peer, headers, None)).await
    }
}

/// Routes that say who came, one per face and permission.
fn probes() -> Routes<Desk> {
    async fn who(Who(who): Who) -> axum::Json<Value> {
        axum::Json(json!({ "name": who.name, "tenant": who.tenant_name, "admin": who.role == Role::Admin, "via": who.via.as_str() }))
    }
    async fn maybe(MaybeWho(who): MaybeWho) -> axum::Json<Value> {
        axum::Json(json!({ "name": who.map(|w| w.name.clone()) }))
    }
    Routes::docker()
        .get("/_ping", Permission::Public, maybe)
        .get("/containers/json", Permission::Read, who)
        .post("/containers/create", Permission::Write, who)
        .merge(Routes::api().get("/api/probe", Permission::Read, who).get("/api/admin", Permission::Admin, who))
        .merge(Routes::pages().get("/ui/probe", Permission::Read, who).get("/ui/login", Permission::Public, maybe))
}

fn unix(uid: u32) -> Peer {
    Peer::Unix { uid, gid: uid }
}

fn tcp() -> Peer {
    Peer::Tcp { address: SocketAddr::new(HERE, 5000), certificate: None }
}

fn request(method: Method, path: &str, peer: Peer, headers: &[(&str, &str)], body: Option<Value>) -> Request {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "wharf.test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(body.map_or_else(Body::empty, |b| Body::from(b.to_string()))).unwrap();
    request.extensions_mut().insert(peer);
    request
}

#[tokio::test]
async fn root_on_the_socket_is_administrator_from_the_first_start() {
    let house = House::new().await;
    let (status, who) = house.get("/api/admin", unix(0), &[]).await;
    assert_eq!((status, who), (StatusCode::OK, json!({ "name": "root", "tenant": "root", "admin": true, "via": "socket" })));
}

#[tokio::test]
async fn sec_a04_nobody_gets_401_everywhere_and_404_for_what_is_not() {
    let house = House::new().await;
    let table = probes().merge(admin::routes::<Desk>());
    for route in table.list().into_iter().filter(|r| r.permission != Permission::Public) {
        let path = route.path.replace("{name}", "x").replace("{id}", "1").replace("{user}", "y");
        let response = house.answer(request(route.method.clone(), &path, tcp(), &[], None)).await;
        let led_to_login = response.headers().get(header::LOCATION).is_some_and(|l| l.to_str().unwrap().starts_with("/ui/login"));
        assert!(response.status() == StatusCode::UNAUTHORIZED || led_to_login, "{route:?}: {}", response.status());
    }
    for path in ["/nothing", "/v1.40/nothing", "/CONTAINERS/json", "//containers/json", "/containers%2fjson", "/v1.40/api/probe", "/t/x/"] {
        let (status, body) = house.get(path, unix(0), &[]).await;
        assert_eq!((status, body), (StatusCode::NOT_FOUND, json!({ "message": "page not found" })), "{path}");
    }
    let (status, body) = house.get("/v1.99/containers/json", tcp(), &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(body["message"], "client version 1.99 is too new. Maximum supported API version is 1.51");
}

#[tokio::test]
async fn sec_a07_no_failed_proof_reaches_a_handler() {
    let house = House::new().await;
    house.user("ada", false, Some("correct horse")).await;
    let token = house.token("ada", Scope::Write).await;
    let good = format!("Bearer {token}");
    assert_eq!(house.get("/v1.47/containers/json", tcp(), &[("authorization", &good)]).await.0, StatusCode::OK);
    let wrong = [
        "Bearer",
        "Bearer ",
        "Bearer wharf_",
        "Basic YWRhOng=",
        &format!("Bearer {}", &token[..69]),
        &format!("Bearer {token}0"),
        &format!("Bearer {}", token.to_uppercase()),
        &token,
    ]
    .map(str::to_owned);
    for value in &wrong {
        // Not even over root's socket: a proof that does not hold ends it.
        for peer in [tcp(), unix(0)] {
            let (status, _) = house.get("/containers/json", peer, &[("authorization", value)]).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{value:?}");
        }
    }
    let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
    assert_eq!(house.get("/containers/json", tcp(), &twice).await.0, StatusCode::UNAUTHORIZED);
    // K3: a token in the URL is no token.
    let in_url = format!("/containers/json?token={token}&access_token={token}");
    assert_eq!(house.get(&in_url, tcp(), &[]).await.0, StatusCode::UNAUTHORIZED);
    // Disabled, revoked: out at once.
    house.accounts().set_disabled(&house.root(), "ada", true).await.unwrap();
    assert_eq!(house.get("/containers/json", tcp(), &[("authorization", &good)]).await.0, StatusCode::UNAUTHORIZED);
    house.accounts().set_disabled(&house.root(), "ada", false).await.unwrap();
    assert_eq!(house.get("/containers/json", tcp(), &[("authorization", &good)]).await.0, StatusCode::OK);
    let id = house.accounts().tokens(None)[0].id;
    house.accounts().revoke_token(&house.root(), id).await.unwrap();
    assert_eq!(house.get("/containers/json", tcp(), &[("authorization", &good)]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_a15_scopes_and_roles_narrow() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    house.user("boss", true, None).await;
    let read = format!("Bearer {}", house.token("ada", Scope::Read).await);
    let write = format!("Bearer {}", house.token("boss", Scope::Write).await);
    let post = |auth: &str| request(Method::POST, "/containers/create", tcp(), &[("authorization", auth)], None);
    assert_eq!(house.get("/containers/json", tcp(), &[("authorization", &read)]).await.0, StatusCode::OK);
    assert_eq!(house.send(post(&read)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(house.send(post(&write)).await.0, StatusCode::OK);
    assert_eq!(house.get("/api/admin", tcp(), &[("authorization", &write)]).await.0, StatusCode::FORBIDDEN, "the scope");
    let owner = house.accounts().user("ada").unwrap();
    let add = AddToken { name: String::new(), tenant: None, scope: Scope::Admin, lifetime: SignedDuration::from_hours(1) };
    assert!(house.accounts().add_token(&house.root(), &owner, add).await.is_err(), "no admin scope for who is none");
    // A credential cannot make one that reaches further than itself.
    for (auth, body) in [(&write, json!({ "scope": "admin" })), (&write, json!({ "user": "ada" })), (&read, json!({}))] {
        let answer = house.send(request(Method::POST, "/api/v1/tokens", tcp(), &[("authorization", auth)], Some(body.clone()))).await;
        assert_eq!(answer.0, StatusCode::FORBIDDEN, "{body}");
    }
    // A role in the body is not honoured but refused.
    let body = json!({ "name": "eve", "role": "admin" });
    assert_eq!(house.send(request(Method::POST, "/api/v1/users", unix(0), &[], Some(body))).await.0, StatusCode::BAD_REQUEST);
    // What was denied to a known person is in the audit log.
    house.accounts().audit().flush().await;
    let denied = engine::audit::Filter { denied: Some(true), ..Default::default() };
    assert!(!house.accounts().audit().list(&denied).await.unwrap().is_empty());
}

#[tokio::test]
async fn sec_a14_a_foreign_tenant_is_an_absent_one() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    house.user("bob", false, None).await;
    let auth = format!("Bearer {}", house.token("ada", Scope::Write).await);
    for how in ["header", "path"] {
        let ask = async |tenant: &str| match how {
            "header" => house.get("/containers/json", tcp(), &[("authorization", &auth), ("x-wharf-tenant", tenant)]).await,
            _ => house.get(&format!("/t/{tenant}/v1.47/containers/json"), tcp(), &[("authorization", &auth)]).await,
        };
        assert_eq!(ask("ada").await.1["tenant"], "ada");
        let (foreign, absent) = (ask("bob").await, ask("eve").await);
        assert_eq!(foreign.0, StatusCode::NOT_FOUND);
        assert_eq!(foreign.1.to_string().replace("bob", "eve"), absent.1.to_string(), "{how}");
    }
    let both = [("authorization", auth.as_str()), ("x-wharf-tenant", "bob")];
    assert_eq!(house.get("/t/ada/containers/json", tcp(), &both).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn teams_viewers_only_look_and_who_left_is_out() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    house.user("bob", false, None).await;
    let tenants = house.accounts().tenants();
    let (ada, bob) = (house.accounts().user("ada").unwrap().id, house.accounts().user("bob").unwrap().id);
    let team = tenants.create_team(house.accounts().inventory().begin().await.unwrap(), "team", ada).await.unwrap();
    tenants.set_member(house.accounts().inventory().begin().await.unwrap(), team.id, bob, MemberRole::Viewer).await.unwrap();
    let auth = format!("Bearer {}", house.token("bob", Scope::Write).await);
    let headers = [("authorization", auth.as_str()), ("x-wharf-tenant", "team")];
    let create = || request(Method::POST, "/containers/create", tcp(), &headers, None);
    assert_eq!(house.get("/containers/json", tcp(), &headers).await.1["tenant"], "team");
    assert_eq!(house.send(create()).await.0, StatusCode::FORBIDDEN);
    tenants.set_member(house.accounts().inventory().begin().await.unwrap(), team.id, bob, MemberRole::Member).await.unwrap();
    assert_eq!(house.send(create()).await.0, StatusCode::OK);
    tenants.remove_member(house.accounts().inventory().begin().await.unwrap(), team.id, bob).await.unwrap();
    assert_eq!(house.send(create()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_bound_token_stays_in_its_tenant() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    let ada = house.accounts().user("ada").unwrap();
    let tenants = house.accounts().tenants();
    let team = tenants.create_team(house.accounts().inventory().begin().await.unwrap(), "team", ada.id).await.unwrap();
    let add = AddToken { name: String::new(), tenant: Some(team.id), scope: Scope::Write, lifetime: SignedDuration::from_hours(1) };
    let auth = format!("Bearer {}", house.accounts().add_token(&house.root(), &ada, add).await.unwrap().1.reveal());
    let with = [("authorization", auth.as_str())];
    assert_eq!(house.get("/containers/json", tcp(), &with).await.1["tenant"], "team");
    let other = [("authorization", auth.as_str()), ("x-wharf-tenant", "ada")];
    assert_eq!(house.get("/containers/json", tcp(), &other).await.0, StatusCode::FORBIDDEN);
    // Nor does what it makes reach further.
    let make = |body: Value| request(Method::POST, "/api/v1/tokens", tcp(), &with, Some(body));
    assert_eq!(house.send(make(json!({}))).await.1["tenant"], "team");
    assert_eq!(house.send(make(json!({ "tenant": "ada" }))).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn unix_accounts_are_their_users_and_strangers_learn_what_to_ask_for() {
    let house = House::new().await;
    let add = AddUser { name: "svc".into(), unix_user: Some("daemon".into()), ..AddUser::default() };
    let uid = house.accounts().add_user(&house.root(), add).await.unwrap().unix.unwrap().uid;
    let (status, who) = house.get("/containers/json", unix(uid), &[]).await;
    assert_eq!((status, &who["name"], &who["via"]), (StatusCode::OK, &json!("svc"), &json!("socket")));
    let (status, body) = house.get("/containers/json", unix(54_321), &[]).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body["message"].as_str().unwrap().contains("ask an administrator"), "{body}");
    assert_eq!(house.get("/_ping", unix(54_321), &[]).await.1["name"], Value::Null);
    house.accounts().set_disabled(&house.root(), "svc", true).await.unwrap();
    assert_eq!(house.get("/containers/json", unix(uid), &[]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn system_accounts_are_not_provisioned() {
    let house = House::with(true).await;
    // `daemon` is uid 1 everywhere, and no person.
    assert_eq!(house.get("/containers/json", unix(1), &[]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_a17_a_tenant_s_socket_speaks_for_the_tenant_whatever_uid_calls() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    house.user("bob", false, None).await;
    let tenant = house.accounts().tenants().by_name("ada").unwrap();
    let other = house.accounts().tenants().by_name("bob").unwrap();
    let at = |uid| Peer::Tenant { tenant: tenant.id, uid, gid: uid };
    for uid in [0, tenant.block.base, tenant.block.base + 1000] {
        let (status, who) = house.get("/containers/json", at(uid), &[]).await;
        let expected = json!({ "name": "a container of ada", "tenant": "ada", "admin": false, "via": "tenant-socket" });
        assert_eq!((status, who), (StatusCode::OK, expected), "uid {uid}");
        assert_eq!(house.get("/api/admin", at(uid), &[]).await.0, StatusCode::FORBIDDEN);
        assert_eq!(house.get("/containers/json", at(uid), &[("x-wharf-tenant", "bob")]).await.0, StatusCode::FORBIDDEN);
    }
    for uid in [1, other.block.base] {
        assert_eq!(house.get("/containers/json", at(uid), &[]).await.0, StatusCode::UNAUTHORIZED, "uid {uid}");
    }
    // And a container's uid on the main socket is nobody.
    assert_eq!(house.get("/containers/json", unix(tenant.block.base), &[]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_k_sessions_work_for_pages_and_never_for_docker() {
    let house = House::new().await;
    house.user("ada", true, Some("correct horse")).await;
    let wrong = house.accounts().sign_in("ada", "wrong horse", Some(HERE), "").await.unwrap_err();
    let unknown = house.accounts().sign_in("nobody", "wrong horse", Some(HERE), "").await.unwrap_err();
    assert_eq!(wrong, unknown, "who exists is not told");
    let slow = house.accounts().sign_in("ada", "correct horse", Some(HERE), "").await.unwrap_err();
    assert_eq!(slow.status, StatusCode::TOO_MANY_REQUESTS);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    let secret = house.accounts().sign_in("ada", "correct horse", Some(elsewhere), "Browser\n1").await.unwrap();
    let cookie = format!("{COOKIE}={}", secret.reveal());
    let with = [("cookie", cookie.as_str())];
    assert_eq!(house.get("/ui/probe", tcp(), &with).await.1["via"], "session");
    assert_eq!(house.get("/api/admin", tcp(), &with).await.0, StatusCode::OK);
    assert_eq!(house.get("/containers/json", tcp(), &with).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(house.get("/v1.47/containers/json", tcp(), &with).await.0, StatusCode::UNAUTHORIZED);
    // K1 and K4: other sites' pages.
    let foreign = [("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")];
    let add = request(Method::POST, "/api/v1/tokens", tcp(), &foreign, Some(json!({})));
    assert_eq!(house.send(add).await.0, StatusCode::FORBIDDEN);
    for origin in [None, Some("https://evil.test"), Some("https://wharf.test.evil")] {
        let mut headers = vec![("cookie", cookie.as_str()), ("upgrade", "websocket")];
        headers.extend(origin.map(|o| ("origin", o)));
        assert_eq!(house.get("/ui/probe", tcp(), &headers).await.0, StatusCode::FORBIDDEN, "{origin:?}");
    }
    let own = [("cookie", cookie.as_str()), ("upgrade", "websocket"), ("origin", "https://wharf.test")];
    assert_eq!(house.get("/ui/probe", tcp(), &own).await.0, StatusCode::OK);
    // A new password ends all sessions.
    house.accounts().set_password(&house.root(), "ada", Some("another horse")).await.unwrap();
    let response = house.answer(request(Method::GET, "/ui/probe", tcp(), &with, None)).await;
    assert!(response.headers()[header::LOCATION].to_str().unwrap().starts_with("/ui/login?next="));
    assert_eq!(house.get("/ui/login", tcp(), &with).await.1["name"], Value::Null, "a stale cookie does not bar the login");
}

#[tokio::test]
async fn sec_k_pages_narrow_what_a_browser_may_do() {
    let house = House::new().await;
    for path in ["/ui/login", "/ui/probe"] {
        let response = house.answer(request(Method::GET, path, tcp(), &[], None)).await;
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
    let docker = house.answer(request(Method::GET, "/_ping", tcp(), &[], None)).await;
    assert!(!docker.headers().contains_key(header::CONTENT_SECURITY_POLICY));
}

#[tokio::test]
async fn client_certificates_prove_until_they_are_revoked() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    let ada = house.accounts().user("ada").unwrap();
    let tenant = house.accounts().tenants().by_name("ada").unwrap();
    let (certificate, issued) =
        house.accounts().add_certificate(&house.root(), &house.desk.ca, &ada, tenant.id, Scope::Write, "laptop").await.unwrap();
    let peer = |fingerprint| Peer::Tcp { address: SocketAddr::new(HERE, 1), certificate: Some(fingerprint) };
    assert_eq!(house.get("/containers/json", peer(issued.fingerprint), &[]).await.1["via"], "certificate");
    // K1: no page of another site rides on it.
    let post = request(Method::POST, "/containers/create", peer(issued.fingerprint), &[("origin", "https://evil")], None);
    assert_eq!(house.send(post).await.0, StatusCode::FORBIDDEN);
    assert_eq!(house.get("/containers/json", peer(engine::Digest::of(b"x")), &[]).await.0, StatusCode::UNAUTHORIZED);
    house.accounts().revoke_certificate(&house.root(), certificate.id).await.unwrap();
    assert_eq!(house.get("/containers/json", peer(issued.fingerprint), &[]).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sec_fifty_setups_at_once_make_one_administrator() {
    let house = House::new().await;
    let file = house.folder.path().join("setup-token");
    let token = house.accounts().begin_setup(&file).unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), token.reveal());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(house.accounts().set_up("wrong", "eve", "correct horse", None, "").await.unwrap_err().status, StatusCode::FORBIDDEN);
    let mut tries = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (accounts, token) = (house.accounts().clone(), token.reveal().to_owned());
        tries.spawn(async move { accounts.set_up(&token, &format!("admin{n}"), "correct horse", Some(HERE), "").await });
    }
    let outcomes = tries.join_all().await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    let users = house.accounts().users();
    assert_eq!(users.iter().filter(|u| u.admin && !u.builtin).count(), 1);
    assert_eq!(users.len(), 2, "root and the administrator: {users:?}");
    assert!(!file.exists(), "burned");
    assert!(house.accounts().begin_setup(&file).unwrap().is_none());
    assert_eq!(house.accounts().check_setup(token.reveal()).unwrap_err().status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn accounts_survive_a_restart_and_last_uses_are_written() {
    let house = House::new().await;
    house.user("ada", false, None).await;
    let token = house.token("ada", Scope::Write).await;
    house.get("/containers/json", tcp(), &[("authorization", &format!("Bearer {token}"))]).await;
    house.accounts().settle(Timestamp::now()).await.unwrap();
    let accounts = house.accounts();
    let again = Accounts::open(accounts.inventory().clone(), accounts.tenants().clone(), accounts.audit().clone(), false).await.unwrap();
    assert!(again.tokens(None)[0].used.is_some());
    assert_eq!(again.users(), accounts.users());
    assert!(matches!(accounts.audit().verify().await.unwrap(), engine::audit::Verified::Whole { .. }));
}

#[tokio::test]
async fn the_administrator_s_api_does_what_the_command_line_asks() {
    let house = House::new().await;
    let ask = async |method: Method, path: &str, body: Value| house.send(request(method, path, unix(0), &[], Some(body))).await;
    let made = ask(Method::POST, "/api/v1/users", json!({ "name": "ada", "password": "correct horse" })).await;
    assert_eq!((made.0, &made.1["tenants"][0]["tenant"]), (StatusCode::CREATED, &json!("ada")));
    assert_eq!(ask(Method::POST, "/api/v1/users", json!({ "name": "ada" })).await.0, StatusCode::CONFLICT);
    assert_eq!(ask(Method::POST, "/api/v1/users", json!({ "name": "Ada" })).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ask(Method::POST, "/api/v1/users", json!({ "name": "bob", "password": "short" })).await.0, StatusCode::BAD_REQUEST);
    let grant = ask(Method::POST, "/api/v1/grants", json!({ "tenant": "ada", "grant": "bind=/srv", "expires": "30d" })).await;
    assert_eq!((grant.0, &grant.1["grant"]), (StatusCode::CREATED, &json!("bind=/srv")));
    let listed = ask(Method::GET, "/api/v1/grants?tenant=ada", Value::Null).await.1;
    assert_eq!(listed[0]["in_force"], true);
    assert_eq!(ask(Method::DELETE, &format!("/api/v1/grants/{}", grant.1["id"]), Value::Null).await.0, StatusCode::NO_CONTENT);
    let certificate = ask(Method::POST, "/api/v1/certificates", json!({ "user": "ada" })).await.1;
    assert!(certificate["files"]["key"].as_str().unwrap().contains("PRIVATE KEY"), "{certificate}");
    assert_eq!(certificate["files"]["endpoint"], "tcp://127.0.0.1:8443");
    let team = ask(Method::POST, "/api/v1/tenants", json!({ "name": "team", "owner": "ada" })).await;
    assert_eq!(team.0, StatusCode::CREATED);
    assert_eq!(ask(Method::PUT, "/api/v1/tenants/team/members/root", json!({ "role": "viewer" })).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask(Method::PUT, "/api/v1/tenants/team/quota", json!({ "memory": 1_000_000_000 })).await.0, StatusCode::NO_CONTENT);
    let tenants = ask(Method::GET, "/api/v1/tenants", Value::Null).await.1;
    let team = tenants.as_array().unwrap().iter().find(|t| t["name"] == "team").unwrap();
    assert_eq!((&team["quota"]["memory"], team["members"].as_array().unwrap().len()), (&json!(1_000_000_000), 2));
    assert_eq!(ask(Method::DELETE, "/api/v1/users/root", Value::Null).await.0, StatusCode::CONFLICT);
    let verified = ask(Method::GET, "/api/v1/audit/verify", Value::Null).await.1;
    assert_eq!(verified["whole"], true);
    let page = ask(Method::GET, "/api/v1/audit?action=user&limit=10", Value::Null).await.1;
    assert_eq!(page[0]["action"], "user.add", "{page}");
    let big = request(Method::POST, "/api/v1/users", unix(0), &[], Some(json!({ "name": "x".repeat(5 << 20) })));
    assert_eq!(house.send(big).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}
