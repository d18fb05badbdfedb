//! Faults that a test orders: `configureFailPoint: "failCommand"`, as a server takes it,
//! with `mode: {times: n}` or `"off"`, and in `data` the names `failCommands` and what is
//! to happen. `errorCode` is answered instead of running the command, without a text for
//! what to do and, where it is 0, without a code, as a router's own refusals are; with
//! `gaveUp: true` the command is run all the same, as where a router stops waiting for it.
//! `loseAnswer: true` runs the command and closes the connection instead of answering;
//! `hang: true` never answers. The reply says how often the one before was still to come
//! (`left`).

use std::sync::Mutex;

use bson::{Bson, Document, doc};

use crate::mongos::reply::{Answer, Failure, ok};
use crate::mongos::request::{Request, is_set};
use crate::wire::link::number;

const LOCK: &str = "no code panics while it holds this lock";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Refuse(i32),
    GiveUp(i32),
    LoseAnswer,
    Hang,
}

#[derive(Debug)]
struct Point {
    times: u32,
    commands: Vec<String>,
    fault: Fault,
}

/// One at a time, as a server has it.
#[derive(Debug, Default)]
pub(super) struct Failpoints(Mutex<Option<Point>>);

impl Failpoints {
    pub(super) fn configure(&self, request: &Request) -> Answer {
        let options = request.options()?;
        let point = match options.get("mode") {
            Some(Bson::Document(mode)) => Some(point(mode, &options)?),
            _ => None,
        };
        let before = std::mem::replace(&mut *self.0.lock().expect(LOCK), point);
        ok(doc! { "left": before.map_or(0, |before| before.times as i32) })
    }

    /// What is to go wrong with this command, which then counts as once.
    pub(super) fn hit(&self, command: &str) -> Option<Fault> {
        let mut set = self.0.lock().expect(LOCK);
        let point = set
            .as_mut()
            .filter(|point| point.commands.iter().any(|name| name == command))?;
        let fault = point.fault;
        point.times -= 1;
        if point.times == 0 {
            *set = None;
        }
        Some(fault)
    }
}

fn point(mode: &Document, options: &Document) -> Result<Point, Failure> {
    let data = options
        .get_document("data")
        .map_err(|_| Failure::bad_value("\"data\" is missing"))?;
    let commands = data
        .get_array("failCommands")
        .map_err(|_| Failure::bad_value("\"failCommands\" is missing"))?;
    let code = data.get("errorCode").map_or(0.0, number) as i32;
    let fault = if is_set(data, "loseAnswer") {
        Fault::LoseAnswer
    } else if is_set(data, "hang") {
        Fault::Hang
    } else if is_set(data, "gaveUp") {
        Fault::GiveUp(code)
    } else {
        Fault::Refuse(code)
    };
    let times = mode.get("times").map_or(0.0, number) as u32;
    if times == 0 {
        return Err(Failure::bad_value("\"mode\" must be {times: n}"));
    }
    let commands = commands
        .iter()
        .filter_map(Bson::as_str)
        .map(str::to_owned)
        .collect();
    Ok(Point {
        times,
        commands,
        fault,
    })
}
