//! Commands on several collections at once.

use super::*;

#[tokio::test]
async fn one_command_begins_on_each_collection_once() {
    let of = |byte| {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: format!("c{byte}"),
        };
        Tracked::new(Uuid::from_bytes([byte; 16]), ns, Traits::default())
    };
    let (a, b) = (of(1), of(2));
    let begun = begin_writes(vec![&b, &a, &b]).await.expect("alive");
    assert_eq!(begun.len(), 2, "a rename would wait for a third for ever");
    b.kill();
    assert!(begin_writes(vec![&a, &b]).await.is_none());
}
