//! What stopping a balancer changed is put back; what moves chunks is named.

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

#[test]
fn a_shard_that_is_being_removed_is_named() {
    let shards = [
        doc! {"_id": "a", "draining": true},
        doc! {"_id": "b", "draining": false},
        doc! {"_id": "c"},
    ];
    assert_eq!(leaving(&shards).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_migration_is_named_alike_by_config_server_and_shard() {
    let config = doc! {"ns": "d.c", "fromShard": "a", "toShard": "b"};
    let shard = doc! {"nss": "d.c", "donorShardId": "a", "recipientShardId": "b"};
    let of_config = migration(&config, "ns", "fromShard", "toShard");
    let of_shard = migration(&shard, "nss", "donorShardId", "recipientShardId");
    assert_eq!(
        [of_config, of_shard],
        ["migration of a chunk of d.c from a to b"; 2]
    );
}
