//! The target's layout (DESIGN §6), made through its router with public
//! commands: databases on their mapped primaries, sharded collections with
//! key, uniqueness, zones and one chunk per owner interval, unsharded
//! collections and views with their options.

use crate::cluster::catalog::{Catalog, Collection};
use crate::cluster::connect::Deployment;
use crate::error::Result;

/// Makes the whole layout. `pairs[i]` is the target shard of source shard i.
pub async fn create_all(_target: &Deployment, _catalog: &Catalog, _pairs: &[usize]) -> Result<()> {
    Err(crate::error::Error::internal("not yet"))
}

/// Makes one database and one collection (no secondary indexes), as DDL on the
/// fly needs it. It is no error if it is there already with the same layout.
pub async fn create_collection(_target: &Deployment, _collection: &Collection, _pairs: &[usize]) -> Result<()> {
    Err(crate::error::Error::internal("not yet"))
}
