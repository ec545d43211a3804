//! The command line. One file per command; output for people goes to stdout, logs and progress to stderr.

mod alerts;
mod backup;
mod check;
mod diagnose;
mod drill;
mod evidence;
mod list;
mod man;
mod pin;
mod plan;
mod prune;
mod recover;
mod restore;
mod status;
mod text;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::collect::OwnWork;
use crate::config::{Config, ConfigErrors, Environment, Origin};
use crate::daemon::{self, Assembly, Daemon};
use crate::domain::id::SourceId;
use crate::domain::inventory::Inventory;
use crate::domain::recovery_point::Plane;
use crate::plan::prune::Mode;
use crate::plan::{Plan, plan_in_mode};
use crate::ports::RequestObserver;
use crate::ports::clock::Clock;
use crate::telemetry::log::{self, LogFormat};

/// Backs up RDS PostgreSQL on schedules: snapshots, and dumps to S3 that are checked once they are stored.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120, after_help = EXIT_CODES)]
pub struct Cli {
    /// Configuration: files, or directories whose *.toml are read in the order of their names. May be repeated; later ones
    /// win, and variables STRONGROOM__SECTION__KEY win over all.
    #[arg(
        long = "config",
        value_name = "PATH",
        global = true,
        env = "STRONGROOM_CONFIG",
        default_value = "/etc/strongroom"
    )]
    config: Vec<PathBuf>,
    /// Form of the log on stderr: text for people, json for machines.
    #[arg(long, value_name = "FORMAT", global = true, env = "STRONGROOM_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What to log: error, warn, info, debug, trace, or pairs such as info,strongroom::plan=debug. Default: info for `run`,
    /// warn for other commands.
    #[arg(long, value_name = "LEVEL", global = true, env = "STRONGROOM_LOG_LEVEL")]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 done, with findings; 4 refused";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: make backups on their schedules until a signal ends it.
    ///
    /// SIGTERM or SIGINT stops it cleanly, a second one at once. SIGHUP makes it look now, and read its configuration again.
    Run,
    /// Load the configuration and print when everything is due. Exit code 3 if something deserves attention.
    Check(check::CheckCommand),
    /// Print what the daemon would do now, and why. Exit code 3 if something could not be seen.
    Plan(plan::PlanCommand),
    /// Per source: how fresh its backups are, and to which moment it can be restored. Exit code 3 if not all is well.
    Status(status::StatusCommand),
    /// What alerts hold, since when, and who was told; or try whether a route works. Exit code 3 if something is the matter.
    Alerts(alerts::Alerts),
    /// List recovery points. Exit code 3 if something could not be seen.
    List(list::List),
    /// Make a backup now and wait for its end.
    ///
    /// `suspend`, back-off and `limits.concurrent_runs` do not hold it back. It fills the slot before it.
    Backup(backup::Backup),
    /// Restore what was backed up.
    Restore(restore::Restore),
    /// Restore a backup into an instance of its own, look at all of it, and delete that instance. Exit code 3 if the backup is
    /// bad, or an objective is missed.
    ///
    /// What was found is evidence in the destination. Exit code 1 says that the drill could not be carried out, which says
    /// nothing of the backup.
    Drill(drill::Drill),
    /// The guided way through a disaster: stop what writes, restore, look at it, switch, start again.
    ///
    /// The plan is printed first, and each step waits for an approval. What is done is in a journal in the destination bucket: the
    /// same command goes on where it was interrupted. The old instance is never deleted, and `recover undo` leads back to it.
    Recover(Box<recover::Recover>),
    /// What is wrong with a source's instance: a plain sentence each, and the facts behind them. Exit code 3 if something is.
    ///
    /// Status, events of 14 days, storage and how it grows, pending maintenance, what can be restored, quotas, the end of the log,
    /// locks, long transactions, and what holds vacuum back. Nothing is changed; no rows and no queries are shown.
    Diagnose(diagnose::Diagnose),
    /// What was restored and read back, for whoever has to show it, and whether the chain of its records holds.
    ///
    /// Exit code 3 if a drill or a verification found something bad, or a record was changed or taken away.
    Evidence(evidence::EvidenceCommand),
    /// Look at stored dumps again. Exit code 3 if one is bad, or cannot be read.
    ///
    /// What is found is recorded. A dump that is bad counts no more, and nothing of its source is pruned until a newer one
    /// has been read back; a good result, as deep as the bad one was, makes it count again.
    Verify(verify::VerifyCommand),
    /// Show which recovery points are kept and by which rule, and delete those that have expired only with --confirm.
    ///
    /// Exit code 4 if something that was to be deleted was held back.
    Prune(prune::Prune),
    /// Keep a recovery point whatever the policy says.
    Pin(pin::PinCommand),
    /// Release a pinned recovery point.
    Unpin(pin::Unpin),
    /// Print the configuration's schema, or the configuration in force.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man {
        /// Write strongroom.1, strongroom-backup.1 and so on into this directory, which must be there.
        #[arg(long, value_name = "PATH")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// The JSON Schema of the configuration, for editors and for CI.
    Schema {
        /// That of one file of several: it knows the same keys, and none of them has to be there.
        #[arg(long)]
        part: bool,
    },
    /// The configuration in force: all files and variables merged. It holds no secrets, only references to them.
    Show,
}

/// How a command ended; the numbers are a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done,
    /// The operation failed.
    Failed,
    /// The usage or the configuration is wrong.
    Usage,
    /// Done, and something deserves attention.
    Findings,
    /// Refused for safety.
    Refused,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::Refused => 4,
        })
    }
}

/// Parses the command line and does what it says.
pub async fn run() -> Exit {
    let cli = Cli::parse();
    // Commands for people are quiet unless something is wrong; the daemon tells each transition.
    let default_level = if matches!(cli.command, Command::Run) { "info" } else { "warn" };
    let level = cli.log_level.clone().unwrap_or_else(|| default_level.to_owned());
    if let Err(error) = log::init(cli.log_format, &level) {
        complain(&error);
        return Exit::Usage;
    }
    match execute(cli).await {
        Ok(exit) => exit,
        Err(error) => {
            complain(&error);
            Exit::Failed
        }
    }
}

async fn execute(cli: Cli) -> anyhow::Result<Exit> {
    match &cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "strongroom", &mut script);
            text::print(&String::from_utf8_lossy(&script))?;
            return Ok(Exit::Done);
        }
        Command::Man { directory } => return man::write(directory.as_deref()),
        Command::Config(ConfigCommand::Schema { part }) => {
            let schema = if *part { crate::config::schema_of_part() } else { crate::config::schema() };
            text::print_json(&schema)?;
            return Ok(Exit::Done);
        }
        Command::Config(ConfigCommand::Show)
        | Command::Run
        | Command::Check(_)
        | Command::Plan(_)
        | Command::Status(_)
        | Command::Alerts(_)
        | Command::List(_)
        | Command::Restore(_)
        | Command::Drill(_)
        | Command::Recover(_)
        | Command::Diagnose(_)
        | Command::Evidence(_)
        | Command::Verify(_)
        | Command::Prune(_)
        | Command::Pin(_)
        | Command::Unpin(_)
        | Command::Backup(_) => {}
    }
    let origin = Origin { paths: cli.config.clone(), environment: Environment::from_process() };
    let config = match origin.load() {
        Ok(config) => config,
        Err(errors) => return refuse(&cli.command, &errors),
    };
    match cli.command {
        Command::Run => {
            for note in &config.notes {
                tracing::warn!("configuration: {note}");
            }
            Daemon::build(config, origin).await?.run().await?;
            Ok(Exit::Done)
        }
        Command::Check(check) => check.run(config).await,
        Command::Plan(plan) => plan.run(config).await,
        Command::Status(status) => status.run(config).await,
        Command::Alerts(alerts) => alerts.run(config).await,
        Command::List(list) => list.run(config).await,
        Command::Backup(backup) => backup.run(config).await,
        Command::Restore(restore) => restore.run(config).await,
        Command::Drill(drill) => drill.run(config).await,
        Command::Diagnose(diagnose) => diagnose.run(config).await,
        Command::Recover(recover) => Box::pin(recover.run(config)).await,
        Command::Evidence(evidence) => evidence.run(config).await,
        Command::Verify(verify) => verify.run(config).await,
        Command::Prune(prune) => prune.run(config).await,
        Command::Pin(pin) => pin.run(config).await,
        Command::Unpin(unpin) => unpin.run(config).await,
        Command::Config(_) | Command::Completions { .. } | Command::Man { .. } => {
            text::print(&config.effective_toml()?)?;
            Ok(Exit::Done)
        }
    }
}

/// Tells what is wrong with a configuration that cannot be used, in the form that the command was asked for.
fn refuse(command: &Command, errors: &ConfigErrors) -> anyhow::Result<Exit> {
    if let Command::Check(check) = command {
        check.tell_problems(errors)?;
    } else {
        complain(errors);
    }
    Ok(Exit::Usage)
}

/// One of the two buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum InPlane {
    Primary,
    Replica,
}

impl From<InPlane> for Plane {
    fn from(plane: InPlane) -> Plane {
        match plane {
            InPlane::Primary => Plane::Primary,
            InPlane::Replica => Plane::Replica,
        }
    }
}

/// Parts for a command. Requests are not counted: nobody scrapes a command.
async fn assemble(config: Config) -> Assembly {
    let uncounted: RequestObserver = Arc::new(|_: &str, _: &str, _: bool| {});
    daemon::assemble(config, uncounted, None).await
}

/// One look at everything, and what the planner makes of it.
async fn look(assembly: &mut Assembly) -> (Inventory, Plan) {
    let inventory = collect(assembly).await;
    let plan = crate::plan::plan(&assembly.policy, &inventory, assembly.ports.clock.now());
    (inventory, plan)
}

/// The same for a person who decides about deletions.
async fn look_for_person(assembly: &mut Assembly, mode: Mode) -> Plan {
    let inventory = collect(assembly).await;
    plan_in_mode(&assembly.policy, &inventory, mode, assembly.ports.clock.now())
}

/// A command sees things as a daemon does that has known its retention for long: it tells what such a one would do.
async fn collect(assembly: &mut Assembly) -> Inventory {
    let mut inventory = assembly.collector.collect(&assembly.ports, &assembly.policy, OwnWork::default()).await;
    inventory.retention_known_for.values_mut().for_each(|known_for| *known_for = SignedDuration::MAX);
    inventory
}

/// Ctrl-C on a terminal, SIGTERM from whatever else has started the command.
async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal,
        _ = terminate.recv() => Ok(()),
    }
}

/// How often a progress bar is drawn anew.
const REDRAW: SignedDuration = SignedDuration::from_millis(200);

/// Sees work through; `redraw` is called now and then meanwhile. A signal cancels `token`, and says what that means.
async fn watched<T>(
    clock: &dyn Clock,
    token: &CancellationToken,
    stopping: &str,
    work: impl Future<Output = T>,
    mut redraw: impl FnMut(),
) -> T {
    let interrupted = interrupted();
    tokio::pin!(work, interrupted);
    loop {
        let redraw_at = clock.now().saturating_add(REDRAW).unwrap_or(Timestamp::MAX);
        tokio::select! {
            done = &mut work => return done,
            () = clock.sleep_until(redraw_at) => redraw(),
            signal = &mut interrupted, if !token.is_cancelled() => {
                if signal.is_ok() {
                    say(stopping);
                }
                token.cancel();
            }
        }
    }
}

/// What is wrong where a source was named that is not there.
fn unknown_source(source: &SourceId) -> String {
    format!("no source is called `{source}`")
}

/// Tells a person how things go.
#[expect(clippy::print_stderr, reason = "stdout is for answers")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Tells a person what is wrong.
#[expect(clippy::print_stderr, reason = "the last word of a command that fails")]
pub fn complain(error: &(impl std::fmt::Display + ?Sized)) {
    eprintln!("strongroom: {error:#}");
}

#[cfg(test)]
mod tests;
