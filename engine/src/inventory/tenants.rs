//! SQL for tenants, members, uid blocks and quotas.

use super::{Inventory, Tx};
use crate::tenant::{MemberRole, Quota};
use crate::{Doing, Result, TenantId, UserId};
use sqlx::Row;

/// A row of `tenants` with its block.
pub(crate) struct TenantRow {
    pub id: TenantId,
    pub name: String,
    pub owner: Option<UserId>,
    pub created: i64,
    pub base: u32,
}

/// A row of `uid_blocks`.
pub(crate) struct BlockRow {
    pub base: u32,
    pub tenant: Option<TenantId>,
    pub container: Option<String>,
    pub released: bool,
}

/// What a block is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose<'a> {
    Tenant(TenantId),
    Container(TenantId, &'a str),
    Layers,
}

impl Inventory {
    pub(crate) async fn tenants(&self) -> Result<Vec<TenantRow>> {
        sqlx::query(
            "select t.id, t.name, t.owner, t.created, b.base from tenants t join uid_blocks b on b.tenant = t.id and b.purpose = 'tenant' \
             where t.removed is null order by t.id",
        )
        .try_map(|r: sqlx::sqlite::SqliteRow| {
            Ok(TenantRow {
                id: TenantId(r.try_get("id")?),
                name: r.try_get("name")?,
                owner: r.try_get::<Option<i64>, _>("owner")?.map(UserId),
                created: r.try_get("created")?,
                base: r.try_get("base")?,
            })
        })
        .fetch_all(self.reader())
        .await
        .doing(|| "reading tenants".into())
    }

    pub(crate) async fn uid_blocks(&self) -> Result<Vec<BlockRow>> {
        sqlx::query("select base, tenant, container, released is not null as released from uid_blocks")
            .try_map(|r: sqlx::sqlite::SqliteRow| {
                Ok(BlockRow {
                    base: r.try_get("base")?,
                    tenant: r.try_get::<Option<i64>, _>("tenant")?.map(TenantId),
                    container: r.try_get("container")?,
                    released: r.try_get("released")?,
                })
            })
            .fetch_all(self.reader())
            .await
            .doing(|| "reading uid blocks".into())
    }

    pub(crate) async fn members(&self) -> Result<Vec<(TenantId, UserId, MemberRole)>> {
        let rows: Vec<(i64, i64, String)> =
            sqlx::query_as("select tenant, user, role from members").fetch_all(self.reader()).await.doing(|| "reading members".into())?;
        rows.into_iter().map(|(t, u, role)| Ok((TenantId(t), UserId(u), role.parse()?))).collect()
    }

    pub(crate) async fn quotas(&self) -> Result<Vec<(TenantId, Quota)>> {
        sqlx::query("select tenant, nano_cpus, memory, memory_swap, pids, disk, containers, images, volumes, networks, ports from quotas")
            .try_map(|r: sqlx::sqlite::SqliteRow| {
                let number = |name: &str| r.try_get::<Option<i64>, _>(name).map(|n| n.and_then(|n| u64::try_from(n).ok()));
                Ok((
                    TenantId(r.try_get("tenant")?),
                    Quota {
                        nano_cpus: number("nano_cpus")?,
                        memory: number("memory")?,
                        memory_swap: number("memory_swap")?,
                        pids: number("pids")?,
                        disk: number("disk")?,
                        containers: number("containers")?,
                        images: number("images")?,
                        volumes: number("volumes")?,
                        networks: number("networks")?,
                        ports: number("ports")?,
                    },
                ))
            })
            .fetch_all(self.reader())
            .await
            .doing(|| "reading quotas".into())
    }
}

pub(crate) async fn insert_tenant(tx: &mut Tx, name: &str, owner: Option<UserId>, created: i64) -> Result<TenantId> {
    let kind = if owner.is_some() { "personal" } else { "team" };
    let done = sqlx::query("insert into tenants (name, kind, owner, created) values (?, ?, ?, ?)")
        .bind(name)
        .bind(kind)
        .bind(owner.map(|u| u.0))
        .bind(created)
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording tenant {name}"))?;
    Ok(TenantId(done.last_insert_rowid()))
}

pub(crate) async fn remove_tenant(tx: &mut Tx, id: TenantId, now: i64) -> Result<()> {
    let doing = || format!("removing tenant {id}");
    sqlx::query("update tenants set removed = ?2 where id = ?1 and removed is null")
        .bind(id.0)
        .bind(now)
        .execute(&mut **tx)
        .await
        .doing(doing)?;
    sqlx::query("update uid_blocks set released = ?2 where tenant = ?1 and released is null")
        .bind(id.0)
        .bind(now)
        .execute(&mut **tx)
        .await
        .doing(doing)?;
    sqlx::query("delete from members where tenant = ?1").bind(id.0).execute(&mut **tx).await.doing(doing)?;
    sqlx::query("delete from grants where tenant = ?1").bind(id.0).execute(&mut **tx).await.doing(doing)?;
    Ok(())
}

pub(crate) async fn rename_tenant(tx: &mut Tx, id: TenantId, name: &str) -> Result<()> {
    sqlx::query("update tenants set name = ?2 where id = ?1")
        .bind(id.0)
        .bind(name)
        .execute(&mut **tx)
        .await
        .doing(|| format!("renaming tenant {id}"))?;
    Ok(())
}

pub(crate) async fn insert_block(tx: &mut Tx, base: u32, purpose: Purpose<'_>) -> Result<()> {
    let (word, tenant, container) = match purpose {
        Purpose::Tenant(t) => ("tenant", Some(t.0), None),
        Purpose::Container(t, c) => ("container", Some(t.0), Some(c)),
        Purpose::Layers => ("layers", None, None),
    };
    sqlx::query("insert into uid_blocks (base, purpose, tenant, container) values (?, ?, ?, ?)")
        .bind(base)
        .bind(word)
        .bind(tenant)
        .bind(container)
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording uid block {base}"))?;
    Ok(())
}

pub(crate) async fn release_block(tx: &mut Tx, base: u32, now: i64) -> Result<()> {
    sqlx::query("update uid_blocks set released = ?2 where base = ?1 and released is null")
        .bind(base)
        .bind(now)
        .execute(&mut **tx)
        .await
        .doing(|| format!("releasing uid block {base}"))?;
    Ok(())
}

pub(crate) async fn delete_released_block(tx: &mut Tx, base: u32) -> Result<bool> {
    let done = sqlx::query("delete from uid_blocks where base = ?1 and released is not null")
        .bind(base)
        .execute(&mut **tx)
        .await
        .doing(|| format!("forgetting uid block {base}"))?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn set_member(tx: &mut Tx, tenant: TenantId, user: UserId, role: MemberRole) -> Result<()> {
    sqlx::query("insert into members (tenant, user, role) values (?1, ?2, ?3) on conflict do update set role = ?3")
        .bind(tenant.0)
        .bind(user.0)
        .bind(role.as_str())
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording a member of tenant {tenant}"))?;
    Ok(())
}

pub(crate) async fn delete_member(tx: &mut Tx, tenant: TenantId, user: UserId) -> Result<bool> {
    let done = sqlx::query("delete from members where tenant = ?1 and user = ?2")
        .bind(tenant.0)
        .bind(user.0)
        .execute(&mut **tx)
        .await
        .doing(|| format!("removing a member of tenant {tenant}"))?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn set_quota(tx: &mut Tx, tenant: TenantId, q: &Quota) -> Result<()> {
    let Quota { nano_cpus, memory, memory_swap, pids, disk, containers, images, volumes, networks, ports } = *q;
    let n = |v: Option<u64>| v.map(|v| i64::try_from(v).unwrap_or(i64::MAX));
    sqlx::query("insert or replace into quotas (tenant, nano_cpus, memory, memory_swap, pids, disk, containers, images, volumes, networks, ports) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
        .bind(tenant.0)
        .bind(n(nano_cpus))
        .bind(n(memory))
        .bind(n(memory_swap))
        .bind(n(pids))
        .bind(n(disk))
        .bind(n(containers))
        .bind(n(images))
        .bind(n(volumes))
        .bind(n(networks))
        .bind(n(ports))
        .execute(&mut **tx)
        .await
        .doing(|| format!("recording the quota of tenant {tenant}"))?;
    Ok(())
}
