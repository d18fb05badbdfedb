//! Which shard owns a document: a collection's chunk map, for the kinds of shard
//! keys the layout uses (numbers, strings, UUIDs, ObjectIds, hashed or not).
//!
//! Knows nothing about other shard keys; for those, go through the router.

use bson::{Bson, Document, doc};
use md5::{Digest, Md5};

use crate::{
    entry::Entry,
    error::{Error, Result},
};

/// One shard key value, in the server's order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Min,
    Number(i64),
    Text(String),
    /// Length, subtype, bytes: the order of binary values.
    Binary(usize, u8, Vec<u8>),
    ObjectId([u8; 12]),
    Max,
}

/// Owners of a collection's documents, as positions in `Entry::shards`.
#[derive(Debug, Clone)]
pub struct OwnerMap {
    /// Lower bounds in ascending order, each with its owner.
    bounds: Vec<(Vec<Key>, usize)>,
    hashed: bool,
}

impl OwnerMap {
    /// Reads who owns what of `database.name` now: the chunks of a sharded
    /// collection, else the database's primary shard.
    ///
    /// # Errors
    /// `Usage` for a shard key this map does not understand.
    pub async fn read(entry: &Entry, database: &str, name: &str) -> Result<Self> {
        if !entry.router {
            return Ok(OwnerMap::whole(0));
        }
        let ns = format!("{database}.{name}");
        let collections = entry
            .config_rows("collections", doc! {"_id": &ns, "dropped": {"$ne": true}})
            .await?;
        match collections.first() {
            Some(row) => OwnerMap::sharded(entry, &ns, row).await,
            None => OwnerMap::unsharded(entry, database).await,
        }
    }

    fn whole(shard: usize) -> Self {
        OwnerMap {
            bounds: vec![(vec![Key::Min], shard)],
            hashed: false,
        }
    }

    async fn unsharded(entry: &Entry, database: &str) -> Result<Self> {
        let rows = entry
            .config_rows("databases", doc! {"_id": database})
            .await?;
        let primary = rows.first().and_then(|row| row.get_str("primary").ok());
        let primary = primary
            .ok_or_else(|| Error::new(format!("database {database} has no primary shard")))?;
        Ok(OwnerMap::whole(entry.shard_index(primary)?))
    }

    async fn sharded(entry: &Entry, ns: &str, row: &Document) -> Result<Self> {
        let pattern = row.get_document("key").cloned().unwrap_or_default();
        let hashed = pattern.values().any(|kind| kind.as_str() == Some("hashed"));
        let mut bounds = Vec::new();
        for chunk in entry.config_rows("chunks", chunk_filter(ns, row)).await? {
            let min = chunk.get_document("min").cloned().unwrap_or_default();
            let min = min.values().map(key).collect::<Result<Vec<_>>>()?;
            bounds.push((
                min,
                entry.shard_index(chunk.get_str("shard").unwrap_or_default())?,
            ));
        }
        bounds.sort();
        if bounds.is_empty() {
            return Err(Error::new(format!(
                "{ns} is sharded, but config.chunks has no chunk of it"
            )));
        }
        Ok(OwnerMap { bounds, hashed })
    }

    /// The shard that owns the shard key `values` (empty for an unsharded collection).
    ///
    /// # Errors
    /// `Usage` for a value of a type this map does not understand.
    pub fn owner(&self, values: &[Bson]) -> Result<usize> {
        if let [(_, only)] = self.bounds[..] {
            return Ok(only);
        }
        let mut keys = values.iter().map(key).collect::<Result<Vec<_>>>()?;
        if self.hashed {
            keys = keys.iter().map(|key| Key::Number(hash(key))).collect();
        }
        let after = self.bounds.partition_point(|(min, _)| *min <= keys);
        Ok(self.bounds[after.saturating_sub(1)].1)
    }
}

/// Finds a collection's chunks: by UUID since 5.0, before by namespace.
pub fn chunk_filter(ns: &str, row: &Document) -> Document {
    match row.get("uuid") {
        Some(uuid) => doc! {"$or": [{"uuid": uuid}, {"ns": ns}]},
        None => doc! {"ns": ns},
    }
}

fn key(value: &Bson) -> Result<Key> {
    Ok(match value {
        Bson::MinKey => Key::Min,
        Bson::MaxKey => Key::Max,
        Bson::Int32(n) => Key::Number(i64::from(*n)),
        Bson::Int64(n) => Key::Number(*n),
        Bson::String(text) => Key::Text(text.clone()),
        Bson::Binary(b) => Key::Binary(b.bytes.len(), b.subtype.into(), b.bytes.clone()),
        Bson::ObjectId(id) => Key::ObjectId(id.bytes()),
        other => {
            return Err(Error::new(format!(
                "a shard key value of type {:?}: go through the router",
                other.element_type()
            )));
        }
    })
}

/// The server's hash of a value (`BSONElementHasher`, seed 0): the first eight
/// bytes of an MD5 over seed, canonical type and value.
fn hash(key: &Key) -> i64 {
    let (kind, value): (i32, Vec<u8>) = match key {
        Key::Min => (-1, Vec::new()),
        Key::Max => (127, Vec::new()),
        Key::Number(n) => (10, n.to_le_bytes().to_vec()),
        Key::Text(text) => {
            let length = (text.len() as i32 + 1).to_le_bytes();
            (15, [&length[..], text.as_bytes(), &[0]].concat())
        }
        Key::Binary(length, subtype, bytes) => (
            30,
            [&(*length as i32).to_le_bytes()[..], &[*subtype], bytes].concat(),
        ),
        Key::ObjectId(bytes) => (35, bytes.to_vec()),
    };
    let digest = Md5::new()
        .chain_update(0i32.to_le_bytes())
        .chain_update(kind.to_le_bytes())
        .chain_update(value);
    let digest = digest.finalize();
    i64::from_le_bytes(digest[..8].try_into().expect("an MD5 has sixteen bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from `$toHashedIndexKey` of a 6.0 server.
    #[test]
    fn hashes_as_the_server_does() {
        let hashed = |value: Bson| hash(&key(&value).unwrap());
        assert_eq!(hashed(Bson::Int32(1)), 5902408780260971510);
        assert_eq!(hashed(Bson::Int64(1)), 5902408780260971510);
        assert_eq!(hashed(Bson::String("amber".into())), 4757691381602222051);
        let id = bson::oid::ObjectId::parse_str("5f5e10000000000000000007").unwrap();
        assert_eq!(hashed(Bson::ObjectId(id)), 4766837604376417138);
        let uuid = bson::Binary {
            subtype: bson::spec::BinarySubtype::Uuid,
            bytes: (0..16).collect(),
        };
        assert_eq!(hashed(Bson::Binary(uuid)), 6084661258071355978);
    }
}
