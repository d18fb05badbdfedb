//! What an operator does with a running migration, beside the cutover window and pauses:
//! asks its API from another host, throttles it, prepares the cutover.

mod api;
mod gap;
mod mirror;
mod page;
mod prepare;
mod recopy;
mod reverse;
mod schema;
mod terminal;
mod throttle;
mod walk;

use std::process::{Command, Output};

use crate::engine::Engine;

/// What a command of an operator printed.
fn output(engine: &Engine, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shardlift"));
    command.args(args).args(["--api-port", engine.port()]);
    command.output().unwrap()
}

/// The same of one that succeeds.
fn command(engine: &Engine, args: &[&str]) -> String {
    let told = output(engine, args);
    let text = String::from_utf8(told.stdout).unwrap();
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.status.success(), "{args:?}: {text} {error}");
    text
}
