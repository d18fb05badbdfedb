//! One process works on a target.

use super::*;

#[tokio::test]
async fn one_process_holds_the_lease() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let long = Duration::from_secs(60);
    let elsewhere = Holder {
        host: "elsewhere".to_owned(),
        pid: 77,
        ..Holder::me()
    };

    // Another host's, valid: refused, and told who. Expired: taken.
    leave_lease(shard, &elsewhere, long).await;
    let refused = Lease::take(shard, RUN).await.unwrap_err();
    assert_eq!(refused.kind, Kind::Refused);
    for part in [
        "process 77 on elsewhere",
        "run theirs",
        "since 20",
        "until 20",
    ] {
        assert!(refused.message.contains(part), "{refused}");
    }
    leave_lease(shard, &elsewhere, Duration::from_secs(1)).await;
    assert_eq!(
        Lease::take(shard, RUN).await.unwrap_err().kind,
        Kind::Refused
    );
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let lease = Lease::take(shard, RUN).await.unwrap();
    lease.renew().await.unwrap();

    // This host's: refused while the process lives, taken once it is gone.
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let local = Holder::of(child.id());
    leave_lease(shard, &local, long).await;
    let lost = lease.renew().await.unwrap_err();
    assert!(
        lost.kind == Kind::Refused && lost.message.contains("lost its lease"),
        "{lost}"
    );
    assert_eq!(
        Lease::take(shard, RUN).await.unwrap_err().kind,
        Kind::Refused
    );
    child.kill().unwrap();
    // Not waited for yet: what is left of it counts as gone.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let lease = Lease::take(shard, RUN).await.unwrap();
    child.wait().unwrap();
    // The same number, another process.
    leave_lease(
        shard,
        &Holder {
            started: 1,
            ..Holder::me()
        },
        long,
    )
    .await;
    assert_eq!(lease.renew().await.unwrap_err().kind, Kind::Refused);
    let lease = Lease::take(shard, RUN).await.unwrap();
    // A call whose answer was lost is repeated.
    let again = Lease::take(shard, RUN).await.unwrap();
    assert_eq!(lease.renew().await.unwrap_err().kind, Kind::Refused);
    again.renew().await.unwrap();
    let kept = tokio::time::timeout(Duration::from_secs(12), again.keep()).await;
    assert!(
        kept.is_err(),
        "it is kept as long as nobody takes it: {kept:?}"
    );
}

#[tokio::test]
async fn of_two_that_find_no_lease_one_gets_it() {
    let (_set, target) = one_shard("rs").await;
    let shard = &target.shards[0];
    let tries: Vec<_> = (0..8)
        .map(|i| Lease::take(shard, ["a", "b"][i % 2]))
        .collect();
    let taken = futures_util::future::join_all(tries).await;
    // All are this process: each may take it from another, none may fail.
    let leases: Vec<Lease> = taken.into_iter().filter_map(Result::ok).collect();
    let mut held = 0;
    for lease in &leases {
        held += u32::from(lease.renew().await.is_ok());
    }
    assert_eq!(held, 1);
}
