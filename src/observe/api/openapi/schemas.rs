//! The schemas of the OpenAPI document: each body that is taken, each answer that is given.

use serde_json::{Map, Value, json};

use crate::config::knobs::{self, Bounds};
use crate::observe::counters::PAIR_FIELDS;

pub(super) fn of(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

pub(super) fn schemas() -> Value {
    json!({
        "Snapshot": snapshot(),
        "Pair": pair(),
        "Throttled": object([
            ("copy_mb_s", whole("Most MiB copied per second; 0: no limit.")),
            ("ops_s", whole("Most ops applied per second; 0: no limit.")),
            ("held_by", texts("Why copying holds now.")),
        ]),
        "History": history(),
        "Log": object([("lines", texts("Oldest first."))]),
        "Prepared": prepared(),
        "Sentence": object([
            ("success", flag("False: refused.")),
            ("message", text("What happens now, or why it cannot.")),
        ]),
        "CutoverBody": optional([("block_writes", flag("The source refuses users' writes first."))]),
        "PauseBody": optional([("by", text("By whom, and why: the first 200 characters are kept."))]),
        "RecopyBody": recopy_body(),
        "StartBody": start_body(),
        "Limits": optional(["copy_mb_s", "ops_s"].map(|name| (name, or_null(bounded(name))))),
        "Progress": object([("progress", progress()), ("success", flag("Always true."))]),
        "Outcome": {"oneOf": [
            object([("success", json!({"const": true}))]),
            object([
                ("success", json!({"const": false})),
                ("error", text("The error's name.")),
                ("errorDescription", text("Why.")),
            ]),
        ]},
    })
}

fn snapshot() -> Value {
    let phases = [
        "validating",
        "layout",
        "copying",
        "following",
        "ready",
        "recovering",
        "paused",
        "cutting over",
        "done",
        "failed",
        "parked",
        "stopped",
        "cancelled",
    ];
    let phase = json!({"type": "string", "enum": phases});
    let changes = object([
        ("phase", phase.clone()),
        ("at_ms", whole("Since 1970.")),
        ("why", text("How the run came to it.")),
    ]);
    object([
        ("run_id", text("Of the run, also over restarts.")),
        ("phase", phase),
        ("phases", list(changes)),
        ("elapsed_s", number("Since the process began.")),
        (
            "run_s",
            number("Since the run began, over all its processes, as far as that is known."),
        ),
        ("can_cutover", flag("A cutover would be accepted now.")),
        ("lag_ms", whole("Largest lag of any pair.")),
        ("lag_ms_max", whole("Largest lag so far.")),
        ("pairs", list(of("Pair"))),
        (
            "obstacles",
            texts("What is in the way of a cutover, and what to do."),
        ),
        ("warnings", texts("What an operator should know.")),
        (
            "last_cutover",
            or_null(text("Why the last cutover was called off.")),
        ),
        ("paused", or_null(text("Who paused the run."))),
        (
            "waiting",
            or_null(text("What a start waits for, once it takes long.")),
        ),
        (
            "window_left_s",
            or_null(whole("Left of the cutover window.")),
        ),
        ("source", text("Connection string without credentials.")),
        ("target", text("Connection string without credentials.")),
        ("error", or_null(text("Why the run ended."))),
        (
            "cutover_ms",
            or_null(whole("Duration of the finished cutover.")),
        ),
        ("cutovers_given_up", whole("Cutovers that were called off.")),
        (
            "recoveries",
            whole("Times the run went back to its last checkpoint."),
        ),
        ("throttle", of("Throttled")),
        (
            "reverse",
            json!({"type": "string", "enum": ["no", "wanted", "running"]}),
        ),
    ])
}

fn recopy_body() -> Value {
    let mut body = optional([
        (
            "shard",
            or_null(text("Id of the source shard; without it all of them.")),
        ),
        (
            "ns",
            or_null(text(
                "Only this collection, by its name on the target; without a shard it is laid out anew there, and `db.*` stands for all of a database.",
            )),
        ),
    ]);
    body["anyOf"] = json!([{"required": ["shard"]}, {"required": ["ns"]}]);
    body
}

fn start_body() -> Value {
    let words = json!({"enum": ["none", "sourceAndDestination", "destinationOnly"]});
    optional([
        ("source", or_null(json!({"enum": ["cluster0", "cluster1"]}))),
        (
            "destination",
            or_null(json!({"enum": ["cluster0", "cluster1"]})),
        ),
        ("reversible", flag("Refused if the run lacks it.")),
        (
            "enableUserWriteBlocking",
            json!({"oneOf": [flag("Refused if true and the run is not reversible."), words]}),
        ),
        (
            "verification",
            optional([("enabled", flag("Refused if false."))]),
        ),
    ])
}

fn pair() -> Value {
    let mut fields = vec![("name", text("Source id → target id."))];
    for (name, kind, help) in PAIR_FIELDS {
        let schema = if *kind == "bool" {
            flag(help)
        } else {
            whole(help)
        };
        fields.push((*name, schema));
    }
    for name in ["documents_per_s", "bytes_per_s", "ops_per_s"] {
        fields.push((name, number("Mean of the last seconds.")));
    }
    let eta = "Until the copy is done, then until lag is gone, s.";
    fields.push(("eta_s", or_null(number(eta))));
    object(fields)
}

fn history() -> Value {
    let values = || list(number("Of each pair."));
    object([
        ("spacing_s", number("Least time between two points.")),
        (
            "pairs",
            texts("Names, in the order of the values of a point."),
        ),
        (
            "points",
            list(object([
                ("at_ms", whole("Since 1970.")),
                ("lag_ms", values()),
                ("documents_per_s", values()),
                ("bytes_per_s", values()),
                ("ops_per_s", values()),
            ])),
        ),
    ])
}

fn prepared() -> Value {
    let writes = object([
        ("ns", text("Database and collection.")),
        ("ops_per_s", number("About how many.")),
        ("clients", texts("Those that were seen.")),
    ]);
    let shard = object([
        ("name", text("Source id → target id.")),
        ("gap_ms", whole("How far the target is behind.")),
        ("writes", list(writes)),
        ("open", texts("Transactions and index builds.")),
        ("unasked", or_null(text("Why the shard did not tell."))),
    ]);
    object([
        ("phase", text("Of the run.")),
        ("can_cutover", flag("A cutover would be accepted now.")),
        ("shards", list(shard)),
        ("obstacles", texts("What is in the way of a cutover.")),
        (
            "takes_s",
            or_null(number(
                "About how long a cutover takes once nothing writes.",
            )),
        ),
        ("steps", texts("What to do.")),
        ("target", text("Connection string without credentials.")),
    ])
}

fn progress() -> Value {
    let maybe = |schema: Value| or_null(schema);
    let lag = object(
        ["overallLagSeconds", "crudLagSeconds", "ddlLagSeconds"].map(|name| (name, whole("s"))),
    );
    let ping = || {
        object([(
            "pingLatencyMs",
            maybe(number(
                "Largest of any shard; null before the first answer.",
            )),
        )])
    };
    let side = || {
        object([
            (
                "phase",
                json!({"enum": ["idle", "initial hashing", "stream hashing"]}),
            ),
            ("lagTimeSeconds", whole("s")),
            ("estimatedDocumentCount", whole("To verify.")),
            ("hashedDocumentCount", whole("Verified.")),
        ])
    };
    let states = [
        "IDLE",
        "RUNNING",
        "PAUSED",
        "COMMITTING",
        "COMMITTED",
        "FAILED",
        "CANCELLED",
    ];
    object([
        ("state", json!({"enum": states})),
        ("canCommit", flag("A cutover would be accepted now.")),
        (
            "canWrite",
            flag("The destination takes the applications' writes."),
        ),
        (
            "info",
            text("What goes on; where mongosync has no word, one of ours."),
        ),
        ("lagTimeSeconds", whole("s")),
        ("lag", lag),
        (
            "collectionCopy",
            object(
                ["estimatedTotalBytes", "estimatedCopiedBytes"].map(|name| (name, whole("bytes"))),
            ),
        ),
        (
            "indexBuilding",
            object(
                [
                    "indexesBuilt",
                    "totalIndexesToBuild",
                    "collectionsFinished",
                    "collectionsTotal",
                ]
                .map(|name| (name, whole("count"))),
            ),
        ),
        ("totalEventsApplied", whole("Ops.")),
        (
            "estimatedSecondsToCEACatchup",
            maybe(whole(
                "0: caught up. Null while copying, and while lag does not fall.",
            )),
        ),
        (
            "estimatedOplogTimeRemaining",
            maybe(text("Null before it is known.")),
        ),
        (
            "directionMapping",
            object(["Source", "Destination"].map(|name| (name, text("URI without credentials.")))),
        ),
        ("source", ping()),
        ("destination", ping()),
        (
            "verification",
            object([("source", side()), ("destination", side())]),
        ),
        ("warnings", texts("Obstacles, warnings and the error.")),
        ("mongosyncID", text("The run's id.")),
        ("coordinatorID", text("The run's id.")),
    ])
}

/// All of these fields and no others.
fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut schema = optional(fields);
    let names = schema["properties"].as_object().expect("made below").keys();
    schema["required"] = names.cloned().collect::<Vec<_>>().into();
    schema
}

/// Some of these fields and no others.
fn optional<'a>(fields: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let fields = fields
        .into_iter()
        .map(|(name, schema)| (name.to_owned(), schema));
    let properties: Map<String, Value> = fields.collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn scalar(kind: &str, help: &str) -> Value {
    json!({"type": kind, "description": help})
}

fn text(help: &str) -> Value {
    scalar("string", help)
}

fn number(help: &str) -> Value {
    scalar("number", help)
}

fn whole(help: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": help})
}

fn flag(help: &str) -> Value {
    scalar("boolean", help)
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn texts(help: &str) -> Value {
    json!({"type": "array", "items": {"type": "string"}, "description": help})
}

fn or_null(schema: Value) -> Value {
    json!({"oneOf": [schema, {"type": "null"}]})
}

fn bounded(name: &str) -> Value {
    let knob = knobs::find(name).expect("each of them is a knob");
    match knob.bounds {
        Bounds::Between(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most, "description": knob.help})
        }
        _ => text(knob.help),
    }
}
