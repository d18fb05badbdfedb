//! Sets of options: two documents whose fields may come in any order, each with
//! the same type and bytes.
//!
//! Knows nothing about what the options are of.

use std::collections::BTreeMap;

use super::raw::{self, Value};
use super::report::Findings;

/// Options by name; a name that is there twice has two values.
pub(super) type Options = BTreeMap<Vec<u8>, Vec<Value>>;

pub(super) fn of(document: &[u8]) -> Options {
    let mut all = Options::new();
    for field in raw::fields(document) {
        all.entry(field.name.to_vec())
            .or_default()
            .push(field.value());
    }
    all
}

/// Reports each option that is not the same on both sides.
pub(super) fn compare(
    ns: &str,
    kind: &'static str,
    of_what: &str,
    source: &Options,
    target: &Options,
    findings: &Findings,
) {
    let space = if of_what.is_empty() { "" } else { " " };
    for name in source
        .keys()
        .chain(target.keys().filter(|name| !source.contains_key(*name)))
    {
        let (left, right) = (source.get(name), target.get(name));
        if left != right {
            findings.add(ns, kind, || {
                let (left, right) =
                    raw::show_apart(&show(left), &show(right), &bytes(left), &bytes(right));
                let name = raw::name(name);
                format!("{of_what}{space}{name}: {left} on the source, {right} on the target")
            });
        }
    }
}

fn show(values: Option<&Vec<Value>>) -> String {
    let shown: Vec<String> = values.into_iter().flatten().map(Value::show).collect();
    if shown.is_empty() {
        "nothing".to_owned()
    } else {
        shown.join(" and ")
    }
}

fn bytes(values: Option<&Vec<Value>>) -> Vec<u8> {
    values
        .into_iter()
        .flatten()
        .flat_map(|value| [&[value.kind][..], &value.bytes].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::raw::cstr;
    use bson::{RawDocumentBuf, rawdoc};

    use super::*;

    fn twice(first: i32, second: i32) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("a"), first);
        document.append(cstr!("a"), second);
        document
    }

    #[test]
    fn options_are_alike_in_any_order_and_differ_in_one_byte() {
        let inner = |first, second| {
            let mut document = RawDocumentBuf::new();
            document.append(cstr!("p"), twice(first, second));
            document
        };
        let rows = [
            (rawdoc! { "a": 1, "b": 2 }, rawdoc! { "b": 2, "a": 1 }, None),
            (rawdoc! { "a": 1 }, rawdoc! { "a": 1_i64 }, Some("Int64(1)")),
            (
                rawdoc! { "a": 1 },
                rawdoc! { "a": 1.0 },
                Some("Double(1.0)"),
            ),
            (
                rawdoc! { "a": 1 },
                rawdoc! {},
                Some("nothing on the target"),
            ),
            (
                rawdoc! {},
                rawdoc! { "a": 1 },
                Some("nothing on the source"),
            ),
            (
                rawdoc! { "k": { "a": 1, "b": 1 } },
                rawdoc! { "k": { "b": 1, "a": 1 } },
                Some("k:"),
            ),
            (rawdoc! { "a": "x" }, rawdoc! { "a": "X" }, Some("X")),
            (twice(1, 2), twice(1, 2), None),
            (twice(1, 2), twice(2, 1), Some(" and ")),
            (inner(1, 2), inner(1, 2), None),
            // What decodes to the same document shows by its bytes.
            (inner(1, 2), inner(3, 2), Some("p: 0x")),
        ];
        for (source, target, found) in rows {
            let findings = Findings::new(10);
            compare(
                "d.c",
                "options",
                "",
                &of(source.as_bytes()),
                &of(target.as_bytes()),
                &findings,
            );
            let report = findings.report(Default::default(), std::time::Duration::ZERO);
            assert_eq!(
                report.equal,
                found.is_none(),
                "{source:?} {target:?} {report}"
            );
            assert!(
                found.is_none_or(|part| report.differences[0].detail.contains(part)),
                "{report}"
            );
        }
    }
}
