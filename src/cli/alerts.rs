//! `strongroom alerts`: what holds now, who was told, and whether a route works.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::text::Table;
use super::{Exit, assemble, complain, look, text};
use crate::config::Config;
use crate::daemon::Assembly;
use crate::domain::alert::{Alert, Event, Message, Severity};
use crate::domain::alert_ledger::{AlertEntry, AlertLedger, Outgoing};
use crate::domain::id::RouteName;
use crate::domain::key::Layout;
use crate::execute::notify::read_ledger;
use crate::plan::alert::Holding;

/// Options of `alerts`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Alerts {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<AlertsCommand>,
}

#[derive(Debug, Subcommand)]
enum AlertsCommand {
    /// Send a message that is marked as a test to a route, and print what was answered.
    Test {
        /// The route: a name under `alerts.routes`.
        route: String,
    },
}

/// What holds now and where it went.
#[derive(Debug, Serialize)]
struct Report {
    /// When it was looked.
    at: Timestamp,
    /// Whether every promise holds, so that a heartbeat is sent.
    promises_hold: bool,
    /// What this look finds.
    alerts: Vec<Line>,
    /// What stands in the ledger and this look does not find: nobody can tell, or the daemon resolves it at its next look.
    open: Vec<Line>,
    /// What no channel has taken yet.
    undelivered: Vec<Undelivered>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    alert: Alert,
    /// By the ledger; absent where no daemon has seen it.
    since: Option<Timestamp>,
    /// `new`, `pending` or `firing`.
    state: &'static str,
    /// The routes that it was given to.
    told: Vec<RouteName>,
}

#[derive(Debug, Serialize)]
struct Undelivered {
    route: RouteName,
    event: Event,
    subject: String,
    since: Timestamp,
    attempts: u32,
    next_attempt_at: Timestamp,
    last_error: Option<String>,
}

impl Alerts {
    pub(super) async fn run(self, config: Config) -> anyhow::Result<Exit> {
        let mut assembly = assemble(config).await;
        match self.command {
            Some(AlertsCommand::Test { route }) => test(&assembly, &route).await,
            None => {
                let report = report(&mut assembly).await?;
                if self.json {
                    text::print_json(&report)?;
                } else {
                    text::print(&render(&report))?;
                }
                let serious = |line: &Line| line.alert.severity > Severity::Info;
                let findings = report.alerts.iter().any(serious) || !report.undelivered.is_empty();
                Ok(if findings { Exit::Findings } else { Exit::Done })
            }
        }
    }
}

async fn test(assembly: &Assembly, route: &str) -> anyhow::Result<Exit> {
    let known = &assembly.channels.notifiers;
    let Some((name, notifier)) = known.iter().find(|(name, _)| name.as_str() == route) else {
        let names: Vec<&str> = known.keys().map(RouteName::as_str).collect();
        let advice = match names.as_slice() {
            [] => "none is configured: add `[alerts.routes.NAME]`".to_owned(),
            names => format!("the routes are {}", names.join(", ")),
        };
        complain(&format!("no route is called `{route}`; {advice}"));
        return Ok(Exit::Usage);
    };
    let now = assembly.ports.clock.now();
    let message = Message {
        id: format!("{}-test-{}", assembly.policy.installation, now.as_millisecond()),
        installation: assembly.policy.installation.clone(),
        event: Event::Test,
        at: now,
        items: Vec::new(),
    };
    let answer = notifier.notify(&message).await.map_err(anyhow::Error::new)?;
    text::print(&format!("{name} has taken the message: {answer}\n"))?;
    Ok(Exit::Done)
}

async fn report(assembly: &mut Assembly) -> anyhow::Result<Report> {
    let (inventory, plan) = look(assembly).await;
    let holding = Holding::of(&assembly.policy, &inventory, &plan, None);
    let layout = Layout::new(&assembly.policy.destination.prefix);
    let key = layout.alert_ledger(&assembly.policy.installation);
    let ledger = read_ledger(assembly.ports.store.as_ref(), &key).await?.unwrap_or_default();
    let AlertLedger { entries, outbox, .. } = ledger;
    let (found, open): (Vec<AlertEntry>, Vec<AlertEntry>) =
        entries.into_iter().partition(|entry| holding.alerts.iter().any(|alert| alert.key == entry.alert.key));
    let now = |alert: &Alert| {
        let entry = found.iter().find(|entry| entry.alert.key == alert.key);
        line(alert.clone(), entry)
    };
    Ok(Report {
        at: holding.at,
        promises_hold: holding.promises_hold,
        alerts: holding.alerts.iter().map(now).collect(),
        open: open.iter().map(|entry| line(entry.alert.clone(), Some(entry))).collect(),
        undelivered: outbox.into_iter().map(undelivered).collect(),
    })
}

fn line(alert: Alert, entry: Option<&AlertEntry>) -> Line {
    let state = match entry {
        None => "new",
        Some(entry) if entry.is_firing() => "firing",
        Some(_) => "pending",
    };
    let told = entry.map(|entry| entry.told.iter().map(|told| told.route.clone()).collect()).unwrap_or_default();
    Line { alert, since: entry.map(|entry| entry.since), state, told }
}

fn undelivered(outgoing: Outgoing) -> Undelivered {
    Undelivered {
        route: outgoing.route,
        event: outgoing.message.event,
        subject: outgoing.message.subject(),
        since: outgoing.message.at,
        attempts: outgoing.attempts,
        next_attempt_at: outgoing.not_before,
        last_error: outgoing.last_error,
    }
}

fn render(report: &Report) -> String {
    let mut output = String::new();
    if report.alerts.is_empty() && report.open.is_empty() {
        output.push_str("No alert holds.\n");
    } else {
        let mut table = Table::new(&["SEVERITY", "ALERT", "STATE", "SINCE", "TOLD", "WHAT"]);
        for (line, open) in
            report.alerts.iter().map(|line| (line, false)).chain(report.open.iter().map(|line| (line, true)))
        {
            let since = line.since.map_or_else(String::new, |at| text::relative(at, report.at));
            let state = if open { "not found now" } else { line.state };
            let told: Vec<&str> = line.told.iter().map(RouteName::as_str).collect();
            table.row(vec![
                line.alert.severity.as_str().to_owned(),
                line.alert.key.to_string(),
                state.to_owned(),
                since,
                told.join(", "),
                line.alert.what.join("; "),
            ]);
        }
        output.push_str(&table.render());
    }
    for waiting in &report.undelivered {
        let why = waiting.last_error.as_deref().unwrap_or("not tried yet");
        let since = text::relative(waiting.since, report.at);
        output.push_str(&format!(
            "NOT DELIVERED to {}: {} ({since}, {}): {why}\n",
            waiting.route,
            waiting.subject,
            match waiting.attempts {
                1 => "one attempt".to_owned(),
                more => format!("{more} attempts"),
            }
        ));
    }
    output
}
