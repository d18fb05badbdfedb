//! Every counter is everywhere a counter has to be.

use super::*;

fn done(metrics: &PairMetrics) -> (u64, u64) {
    let pair = PairSnapshot::of("", metrics);
    (pair.documents_done, pair.bytes_done)
}

#[test]
fn an_attempt_goes_on_with_what_is_copied() {
    let metrics = PairMetrics::default();
    let mut totals = Totals::default();
    totals.add(100, 1_000, 4, 0);
    metrics.plan(totals);
    metrics.bytes_copied.fetch_add(600, Relaxed);
    assert_eq!(done(&metrics).1, 600);
    // A fault: two of the four units are settled, part of a third is copied again.
    metrics.begin();
    let mut totals = Totals::default();
    totals.add(100, 1_000, 4, 2);
    totals.add(0, 0, 0, 0);
    metrics.plan(totals);
    assert_eq!(done(&metrics), (50, 500));
    metrics.bytes_copied.fetch_add(500, Relaxed);
    assert_eq!(
        (done(&metrics).1, metrics.bytes_copied.load(Relaxed)),
        (1_000, 1_100)
    );
}

/// Of every counter another value.
fn counted() -> PairMetrics {
    PairMetrics {
        documents_total: 1.into(),
        bytes_total: 2.into(),
        documents_copied: 3.into(),
        bytes_copied: 4.into(),
        documents_done: Before(AtomicI64::new(100)),
        bytes_done: Before(AtomicI64::new(100)),
        documents_orphaned: 7.into(),
        units_total: 8.into(),
        units_copied: 9.into(),
        indexes_total: 10.into(),
        indexes_built: 11.into(),
        entries_read: 12.into(),
        ops_read: 13.into(),
        ops_applied: 14.into(),
        statements_sent: 15.into(),
        ops_refused: 16.into(),
        documents_doubtful: 17.into(),
        documents_resolved: 18.into(),
        writes_missed: 19.into(),
        transactions_crossed: 39.into(),
        ops_held: 20.into(),
        bytes_held: 21.into(),
        ops_spooled: 22.into(),
        ops_replayed: 23.into(),
        ops_queued: 24.into(),
        source_seconds: 25.into(),
        tail_seconds: 26.into(),
        applied_seconds: 27.into(),
        lag_ms: 28.into(),
        lag_ms_max: 29.into(),
        oplog_kept_s: 30.into(),
        oplog_spare_s: 31.into(),
        source_ping_us: 35.into(),
        target_ping_us: 36.into(),
        collections_total: 37.into(),
        collections_done: 38.into(),
        spool_bytes: 32.into(),
        documents_verified: 33.into(),
        documents_touched: 34.into(),
        verified: true.into(),
        ready: true.into(),
        ops_unclear: AtomicU64::default(),
        crossed_to: AtomicU64::default(),
        obstacles: Obstacles::default(),
        collections: Mutex::default(),
    }
}

#[test]
fn every_counter_is_in_the_snapshot_by_its_name() {
    let expect = [
        r#"{"name":"a → x","documents_total":1,"bytes_total":2,"documents_copied":3,"#,
        r#""bytes_copied":4,"documents_done":103,"bytes_done":104,"documents_orphaned":7,"#,
        r#""units_total":8,"units_copied":9,"indexes_total":10,"indexes_built":11,"#,
        r#""entries_read":12,"ops_read":13,"ops_applied":14,"statements_sent":15,"ops_refused":16,"#,
        r#""documents_doubtful":17,"documents_resolved":18,"writes_missed":19,"#,
        r#""transactions_crossed":39,"ops_held":20,"#,
        r#""bytes_held":21,"ops_spooled":22,"ops_replayed":23,"ops_queued":24,"source_seconds":25,"#,
        r#""tail_seconds":26,"applied_seconds":27,"lag_ms":28,"lag_ms_max":29,"oplog_kept_s":30,"#,
        r#""oplog_spare_s":31,"source_ping_us":35,"target_ping_us":36,"collections_total":37,"#,
        r#""collections_done":38,"spool_bytes":32,"documents_verified":33,"documents_touched":34,"#,
        r#""verified":true,"ready":true,"documents_per_s":0.0,"bytes_per_s":0.0,"ops_per_s":0.0,"#,
        r#""eta_s":null}"#,
    ];
    let pair = PairSnapshot::of("a → x", &counted());
    assert_eq!(serde_json::to_string(&pair).unwrap(), expect.concat());
}

#[test]
fn every_counter_is_a_metric() {
    let pair = PairSnapshot::of("a → x", &counted());
    let metrics: Vec<(&str, f64)> = PAIR_METRICS
        .iter()
        .map(|metric| (metric.name, (metric.read)(&pair)))
        .collect();
    let expect = [
        ("shardlift_pair_documents", 1.0),
        ("shardlift_pair_bytes", 2.0),
        ("shardlift_pair_documents_copied_total", 3.0),
        ("shardlift_pair_bytes_copied_total", 4.0),
        ("shardlift_pair_documents_done", 103.0),
        ("shardlift_pair_bytes_done", 104.0),
        ("shardlift_pair_documents_orphaned_total", 7.0),
        ("shardlift_pair_units", 8.0),
        ("shardlift_pair_units_copied", 9.0),
        ("shardlift_pair_indexes", 10.0),
        ("shardlift_pair_indexes_built", 11.0),
        ("shardlift_pair_entries_read_total", 12.0),
        ("shardlift_pair_ops_read_total", 13.0),
        ("shardlift_pair_ops_applied_total", 14.0),
        ("shardlift_pair_statements_sent_total", 15.0),
        ("shardlift_pair_ops_refused_total", 16.0),
        ("shardlift_pair_documents_doubtful", 17.0),
        ("shardlift_pair_documents_resolved_total", 18.0),
        ("shardlift_pair_writes_missed_total", 19.0),
        ("shardlift_pair_transactions_crossed_total", 39.0),
        ("shardlift_pair_ops_held", 20.0),
        ("shardlift_pair_held_bytes", 21.0),
        ("shardlift_pair_ops_spooled_total", 22.0),
        ("shardlift_pair_ops_replayed_total", 23.0),
        ("shardlift_pair_ops_queued", 24.0),
        ("shardlift_pair_source_timestamp_seconds", 25.0),
        ("shardlift_pair_tail_timestamp_seconds", 26.0),
        ("shardlift_pair_applied_timestamp_seconds", 27.0),
        ("shardlift_pair_lag_seconds", 0.028),
        ("shardlift_pair_lag_max_seconds", 0.029),
        ("shardlift_pair_oplog_kept_seconds", 30.0),
        ("shardlift_pair_oplog_spare_seconds", 31.0),
        ("shardlift_pair_source_ping_seconds", 0.000_035),
        ("shardlift_pair_target_ping_seconds", 0.000_036),
        ("shardlift_pair_collections", 37.0),
        ("shardlift_pair_collections_done", 38.0),
        ("shardlift_pair_spool_bytes", 32.0),
        ("shardlift_pair_documents_verified", 33.0),
        ("shardlift_pair_documents_touched", 34.0),
        ("shardlift_pair_verified", 1.0),
        ("shardlift_pair_ready", 1.0),
    ];
    assert_eq!(metrics, expect);
}

#[test]
fn pairs_become_one() {
    let one = PairSnapshot {
        documents_per_s: 1.0,
        bytes_per_s: 2.0,
        ops_per_s: 3.0,
        eta_s: Some(4.0),
        ..PairSnapshot::of("a → x", &counted())
    };
    let mut both = one.clone();
    let none = PairSnapshot {
        name: "b → y".to_owned(),
        ..PairSnapshot::default()
    };
    both.join(&none);
    // What adds up, and what the larger one stands for, is as it was.
    let expect = PairSnapshot {
        tail_seconds: 0,
        applied_seconds: 0,
        oplog_kept_s: 0,
        oplog_spare_s: 0,
        verified: false,
        ready: false,
        ..one.clone()
    };
    let json = |pair: &PairSnapshot| serde_json::to_value(pair).unwrap();
    assert_eq!(json(&both), json(&expect));

    let mut twice = one.clone();
    twice.join(&one);
    // Not added up: the largest, the smallest, and what holds for all.
    let alike = [
        "name",
        "source_seconds",
        "tail_seconds",
        "applied_seconds",
        "lag_ms",
        "lag_ms_max",
        "oplog_kept_s",
        "oplog_spare_s",
        "source_ping_us",
        "target_ping_us",
        "verified",
        "ready",
        "eta_s",
    ];
    for (name, value) in json(&one).as_object().unwrap() {
        let expect = if alike.contains(&name.as_str()) {
            value.clone()
        } else if let Some(number) = value.as_u64() {
            (2 * number).into()
        } else {
            (2.0 * value.as_f64().unwrap()).into()
        };
        assert_eq!(json(&twice)[name], expect, "{name}");
    }
}
