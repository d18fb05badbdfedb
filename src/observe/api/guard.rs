//! Turns away what a web page of another site could send: a foreign `Host` (DNS
//! rebinding), and a change from a page that is not ours.
//!
//! Pure, but for reading headers.

use axum::Json;
use axum::extract::Request;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

pub(super) async fn local_only(request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers()) {
        Some(why) => (
            StatusCode::FORBIDDEN,
            Json(serde_json::json!({"success": false, "message": why})),
        )
            .into_response(),
        None => next.run(request).await,
    }
}

fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().ok());
    let host = text(header::HOST).flatten().filter(|host| is_local(host));
    let Some(host) = host else {
        return Some("the Host header must be localhost or 127.0.0.1");
    };
    // Tools send none; browsers send it with every change.
    let is_foreign = text(header::ORIGIN).is_some_and(|origin| !is_ours(origin, host));
    (method != Method::GET && is_foreign).then_some("requests from other web pages are refused")
}

/// The page that this process itself served.
fn is_ours(origin: Option<&str>, host: &str) -> bool {
    let origin = origin.and_then(|origin| origin.strip_prefix("http://"));
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|b| b.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    name == "127.0.0.1" || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_page_may_change_anything() {
        let ours = "127.0.0.1:27183";
        // method, host, origin, refused
        let rows = [
            (Method::GET, Some(ours), None, false),
            (Method::GET, Some(ours), Some("http://evil.example"), false),
            (Method::POST, Some(ours), None, false),
            (
                Method::POST,
                Some(ours),
                Some("http://127.0.0.1:27183"),
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
            (
                Method::POST,
                Some(ours),
                Some("https://127.0.0.1:27183"),
                true,
            ),
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
        for (method, host, origin, refused) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if let Some(value) = value {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let why = refusal(&method, &headers);
            assert_eq!(why.is_some(), refused, "{method} {headers:?}");
        }
    }
}
