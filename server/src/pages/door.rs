//! The way in and out: the first address, the colours, and addresses that lead nowhere.

use super::form::Filled;
use super::frame::{Frame, remember_theme};
use axum::response::{IntoResponse, Redirect, Response};

/// `GET /`
pub async fn root() -> Response {
    Redirect::to("/ui/").into_response()
}

/// `POST /ui/theme`
pub async fn theme(frame: Frame, form: Filled) -> Response {
    let mut response = frame.to(form.get("back"), None);
    remember_theme(response.headers_mut(), form.get("theme"));
    response
}

/// Any other address under `/ui/`.
pub async fn nothing_here(frame: Frame) -> Response {
    frame.wrong(&engine::Error::new(engine::Kind::NotFound, "there is no page at this address"))
}
