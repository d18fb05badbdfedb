//! What this process has in hand for a run, from the first attempt to the last.

use std::sync::Arc;

use crate::config::Config;
use crate::control::open::Opened;
use crate::control::run::Run;
use crate::control::stop::Stop;

#[derive(Clone, Copy)]
pub struct Process<'a> {
    /// What the operator asked for.
    pub config: &'a Config,
    /// What the operator sees.
    pub run: &'a Arc<Run>,
    /// The run as this process holds it.
    pub opened: &'a Opened,
    /// How it is asked to end.
    pub stop: &'a Stop,
}
