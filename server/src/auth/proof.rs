//! From a request to an authenticated subject. One proof decides: a bearer token if one is given, else the client
//! certificate, else the Unix account, else the session cookie. A proof that does not hold ends it; there is no falling
//! through to a weaker one.

use super::accounts::Accounts;
use super::secret::Secret;
use super::subject::Credential;
use super::{Peer, Refusal, session};
use crate::route::{Face, TenantInPath};
use engine::{Scope, Subject, UnixAccount, Via};
use http::request::Parts;
use http::{HeaderMap, header};
use jiff::Timestamp;

/// The header that chooses a tenant.
pub const TENANT_HEADER: &str = "x-wharf-tenant";

/// Who it is, and by which session if by one.
pub(crate) struct Authenticated {
    pub subject: Subject,
    pub session: Option<Secret>,
}

/// The subject behind a request.
///
/// # Errors
/// 401 when there is no proof or it does not hold; 403 or 404 for a tenant that is not one's own.
pub(crate) async fn authenticate(accounts: &Accounts, face: Face, parts: &Parts) -> Result<Authenticated, Refusal> {
    let Some(peer) = parts.extensions.get::<Peer>() else { return Err(Refusal::nobody()) };
    let now = Timestamp::now();
    let choice = choice(parts)?;
    let ip = match peer {
        Peer::Tcp { address, .. } => Some(address.ip().to_canonical()),
        _ => None,
    };
    let by = |subject| Ok(Authenticated { subject, session: None });

    if let Some(secret) = bearer(&parts.headers)? {
        let found = accounts.token(&secret, now);
        let (token, user) = found.ok_or_else(|| Refusal::unauthenticated("this API token is unknown, revoked or expired"))?;
        let credential = Credential { via: Via::Token, scope: token.scope, tenant: token.tenant, unix: user.unix, ip };
        return by(accounts.subject(&user, credential, choice)?);
    }
    match peer {
        Peer::Unix { uid, gid } => {
            let unix = UnixAccount { uid: *uid, gid: *gid };
            let user = match accounts.user_of_uid(*uid) {
                Some(user) if !user.disabled => user,
                Some(user) => return Err(Refusal::unauthenticated(format!("the user {} is disabled", user.name))),
                None => accounts.provision(unix).await?,
            };
            let credential = Credential { via: Via::Socket, scope: Scope::Admin, tenant: None, unix: Some(unix), ip };
            by(accounts.subject(&user, credential, choice)?)
        }
        Peer::Tenant { tenant, uid, gid } => {
            let unix = UnixAccount { uid: *uid, gid: *gid };
            by(accounts.subject_of_tenant_socket(*tenant, unix, choice)?)
        }
        // A browser that happens to hold a certificate still signs in with a person's session.
        Peer::Tcp { certificate: Some(fingerprint), .. } if face != Face::Pages => {
            let found = accounts.certificate(fingerprint, now);
            let (certificate, user) =
                found.ok_or_else(|| Refusal::unauthenticated("this client certificate is unknown, revoked or expired"))?;
            let credential =
                Credential { via: Via::Certificate, scope: certificate.scope, tenant: Some(certificate.tenant), unix: user.unix, ip };
            by(accounts.subject(&user, credential, choice)?)
        }
        // Never on Docker's paths: those change things by requests that any page can make a browser send.
        Peer::Tcp { .. } if face == Face::Docker => Err(Refusal::nobody()),
        Peer::Tcp { .. } => {
            let secret = session::presented(&parts.headers).ok_or_else(Refusal::nobody)?;
            let found = accounts.session(&secret, now);
            let (_, user) = found.ok_or_else(|| Refusal::unauthenticated("this session has ended: sign in again"))?;
            let credential = Credential { via: Via::Session, scope: Scope::Admin, tenant: None, unix: user.unix, ip };
            let subject = accounts.subject(&user, credential, choice)?;
            // What a person's cookie may do by WebSocket, only our own pages may ask for.
            if parts.headers.contains_key(header::UPGRADE) && !super::cross_site::is_own_origin(&parts.headers) {
                return Err(Refusal::forbidden("this WebSocket was not opened by one of our pages"));
            }
            Ok(Authenticated { subject, session: Some(secret) })
        }
    }
}

/// The tenant the request names, in its path or by header.
fn choice(parts: &Parts) -> Result<Option<&str>, Refusal> {
    let mut headers = parts.headers.get_all(TENANT_HEADER).iter();
    let in_header = match (headers.next(), headers.next()) {
        (None, _) => None,
        (Some(name), None) => Some(name.to_str().map_err(|_| Refusal::forbidden("the header X-Wharf-Tenant is no tenant's name"))?),
        (Some(_), Some(_)) => return Err(Refusal::forbidden("the header X-Wharf-Tenant stands there twice")),
    };
    let in_path = parts.extensions.get::<TenantInPath>().map(|t| t.0.as_str());
    match (in_path, in_header) {
        (Some(a), Some(b)) if a != b => Err(Refusal::forbidden(format!("the path names the tenant {a}, the header {b}"))),
        (path, header) => Ok(path.or(header)),
    }
}

/// The bearer token, if the request has one. Any other `Authorization` is a proof we cannot check.
fn bearer(headers: &HeaderMap) -> Result<Option<Secret>, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let wrong = || Refusal::unauthenticated("expected the header Authorization: Bearer wharf_…");
    if all.next().is_some() {
        return Err(wrong());
    }
    let (scheme, token) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || !token.starts_with(super::change::TOKEN_PREFIX) {
        return Err(wrong());
    }
    Ok(Some(Secret::presented(token)))
}
