//! The commands by which the balancer's rows of `config.settings` are as they were: for the
//! run to send, and for an operator to type where the run cannot.
//!
//! Pure.

use bson::raw::CString;
use bson::{Document, RawBson, RawDocument, RawDocumentBuf, rawdoc};

use crate::control::balancer::Found;
use crate::error::Result;

/// Rows and fields of `config.settings` that stopping and starting the balancer changes.
/// Up to 6.0.5 this switches auto-splitting too.
pub(super) const SETTINGS: [(&str, &[&str]); 2] = [
    ("balancer", &["mode", "stopped"]),
    ("autosplit", &["enabled"]),
];

/// The row of that name.
pub(super) fn row<'a>(rows: &'a [RawDocumentBuf], id: &str) -> Option<&'a RawDocument> {
    let named = |row: &&RawDocumentBuf| row.get_str("_id").is_ok_and(|is| is == id);
    rows.iter().find(named).map(|row| &**row)
}

/// The commands of the shell, in order, by which all is as found. `now` is what is set now;
/// if it is not known, all that a run may change is set. Empty if nothing differs.
pub fn by_hand(found: &Found, now: Option<&[RawDocumentBuf]>) -> Vec<String> {
    let starts = found.enabled == Some(true);
    let start = || vec!["sh.startBalancer()".to_owned()];
    let Some(before) = &found.settings else {
        return if starts { start() } else { Vec::new() };
    };
    let Some(now) = now else {
        // Somebody may have set hours meanwhile, so that the row must stay.
        let hours = rawdoc! {"_id": "balancer", "activeWindow": RawBson::Null};
        let [balancer, autosplit] = SETTINGS.map(|(_, fields)| fields);
        let unknown = [
            with("balancer", Some(&hours), balancer, &RawBson::Null),
            with("autosplit", None, autosplit, &RawBson::Null),
        ];
        let differing = differing(before, &unknown);
        return match found.enabled {
            Some(true) => [start(), differing].concat(),
            Some(false) => differing,
            None => Vec::new(),
        };
    };
    let left = differing(before, now);
    if left.is_empty() || !starts {
        return left;
    }
    [start(), differing(before, &started(now))].concat()
}

/// The commands in a sentence.
pub fn listed(commands: &[String]) -> String {
    let commands: Vec<String> = commands.iter().map(|text| format!("`{text}`")).collect();
    commands.join(", then ")
}

fn differing(before: &[RawDocumentBuf], now: &[RawDocumentBuf]) -> Vec<String> {
    let mut commands = Vec::new();
    for (id, fields) in SETTINGS {
        match put_back(id, fields, row(before, id), row(now, id)) {
            Ok(Some(command)) => commands.push(in_shell(&command)),
            Ok(None) => {}
            // A row that no server would store.
            Err(e) => commands.push(format!(
                "db.getSiblingDB(\"config\").settings.find() // {e}"
            )),
        }
    }
    commands
}

/// The rows as the start of a balancer leaves them.
fn started(now: &[RawDocumentBuf]) -> Vec<RawDocumentBuf> {
    let on = with(
        "balancer",
        row(now, "balancer"),
        &["stopped"],
        &RawBson::Boolean(false),
    );
    let on = with(
        "balancer",
        Some(&on),
        &["mode"],
        &RawBson::String("full".to_owned()),
    );
    // Releases that know the row switch it on; others have none.
    let splits = row(now, "autosplit");
    let splits = splits.map(|row| {
        with(
            "autosplit",
            Some(row),
            &["enabled"],
            &RawBson::Boolean(true),
        )
    });
    [on].into_iter().chain(splits).collect()
}

/// The row with these fields set to this.
fn with(id: &str, row: Option<&RawDocument>, fields: &[&str], to: &RawBson) -> RawDocumentBuf {
    let kept = row.into_iter().flat_map(|row| row.iter().flatten());
    let kept = kept.filter(|(name, _)| !is_ours(name.as_str(), fields));
    let mut made = rawdoc! {"_id": id};
    for (name, value) in kept {
        made.append(name, value);
    }
    // Names of our own hold no zero byte.
    for name in fields.iter().flat_map(|field| CString::try_from(*field)) {
        made.append(name, to.clone());
    }
    made
}

fn in_shell(command: &RawDocument) -> String {
    let text = Document::try_from(command).ok();
    let text = text.and_then(|command| serde_json::to_string(&command).ok());
    // A command of ours can be read and written.
    format!(
        "db.getSiblingDB(\"config\").runCommand({})",
        text.unwrap_or_default()
    )
}

/// The command by which a row has these fields as before, and keeps what else somebody set
/// meanwhile. None if it has.
pub(super) fn put_back(
    id: &str,
    fields: &[&str],
    before: Option<&RawDocument>,
    now: Option<&RawDocument>,
) -> Result<Option<RawDocumentBuf>> {
    let (before, now) = match (before, now) {
        (None, None) => return Ok(None),
        (Some(before), None) => return Ok(Some(update(id, before.to_owned(), true))),
        (None, Some(now))
            if now
                .iter_elements()
                .flatten()
                .all(|e| is_ours(e.key().as_str(), fields)) =>
        {
            let delete = rawdoc! {"q": {"_id": id}, "limit": 1};
            return Ok(Some(rawdoc! {"delete": "settings", "deletes": [delete]}));
        }
        (before, Some(now)) => (before.map(RawDocument::to_owned).unwrap_or_default(), now),
    };
    let (mut set, mut unset) = (RawDocumentBuf::new(), RawDocumentBuf::new());
    for field in fields {
        match (before.get(field)?, now.get(field)?) {
            (Some(was), is) if is != Some(was) => {
                set.append(CString::try_from(*field)?, RawBson::from(was))
            }
            (None, Some(_)) => unset.append(CString::try_from(*field)?, true),
            _ => {}
        }
    }
    let mut change = RawDocumentBuf::new();
    for (operator, fields) in [(bson::cstr!("$set"), set), (bson::cstr!("$unset"), unset)] {
        if !fields.is_empty() {
            change.append(operator, fields);
        }
    }
    Ok((!change.is_empty()).then(|| update(id, change, false)))
}

fn is_ours(name: &str, fields: &[&str]) -> bool {
    name == "_id" || fields.contains(&name)
}

fn update(id: &str, update: RawDocumentBuf, upsert: bool) -> RawDocumentBuf {
    let update = rawdoc! {"q": {"_id": id}, "u": update, "upsert": upsert};
    rawdoc! {"update": "settings", "updates": [update]}
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    #[test]
    fn what_stopping_changed_is_put_back_and_nothing_else() {
        let row = |fields: RawDocumentBuf| Some(fields);
        let off = || row(rawdoc! {"_id": "balancer", "mode": "off", "stopped": true});
        let windowed = row(
            rawdoc! {"_id": "balancer", "mode": "off", "stopped": true, "activeWindow": {"start": "1:00"}},
        );
        let full = row(rawdoc! {"_id": "balancer", "mode": "full", "stopped": false});
        let old = row(rawdoc! {"_id": "balancer", "stopped": true});
        let rows = [
            (None, None, None),
            (off(), off(), None),
            (
                None,
                off(),
                Some(
                    rawdoc! {"delete": "settings", "deletes": [{"q": {"_id": "balancer"}, "limit": 1}]},
                ),
            ),
            (
                old.clone(),
                None,
                Some(update("balancer", old.clone().unwrap(), true)),
            ),
            (
                old,
                off(),
                Some(update(
                    "balancer",
                    rawdoc! {"$unset": {"mode": true}},
                    false,
                )),
            ),
            (
                full,
                off(),
                Some(update(
                    "balancer",
                    rawdoc! {"$set": {"mode": "full", "stopped": false}},
                    false,
                )),
            ),
            (off(), windowed.clone(), None),
            (
                None,
                windowed,
                Some(update(
                    "balancer",
                    rawdoc! {"$unset": {"mode": true, "stopped": true}},
                    false,
                )),
            ),
        ];
        for (before, now, expect) in rows {
            let command =
                put_back("balancer", SETTINGS[0].1, before.as_deref(), now.as_deref()).unwrap();
            assert_eq!(command, expect, "{before:?} {now:?}");
        }
    }

    fn found(enabled: bool, rows: &[RawDocumentBuf]) -> Found {
        Found {
            enabled: Some(enabled),
            settings: Some(rows.to_vec()),
        }
    }

    fn set(id: &str, fields: &str) -> String {
        format!(
            r#"db.getSiblingDB("config").runCommand({{"update":"settings","updates":[{{"q":{{"_id":"{id}"}},"u":{fields},"upsert":false}}]}})"#
        )
    }

    fn delete(id: &str) -> String {
        format!(
            r#"db.getSiblingDB("config").runCommand({{"delete":"settings","deletes":[{{"q":{{"_id":"{id}"}},"limit":1}}]}})"#
        )
    }

    #[test]
    fn an_operator_is_told_what_the_run_would_send() {
        let start = || "sh.startBalancer()".to_owned();
        let on = rawdoc! {"_id": "balancer", "mode": "full", "stopped": false};
        let off = rawdoc! {"_id": "balancer", "mode": "off", "stopped": true};
        let third = rawdoc! {"_id": "balancer", "mode": "autoSplitOnly", "stopped": false};
        let splits = |on: bool| rawdoc! {"_id": "autosplit", "enabled": on};
        // As stopping leaves them: releases up to 6.0.5, and later ones.
        let before_6_0_6 = [off.clone(), splits(false)];
        let later = [off.clone()];
        let rows = [
            (
                found(true, &[on.clone(), splits(true)]),
                &before_6_0_6[..],
                vec![start()],
            ),
            (
                found(true, &[on.clone(), splits(false)]),
                &before_6_0_6[..],
                vec![start(), set("autosplit", r#"{"$set":{"enabled":false}}"#)],
            ),
            (
                found(true, &[]),
                &before_6_0_6[..],
                vec![start(), delete("balancer"), delete("autosplit")],
            ),
            (
                found(true, &[]),
                &later[..],
                vec![start(), delete("balancer")],
            ),
            (found(true, slice::from_ref(&on)), &later[..], vec![start()]),
            (
                found(false, slice::from_ref(&third)),
                &before_6_0_6[..],
                vec![
                    set(
                        "balancer",
                        r#"{"$set":{"mode":"autoSplitOnly","stopped":false}}"#,
                    ),
                    delete("autosplit"),
                ],
            ),
            (found(false, &before_6_0_6), &before_6_0_6[..], vec![]),
            // It was not stopped yet.
            (
                found(true, slice::from_ref(&on)),
                slice::from_ref(&on),
                vec![],
            ),
        ];
        for (found, now, expect) in rows {
            assert_eq!(by_hand(&found, Some(now)), expect, "{found:?} {now:?}");
        }
        let unread = by_hand(&found(true, &[on]), None);
        let expect = [
            start(),
            set("balancer", r#"{"$set":{"mode":"full","stopped":false}}"#),
            delete("autosplit"),
        ];
        assert_eq!(unread, expect);
        // An older release recorded no rows.
        let unrecorded = |enabled| Found {
            enabled,
            settings: None,
        };
        for enabled in [Some(false), None] {
            assert_eq!(by_hand(&unrecorded(enabled), None), [""; 0]);
        }
        assert_eq!(by_hand(&unrecorded(Some(true)), Some(&later)), [start()]);
        assert_eq!(
            listed(&[start(), start()]),
            "`sh.startBalancer()`, then `sh.startBalancer()`"
        );
    }
}
