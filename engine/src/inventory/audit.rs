//! SQL for the audit chain. Rows are only ever added.

use super::{Inventory, Tx};
use crate::audit::{Filter, Row, RowKind};
use crate::{Digest, Doing, Result, TenantId, UserId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// The end of the chain: number and hash of the last row.
pub(crate) async fn head(tx: &mut Tx) -> Result<(i64, [u8; 32])> {
    let row: Option<(i64, Vec<u8>)> = sqlx::query_as("select seq, hash from audit order by seq desc limit 1")
        .fetch_optional(&mut **tx)
        .await
        .doing(|| "reading the audit log's end".into())?;
    Ok(match row {
        Some((seq, hash)) => (seq, hash.try_into().unwrap_or_default()),
        None => (0, [0; 32]),
    })
}

/// Adds a row.
pub(crate) async fn insert(tx: &mut Tx, row: &Row, hash: &[u8; 32]) -> Result<()> {
    let query = sqlx::query(
        "insert into audit (seq, time, kind, intent, actor, user, via, ip, tenant, tenant_name, action, object, spec_hash, rule, outcome, hash) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    );
    bind(query, row, hash).execute(&mut **tx).await.doing(|| "writing the audit log".into())?;
    Ok(())
}

/// Adds a row, if the chain's last row has the hash `previous`. Whether it has.
pub(crate) async fn insert_behind(tx: &mut Tx, row: &Row, hash: &[u8; 32], previous: &[u8; 32]) -> Result<bool> {
    let query = sqlx::query(
        "insert into audit (seq, time, kind, intent, actor, user, via, ip, tenant, tenant_name, action, object, spec_hash, rule, outcome, hash) \
         select ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? where (select hash from audit order by seq desc limit 1) is ?",
    );
    let done = bind(query, row, hash).bind(previous.as_slice()).execute(&mut **tx).await.doing(|| "writing the audit log".into())?;
    Ok(done.rows_affected() == 1)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind<'q>(query: Query<'q>, row: &'q Row, hash: &'q [u8; 32]) -> Query<'q> {
    query
        .bind(row.seq)
        .bind(row.time)
        .bind(row.kind.as_str())
        .bind(row.intent)
        .bind(&row.actor)
        .bind(row.user.map(|u| u.0))
        .bind(&row.via)
        .bind(&row.ip)
        .bind(row.tenant.map(|t| t.0))
        .bind(&row.tenant_name)
        .bind(&row.action)
        .bind(&row.object)
        .bind(row.spec_hash.as_ref().map(|d| d.as_bytes().as_slice()))
        .bind(&row.rule)
        .bind(&row.outcome)
        .bind(hash.as_slice())
}

fn read(r: &SqliteRow) -> sqlx::Result<Row> {
    Ok(Row {
        seq: r.try_get("seq")?,
        time: r.try_get("time")?,
        kind: RowKind::parse(r.try_get("kind")?),
        intent: r.try_get("intent")?,
        actor: r.try_get("actor")?,
        user: r.try_get::<Option<i64>, _>("user")?.map(UserId),
        via: r.try_get("via")?,
        ip: r.try_get("ip")?,
        tenant: r.try_get::<Option<i64>, _>("tenant")?.map(TenantId),
        tenant_name: r.try_get("tenant_name")?,
        action: r.try_get("action")?,
        object: r.try_get("object")?,
        // A hash of another length was tampered with; none at all breaks the chain as well.
        spec_hash: r.try_get::<Option<Vec<u8>>, _>("spec_hash")?.and_then(|b| b.try_into().ok()).map(Digest::from_bytes),
        rule: r.try_get("rule")?,
        outcome: r.try_get("outcome")?,
    })
}

impl Inventory {
    /// Up to `limit` rows after `seq`, with their hashes.
    pub(crate) async fn audit_chain(&self, seq: i64, limit: i64) -> Result<Vec<(Row, Vec<u8>)>> {
        sqlx::query("select * from audit where seq > ?1 order by seq limit ?2")
            .bind(seq)
            .bind(limit)
            .try_map(|r: SqliteRow| Ok((read(&r)?, r.try_get("hash")?)))
            .fetch_all(self.reader())
            .await
            .doing(|| "reading the audit log".into())
    }

    /// The highest number a row ever had.
    pub(crate) async fn audit_last(&self) -> Result<i64> {
        let seq: Option<(i64,)> = sqlx::query_as("select seq from sqlite_sequence where name = 'audit'")
            .fetch_optional(self.reader())
            .await
            .doing(|| "reading the audit log's length".into())?;
        Ok(seq.map_or(0, |s| s.0))
    }

    /// Intents and denials, newest first, with the outcome's time and text where there is one.
    pub(crate) async fn audit_page(&self, f: &Filter) -> Result<Vec<(Row, Option<(i64, String)>)>> {
        sqlx::query(
            "select a.*, o.time as done_time, o.outcome as done from audit a left join audit o on o.intent = a.seq \
             where a.kind <> 'outcome' and (?1 is null or a.seq < ?1) and (?2 is null or a.tenant = ?2) and (?3 is null or a.actor = ?3) \
             and (?4 is null or a.action = ?4 or substr(a.action, 1, length(?4) + 1) = ?4 || '.') and (?5 is null or a.object = ?5) \
             and (?6 is null or (a.kind = 'denied') = ?6) and (?7 is null or a.time >= ?7) and (?8 is null or a.time < ?8) \
             order by a.seq desc limit ?9",
        )
        .bind(f.before)
        .bind(f.tenant.map(|t| t.0))
        .bind(&f.actor)
        .bind(&f.action)
        .bind(&f.object)
        .bind(f.denied)
        .bind(f.since.map(jiff::Timestamp::as_millisecond))
        .bind(f.until.map(jiff::Timestamp::as_millisecond))
        .bind(i64::from(f.limit))
        .try_map(|r: SqliteRow| {
            let done = match r.try_get::<Option<i64>, _>("done_time")? {
                Some(time) => Some((time, r.try_get("done")?)),
                None => None,
            };
            Ok((read(&r)?, done))
        })
        .fetch_all(self.reader())
        .await
        .doing(|| "reading the audit log".into())
    }
}
