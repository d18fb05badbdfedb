//! What moves chunks, and will, is named.

use super::*;

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
