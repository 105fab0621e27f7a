//! A shell in a container, in the browser: a page, a ticket of one use, and a WebSocket that carries the terminal's bytes.
//!
//! The ticket is bound to the session, the container and what was asked to run, lives half a minute, and is spent by the
//! socket's first message, so that no secret stands in an address and no other site's page can open a shell.

use super::form::{Filled, words as split};
use super::frame::{OrPage, Visit};
use super::words;
use crate::App;
use crate::auth::cross_site;
use crate::auth::session::FormToken;
use crate::route::{Face, message};
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Path};
use axum::response::{IntoResponse, Response};
use engine::container::request::ExecSpec;
use engine::{ContainerId, Error, Result};
use futures_util::StreamExt;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use web::view::Field;
use web::view::container::ContainerShell;

/// How long a ticket can be spent.
const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Tickets that can be waiting at once, over all sessions.
const TICKETS: usize = 1024;
/// The largest message a browser may send: a paste.
const MESSAGE: usize = 64 * 1024;

/// Shells that were asked for and not opened yet. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tickets(Arc<Mutex<HashMap<String, Ticket>>>);

struct Ticket {
    made: Instant,
    session: String,
    container: ContainerId,
    exec: ExecSpec,
}

impl Tickets {
    fn put(&self, ticket: Ticket) -> Result<String> {
        let mut bytes = [0u8; 32];
        getrandom::fill(&mut bytes).map_err(|e| Error::new(engine::Kind::Internal, format!("the kernel gave no random bytes: {e}")))?;
        let secret = hex::encode(bytes);
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        all.retain(|_, t| t.made.elapsed() < TICKET_LIFE);
        if all.len() >= TICKETS {
            return Err(Error::new(engine::Kind::Unavailable, "too many shells are being opened: try again in a moment"));
        }
        all.insert(secret.clone(), ticket);
        Ok(secret)
    }

    /// Spends a ticket: whatever comes of it, it is gone.
    fn take(&self, secret: &str, session: &str, container: &ContainerId) -> Option<ExecSpec> {
        let ticket = self.0.lock().unwrap_or_else(|e| e.into_inner()).remove(secret)?;
        (ticket.made.elapsed() < TICKET_LIFE && ticket.session == session && ticket.container == *container).then_some(ticket.exec)
    }
}

/// What authentication needs to be repeated while a connection stays open: the request's head.
#[derive(Clone)]
pub struct Again(Arc<Parts>);

impl FromRequestParts<App> for Again {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &App) -> std::result::Result<Self, Infallible> {
        let (mut copy, ()) = http::Request::new(()).into_parts();
        copy.method = parts.method.clone();
        copy.uri = parts.uri.clone();
        copy.headers = parts.headers.clone();
        copy.extensions = parts.extensions.clone();
        Ok(Self(Arc::new(copy)))
    }
}

/// Whether the credential by which a connection was opened still holds: asked every half minute, and when accounts change.
pub async fn still_allowed(app: &App, again: &Again) -> bool {
    crate::auth::proof::authenticate(&app.accounts, Face::Pages, &again.0).await.is_ok()
}

/// `GET /ui/containers/{name}/shell`
pub async fn page(visit: Visit, Path(name): Path<String>) -> std::result::Result<Response, Response> {
    let Visit { who, app, frame } = visit;
    let container = app.engine.container(&who, &name).await.or_page(&frame)?;
    let head = words::head(&container, &frame.base, "shell");
    let view = ContainerShell {
        page: frame.page("Shell", "containers"),
        user: Field::new("user", "User").mono().example(if container.user.is_empty() { "root" } else { "as the container" }),
        command: Field::new("command", "Command").mono().required().with("sh").suggestions("shells"),
        folder: Field::new("folder", "Folder").mono().example("as the container"),
        ticket: format!("{}/shell/ticket", head.href),
        socket: format!("{}/shell/ws", head.href),
        head,
    };
    Ok(frame.show(&view))
}

/// `POST /ui/containers/{name}/shell/ticket`
pub async fn ticket(visit: Visit, token: FormToken, Path(name): Path<String>, form: Filled) -> Response {
    let made = async {
        let container = visit.app.engine.container(&visit.who, &name).await?;
        if !container.state.is_up() {
            return Err(Error::conflict(format!("{} is not running", container.name)));
        }
        let argv = split(form.get("command")).map_err(Error::invalid)?;
        if argv.is_empty() {
            return Err(Error::invalid("say which command to run"));
        }
        let exec = ExecSpec {
            argv,
            env: vec!["TERM=xterm-256color".into()],
            user: form.get("user").to_owned(),
            working_dir: form.get("folder").to_owned(),
            tty: true,
            stdin: true,
            stdout: true,
            stderr: true,
            ..ExecSpec::default()
        };
        visit.app.tickets.put(Ticket { made: Instant::now(), session: token.as_str().to_owned(), container: container.id, exec })
    };
    match made.await {
        Ok(ticket) => axum::Json(serde_json::json!({ "ticket": ticket })).into_response(),
        Err(error) => message(super::frame::status(&error), &error.to_string()),
    }
}

/// The first message, and each later one in text.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    ticket: String,
    rows: u16,
    columns: u16,
}

/// `GET /ui/containers/{name}/shell/ws`
pub async fn socket(
    visit: Visit,
    token: FormToken,
    again: Again,
    Path(name): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    if !cross_site::is_own_origin(&headers) {
        return (StatusCode::FORBIDDEN, "a WebSocket needs this site's Origin").into_response();
    }
    match visit.app.engine.container(&visit.who, &name).await {
        Ok(container) => upgrade.max_message_size(MESSAGE).max_frame_size(MESSAGE).on_upgrade(move |mut socket| async move {
            let (code, end) = match run(&mut socket, &visit, token.as_str(), &again, &container.id).await {
                Ok(End::Ended(Some(code))) => (1000, format!("ended with exit code {code}")),
                Ok(End::Ended(None)) => (1000, "ended".to_owned()),
                Ok(End::Left) => return,
                Ok(End::SignedOut) => (1008, "signed out".to_owned()),
                Err(error) => (1011, error.to_string()),
            };
            // The other side may be gone by now, which is as good.
            let _ = socket.send(Message::Text(serde_json::json!({ "end": end }).to_string().into())).await;
            let _ = socket.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await;
        }),
        Err(error) => visit.frame.wrong(&error),
    }
}

enum End {
    /// The command ended.
    Ended(Option<i32>),
    /// The person left: the terminal hangs up.
    Left,
    /// The session ended meanwhile.
    SignedOut,
}

async fn run(socket: &mut WebSocket, visit: &Visit, session: &str, again: &Again, container: &ContainerId) -> Result<End> {
    let Visit { who, app, .. } = visit;
    // Nobody waits for ever for a first message.
    let first = tokio::time::timeout(Duration::from_secs(10), socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else { return Ok(End::Left) };
    let said: Said = serde_json::from_str(&text).map_err(|_| Error::invalid("the first message must bring the ticket"))?;
    let mut exec =
        app.tickets.take(&said.ticket, session, container).ok_or_else(|| Error::forbidden("this ticket opens no shell: connect again"))?;
    let size = (said.rows, said.columns);
    exec.console_size = Some(size);
    let id = app.engine.exec_create(who, container.as_str(), exec).await?;
    let mut attached = app.engine.exec_start(who, id.as_str(), true, Some(size)).await?;
    let mut check = tokio::time::interval(Duration::from_secs(30));
    let mut accounts = app.accounts.changes();
    loop {
        tokio::select! {
            chunk = attached.output.next() => match chunk {
                Some(Ok(chunk)) => {
                    if socket.send(Message::Binary(chunk.bytes)).await.is_err() {
                        return Ok(End::Left);
                    }
                }
                Some(Err(e)) => return Err(Error::internal("reading from the terminal", e)),
                None => return Ok(End::Ended(app.engine.exec(who, id.as_str()).await.ok().and_then(|x| x.exit_code))),
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Binary(bytes))) => {
                    if let Some(input) = attached.input.as_mut() && (input.write_all(&bytes).await.is_err() || input.flush().await.is_err()) {
                        // Its end closed; the output will say so.
                        attached.input = None;
                    }
                }
                Some(Ok(Message::Text(text))) => {
                    if let Ok(said) = serde_json::from_str::<Said>(&text) && said.rows > 0 && said.columns > 0 {
                        // A resize that comes too late is of no interest to anybody.
                        let _ = app.engine.exec_resize(who, id.as_str(), said.rows, said.columns).await;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(End::Left),
            },
            _ = check.tick() => if !still_allowed(app, again).await { return Ok(End::SignedOut) },
            changed = accounts.changed() => if changed.is_err() || !still_allowed(app, again).await { return Ok(End::SignedOut) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(tickets: &Tickets, session: &str, container: &ContainerId) -> String {
        let exec = ExecSpec { argv: vec!["sh".into()], ..ExecSpec::default() };
        tickets.put(Ticket { made: Instant::now(), session: session.into(), container: container.clone(), exec }).unwrap()
    }

    #[test]
    fn sec_k04_a_ticket_opens_one_shell_of_one_session_in_one_container() {
        let (tickets, here, there) = (Tickets::default(), ContainerId::random(), ContainerId::random());
        let secret = ticket(&tickets, "me", &here);
        assert_eq!(tickets.take(&secret, "me", &here).unwrap().argv, ["sh"]);
        assert!(tickets.take(&secret, "me", &here).is_none(), "spent");
        assert!(tickets.take(&ticket(&tickets, "me", &here), "you", &here).is_none(), "another session");
        assert!(tickets.take(&ticket(&tickets, "me", &here), "me", &there).is_none(), "another container");
        assert!(tickets.take("", "me", &here).is_none());
        assert!(tickets.0.lock().unwrap().is_empty(), "a wrong try spends it too");
    }

    #[test]
    fn an_old_ticket_opens_nothing() {
        let (tickets, here) = (Tickets::default(), ContainerId::random());
        let secret = ticket(&tickets, "me", &here);
        let Some(past) = Instant::now().checked_sub(TICKET_LIFE) else { return };
        tickets.0.lock().unwrap().get_mut(&secret).unwrap().made = past;
        assert!(tickets.take(&secret, "me", &here).is_none());
    }
}
