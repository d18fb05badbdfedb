//! Whole databases and views, made and dropped.
//!
//! Knows nothing about what a migration makes of it.

use bson::{Document, doc};

use crate::error::{Error, Result};
use crate::layout::dice::Dice;
use crate::operator::ends::Ends;
use crate::operator::ground::{DATABASE, JOBS};
use crate::wire::link::Link;

/// Dropped and made again, with views or without.
pub(super) const VIEWED: &str = "ops_viewed";
/// Of one database: only one of them can be there.
pub(super) const SPELLINGS: [&str; 2] = ["Ops_Spelled", "ops_spelled"];
const DOCUMENTS: i32 = 50;

pub(super) async fn make_again(ends: &Ends, dice: &mut Dice, views: bool) -> Result<String> {
    let mut link = ends.front().await?;
    link.command(VIEWED, doc! {"dropDatabase": 1}).await?;
    let primary = dice.below(ends.shards.len() as u64) as usize;
    make(ends, &mut link, VIEWED, primary, views).await?;
    Ok(format!("{VIEWED}, primary {primary}"))
}

pub(super) async fn respell(ends: &Ends, dice: &mut Dice) -> Result<String> {
    let mut link = ends.front().await?;
    let there = link
        .command("admin", doc! {"listDatabases": 1, "nameOnly": true})
        .await?;
    let is_there = |name: &str| there.to_string().contains(&format!("\"{name}\""));
    let (old, new) = if is_there(SPELLINGS[0]) {
        (SPELLINGS[0], SPELLINGS[1])
    } else {
        (SPELLINGS[1], SPELLINGS[0])
    };
    link.command(old, doc! {"dropDatabase": 1}).await?;
    let primary = dice.below(ends.shards.len() as u64) as usize;
    make(ends, &mut link, new, primary, false).await?;
    Ok(format!("{old} is {new} now, primary {primary}"))
}

/// One that stays a moment.
pub(super) async fn view(ends: &Ends, round: u64) -> Result<String> {
    let mut link = ends.front().await?;
    let name = format!("view_{round}");
    link.command(
        DATABASE,
        doc! {"create": &name, "viewOn": JOBS, "pipeline": [{"$match": {"a": 1}}]},
    )
    .await?;
    link.command(DATABASE, doc! {"drop": &name}).await?;
    Ok(name)
}

/// A collection with an index, a stored function, and two views, one on the other.
pub(super) async fn make(
    ends: &Ends,
    link: &mut Link,
    name: &str,
    primary: usize,
    views: bool,
) -> Result<()> {
    if ends.router.is_some() {
        let shard = ends
            .shards
            .get(primary)
            .ok_or_else(|| Error::new("no such shard"))?;
        link.command(
            "admin",
            doc! {"enableSharding": name, "primaryShard": shard},
        )
        .await?;
    }
    let documents: Vec<Document> = (0..DOCUMENTS)
        .map(|i| doc! {"_id": i, "a": i % 7})
        .collect();
    link.command(name, doc! {"insert": "c", "documents": documents})
        .await?;
    link.command(
        name,
        doc! {"createIndexes": "c", "indexes": [{"key": {"a": 1}, "name": "a_1"}]},
    )
    .await?;
    let function = doc! {"_id": "twice", "value": bson::Bson::JavaScriptCode("function (x) { return 2 * x; }".into())};
    link.command(name, doc! {"insert": "system.js", "documents": [function]})
        .await?;
    for (view, on) in [("v", "c"), ("w", "v")].iter().filter(|_| views) {
        let pipeline = vec![doc! {"$match": {"a": {"$lt": 5}}}];
        link.command(
            name,
            doc! {"create": *view, "viewOn": *on, "pipeline": pipeline},
        )
        .await?;
    }
    Ok(())
}
