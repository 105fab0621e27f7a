//! One's own account: password, browsers, tokens, certificates.

use super::form::Filled;
use super::frame::{OrPage, Visit, capital};
use super::words;
use crate::auth::change::AddToken;
use crate::auth::{lifetime, session};
use crate::store::users::User;
use crate::store::{scope, scope_word};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use engine::{Error, Role, Scope};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use web::view::account::{Account, CertificateRow, Fresh, SessionRow, TokenRow};
use web::view::{Badge, Fact, Field, Flash, Tone, Value};

const HOME: &str = "/ui/account";

/// `GET /ui/account`
pub async fn page(visit: Visit, headers: HeaderMap) -> Result<Response, Response> {
    let view = view(&visit, &headers, None).or_page(&visit.frame)?;
    Ok(visit.frame.show(&view))
}

/// The person's own row; containers that mounted a tenant's socket have none.
fn me(visit: &Visit) -> Result<User, Error> {
    visit.app.accounts.user(&visit.who.name)
}

fn view(visit: &Visit, headers: &HeaderMap, fresh: Option<Fresh>) -> Result<Account, Error> {
    let Visit { who, app, frame } = visit;
    let user = me(visit)?;
    let now = Timestamp::now();
    let tenant = |id: Option<engine::TenantId>| {
        id.map_or("all of yours".to_owned(), |id| app.accounts.tenants().get(id).map_or("gone".to_owned(), |t| t.name.clone()))
    };
    let state =
        |expires: Timestamp| if expires > now { Badge::new("valid", "●", Tone::Ok) } else { Badge::new("ended", "○", Tone::Plain) };
    let mut facts = vec![
        Fact::new("Name", Value::Text(user.name.clone())),
        Fact::new("Role", Value::Text(if user.admin { "administrator".into() } else { "user".into() })),
        Fact::new(
            "Tenants",
            Value::Tags(
                app.accounts.tenants().of_user(user.id).into_iter().map(|(t, role)| format!("{} ({})", t.name, role.as_str())).collect(),
            ),
        ),
        Fact::new("Member since", Value::When(words::ago(user.created))),
        Fact::new("Unix account", unix(&user)),
    ];
    if let Some(personal) = app.accounts.tenants().personal_of(user.id) {
        facts.push(Fact::new("User ids", Value::Text(format!("root in your containers is {} on the host", personal.block.base))));
    }
    let this = session::presented(headers).and_then(|secret| app.accounts.session_id(&secret));
    let mut scopes = vec![("read".to_owned(), "look at things".to_owned()), ("write".to_owned(), "and change them".to_owned())];
    if who.role == Role::Admin && who.scope == Scope::Admin {
        scopes.push(("admin".to_owned(), "and administer the host".to_owned()));
    }
    Ok(Account {
        page: frame.page("Account", "account"),
        facts,
        current: Field::password("current", "Current password", "current-password"),
        new: Field::password("new", "New password", "new-password"),
        again: Field::password("again", "New password again", "new-password"),
        sessions: app
            .accounts
            .sessions(user.id, now)
            .into_iter()
            .map(|s| SessionRow {
                id: s.id.to_string(),
                agent: browser(&s.agent),
                address: s.address,
                since: words::ago(s.created),
                seen: words::ago(s.seen),
                this: this == Some(s.id),
            })
            .collect(),
        tokens: app
            .accounts
            .tokens(Some(user.id))
            .into_iter()
            .map(|t| TokenRow {
                id: t.id.to_string(),
                name: t.name,
                scope: scope_word(t.scope).to_owned(),
                tenant: tenant(t.tenant),
                created: words::ago(t.created),
                expires: words::until(t.expires),
                used: words::ago_or(t.used, "never"),
                badge: state(t.expires),
            })
            .collect(),
        token_name: Field::new("name", "Name").required().example("ci"),
        token_scope: Field::select("scope", "May", scopes).with("write"),
        token_expires: Field::new("expires", "Lasts").mono().with("90d").hint("30d, 12h, 1y: a year at most."),
        fresh,
        certificates: app
            .accounts
            .certificates(Some(user.id))
            .into_iter()
            .map(|c| CertificateRow {
                id: c.id.to_string(),
                name: c.name,
                tenant: tenant(Some(c.tenant)),
                created: words::ago(c.created),
                expires: words::until(c.expires),
                badge: state(c.expires),
            })
            .collect(),
        socket: format!("unix://{}", app.config.socket.display()),
        address: format!("https://{}", frame.host),
    })
}

fn unix(user: &User) -> Value {
    let Some(account) = user.unix else { return Value::Nothing("none: ask an administrator to bind one") };
    let name = nix::unistd::User::from_uid(account.uid.into()).ok().flatten().map(|u| u.name);
    Value::Code(name.map_or_else(|| account.uid.to_string(), |name| format!("{name} ({})", account.uid)))
}

/// `Firefox on Linux`, from what the browser says of itself.
fn browser(agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| names.iter().find(|(sign, _)| agent.contains(sign)).map(|(_, name)| *name);
    let browser = find(&[
        ("Firefox/", "Firefox"),
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = find(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(b), Some(s)) => format!("{b} on {s}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) if agent.is_empty() => "unnamed".into(),
        (None, None) => agent.chars().take(40).collect(),
    }
}

/// Back to the page, saying how it went.
fn back(visit: &Visit, outcome: Result<&str, String>) -> Response {
    let flash = match outcome {
        Ok(said) => Flash { tone: Tone::Ok, text: said.to_owned() },
        Err(why) => Flash { tone: Tone::Err, text: capital(&why) },
    };
    visit.frame.to(HOME, Some(flash))
}

/// `POST /ui/account/password`
pub async fn password(visit: Visit, form: Filled) -> Response {
    if form.exact("new") != form.exact("again") {
        return back(&visit, Err("the two new passwords are not the same".into()));
    }
    let changed = visit.app.accounts.change_own_password(&visit.who, form.exact("current"), form.exact("new")).await;
    match changed {
        // Changing it ends every session, this one too.
        Ok(()) => {
            visit.frame.to("/ui/login", Some(Flash { tone: Tone::Ok, text: "The password is changed. Sign in with the new one.".into() }))
        }
        Err(refusal) => back(&visit, Err(refusal.message)),
    }
}

fn number(id: &str) -> Result<i64, Error> {
    id.parse().map_err(|_| Error::no_such("entry", id))
}

/// `POST /ui/account/sessions/{id}/end`
pub async fn end_session(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let id = number(&id).or_page(&visit.frame)?;
    visit.app.accounts.end_session(&visit.who, id).await.or_page(&visit.frame)?;
    Ok(back(&visit, Ok("That browser is signed out.")))
}

/// `POST /ui/account/tokens`: the page with the token's secret, this once.
pub async fn add_token(visit: Visit, headers: HeaderMap, form: Filled) -> Response {
    let made = async {
        let name = form.get("name").to_owned();
        if name.is_empty() {
            return Err(Error::invalid("say what the token is called"));
        }
        let scope = scope(form.get("scope"))?;
        if scope > visit.who.scope {
            return Err(Error::forbidden("a token cannot reach further than what it is made with"));
        }
        let add = AddToken { name, tenant: None, scope, lifetime: lifetime::parse(form.get("expires"))? };
        let (token, secret) = visit.app.accounts.add_token(&visit.who, &me(&visit)?, add).await?;
        view(&visit, &headers, Some(Fresh { name: token.name, secret: secret.reveal().to_owned() }))
    };
    match made.await {
        Ok(view) => visit.frame.show_with(StatusCode::CREATED, &view),
        Err(error) => back(&visit, Err(error.to_string())),
    }
}

/// `POST /ui/account/tokens/{id}/revoke`
pub async fn revoke_token(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let id = number(&id).or_page(&visit.frame)?;
    visit.app.accounts.revoke_token(&visit.who, id).await.or_page(&visit.frame)?;
    Ok(back(&visit, Ok("The token is revoked.")))
}

/// `POST /ui/account/certificates`: a docker context of one's own as a file, for `docker context import`.
pub async fn add_certificate(visit: Visit, _form: Filled) -> Response {
    let Visit { who, app, .. } = &visit;
    let made = async {
        let endpoint = app
            .desk
            .endpoint
            .clone()
            .ok_or_else(|| Error::conflict("this server does not listen on HTTPS, so a certificate would open nothing"))?;
        let (certificate, issued) =
            app.accounts.add_certificate(who, &app.desk.ca, &me(&visit)?, who.tenant, who.scope, "docker context").await?;
        let name = format!("wharf-{}", who.tenant_name);
        context(&name, &endpoint, &app.desk.trust, &issued.certificate_pem, &issued.key_pem, certificate.expires).map(|tar| (name, tar))
    };
    match made.await {
        Ok((name, tar)) => {
            let mut response = tar.into_response();
            let head = response.headers_mut();
            head.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
            head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            // Tenants' names are fit for file names.
            if let Ok(value) = HeaderValue::try_from(format!("attachment; filename=\"{name}.dockercontext\"")) {
                head.insert(header::CONTENT_DISPOSITION, value);
            }
            response
        }
        Err(error) => back(&visit, Err(error.to_string())),
    }
}

/// The archive that `docker context import` reads: meta.json, and the files of the endpoint's TLS.
fn context(name: &str, endpoint: &str, trust: &str, certificate: &str, key: &str, expires: Timestamp) -> Result<Vec<u8>, Error> {
    let meta = serde_json::json!({
        "Name": name,
        "Metadata": { "Description": format!("Wharf, until {}", expires.strftime("%Y-%m-%d")) },
        "Endpoints": { "docker": { "Host": endpoint, "SkipTLSVerify": false } },
    });
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("meta.json", meta.to_string().as_str()),
        ("tls/docker/ca.pem", trust),
        ("tls/docker/cert.pem", certificate),
        ("tls/docker/key.pem", key),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(Timestamp::now().as_second()).unwrap_or(0));
        tar.append_data(&mut header, path, content.as_bytes()).map_err(|e| Error::internal("making the context", e))?;
    }
    tar.into_inner().map_err(|e| Error::internal("making the context", e))
}

/// `POST /ui/account/certificates/{id}/revoke`
pub async fn revoke_certificate(visit: Visit, Path(id): Path<String>, _form: Filled) -> Result<Response, Response> {
    let id = number(&id).or_page(&visit.frame)?;
    visit.app.accounts.revoke_certificate(&visit.who, id).await.or_page(&visit.frame)?;
    Ok(back(&visit, Ok("The certificate is revoked.")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_called_by_their_names() {
        for (agent, name) in [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0 Safari/537.36 Edg/142.0",
                "Edge on Windows",
            ),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Safari/604.1", "Safari on iPhone"),
            ("curl/8.14", "curl"),
            ("", "unnamed"),
        ] {
            assert_eq!(browser(agent), name);
        }
    }

    #[test]
    fn the_docker_cli_imports_our_context() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.dockercontext");
        std::fs::write(&file, context("wharf-anna", "tcp://host:8443", "CA", "CERT", "KEY", Timestamp::now()).unwrap()).unwrap();
        let docker = |args: &[&str]| std::process::Command::new("docker").env("DOCKER_CONFIG", folder.path()).args(args).output();
        let imported = match docker(&["context", "import", "wharf-anna", file.to_str().unwrap()]) {
            Ok(imported) => imported,
            Err(e) => {
                println!("SKIPPED: no docker CLI here: {e}");
                return;
            }
        };
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let seen = String::from_utf8(docker(&["context", "inspect", "wharf-anna"]).unwrap().stdout).unwrap();
        assert!(seen.contains("tcp://host:8443") && seen.contains("key.pem"), "{seen}");
    }
}
