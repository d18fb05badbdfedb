//! A program of a server and what it needs to run.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

#[derive(Debug, Clone)]
pub struct Program {
    pub path: PathBuf,
    /// Where libraries lie that the system does not have.
    pub libraries: Option<PathBuf>,
}

impl Program {
    /// To be run, without arguments yet. The libraries go to this one program: others of
    /// this machine would not run with them.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = &self.libraries {
            let mut path = OsString::from(libraries);
            if let Some(others) = env::var_os(LIBRARY_PATH).filter(|others| !others.is_empty()) {
                path.push(":");
                path.push(others);
            }
            command.env(LIBRARY_PATH, path);
        }
        command
    }
}

impl From<PathBuf> for Program {
    /// One for which the system has everything.
    fn from(path: PathBuf) -> Program {
        Program {
            path,
            libraries: None,
        }
    }
}
