//! The audit log: who did what, allowed and denied, as a hash chain in the database.
//!
//! An action writes its *intent* in its own transaction, before any effect: if the row cannot be written, nothing happens. Its *outcome* follows
//! after the effect, many in one transaction, by a task of ours. A crash between the two leaves an intent without outcome, which is what happened.
//! Every row's hash is SHA-256 over the hash before it and the row's canonical form, a JSON array, so no text can imitate a field's border.

use crate::inventory::{Inventory, Tx, audit as rows};
use crate::{Digest, Doing, Error, Result, Subject, TenantId, UserId};
use jiff::Timestamp;
use serde::Serialize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How many outcomes wait for the database before those who report them wait too.
const QUEUE: usize = 1024;

/// How many outcomes share a transaction.
const BATCH: usize = 256;

/// Longest kept text of an object's name or an outcome: what somebody else wrote must not fill the log.
const TEXT_MAX: usize = 1024;

/// An intent's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct AuditId(pub i64);

/// What is about to be done, or was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The person's name; empty: nobody was authenticated.
    pub actor: String,
    /// The person.
    pub user: Option<UserId>,
    /// How they proved it.
    pub via: &'static str,
    /// From where.
    pub ip: Option<std::net::IpAddr>,
    /// For which tenant.
    pub tenant: Option<TenantId>,
    /// Its name then.
    pub tenant_name: String,
    /// `container.create`, `login`, ….
    pub action: String,
    /// The object's id or name.
    pub object: String,
    /// The hash of the effective specification.
    pub spec_hash: Option<Digest>,
    /// What allowed or refused it: `default`, `administrator`, `grant bind=/srv`, `no grant gpu`.
    pub rule: String,
}

impl Entry {
    /// What a subject does.
    pub fn of(who: &Subject, action: impl Into<String>, object: impl Into<String>) -> Self {
        Self {
            actor: who.name.clone(),
            user: who.user,
            via: who.via.as_str(),
            ip: who.ip,
            tenant: Some(who.tenant),
            tenant_name: who.tenant_name.clone(),
            action: action.into(),
            object: object.into(),
            spec_hash: None,
            rule: "default".into(),
        }
    }

    /// What happens before anybody is authenticated (a failed login), or by the server itself (`actor` empty).
    pub fn without_subject(actor: &str, via: &'static str, ip: Option<std::net::IpAddr>, action: &str, object: &str) -> Self {
        Self {
            actor: actor.to_owned(),
            user: None,
            via,
            ip,
            tenant: None,
            tenant_name: String::new(),
            action: action.to_owned(),
            object: object.to_owned(),
            spec_hash: None,
            rule: "default".into(),
        }
    }

    /// With the hash and rule of what policy allowed.
    #[must_use]
    pub fn authorized(mut self, hash: Digest, rule: impl Into<String>) -> Self {
        self.spec_hash = Some(hash);
        self.rule = rule.into();
        self
    }

    /// With the rule that decided.
    #[must_use]
    pub fn by(mut self, rule: impl Into<String>) -> Self {
        self.rule = rule.into();
        self
    }
}

/// A row's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RowKind {
    Intent,
    Denied,
    Outcome,
}

impl RowKind {
    pub fn as_str(self) -> &'static str {
        match self {
            RowKind::Intent => "intent",
            RowKind::Denied => "denied",
            RowKind::Outcome => "outcome",
        }
    }

    /// The table's check allows no other word.
    pub fn parse(word: &str) -> Self {
        match word {
            "intent" => RowKind::Intent,
            "denied" => RowKind::Denied,
            _ => RowKind::Outcome,
        }
    }
}

/// A row of the table, without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub seq: i64,
    pub time: i64,
    pub kind: RowKind,
    pub intent: Option<i64>,
    pub actor: String,
    pub user: Option<UserId>,
    pub via: String,
    pub ip: Option<String>,
    pub tenant: Option<TenantId>,
    pub tenant_name: String,
    pub action: String,
    pub object: String,
    pub spec_hash: Option<Digest>,
    pub rule: String,
    pub outcome: Option<String>,
}

impl Row {
    fn of(seq: i64, kind: RowKind, entry: &Entry, outcome: Option<String>) -> Self {
        Self {
            seq,
            time: Timestamp::now().as_millisecond(),
            kind,
            intent: None,
            actor: clip(&entry.actor),
            user: entry.user,
            via: entry.via.to_owned(),
            ip: entry.ip.map(|ip| ip.to_string()),
            tenant: entry.tenant,
            tenant_name: entry.tenant_name.clone(),
            action: clip(&entry.action),
            object: clip(&entry.object),
            spec_hash: entry.spec_hash,
            rule: clip(&entry.rule),
            outcome,
        }
    }

    fn hash(&self, previous: &[u8; 32]) -> [u8; 32] {
        let Row { seq, time, kind, intent, actor, user, via, ip, tenant, tenant_name, action, object, spec_hash, rule, outcome } = self;
        // Two tuples: serde has none of fifteen.
        let first = (seq, time, kind, intent, actor, user, via, ip);
        let second = (tenant, tenant_name, action, object, spec_hash, rule, outcome);
        let json = serde_json::to_vec(&(first, second)).unwrap_or_else(|e| unreachable!("numbers and texts only: {e}"));
        use sha2::Digest as _;
        sha2::Sha256::new().chain_update(previous).chain_update(json).finalize().into()
    }
}

fn clip(text: &str) -> String {
    text.char_indices().take_while(|(i, c)| i + c.len_utf8() <= TEXT_MAX).map(|(_, c)| c).collect()
}

/// What is known of one action, for pages and the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: i64,
    /// When it was asked.
    pub time: Timestamp,
    /// Who asked; empty: nobody who was authenticated.
    pub actor: String,
    /// How they proved it.
    pub via: String,
    /// From where.
    pub ip: Option<String>,
    /// For which tenant.
    pub tenant: Option<TenantId>,
    /// Its name then.
    pub tenant_name: String,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// The hash of the effective specification.
    pub spec_hash: Option<Digest>,
    /// Whether it was allowed.
    pub allowed: bool,
    /// By what it was decided.
    pub rule: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody said yet, or the server went down in between.
    Unknown,
    /// It was refused, for this reason.
    Denied(String),
    /// Done, then.
    Done(Timestamp),
    /// It failed, then, with this error.
    Failed(Timestamp, String),
}

/// Which records.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those numbered below: the next page.
    pub before: Option<i64>,
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// By this person.
    pub actor: Option<String>,
    /// This action, or all of a noun (`container`).
    pub action: Option<String>,
    /// To this object.
    pub object: Option<String>,
    /// Denied or allowed ones only.
    pub denied: Option<bool>,
    /// From then.
    pub since: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
    /// At most so many; 0: 100.
    pub limit: u32,
}

/// What `verify` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// All rows are as they were written.
    Whole {
        /// How many.
        rows: u64,
    },
    /// The first number whose row was changed, removed or put in.
    Broken {
        /// The number.
        seq: i64,
    },
}

enum Late {
    Outcome(AuditId, Option<String>),
    Denied(Box<Entry>, String),
    Flush(oneshot::Sender<()>),
}

/// The audit log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Audit {
    inventory: Inventory,
    late: mpsc::Sender<Late>,
    head: Head,
    writer: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

impl Audit {
    /// The log of this database, with the task that writes outcomes. Needs a tokio runtime.
    pub fn open(inventory: Inventory) -> Self {
        let (late, queue) = mpsc::channel(QUEUE);
        let head = Head::default();
        let writer = tokio::spawn(write_late(inventory.clone(), head.clone(), queue));
        Self { inventory, late, head, writer: Arc::new(Mutex::new(Some(writer))) }
    }

    /// Writes what is about to be done into the action's own transaction.
    ///
    /// # Errors
    /// When it cannot be written: then the action must not happen.
    pub async fn intent(&self, tx: &mut Tx, entry: &Entry) -> Result<AuditId> {
        append(tx, &self.head, RowKind::Intent, entry, None, None).await
    }

    /// Like [`Audit::intent`], for an action that writes nothing else into the database.
    ///
    /// # Errors
    /// As there.
    pub async fn intent_alone(&self, entry: &Entry) -> Result<AuditId> {
        let mut tx = self.inventory.begin().await?;
        let id = self.intent(&mut tx, entry).await?;
        tx.commit().await.doing(|| "writing the audit log".into())?;
        Ok(id)
    }

    /// Says what came of an action. Returns at once while there is room in the queue; waits for the database when there is none.
    pub fn outcome<'a, T>(&'a self, id: AuditId, outcome: &Result<T>) -> impl Future<Output = ()> + Send + use<'a, T> {
        // The text is taken before the future is made, which then need not hold what may not be shared between threads.
        let text = outcome.as_ref().err().map(ToString::to_string);
        async move { self.send(Late::Outcome(id, text)).await }
    }

    /// Records a refusal: what was asked and the text the person got.
    pub async fn denied(&self, entry: Entry, reason: &Error) {
        self.send(Late::Denied(Box::new(entry), reason.to_string())).await;
    }

    async fn send(&self, late: Late) {
        if self.late.send(late).await.is_err() {
            tracing::error!("an audit row came after the log was closed");
        }
    }

    /// Returns when everything reported before is in the database.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.send(Late::Flush(done)).await;
        // An error says that the writer ended, which it only does when it has written all.
        let _ = wait.await;
    }

    /// Writes what is left and ends the task: at the server's end.
    pub async fn close(&self) {
        self.flush().await;
        let writer = self.writer.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(writer) = writer {
            writer.abort();
            let _ = writer.await;
        }
    }

    /// Records, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Record>> {
        let filter = Filter { limit: if filter.limit == 0 { 100 } else { filter.limit.min(1000) }, ..filter.clone() };
        let time = |ms| Timestamp::from_millisecond(ms).doing(|| "reading a time from the audit log".into());
        let page = self.inventory.audit_page(&filter).await?;
        page.into_iter()
            .map(|(row, done)| {
                let denied = row.kind == RowKind::Denied;
                let outcome = match done {
                    _ if denied => Outcome::Denied(row.outcome.unwrap_or_default()),
                    None => Outcome::Unknown,
                    Some((at, text)) if text.is_empty() => Outcome::Done(time(at)?),
                    Some((at, text)) => Outcome::Failed(time(at)?, text),
                };
                Ok(Record {
                    seq: row.seq,
                    time: time(row.time)?,
                    actor: row.actor,
                    via: row.via,
                    ip: row.ip,
                    tenant: row.tenant,
                    tenant_name: row.tenant_name,
                    action: row.action,
                    object: row.object,
                    spec_hash: row.spec_hash,
                    allowed: !denied,
                    rule: row.rule,
                    outcome,
                })
            })
            .collect()
    }

    /// Walks the whole chain.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn verify(&self) -> Result<Verified> {
        verify(&self.inventory).await
    }
}

/// Walks the whole chain of a database: `wharf audit verify`.
///
/// # Errors
/// When it cannot be read.
pub async fn verify(inventory: &Inventory) -> Result<Verified> {
    // The last number is read first: rows that come meanwhile are not missed.
    let last = inventory.audit_last().await?;
    let (mut seq, mut hash) = (0, [0; 32]);
    loop {
        let rows = inventory.audit_chain(seq, 1000).await?;
        if rows.is_empty() {
            let whole = seq >= last;
            return Ok(if whole { Verified::Whole { rows: seq.unsigned_abs() } } else { Verified::Broken { seq: seq + 1 } });
        }
        for (row, stored) in rows {
            let expected = row.hash(&hash);
            if row.seq != seq + 1 || stored != expected {
                return Ok(Verified::Broken { seq: seq + 1 });
            }
            (seq, hash) = (row.seq, expected);
        }
    }
}

/// The chain's end as we last wrote it: number and hash. It is a guess, for that transaction may have been rolled back.
type Head = Arc<Mutex<Option<(i64, [u8; 32])>>>;

async fn append(
    tx: &mut Tx,
    head: &Head,
    kind: RowKind,
    entry: &Entry,
    intent: Option<AuditId>,
    outcome: Option<String>,
) -> Result<AuditId> {
    let guess = *head.lock().unwrap_or_else(|e| e.into_inner());
    let mut row = Row::of(0, kind, entry, outcome);
    row.intent = intent.map(|i| i.0);
    // The row goes in only behind the row whose hash is in its own: a wrong guess writes nothing.
    if let Some((last, previous)) = guess {
        row.seq = last + 1;
        let hash = row.hash(&previous);
        if rows::insert_behind(tx, &row, &hash, &previous).await? {
            *head.lock().unwrap_or_else(|e| e.into_inner()) = Some((row.seq, hash));
            return Ok(AuditId(row.seq));
        }
    }
    let (last, previous) = rows::head(tx).await?;
    row.seq = last + 1;
    let hash = row.hash(&previous);
    rows::insert(tx, &row, &hash).await?;
    *head.lock().unwrap_or_else(|e| e.into_inner()) = Some((row.seq, hash));
    Ok(AuditId(row.seq))
}

async fn write_late(inventory: Inventory, head: Head, mut queue: mpsc::Receiver<Late>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        if !batch.iter().any(|late| matches!(late, Late::Flush(_))) {
            tokio::time::sleep(crate::inventory::SOON).await;
            while batch.len() < BATCH
                && let Ok(late) = queue.try_recv()
            {
                batch.push(late);
            }
        }
        // Until it is written nothing is dropped: the queue fills, and new actions wait or fail at their own intent.
        while let Err(e) = write_batch(&inventory, &head, &batch).await {
            tracing::error!(error = ?e, rows = batch.len(), "writing outcomes into the audit log failed; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        for late in batch.drain(..) {
            if let Late::Flush(done) = late {
                // Nobody waits any more: nothing to tell.
                let _ = done.send(());
            }
        }
    }
}

async fn write_batch(inventory: &Inventory, head: &Head, batch: &[Late]) -> Result<()> {
    if batch.iter().all(|l| matches!(l, Late::Flush(_))) {
        return Ok(());
    }
    let mut tx = inventory.begin().await?;
    for late in batch {
        match late {
            Late::Outcome(id, error) => {
                // Only what is new: who and what stand in the intent.
                let entry = Entry::without_subject("", "engine", None, "", "").by("");
                append(&mut tx, head, RowKind::Outcome, &entry, Some(*id), Some(clip(error.as_deref().unwrap_or("")))).await?;
            }
            Late::Denied(entry, reason) => {
                append(&mut tx, head, RowKind::Denied, entry, None, Some(clip(reason))).await?;
            }
            Late::Flush(_) => {}
        }
    }
    tx.commit().await.doing(|| "writing the audit log".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn log(dir: &std::path::Path) -> (Inventory, Audit) {
        let inventory = Inventory::open(&dir.join("wharf.db")).await.unwrap();
        let audit = Audit::open(inventory.clone());
        (inventory, audit)
    }

    fn entry(action: &str, object: &str) -> Entry {
        Entry::without_subject("eve", "token", Some("10.0.0.1".parse().unwrap()), action, object)
    }

    async fn filled(audit: &Audit) {
        for i in 0..5 {
            let id = audit.intent_alone(&entry("container.create", &format!("c{i}"))).await.unwrap();
            let outcome = if i == 3 { Err(Error::conflict("in the way")) } else { Ok(()) };
            audit.outcome(id, &outcome).await;
        }
        audit.denied(entry("container.create", "bad"), &Error::forbidden("no grant")).await;
        audit.flush().await;
    }

    #[tokio::test]
    async fn records_carry_their_outcomes() {
        let dir = tempfile::tempdir().unwrap();
        let (_, audit) = log(dir.path()).await;
        filled(&audit).await;
        let lost = audit.intent_alone(&entry("image.pull", "busybox")).await.unwrap();
        let all = audit.list(&Filter::default()).await.unwrap();
        assert_eq!(all.len(), 7);
        assert_eq!((all[0].seq, &all[0].outcome), (lost.0, &Outcome::Unknown));
        assert_eq!((all[1].allowed, &all[1].outcome), (false, &Outcome::Denied("no grant".into())));
        let failed = all.iter().find(|r| r.object == "c3").unwrap();
        assert!(matches!(&failed.outcome, Outcome::Failed(_, text) if text == "in the way"));
        let page = audit
            .list(&Filter { limit: 2, before: Some(all[1].seq), action: Some("container".into()), ..Filter::default() })
            .await
            .unwrap();
        assert_eq!(page.len(), 2);
        assert!(page[0].seq < all[1].seq);
        assert_eq!(audit.list(&Filter { denied: Some(true), ..Filter::default() }).await.unwrap().len(), 1);
        assert_eq!(audit.list(&Filter { action: Some("contain".into()), ..Filter::default() }).await.unwrap().len(), 0);
        assert_eq!(audit.list(&Filter { actor: Some("mallory".into()), ..Filter::default() }).await.unwrap().len(), 0);
        audit.close().await;
    }

    #[tokio::test]
    async fn an_action_that_is_rolled_back_leaves_no_row_and_no_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (inventory, audit) = log(dir.path()).await;
        let mut tx = inventory.begin().await.unwrap();
        audit.intent(&mut tx, &entry("volume.create", "v")).await.unwrap();
        tx.rollback().await.unwrap();
        let id = audit.intent_alone(&entry("volume.create", "v")).await.unwrap();
        assert_eq!(id, AuditId(1));
        assert_eq!(audit.verify().await.unwrap(), Verified::Whole { rows: 1 });
        // Also when the chain's end is known from before, and when several rows were taken back.
        let mut tx = inventory.begin().await.unwrap();
        audit.intent(&mut tx, &entry("volume.create", "w")).await.unwrap();
        audit.intent(&mut tx, &entry("volume.create", "x")).await.unwrap();
        tx.rollback().await.unwrap();
        assert_eq!(audit.intent_alone(&entry("volume.create", "y")).await.unwrap(), AuditId(2));
        assert_eq!(audit.intent_alone(&entry("volume.create", "z")).await.unwrap(), AuditId(3));
        assert_eq!(audit.verify().await.unwrap(), Verified::Whole { rows: 3 });
    }

    #[tokio::test]
    async fn verify_sees_every_kind_of_tampering() {
        let edits: [(&'static str, i64); 8] = [
            ("update audit set object = 'c9' where seq = 1", 1),
            ("update audit set actor = 'mallory' where seq = 4", 4),
            ("update audit set time = time + 1 where seq = 2", 2),
            ("update audit set ip = null where seq = 1", 1),
            ("update audit set kind = 'intent' where seq = 11", 11),
            ("delete from audit where seq = 5", 5),
            ("delete from audit where seq >= 10", 10),
            ("update audit set outcome = '' where outcome = 'in the way'", 0),
        ];
        for (edit, first) in edits {
            let dir = tempfile::tempdir().unwrap();
            let (inventory, audit) = log(dir.path()).await;
            filled(&audit).await;
            assert_eq!(audit.verify().await.unwrap(), Verified::Whole { rows: 11 });
            let mut tx = inventory.begin().await.unwrap();
            sqlx::query("pragma defer_foreign_keys = on").execute(&mut *tx).await.unwrap();
            let done = sqlx::query(edit).execute(&mut *tx).await.unwrap();
            assert!(done.rows_affected() > 0, "{edit}");
            if tx.commit().await.is_err() {
                // The foreign key keeps an intent whose outcome is there; tampering would begin by switching that off.
                continue;
            }
            match audit.verify().await.unwrap() {
                Verified::Broken { seq } => assert!(first == 0 || seq == first, "{edit}: {seq}"),
                Verified::Whole { .. } => panic!("{edit} went unseen"),
            }
        }
    }

    #[tokio::test]
    async fn long_texts_are_clipped_at_a_character() {
        let dir = tempfile::tempdir().unwrap();
        let (_, audit) = log(dir.path()).await;
        audit.intent_alone(&entry("x", &"é".repeat(5000))).await.unwrap();
        let all = audit.list(&Filter::default()).await.unwrap();
        assert_eq!(all[0].object, "é".repeat(512));
        assert_eq!(audit.verify().await.unwrap(), Verified::Whole { rows: 1 });
    }
}
