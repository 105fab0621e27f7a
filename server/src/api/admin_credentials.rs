//! `/api/v1/tokens` and `/api/v1/certificates`: one's own, and for an administrator everybody's.

use super::admin::{Desk, time};
use crate::Who;
use crate::auth::Refusal;
use crate::auth::change::AddToken;
use crate::auth::lifetime;

use crate::route::JsonBody;
use crate::store::certificates::Certificate;
use crate::store::tokens::Token;
use crate::store::users::User;
use crate::store::{scope, scope_word};
use axum::Json;
use axum::extract::{Path, Query, State};
use engine::{Role, Scope, Subject, TenantId, UserId, Via};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// What a token lasts when nothing is said.
const DEFAULT_LIFETIME: &str = "90d";

/// The query of the lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    /// Whose; an administrator may also ask for everybody's with `*`.
    user: Option<String>,
}

/// Whose credentials are meant: one's own, or what an administrator names.
fn owner(desk: &Desk, who: &Subject, named: Option<&str>) -> Result<User, Refusal> {
    let own = || {
        let nobody = || Refusal::forbidden("a container has no tokens or certificates of its own");
        who.user.and_then(|id| desk.accounts.user_by_id(id)).ok_or_else(nobody)
    };
    match named {
        None => own(),
        Some(name) if name == who.name && who.user.is_some() => own(),
        Some(name) if is_admin(who) => Ok(desk.accounts.user(name)?),
        Some(_) => Err(Refusal::forbidden("only an administrator may do this for somebody else")),
    }
}

fn is_admin(who: &Subject) -> bool {
    who.role == Role::Admin && who.scope == Scope::Admin
}

/// A credential made with another one must not reach further than it.
fn check_scope(who: &Subject, wanted: Scope) -> Result<(), Refusal> {
    if wanted <= who.scope {
        return Ok(());
    }
    let own = scope_word(who.scope);
    Err(Refusal::forbidden(format!("a credential of scope {own} cannot make one that reaches further")))
}

/// The tenant a new credential is bound to. What was made by a token or certificate stays in the tenant that one speaks for:
/// a credential for one tenant cannot make itself one for all.
fn tenant(desk: &Desk, who: &Subject, owner: &User, named: Option<&str>) -> Result<Option<TenantId>, Refusal> {
    let free = is_admin(who) || matches!(who.via, Via::Session | Via::Socket);
    let Some(name) = named else { return Ok(if free { None } else { Some(who.tenant) }) };
    let absent = || Refusal::of(&engine::Error::no_such("tenant", name));
    let tenant = desk.accounts.tenants().by_name(name).ok_or_else(absent)?;
    if !is_admin(who) && desk.accounts.tenants().role(tenant.id, owner.id).is_none() {
        return Err(absent());
    }
    if !free && tenant.id != who.tenant {
        return Err(Refusal::forbidden(format!("this credential speaks for the tenant {} only", who.tenant_name)));
    }
    Ok(Some(tenant.id))
}

fn everybody_or(desk: &Desk, who: &Subject, of: &Of) -> Result<Option<UserId>, Refusal> {
    if of.user.as_deref() == Some("*") && is_admin(who) {
        return Ok(None);
    }
    owner(desk, who, of.user.as_deref()).map(|user| Some(user.id))
}

/// A token on the wire.
#[derive(Debug, Serialize)]
pub(super) struct TokenView {
    id: i64,
    name: String,
    user: String,
    tenant: Option<String>,
    scope: &'static str,
    created: String,
    expires: String,
    used: Option<String>,
    /// The secret, in the answer to its making and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

fn tenant_name(desk: &Desk, id: TenantId) -> String {
    // A credential of a tenant that is gone: it proves nothing, and its owner may see that.
    desk.accounts.tenants().get(id).map_or_else(|| "(gone)".to_owned(), |t| t.name.clone())
}

fn user_name(desk: &Desk, id: UserId) -> String {
    desk.accounts.user_by_id(id).map(|u| u.name).unwrap_or_default()
}

fn token_view(desk: &Desk, token: Token, secret: Option<String>) -> TokenView {
    TokenView {
        id: token.id,
        name: token.name,
        user: user_name(desk, token.user),
        tenant: token.tenant.map(|t| tenant_name(desk, t)),
        scope: scope_word(token.scope),
        created: time(token.created),
        expires: time(token.expires),
        used: token.used.map(time),
        token: secret,
    }
}

pub(super) async fn tokens(State(desk): State<Desk>, Who(who): Who, Query(of): Query<Of>) -> Result<Json<Vec<TokenView>>, Refusal> {
    let of = everybody_or(&desk, &who, &of)?;
    Ok(Json(desk.accounts.tokens(of).into_iter().map(|t| token_view(&desk, t, None)).collect()))
}

/// The body of `POST /api/v1/tokens`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddTokenBody {
    /// Whose; one's own if absent.
    user: Option<String>,
    tenant: Option<String>,
    #[serde(default)]
    name: String,
    /// read, write or admin.
    scope: Option<String>,
    /// `30d`.
    expires: Option<String>,
}

pub(super) async fn add_token(
    State(desk): State<Desk>,
    Who(who): Who,
    JsonBody(body): JsonBody<AddTokenBody>,
) -> Result<(StatusCode, Json<TokenView>), Refusal> {
    let owner = owner(&desk, &who, body.user.as_deref())?;
    let wanted = scope(body.scope.as_deref().unwrap_or("write"))?;
    check_scope(&who, wanted)?;
    let tenant = tenant(&desk, &who, &owner, body.tenant.as_deref())?;
    let lifetime = lifetime::parse(body.expires.as_deref().unwrap_or(DEFAULT_LIFETIME))?;
    let add = AddToken { name: body.name, tenant, scope: wanted, lifetime };
    let (token, secret) = desk.accounts.add_token(&who, &owner, add).await?;
    Ok((StatusCode::CREATED, Json(token_view(&desk, token, Some(secret.reveal().to_owned())))))
}

pub(super) async fn revoke_token(State(desk): State<Desk>, Who(who): Who, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    desk.accounts.revoke_token(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A certificate on the wire.
#[derive(Debug, Serialize)]
pub(super) struct CertificateView {
    id: i64,
    name: String,
    user: String,
    tenant: String,
    scope: &'static str,
    fingerprint: String,
    created: String,
    expires: String,
    used: Option<String>,
    /// What docker expects in its folder, in the answer to its making and never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
}

/// The files of a Docker context.
#[derive(Debug, Serialize)]
struct Files {
    /// `ca.pem`.
    ca: String,
    /// `cert.pem`.
    certificate: String,
    /// `key.pem`.
    key: String,
    /// `DOCKER_HOST`; null: this server has no HTTPS.
    endpoint: Option<String>,
}

fn certificate_view(desk: &Desk, certificate: Certificate, files: Option<Files>) -> CertificateView {
    CertificateView {
        id: certificate.id,
        name: certificate.name,
        user: user_name(desk, certificate.user),
        tenant: tenant_name(desk, certificate.tenant),
        scope: scope_word(certificate.scope),
        fingerprint: certificate.fingerprint.hex(),
        created: time(certificate.created),
        expires: time(certificate.expires),
        used: certificate.used.map(time),
        files,
    }
}

pub(super) async fn certificates(
    State(desk): State<Desk>,
    Who(who): Who,
    Query(of): Query<Of>,
) -> Result<Json<Vec<CertificateView>>, Refusal> {
    let of = everybody_or(&desk, &who, &of)?;
    Ok(Json(desk.accounts.certificates(of).into_iter().map(|c| certificate_view(&desk, c, None)).collect()))
}

/// The body of `POST /api/v1/certificates`. Certificates last 90 days.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddCertificateBody {
    user: Option<String>,
    /// The personal one if absent.
    tenant: Option<String>,
    #[serde(default)]
    name: String,
    scope: Option<String>,
}

pub(super) async fn add_certificate(
    State(desk): State<Desk>,
    Who(who): Who,
    JsonBody(body): JsonBody<AddCertificateBody>,
) -> Result<(StatusCode, Json<CertificateView>), Refusal> {
    let owner = owner(&desk, &who, body.user.as_deref())?;
    let wanted = scope(body.scope.as_deref().unwrap_or("write"))?;
    check_scope(&who, wanted)?;
    let tenant = match tenant(&desk, &who, &owner, body.tenant.as_deref())? {
        Some(tenant) => tenant,
        None => {
            let none = || Refusal::forbidden(format!("{} has no personal tenant: name one", owner.name));
            desk.accounts.tenants().personal_of(owner.id).ok_or_else(none)?.id
        }
    };

    let (certificate, issued) = desk.accounts.add_certificate(&who, &desk.ca, &owner, tenant, wanted, &body.name).await?;
    let files = Files {
        ca: desk.trust.to_string(),
        certificate: issued.certificate_pem,
        key: issued.key_pem,
        endpoint: desk.endpoint.as_deref().map(str::to_owned),
    };
    Ok((StatusCode::CREATED, Json(certificate_view(&desk, certificate, Some(files)))))
}

pub(super) async fn revoke_certificate(State(desk): State<Desk>, Who(who): Who, Path(id): Path<i64>) -> Result<StatusCode, Refusal> {
    desk.accounts.revoke_certificate(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
