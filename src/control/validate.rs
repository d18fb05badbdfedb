//! Whether two deployments are fit for a migration, found out before anything
//! is touched.

use crate::cluster::catalog::Catalog;
use crate::cluster::connect::Deployment;
use crate::error::Result;

/// One check and what it found.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Check {
    pub name: &'static str,
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do, if not ok.
    pub remedy: Option<String>,
}

/// Runs every check; does not stop at the first that fails. Touches nothing.
pub async fn run(_source: &Deployment, _target: &Deployment, _catalog: &Catalog) -> Result<Vec<Check>> {
    Err(crate::error::Error::internal("not yet"))
}
