//! From a user and a credential to the engine's `Subject`: which tenant, which role, how far the scope reaches. Membership is
//! asked at every request, so that who was taken out of a team is out at once.

use super::Refusal;
use super::accounts::Accounts;
use crate::store::users::User;
use engine::tenant::{MemberRole, Tenant};
use engine::{Role, Scope, Subject, TenantId, UnixAccount, Via};
use http::StatusCode;
use std::net::IpAddr;
use std::sync::Arc;

/// What was proven about a user, and what the proof is good for.
pub(super) struct Credential {
    pub via: Via,
    pub scope: Scope,
    /// The only tenant it speaks for.
    pub tenant: Option<TenantId>,
    pub unix: Option<UnixAccount>,
    pub ip: Option<IpAddr>,
}

impl Accounts {
    /// The subject of a user with this credential, for the tenant the request chose.
    pub(super) fn subject(&self, user: &User, credential: Credential, choice: Option<&str>) -> Result<Subject, Refusal> {
        let Credential { via, scope, tenant: bound, unix, ip } = credential;
        let tenant = self.tenant_for(user, bound, choice)?;
        // The narrowest of what the credential, the membership and the role allow.
        let scope = match self.tenants().role(tenant.id, user.id) {
            Some(MemberRole::Viewer) => Scope::Read,
            Some(MemberRole::Member | MemberRole::Owner) => scope,
            None if user.admin => scope,
            None if bound.is_some() => {
                return Err(Refusal::forbidden(format!("{} is no longer a member of the tenant {}", user.name, tenant.name)));
            }
            None => return Err(no_such_tenant(&tenant.name)),
        };
        let (role, scope) = if user.admin { (Role::Admin, scope) } else { (Role::User, scope.min(Scope::Write)) };
        let tenant_name = tenant.name.clone();
        Ok(Subject { user: Some(user.id), name: user.name.clone(), tenant: tenant.id, tenant_name, role, unix, via, ip, scope })
    }

    fn tenant_for(&self, user: &User, bound: Option<TenantId>, choice: Option<&str>) -> Result<Arc<Tenant>, Refusal> {
        match (bound, choice) {
            (Some(id), choice) => {
                let gone = || Refusal::unauthenticated("the tenant this credential was made for is gone");
                let tenant = self.tenants().get(id).ok_or_else(gone)?;
                match choice {
                    Some(name) if name != tenant.name => {
                        Err(Refusal::forbidden(format!("this credential speaks for the tenant {} only", tenant.name)))
                    }
                    _ => Ok(tenant),
                }
            }
            // An absent one and a foreign one get the same words, here and in `subject`.
            (None, Some(name)) => self.tenants().by_name(name).ok_or_else(|| no_such_tenant(name)),
            (None, None) => {
                let none = || Refusal::forbidden(format!("{} has no personal tenant: choose one with X-Wharf-Tenant", user.name));
                self.tenants().personal_of(user.id).ok_or_else(none)
            }
        }
    }

    /// The subject at the other end of a tenant's own socket: a member by Unix account, else a container of the tenant, which
    /// speaks for the tenant. Root there is no administrator: it may be a container's.
    pub(super) fn subject_of_tenant_socket(&self, tenant: TenantId, unix: UnixAccount, choice: Option<&str>) -> Result<Subject, Refusal> {
        let gone = || Refusal::unauthenticated("the tenant of this socket is gone");
        let found = self.tenants().get(tenant).ok_or_else(gone)?;
        if choice.is_some_and(|name| name != found.name) {
            return Err(Refusal::forbidden(format!("this socket speaks for the tenant {} only", found.name)));
        }
        if unix.uid == 0 || self.tenants().tenant_of_uid(unix.uid) == Some(tenant) {
            return Ok(Subject {
                user: None,
                name: format!("a container of {}", found.name),
                tenant,
                tenant_name: found.name.clone(),
                role: Role::User,
                unix: None,
                via: Via::TenantSocket,
                ip: None,
                scope: Scope::Write,
            });
        }
        let stranger = || Refusal::unauthenticated(format!("uid {} is no member of the tenant of this socket", unix.uid));
        let user = self.user_of_uid(unix.uid).filter(|u| !u.disabled).ok_or_else(stranger)?;
        // An administrator who is no member has the main socket for this.
        self.tenants().role(tenant, user.id).ok_or_else(stranger)?;
        let credential = Credential { via: Via::TenantSocket, scope: Scope::Write, tenant: Some(tenant), unix: Some(unix), ip: None };
        let mut subject = self.subject(&user, credential, None)?;
        subject.role = Role::User;
        Ok(subject)
    }
}

fn no_such_tenant(name: &str) -> Refusal {
    Refusal { status: StatusCode::NOT_FOUND, message: engine::Error::no_such("tenant", name).to_string() }
}
