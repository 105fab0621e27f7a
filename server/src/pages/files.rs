//! Static files: named by their content's hash, so a browser keeps them for ever.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

/// `GET /ui/static/{file}`
pub async fn asset(Path(file): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = web::assets::at(&format!("/ui/static/{file}")) else {
        return (StatusCode::NOT_FOUND, "no such file").into_response();
    };
    let gzip = headers.get_all(header::ACCEPT_ENCODING).iter().any(|v| v.to_str().is_ok_and(accepts_gzip));
    let mut response = if gzip { ([(header::CONTENT_ENCODING, "gzip")], asset.gzip).into_response() } else { asset.bytes.into_response() };
    let head = response.headers_mut();
    head.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(asset.mime));
    head.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("public, max-age=31536000, immutable"));
    head.insert(header::VARY, http::HeaderValue::from_static("accept-encoding"));
    response
}

fn accepts_gzip(value: &str) -> bool {
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        named && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_come_packed_where_they_may() {
        let file = || Path(web::assets::url("app.css").rsplit('/').next().unwrap().to_owned());
        let ask =
            |value: &'static str| [(header::ACCEPT_ENCODING, http::HeaderValue::from_static(value))].into_iter().collect::<HeaderMap>();
        let packed = asset(file(), ask("br, gzip;q=0.8")).await;
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        assert!(packed.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let plain = asset(file(), ask("gzip;q=0, br")).await;
        assert!(plain.headers().get("content-encoding").is_none());
        assert_eq!(plain.headers()["content-type"], "text/css; charset=utf-8");
        assert_eq!(asset(Path("app.css".into()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }
}
