//! Decides, moves no document.

pub mod balancer;
pub mod layout;
pub mod validate;

use std::fmt;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::verify;

/// What a finished migration did.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Summary {}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("done")
    }
}

pub async fn migrate(_config: Config) -> Result<Summary> {
    Err(Error::internal("not yet"))
}

pub async fn validate_command(_config: Config) -> Result<Vec<validate::Check>> {
    Err(Error::internal("not yet"))
}

pub async fn verify_command(_config: Config) -> Result<verify::Report> {
    Err(Error::internal("not yet"))
}
