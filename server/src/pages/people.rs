//! The administrator's pages: people with their grants, and the audit log.

use super::form::Filled;
use super::frame::{OrPage, Visit, capital, status};
use super::words;
use crate::auth::change::AddUser;
use crate::auth::lifetime;
use crate::store::users::User;
use axum::extract::{Path, Query};
use axum::response::Response;
use engine::audit::{Entry, Filter, Outcome, Record};
use engine::grant::GrantKind;
use engine::tenant::Tenant;
use engine::{Error, GrantId};
use jiff::Timestamp;
use serde::Deserialize;
use std::sync::Arc;
use web::view::admin::{AuditList, AuditRow, GrantRow, UserDetail, UserList, UserNew, UserRow};
use web::view::page::Choice;
use web::view::piece::segment;
use web::view::{Badge, Fact, Field, Flash, Tone, Value};

/// Rows of one page of the audit log.
const ROWS: u32 = 100;

fn href(name: &str) -> String {
    format!("/ui/users/{}", segment(name))
}

fn badge(user: &User) -> Badge {
    if user.disabled { Badge::new("disabled", "✕", Tone::Err) } else { Badge::new("active", "●", Tone::Ok) }
}

fn unix(user: &User) -> String {
    user.unix.map_or(String::new(), |a| {
        let name = nix::unistd::User::from_uid(a.uid.into()).ok().flatten().map(|u| u.name);
        name.map_or_else(|| a.uid.to_string(), |name| format!("{name} ({})", a.uid))
    })
}

/// `GET /ui/users`
pub async fn list(visit: Visit) -> Response {
    let accounts = &visit.app.accounts;
    let now = Timestamp::now();
    let row = |user: User| {
        let sessions = accounts.sessions(user.id, now).into_iter().map(|s| s.seen);
        let tokens = accounts.tokens(Some(user.id)).into_iter().filter_map(|t| t.used);
        UserRow {
            href: href(&user.name),
            badge: badge(&user),
            unix: unix(&user),
            tenant: accounts.tenants().personal_of(user.id).map_or(String::new(), |t| t.name.clone()),
            created: words::ago(user.created),
            seen: words::ago_or(sessions.chain(tokens).max(), "–"),
            admin: user.admin,
            name: user.name,
        }
    };
    let mut rows: Vec<UserRow> = accounts.users().into_iter().map(row).collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    visit.frame.show(&UserList { page: visit.frame.page("Users", "users"), rows })
}

fn new(visit: &Visit, form: &Filled, error: String) -> UserNew {
    UserNew {
        page: visit.frame.page("Add a user", "users"),
        name: Field::new("name", "Name")
            .required()
            .focus()
            .mono()
            .with(form.get("name"))
            .hint("Small letters and digits; it becomes the name of their tenant too."),
        password: Field::password("password", "First password", "new-password")
            .optional()
            .hint("Empty: no sign-in in a browser, only by Unix account, token or certificate."),
        unix: Field::new("unix", "Unix account")
            .mono()
            .example("anna")
            .with(form.get("unix"))
            .hint("Whoever runs docker as this account of the host is this user."),
        admin: Field::check("admin", "Administrator")
            .with(form.get("admin"))
            .hint("Sees the audit log, manages users, and has all grants."),
        error,
    }
}

/// `GET /ui/users/new`
pub async fn form(visit: Visit) -> Response {
    visit.frame.show(&new(&visit, &Filled::default(), String::new()))
}

/// `POST /ui/users/new`
pub async fn add(visit: Visit, form: Filled) -> Response {
    let given = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    let add = AddUser {
        name: form.get("name").to_owned(),
        admin: form.has("admin"),
        password: given(form.exact("password")),
        unix_user: given(form.get("unix")),
    };
    match visit.app.accounts.add_user(&visit.who, add).await {
        Ok(user) => visit.frame.to(&href(&user.name), Some(Flash { tone: Tone::Ok, text: format!("Added {}.", user.name) })),
        Err(error) => visit.frame.show_with(status(&error), &new(&visit, &form, capital(&error.to_string()))),
    }
}

/// `GET /ui/users/{name}`
pub async fn show(visit: Visit, Path(name): Path<String>) -> Result<Response, Response> {
    let user = visit.app.accounts.user(&name).or_page(&visit.frame)?;
    Ok(visit.frame.show(&detail(&visit, &user, &Filled::default(), String::new())))
}

fn personal(visit: &Visit, user: &User) -> Option<Arc<Tenant>> {
    visit.app.accounts.tenants().personal_of(user.id)
}

fn detail(visit: &Visit, user: &User, form: &Filled, error: String) -> UserDetail {
    let accounts = &visit.app.accounts;
    let now = Timestamp::now();
    let unix = unix(user);
    let mut facts = vec![
        Fact::new("Role", Value::Text(if user.admin { "administrator".into() } else { "user".into() })),
        Fact::new("Unix account", if unix.is_empty() { Value::Nothing("none") } else { Value::Code(unix) }),
        Fact::new("Password", Value::Text(if user.password.is_some() { "set".into() } else { "none".into() })),
        Fact::new("Added", Value::When(words::ago(user.created))),
        Fact::new("Signed-in browsers", Value::Text(accounts.sessions(user.id, now).len().to_string())),
        Fact::new("Tokens", Value::Text(accounts.tokens(Some(user.id)).len().to_string())),
        Fact::new(
            "Tenants",
            Value::Tags(
                accounts.tenants().of_user(user.id).into_iter().map(|(t, role)| format!("{} ({})", t.name, role.as_str())).collect(),
            ),
        ),
    ];
    let mut grants = Vec::new();
    if let Some(tenant) = personal(visit, user) {
        facts.push(Fact::new(
            "User ids",
            Value::Text(format!("{} to {}", tenant.block.base, tenant.block.base + (engine::tenant::BLOCK_SIZE - 1))),
        ));
        for grant in accounts.tenants().grants(tenant.id) {
            grants.push(GrantRow {
                id: grant.id.0.to_string(),
                what: grant.kind.to_string(),
                by: format!("by {}", grant.created_by),
                expires: grant.expires.map_or_else(|| words::ago_or(None, "no end"), words::until),
            });
        }
    }
    UserDetail {
        page: visit.frame.page(user.name.clone(), "users"),
        name: user.name.clone(),
        href: href(&user.name),
        disabled: user.disabled,
        myself: user.builtin || visit.who.user == Some(user.id),
        badge: badge(user),
        facts,
        grants,
        grant: Field::new("grant", "Grant")
            .mono()
            .required()
            .example("bind=/srv/data")
            .with(form.get("grant"))
            .hint("KIND or KIND=VALUE, as for wharf grant add."),
        expires: Field::new("expires", "For").mono().example("30d").with(form.get("expires")).hint("Empty: until it is taken back."),
        error,
    }
}

async fn set_disabled(visit: Visit, name: String, disabled: bool) -> Result<Response, Response> {
    visit.app.accounts.set_disabled(&visit.who, &name, disabled).await.or_page(&visit.frame)?;
    let text = if disabled { format!("{name} is disabled and signed out everywhere.") } else { format!("{name} may sign in again.") };
    Ok(visit.frame.to(&href(&name), Some(Flash { tone: Tone::Ok, text })))
}

/// `POST /ui/users/{name}/disable`
pub async fn disable(visit: Visit, Path(name): Path<String>, _form: Filled) -> Result<Response, Response> {
    set_disabled(visit, name, true).await
}

/// `POST /ui/users/{name}/enable`
pub async fn enable(visit: Visit, Path(name): Path<String>, _form: Filled) -> Result<Response, Response> {
    set_disabled(visit, name, false).await
}

/// `POST /ui/users/{name}/grants`
pub async fn add_grant(visit: Visit, Path(name): Path<String>, form: Filled) -> Result<Response, Response> {
    let user = visit.app.accounts.user(&name).or_page(&visit.frame)?;
    let given = async {
        let tenant = personal(&visit, &user).ok_or_else(|| Error::conflict(format!("{name} has no personal tenant")))?;
        let kind: GrantKind = form.get("grant").parse()?;
        let expires = Some(form.get("expires")).filter(|t| !t.is_empty()).map(lifetime::parse).transpose()?.map(|d| Timestamp::now() + d);
        let accounts = &visit.app.accounts;
        let mut tx = accounts.inventory().begin().await?;
        let entry = Entry::of(&visit.who, "grant.add", format!("{kind} for {}", tenant.name)).by("administrator");
        let audit = accounts.audit().intent(&mut tx, &entry).await?;
        let given = accounts.tenants().add_grant(tx, tenant.id, kind, expires, &visit.who.name).await;
        accounts.audit().outcome(audit, &given).await;
        given
    };
    Ok(match given.await {
        Ok(grant) => visit.frame.to(&href(&name), Some(Flash { tone: Tone::Ok, text: format!("{name} now has {}.", grant.kind) })),
        Err(error) => visit.frame.show_with(status(&error), &detail(&visit, &user, &form, capital(&error.to_string()))),
    })
}

/// `POST /ui/users/{name}/grants/{id}/remove`
pub async fn remove_grant(visit: Visit, Path((name, id)): Path<(String, String)>, _form: Filled) -> Result<Response, Response> {
    let taken = async {
        let number = id.parse().map_err(|_| Error::no_such("grant", &id))?;
        let accounts = &visit.app.accounts;
        let mut tx = accounts.inventory().begin().await?;
        let audit = accounts.audit().intent(&mut tx, &Entry::of(&visit.who, "grant.remove", &id).by("administrator")).await?;
        let taken = accounts.tenants().remove_grant(tx, GrantId(number)).await;
        accounts.audit().outcome(audit, &taken).await;
        taken
    };
    let grant = taken.await.or_page(&visit.frame)?;
    Ok(visit.frame.to(
        &href(&name),
        Some(Flash { tone: Tone::Ok, text: format!("{} is taken back. What runs with it goes on until it is stopped.", grant.kind) }),
    ))
}

/// Which rows of the audit log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Which {
    actor: String,
    action: String,
    decision: String,
    before: String,
}

/// `GET /ui/audit`
pub async fn audit(visit: Visit, Query(which): Query<Which>) -> Result<Response, Response> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|t| !t.is_empty());
    let wanted = given(&which.action);
    // `container`, `container.start`, `login` are actions; anything else is looked for among the objects.
    let is_action = wanted.as_deref().is_some_and(|t| {
        t.contains('.')
            || ["container", "exec", "image", "network", "volume", "login", "logout", "user", "token", "certificate", "grant", "tenant"]
                .contains(&t)
    });
    let filter = Filter {
        before: which.before.parse().ok(),
        actor: given(&which.actor),
        action: wanted.clone().filter(|_| is_action),
        object: wanted.filter(|_| !is_action),
        denied: match which.decision.as_str() {
            "denied" => Some(true),
            "allowed" => Some(false),
            _ => None,
        },
        limit: ROWS,
        ..Filter::default()
    };
    let records = visit.app.accounts.audit().list(&filter).await.or_page(&visit.frame)?;
    let keep = words::keep(&[("actor", &which.actor), ("action", &which.action)]);
    let chosen = words::keep(&[("actor", &which.actor), ("action", &which.action), ("decision", &which.decision)]);
    let choice = |key: &str, text: &str| Choice {
        href: format!("/ui/audit?decision={key}{keep}"),
        text: text.into(),
        count: String::new(),
        chosen: which.decision == key,
    };
    let older =
        records.last().filter(|_| records.len() == ROWS as usize).map_or(String::new(), |r| format!("/ui/audit?before={}{chosen}", r.seq));
    let newest = if which.before.is_empty() { String::new() } else { format!("/ui/audit?{}", chosen.trim_start_matches('&')) };
    let view = AuditList {
        page: visit.frame.page("Audit", "audit"),
        rows: records.into_iter().map(row).collect(),
        decisions: vec![choice("", "All"), choice("allowed", "Allowed"), choice("denied", "Denied")],
        actor: which.actor,
        action: which.action,
        decision: which.decision,
        older,
        newest,
    };
    Ok(visit.frame.show(&view))
}

fn row(record: Record) -> AuditRow {
    let (badge, detail) = match record.outcome {
        Outcome::Denied(why) => (Badge::new("denied", "✕", Tone::Err), why),
        Outcome::Failed(_, why) => (Badge::new("failed", "▲", Tone::Warn), why),
        Outcome::Done(_) => (Badge::new("done", "✓", Tone::Ok), record.rule),
        Outcome::Unknown => (Badge::new("no word", "◌", Tone::Plain), "the server ended before it could say".into()),
    };
    let via = match record.ip {
        Some(ip) => format!("{} from {ip}", record.via),
        None => record.via,
    };
    AuditRow {
        seq: record.seq.to_string(),
        when: words::ago(record.time),
        actor: if record.actor.is_empty() { "nobody".into() } else { record.actor },
        via,
        tenant: record.tenant_name,
        action: record.action,
        object: record.object,
        badge,
        detail,
        hash: record.spec_hash.map_or(String::new(), |h| h.hex().chars().take(12).collect()),
    }
}
