//! The first administrator: a one-time token, in a file only root can read and in the URL printed at start. There is no
//! default password and no time window in which the first visitor would win.

use super::accounts::{Accounts, commit_user};
use super::secret::Secret;
use super::{Refusal, change};
use crate::store::users::{self, NewUser};
use engine::audit::Entry;
use engine::{Digest, Doing, Error, Result};
use http::StatusCode;
use jiff::Timestamp;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Set-up is open: this token, once.
#[derive(Debug)]
pub struct Setup {
    token: Digest,
    file: PathBuf,
}

impl Accounts {
    /// Opens set-up if there is no administrator yet, with the token in `file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn begin_setup(&self, file: &Path) -> Result<Option<Secret>> {
        if self.is_set_up() {
            return Ok(None);
        }
        let token = Secret::random("")?;
        let doing = || format!("writing the set-up token to {}", file.display());
        // Made anew rather than overwritten, so that its mode is surely ours.
        match std::fs::remove_file(file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).doing(doing),
            _ => {}
        }
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(file).doing(doing)?;
        writeln!(out, "{}", token.reveal()).doing(doing)?;
        *self.0.setup.write().unwrap_or_else(|e| e.into_inner()) = Some(Setup { token: token.hash(), file: file.to_owned() });
        Ok(Some(token))
    }

    /// Whether this is the set-up token and set-up is open: what the page asks before it shows its form.
    ///
    /// # Errors
    /// 403 when not.
    pub fn check_setup(&self, token: &str) -> Result<(), Refusal> {
        let setup = self.0.setup.read().unwrap_or_else(|e| e.into_inner());
        let closed = || Refusal::forbidden("set-up is closed: an administrator exists");
        let Some(setup) = setup.as_ref().filter(|_| !self.is_set_up()) else { return Err(closed()) };
        // Hashes of random texts: their comparison's time tells nothing about the token.
        if setup.token == Secret::presented(token).hash() {
            Ok(())
        } else {
            Err(Refusal::forbidden(
                "this set-up link is not the right one: the server printed it at its start, and its token is in the data root's file setup-token",
            ))
        }
    }

    /// Makes the first administrator and signs in. Of many who try at once, exactly one succeeds.
    ///
    /// # Errors
    /// 403 for a wrong token, 409 when somebody was faster, 400 for a name or password that will not do.
    pub async fn set_up(&self, token: &str, name: &str, password: &str, ip: Option<IpAddr>, agent: &str) -> Result<Secret, Refusal> {
        self.check_setup(token)?;
        let faster = || Refusal { status: StatusCode::CONFLICT, message: "set-up is done: an administrator exists".to_owned() };
        let made: Result<_> = async {
            change::check_user_name(name)?;
            let new = NewUser { name: name.to_owned(), admin: true, password: Some(self.hash(password).await?), unix: None };
            let mut tx = self.inventory().begin().await?;
            let entry = Entry::without_subject(name, "setup", ip, "user.add", name).by("set-up token");
            let audit = self.audit().intent(&mut tx, &entry).await?;
            let Some(user) = users::insert(&mut tx, &new, true, Timestamp::now()).await? else { return Ok(None) };
            Ok(Some(commit_user(self, tx, user, audit).await?))
        }
        .await;
        let user = made.map_err(|e| Refusal::of(&e))?.ok_or_else(faster)?;
        self.end_setup();
        self.begin_session(&user, ip, agent).await.map_err(|e| Refusal::of(&e))
    }

    /// Burns the token.
    pub fn end_setup(&self) {
        let setup = self.0.setup.write().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(setup) = setup
            && let Err(e) = std::fs::remove_file(&setup.file)
        {
            tracing::warn!(error = %e, file = %setup.file.display(), "the used set-up token's file could not be removed; it opens nothing any more");
        }
    }
}

/// For the pages: an error as it would be without set-up.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Refusal::of(&error)
    }
}
