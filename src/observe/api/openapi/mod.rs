//! The API as an OpenAPI document (3.1), made from the list of endpoints, the tables of
//! counters and knobs, and the schemas here.
//!
//! Every answer has exactly the fields of its schema: a test asks a real process for each.

mod schemas;

use serde_json::{Map, Value, json};

use crate::observe::api::openapi::schemas::{of, schemas};
use crate::observe::api::routes::{BODY_BYTES_MAX, ENDPOINTS, Endpoint};

/// The document.
pub fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in ENDPOINTS {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_lowercase()] = operation(endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "shardlift, a running migration",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let refusal = |what: &str, schema: &str| json!({"description": what, "content": {"application/json": {"schema": of(schema)}}});
    let own = match endpoint.answer {
        "Outcome" => "Outcome",
        _ => "Sentence",
    };
    let mut operation = json!({
        "summary": endpoint.says,
        "responses": {
            "200": {"description": endpoint.says, "content": content(endpoint.answer)},
            "401": refusal("the token is missing or another", "Sentence"),
            "403": refusal("a page or host that is not ours", "Sentence"),
            "409": refusal("refused now; the answer says why", own),
        },
    });
    if let Some(body) = endpoint.body {
        let is_required = schemas()[body].get("required").is_some();
        operation["requestBody"] =
            json!({"content": {"application/json": {"schema": of(body)}}, "required": is_required});
        operation["responses"]["400"] = refusal("a body that cannot be read", own);
        operation["responses"]["413"] = json!({
            "description": format!("a body of more than {BODY_BYTES_MAX} bytes"),
            "content": {"text/plain": {"schema": {"type": "string"}}},
        });
    }
    operation
}

fn content(answer: &str) -> Value {
    if answer == "application/json" {
        json!({answer: {"schema": {"type": "object"}}})
    } else if answer.contains('/') {
        json!({answer: {"schema": {"type": "string"}}})
    } else {
        json!({"application/json": {"schema": of(answer)}})
    }
}
