//! Turns away what may not come in. On this host alone: what a web page of another site
//! could send, by a foreign `Host` (DNS rebinding) or from a page that is not ours. Where a
//! token is set: changes without it, and beyond this host all that reveals anything.
//!
//! Pure, but for reading headers.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::config::listen::Listen;

/// What may be read by anybody: the empty page, and what the API is like.
const PUBLIC: [&str; 2] = ["/", "/api/v1/openapi.json"];

/// Who may come in.
#[derive(Debug)]
pub(super) struct Guard {
    is_beyond: bool,
    /// Digest of the token: comparing digests takes as long whatever was sent.
    token: Option<[u8; 32]>,
}

impl Guard {
    pub(super) fn of(listen: &Listen) -> Self {
        Guard {
            is_beyond: listen.is_beyond(),
            token: (!listen.token.is_empty()).then(|| digest(listen.token.expose())),
        }
    }

    fn refusal(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<(StatusCode, &'static str)> {
        let text = |name| headers.get(name).map(|value| value.to_str().ok());
        let host = text(header::HOST).flatten();
        let host = host.filter(|host| self.is_beyond || is_local(host));
        let Some(host) = host else {
            return Some((
                StatusCode::FORBIDDEN,
                "the Host header must be localhost or 127.0.0.1",
            ));
        };
        let changes = method != Method::GET && method != Method::HEAD;
        // Tools send none; browsers send it with every change.
        let is_foreign = text(header::ORIGIN).is_some_and(|origin| !is_ours(origin, host));
        if changes && is_foreign {
            return Some((
                StatusCode::FORBIDDEN,
                "requests from other web pages are refused",
            ));
        }
        let asks = changes || self.is_beyond && !PUBLIC.contains(&path);
        let shown = || text(header::AUTHORIZATION).flatten().and_then(bearer);
        let known = |token: &[u8; 32]| shown().is_some_and(|shown| digest(shown) == *token);
        match &self.token {
            Some(token) if asks && !known(token) => Some((
                StatusCode::UNAUTHORIZED,
                "the API asks for its token: Authorization: Bearer TOKEN (api_token, SHARDLIFT_API_TOKEN)",
            )),
            _ => None,
        }
    }
}

pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    match guard.refusal(request.method(), request.uri().path(), request.headers()) {
        Some((status, why)) => {
            let body = Json(serde_json::json!({"success": false, "message": why}));
            (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
        }
        None => next.run(request).await,
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The page that this process itself served.
fn is_ours(origin: Option<&str>, host: &str) -> bool {
    let site = |origin: &'_ str| {
        let site = origin.strip_prefix("http://");
        site.or_else(|| origin.strip_prefix("https://"))
            .map(str::to_owned)
    };
    let site = origin.and_then(site);
    site.is_some_and(|site| site.eq_ignore_ascii_case(host))
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(header::HeaderName, Option<&str>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        headers
    }

    #[test]
    fn only_our_own_page_may_change_anything() {
        let ours = "127.0.0.1:27182";
        // method, host, origin, refused
        let rows = [
            (Method::GET, Some(ours), None, false),
            (Method::GET, Some(ours), Some("http://evil.example"), false),
            (Method::POST, Some(ours), None, false),
            (
                Method::POST,
                Some(ours),
                Some("http://127.0.0.1:27182"),
                false,
            ),
            (
                Method::POST,
                Some(ours),
                Some("https://127.0.0.1:27182"),
                false,
            ),
            (
                Method::POST,
                Some("localhost:1"),
                Some("http://localhost:1"),
                false,
            ),
            (
                Method::POST,
                Some("localhost:1"),
                Some("http://localhost:2"),
                true,
            ),
            (Method::POST, Some("[::1]:1"), Some("http://[::1]:1"), false),
            (Method::POST, Some(ours), Some("http://evil.example"), true),
            (Method::POST, Some(ours), Some("null"), true),
            (Method::GET, Some("evil.example"), None, true),
            (
                Method::POST,
                Some("evil.example"),
                Some("http://evil.example"),
                true,
            ),
            (Method::GET, None, None, true),
        ];
        let guard = Guard::of(&Listen::here(0));
        for (method, host, origin, refused) in rows {
            let headers = headers(&[(header::HOST, host), (header::ORIGIN, origin)]);
            let why = guard.refusal(&method, "/status", &headers);
            assert_eq!(why.is_some(), refused, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_token_is_asked_for_changes_and_beyond_this_host_for_data() {
        const TOKEN: &str = "0123456789abcdef";
        let (none, right) = (None, Some("Bearer 0123456789abcdef"));
        // beyond this host, method, path, what is shown, status
        let rows = [
            (false, Method::GET, "/status", none, 200),
            (false, Method::POST, "/cutover", none, 401),
            (false, Method::POST, "/cutover", right, 200),
            (true, Method::GET, "/", none, 200),
            (true, Method::GET, "/api/v1/openapi.json", none, 200),
            (true, Method::POST, "/", none, 401),
            (true, Method::GET, "/status", none, 401),
            (
                true,
                Method::GET,
                "/status",
                Some("Bearer 0123456789abcdeF"),
                401,
            ),
            (true, Method::GET, "/status", Some("Bearer "), 401),
            (true, Method::GET, "/status", Some(TOKEN), 401),
            (
                true,
                Method::GET,
                "/status",
                Some("Basic 0123456789abcdef"),
                401,
            ),
            (true, Method::GET, "/status", right, 200),
            (
                true,
                Method::GET,
                "/status",
                Some("bearer 0123456789abcdef"),
                200,
            ),
            (true, Method::POST, "/cutover", right, 200),
        ];
        for (is_beyond, method, path, shown, expect) in rows {
            let guard = Guard {
                is_beyond,
                token: Some(digest(TOKEN)),
            };
            let host = Some(if is_beyond { "10.0.0.5:1" } else { "localhost" });
            let headers = headers(&[(header::HOST, host), (header::AUTHORIZATION, shown)]);
            let why = guard.refusal(&method, path, &headers);
            let status = why.map_or(200, |(status, _)| status.as_u16());
            assert_eq!(status, expect, "{is_beyond} {method} {path} {shown:?}");
            assert!(!format!("{guard:?}").contains(TOKEN));
        }
    }
}
