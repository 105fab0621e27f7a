//! `/api/v1/users`.

use super::admin::{Desk, time};
use crate::Who;
use crate::auth::Refusal;
use crate::auth::change::AddUser;
use crate::route::JsonBody;
use crate::store::users::User;
use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use serde::{Deserialize, Serialize};

/// A user on the wire.
#[derive(Debug, Serialize)]
pub(super) struct UserView {
    id: i64,
    name: String,
    admin: bool,
    builtin: bool,
    /// Whether a password is set.
    password: bool,
    unix_uid: Option<u32>,
    disabled: bool,
    created: String,
    /// The tenants, the personal one first, with the role in each.
    tenants: Vec<Membership>,
}

/// A membership on the wire.
#[derive(Debug, Serialize)]
struct Membership {
    tenant: String,
    role: &'static str,
}

fn view(desk: &Desk, user: User) -> UserView {
    let of = desk.accounts.tenants().of_user(user.id);
    let tenants = of.into_iter().map(|(t, role)| Membership { tenant: t.name.clone(), role: role.as_str() }).collect();
    UserView {
        id: user.id.0,
        name: user.name,
        admin: user.admin,
        builtin: user.builtin,
        password: user.password.is_some(),
        unix_uid: user.unix.map(|u| u.uid),
        disabled: user.disabled,
        created: time(user.created),
        tenants,
    }
}

pub(super) async fn list(State(desk): State<Desk>) -> Json<Vec<UserView>> {
    Json(desk.accounts.users().into_iter().map(|u| view(&desk, u)).collect())
}

/// The body of `POST /api/v1/users`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    name: String,
    #[serde(default)]
    admin: bool,
    password: Option<String>,
    unix_user: Option<String>,
}

pub(super) async fn add(
    State(desk): State<Desk>,
    Who(who): Who,
    JsonBody(add): JsonBody<Add>,
) -> Result<(StatusCode, Json<UserView>), Refusal> {
    let add = AddUser { name: add.name, admin: add.admin, password: add.password, unix_user: add.unix_user };
    let user = desk.accounts.add_user(&who, add).await?;
    Ok((StatusCode::CREATED, Json(view(&desk, user))))
}

/// The query of `DELETE /api/v1/users/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remove {
    /// Also stops and removes what the user's personal tenant holds.
    #[serde(default)]
    force: bool,
}

pub(super) async fn remove(
    State(desk): State<Desk>,
    Who(who): Who,
    Path(name): Path<String>,
    Query(Remove { force }): Query<Remove>,
) -> Result<StatusCode, Refusal> {
    let user = desk.accounts.user(&name)?;
    if let Some(tenant) = desk.accounts.tenants().personal_of(user.id) {
        super::admin_tenants::empty(&desk, &who, &tenant, force).await?;
    }
    desk.accounts.remove_user(&who, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of `PUT /api/v1/users/{name}/password`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    /// Null: no sign-in by password any more.
    password: Option<String>,
}

pub(super) async fn password(
    State(desk): State<Desk>,
    Who(who): Who,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<Password>,
) -> Result<StatusCode, Refusal> {
    desk.accounts.set_password(&who, &name, body.password.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The body of `PUT /api/v1/users/{name}/disabled`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Disabled {
    disabled: bool,
}

pub(super) async fn disabled(
    State(desk): State<Desk>,
    Who(who): Who,
    Path(name): Path<String>,
    JsonBody(body): JsonBody<Disabled>,
) -> Result<StatusCode, Refusal> {
    desk.accounts.set_disabled(&who, &name, body.disabled).await?;
    Ok(StatusCode::NO_CONTENT)
}
