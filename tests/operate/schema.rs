//! Judges a JSON value by a schema of an OpenAPI document: the keywords that ours uses. A
//! keyword it does not know is a failure, so that nothing passes unjudged.

use serde_json::Value;

/// What is wrong with it, by its place; empty if it fits.
pub(crate) fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(document, schema, value, "$", &mut faults);
    faults
}

fn judge(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let keywords = schema.as_object().expect("a schema is an object");
    for (keyword, of) in keywords {
        let fits = match keyword.as_str() {
            "description" => true,
            "$ref" => {
                let place = of.as_str().unwrap().strip_prefix('#').unwrap();
                let there = document.pointer(place);
                let there = there.unwrap_or_else(|| panic!("{place} is not in the document"));
                judge(document, there, value, at, faults);
                true
            }
            "type" => is_of(of.as_str().unwrap(), value),
            "enum" => of.as_array().unwrap().contains(value),
            "const" => of == value,
            "minimum" => value.as_f64().is_none_or(|n| of.as_f64().unwrap() <= n),
            "maximum" => value.as_f64().is_none_or(|n| n <= of.as_f64().unwrap()),
            "oneOf" | "anyOf" => {
                let fitting = of.as_array().unwrap().iter();
                let fitting = fitting.filter(|one| self::faults(document, one, value).is_empty());
                let count = fitting.count();
                count == 1 || keyword == "anyOf" && 1 < count
            }
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    judge(document, of, item, &format!("{at}[{i}]"), faults);
                }
                true
            }
            "properties" => {
                for (name, inside) in value.as_object().into_iter().flatten() {
                    if let Some(of) = of.get(name) {
                        judge(document, of, inside, &format!("{at}.{name}"), faults);
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(*of, false, "at {at}");
                let known = schema["properties"].as_object().unwrap();
                let names = value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name);
                names.into_iter().all(|name| known.contains_key(name))
            }
            "required" => {
                let names = of.as_array().unwrap().iter();
                names
                    .into_iter()
                    .all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            other => panic!("{other} at {at} is not judged"),
        };
        if !fits {
            faults.push(format!("{at} is {value}, against {keyword}: {of}"));
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("no such type: {other}"),
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let document = serde_json::json!({"s": {
        "type": "object", "additionalProperties": false, "anyOf": [{"required": ["a"]}],
        "properties": {"a": {"oneOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}},
    }});
    let rows = [
        (r#"{"a": 1}"#, true),
        (r#"{"a": null}"#, true),
        (r#"{"a": -1}"#, false),
        (r#"{"a": 1.5}"#, false),
        (r#"{"a": 1, "b": 1}"#, false),
        ("{}", false),
        ("[]", false),
    ];
    let schema = serde_json::json!({"$ref": "#/s"});
    for (value, fits) in rows {
        let found = faults(&document, &schema, &serde_json::from_str(value).unwrap());
        assert_eq!(found.is_empty(), fits, "{value}: {found:?}");
    }
}
