//! Browser sessions: the cookie, how long it holds, and the token that forms carry.

use super::Refusal;
use super::secret::Secret;
use super::who::SessionCookie;
use axum::extract::FromRequestParts;
use engine::Digest;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use std::convert::Infallible;

/// `__Host-`: a browser takes it only from HTTPS, for this host and the whole path.
pub const COOKIE: &str = "__Host-wharf";
/// A session nobody uses ends.
pub const IDLE: SignedDuration = SignedDuration::from_mins(30);
/// And any session ends.
pub const ABSOLUTE: SignedDuration = SignedDuration::from_hours(12);

/// Whether a session of these times still holds.
pub fn holds(created: Timestamp, seen: Timestamp, now: Timestamp) -> bool {
    now.duration_since(seen) < IDLE && now.duration_since(created) < ABSOLUTE
}

/// The session secret in a request's cookies. More than one of that name: none, for we cannot know which is ours.
pub fn presented(headers: &HeaderMap) -> Option<Secret> {
    let mut found = None;
    for line in headers.get_all(header::COOKIE) {
        for pair in line.to_str().ok()?.split(';') {
            let Some((name, value)) = pair.trim().split_once('=') else { continue };
            if name == COOKIE {
                if found.is_some() {
                    return None;
                }
                found = Some(Secret::presented(value));
            }
        }
    }
    found
}

/// The header that sets the cookie. Lax, so that a link from a mail or chat finds its reader signed in; no state changes by GET.
pub fn set_cookie(secret: &Secret) -> HeaderValue {
    let text = format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={}", secret.reveal(), ABSOLUTE.as_secs());
    // The secret is hex: it always is a header value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// The header that removes it.
pub fn clear_cookie() -> HeaderValue {
    HeaderValue::from_static("__Host-wharf=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
}

/// The token a session's forms carry in the field `form_token`: derived from the cookie, so nothing is stored, and of no use
/// without it. An extractor; empty where the request did not come by cookie, which `cross_site` covers.
#[derive(Clone)]
pub struct FormToken(Option<String>);

impl FormToken {
    fn of(secret: &Secret) -> Self {
        Self(Some(Digest::of(format!("wharf form {}", secret.reveal()).as_bytes()).hex()))
    }

    /// For the hidden field.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or("")
    }

    /// Checks what a form brought.
    ///
    /// # Errors
    /// 403 when it is not this session's.
    pub fn check(&self, brought: &str) -> Result<(), Refusal> {
        match &self.0 {
            None => Ok(()),
            Some(own) if Secret::presented(own).is(brought) => Ok(()),
            Some(_) => Err(Refusal::forbidden("this form is out of date: go back, reload the page and send it again")),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for FormToken {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<SessionCookie>().map_or(FormToken(None), |c| FormToken::of(&c.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&'static str]) -> HeaderMap {
        cookies.iter().map(|c| (header::COOKIE, HeaderValue::from_static(c))).collect()
    }

    #[test]
    fn the_cookie_is_found_among_others_and_never_guessed() {
        assert!(presented(&headers(&["a=b; __Host-wharf=x; c=d"])).unwrap().is("x"));
        assert!(presented(&headers(&["a=b", "__Host-wharf=x"])).unwrap().is("x"));
        assert!(presented(&headers(&["wharf=x; x__Host-wharf=y"])).is_none());
        assert!(presented(&headers(&["__Host-wharf=x; __Host-wharf=y"])).is_none(), "two of them: a planted one");
    }

    #[test]
    fn sessions_end_when_idle_and_anyway() {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        let after = |minutes| start + SignedDuration::from_mins(minutes);
        assert!(holds(start, start, after(29)));
        assert!(!holds(start, start, after(30)));
        assert!(holds(start, after(700), after(719)));
        assert!(!holds(start, after(719), after(720)));
    }

    #[test]
    fn sec_k01_a_form_needs_its_sessions_token() {
        let (mine, other) = (Secret::presented("a"), Secret::presented("b"));
        let token = FormToken::of(&mine);
        assert!(token.check(FormToken::of(&mine).as_str()).is_ok());
        assert!(token.check(FormToken::of(&other).as_str()).is_err());
        assert!(token.check("").is_err());
    }
}
