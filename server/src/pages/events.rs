//! The WebSocket that tells a page which kind of thing changed, so that it asks for itself again. It carries no data.

use super::frame::Visit;
use super::shell::still_allowed;
use crate::auth::cross_site;
use crate::pages::shell::Again;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// `GET /ui/ws/events`
pub async fn events(visit: Visit, again: Again, headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
    if !cross_site::is_own_origin(&headers) {
        return (StatusCode::FORBIDDEN, "a WebSocket needs this site's Origin").into_response();
    }
    upgrade.max_message_size(4096).on_upgrade(move |socket| tell(socket, visit, again))
}

async fn tell(mut socket: WebSocket, visit: Visit, again: Again) {
    let (_, mut happened) = visit.app.engine.events(&visit.who);
    let mut operations = visit.app.operations.changes();
    let mut check = tokio::time::interval(Duration::from_secs(30));
    let mut accounts = visit.app.accounts.changes();
    loop {
        let kind = tokio::select! {
            event = happened.recv() => match event {
                Some(event) => event.kind,
                None => return,
            },
            change = operations.recv() => match change {
                Ok((tenant, _)) if tenant == visit.who.tenant => "operation",
                Ok(_) => continue,
                Err(RecvError::Lagged(_)) => "operation",
                Err(RecvError::Closed) => return,
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = check.tick() => {
                if !still_allowed(&visit.app, &again).await {
                    break;
                }
                continue;
            }
            changed = accounts.changed() => {
                if changed.is_err() || !still_allowed(&visit.app, &again).await {
                    break;
                }
                continue;
            }
        };
        if socket.send(Message::Text(format!("{{\"kind\":\"{kind}\"}}").into())).await.is_err() {
            return;
        }
    }
    // 1008: told apart from a broken line, so that the page does not come back.
    let over = CloseFrame { code: 1008, reason: "signed out".into() };
    let _ = socket.send(Message::Close(Some(over))).await;
}
