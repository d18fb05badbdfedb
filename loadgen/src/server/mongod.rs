//! One `mongod`: started on a free port of 127.0.0.1 with data of its own,
//! answering when `start` returns, gone with its data when dropped.
//!
//! Can be killed, frozen and restarted on the same data, for crash tests.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bson::doc;

use crate::error::{Error, Result};
use crate::server::data_dir::DataDir;
use crate::server::keyfile;
use crate::server::port;
use crate::server::process::Process;
use crate::server::program::Program;
use crate::wire::link::Link;

const START_TIMEOUT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A replica set that is no part of a sharded cluster.
    Plain,
    Shard,
    Config,
}

#[derive(Debug, Clone)]
pub struct MongodOptions {
    pub program: Program,
    /// Replica set; also names the data directory.
    pub set: String,
    pub role: Role,
    /// `--wiredTigerCacheSizeGB`, at least 0.25.
    pub cache_gb: f64,
    /// `--oplogSize`; None is the server's choice (5 % of the free space).
    pub oplog_mb: Option<u32>,
    /// Ask for a login, and know the other members by a key of their own.
    pub login: bool,
    /// Folder for its data; None is memory, where there is room.
    pub data_under: Option<PathBuf>,
    /// `--setParameter name=value`.
    pub set_parameters: Vec<(String, String)>,
    /// Passed on as they are.
    pub extra_args: Vec<String>,
}

#[derive(Debug)]
pub struct Mongod {
    /// None while it is down. Before `dir`: the process ends, then its data goes.
    process: Option<Process>,
    options: MongodOptions,
    port: u16,
    dir: DataDir,
}

impl Mongod {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// If the process ends before it answers (with the tail of its log), or
    /// does not answer in a minute.
    pub async fn start(options: MongodOptions) -> Result<Mongod> {
        let dir = match &options.data_under {
            Some(base) => DataDir::create_under(base, &options.set),
            None => DataDir::create(&options.set),
        };
        let dir = dir.map_err(|e| Error::from(e).context("data directory"))?;
        if options.login {
            keyfile::write(dir.path())?;
        }
        let mut server = Mongod {
            process: None,
            options,
            port: 0,
            dir,
        };
        for _ in 0..port::RACES_MAX {
            server.port = port::free()?;
            match server.launch().await {
                Ok(()) => return Ok(server),
                Err(_)
                    if server
                        .process
                        .take()
                        .is_some_and(|process| process.lost_its_port()) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(format!(
            "mongod lost the race for a port {} times",
            port::RACES_MAX
        )))
    }

    /// `127.0.0.1:<port>`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id; None while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Its log, of all its lives.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.path().join("mongod.log")
    }

    /// The last lines it logged; nothing while it is down.
    pub(crate) fn log_tail(&self) -> String {
        self.process
            .as_ref()
            .map_or(String::new(), Process::log_tail)
    }

    /// A bare connection to this server.
    pub async fn link(&self) -> Result<Link> {
        Ok(Link::connect(&self.host()).await?)
    }

    /// Ends it at once, as a crash does; the data stays.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Ends it in order; the data stays. Blocks until it is down.
    pub fn terminate(&mut self) {
        if let Some(process) = self.process.take() {
            process.terminate();
        }
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        self.launch().await
    }

    /// Ends it in order and starts it on its data as a server of its own, on another
    /// port and outside its set, as an index that is not replicated is built.
    /// `restart` brings it back.
    pub async fn restart_alone(&mut self) -> Result<Link> {
        self.terminate();
        let port = port::free()?;
        self.launch_at(port, true).await?;
        Ok(Link::connect(&format!("127.0.0.1:{port}")).await?)
    }

    /// Freezes it: connections stay open, nothing answers (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// Lets a frozen server go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(libc::SIGCONT);
    }

    pub(crate) fn signal(&self, signal: libc::c_int) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    async fn launch(&mut self) -> Result<()> {
        self.launch_at(self.port, false).await
    }

    async fn launch_at(&mut self, port: u16, alone: bool) -> Result<()> {
        let log = self.log();
        let name = format!("mongod {} ({})", self.host(), self.options.set);
        self.process = Some(Process::start(self.command(port, alone), &name, &log)?);
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.process
                .as_mut()
                .expect("it was set above")
                .ensure_running()?;
            if self.answers(port).await {
                return Ok(());
            }
            if deadline <= Instant::now() {
                return Err(Error::new(format!(
                    "{name} did not answer in {START_TIMEOUT:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// True if the server on that port is ours: another process may have won
    /// the port while our server is still on its way to notice.
    async fn answers(&self, port: u16) -> bool {
        let host = format!("127.0.0.1:{port}");
        // Who is not known yet may not ask; a process that lost its port ends by itself.
        let hello = async { Link::connect(&host).await.ok()?.hello().await.ok() };
        if self.options.login {
            return tokio::time::timeout(Duration::from_secs(1), hello)
                .await
                .ok()
                .flatten()
                .is_some();
        }
        let ask = async {
            let mut link = Link::connect(&host).await.ok()?;
            let options = link
                .command("admin", doc! { "getCmdLineOpts": 1 })
                .await
                .ok()?;
            let path = options
                .get_document("parsed")
                .ok()?
                .get_document("storage")
                .ok()?
                .get_str("dbPath")
                .ok()?;
            Some(self.dir.path() == std::path::Path::new(path))
        };
        tokio::time::timeout(Duration::from_secs(1), ask)
            .await
            .ok()
            .flatten()
            .unwrap_or(false)
    }

    fn command(&self, port: u16, alone: bool) -> Command {
        let options = &self.options;
        let mut command = options.program.command();
        command.args(["--bind_ip", "127.0.0.1", "--nounixsocket"]);
        command.args([
            "--port",
            &port.to_string(),
            "--wiredTigerCacheSizeGB",
            &options.cache_gb.to_string(),
        ]);
        command.arg("--dbpath").arg(self.dir.path());
        command.arg("--logpath").arg(self.log()).arg("--logappend");
        // Written twice a second and read by nobody here.
        command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]);
        if alone {
            // A shard's server starts alone only where it is told not to look for its cluster.
            for parameter in [
                "disableLogicalSessionCacheRefresh=true",
                "skipShardingConfigurationChecks=true",
            ] {
                command.args(["--setParameter", parameter]);
            }
        } else {
            command.args(["--replSet", &options.set]);
        }
        match options.role {
            Role::Plain => {}
            _ if alone => {}
            Role::Shard => _ = command.arg("--shardsvr"),
            Role::Config => _ = command.arg("--configsvr"),
        }
        if options.login {
            command.arg("--keyFile").arg(keyfile::path(self.dir.path()));
        }
        if let Some(mb) = options.oplog_mb {
            command.args(["--oplogSize", &mb.to_string()]);
        }
        for (name, value) in &options.set_parameters {
            command.arg("--setParameter").arg(format!("{name}={value}"));
        }
        command.args(&options.extra_args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}
