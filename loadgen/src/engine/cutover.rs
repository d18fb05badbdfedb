//! The cutover by `shardlift cutover`, again where it was refused or called off.
//!
//! Knows nothing about what happened before.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::engine::child::Child;
use crate::engine::keeper::Keeper;
use crate::error::Result;

/// Longer than the engine's own bound.
const ASK_TIMEOUT: Duration = Duration::from_secs(300);
/// From the end of the cutover to the end of the process.
const END_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Until the engine has ended with code 0; milliseconds from the first request.
///
/// # Errors
/// If that takes longer than `patience`.
pub async fn cut_over(engine: &Keeper, program: &Path, patience: Duration) -> Result<u64> {
    let began = Instant::now();
    loop {
        match ask(engine, program).await {
            Ok(()) => break,
            // Refused, called off, or the engine went away before it could tell.
            Err(_) if engine.is_done()? => break,
            Err(e) if patience <= began.elapsed() => return Err(engine.explain(&e.message)),
            Err(e) => eprintln!("cutover: {}; asking again", e.message),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let cutover_ms = began.elapsed().as_millis() as u64;
    let over = Instant::now();
    while !engine.is_done()? {
        if END_TIMEOUT <= over.elapsed() {
            return Err(engine.explain("the engine does not end after its cutover"));
        }
        tokio::time::sleep(PAUSE / 10).await;
    }
    Ok(cutover_ms)
}

/// Its words go to stderr.
async fn ask(engine: &Keeper, program: &Path) -> Result<()> {
    let url = engine
        .url()
        .ok_or_else(|| crate::error::Error::new("the engine has no API now"))?;
    let mut command = Command::new(program);
    command
        .args(["cutover", "--api", &url])
        .stdin(Stdio::null())
        .stdout(std::io::stderr());
    Child::start(command, "shardlift cutover")?
        .success(Some(ASK_TIMEOUT))
        .await
}
