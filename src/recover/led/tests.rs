//! Names in DNS that follow late, or not at all.

use std::collections::BTreeMap;
use std::io::Read;

use async_trait::async_trait;
use jiff::Timestamp;
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::dump_login::DumpLogin;
use crate::domain::recovery::Approver;
use crate::ports::clock::Clock;
use crate::ports::credentials::Login;
use crate::ports::postgres::{DatabaseFacts, Globals, RowSink, Stopper};
use crate::ports::{ErrorKind, PortError};
use crate::recover::Journal;
use crate::recover::tests::{ASIDE, OWN, World, carry_out_with, recovery, undisturbed};
use crate::testing::fake_postgres::FakeCredentials;

/// Servers by host name: which one answers, and before a moment which other one.
struct Names {
    world: Arc<World>,
    /// Until when it leads elsewhere, and where.
    late: BTreeMap<String, (Timestamp, &'static str)>,
    silent: Vec<&'static str>,
    /// Nobody finds the old instance under the name that it was given: a resolver remembers that there was none.
    aside_is_unknown: bool,
}

struct Answer(String);

#[async_trait]
impl Postgres for Names {
    async fn facts(&self, _: &Login, _: &DatabaseName) -> Result<DatabaseFacts, PortError> {
        Err(PortError::new("look", ErrorKind::Other))
    }

    async fn login_facts(&self, _: &Login, _: &DatabaseName) -> Result<DumpLogin, PortError> {
        Err(PortError::new("look", ErrorKind::Other))
    }

    async fn globals(&self, _: &Login, _: &DatabaseName) -> Result<Globals, PortError> {
        Err(PortError::new("look", ErrorKind::Other))
    }

    async fn session(&self, login: &Login, _: &DatabaseName, _: &str) -> Result<Box<dyn Session>, PortError> {
        let host = login.endpoint.host.as_str();
        let late = self.late.get(host).filter(|(until, _)| self.world.clock.now() < *until);
        let server = late.map_or(host, |(_, server)| server);
        let is_unknown = self.aside_is_unknown && host == OLD_HOST && self.world.bears(ASIDE).is_some();
        if is_unknown || self.silent.contains(&server) {
            return Err(PortError::new("connect", ErrorKind::Transient).because("no route to host"));
        }
        Ok(Box::new(Answer(server.to_owned())))
    }
}

impl Session for Answer {
    fn query(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, PortError> {
        assert!(sql.contains("inet_server_addr"), "{sql}");
        Ok(vec![vec![Some(format!("at {}", self.0))]])
    }

    fn copy_out(&mut self, _: &str, _: &mut dyn RowSink) -> Result<u64, PortError> {
        Err(PortError::new("copy", ErrorKind::Other))
    }

    fn copy_in(&mut self, _: &str, _: &mut dyn Read) -> Result<u64, PortError> {
        Err(PortError::new("copy", ErrorKind::Other))
    }

    fn stopper(&self) -> Result<Stopper, PortError> {
        Ok(Box::new(|| {}))
    }
}

const OLD_HOST: &str = "db-OLD.rds";
const NEW_HOST: &str = "db-NEW.rds";

fn asking(names: Names) -> Option<Asking> {
    Some(Asking {
        postgres: Arc::new(names),
        credentials: Arc::new(FakeCredentials::default()),
        source: "accounts".parse().unwrap(),
        database: "accounts".parse().unwrap(),
    })
}

/// The name of the source in a world, which leads to the server of the old instance for so long after the beginning.
fn late_by(world: &Arc<World>, late: SignedDuration, silent: &[&'static str]) -> Option<Asking> {
    let until = world.clock.now() + late;
    let late = BTreeMap::from([(NEW_HOST.to_owned(), (until, OLD_HOST))]);
    asking(Names { world: Arc::clone(world), late, silent: silent.to_vec(), aside_is_unknown: false })
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_before_the_name_leads_to_the_instance_that_bears_it() {
    let world = World::new();
    let late = SignedDuration::from_mins(12);
    let (began_at, asking) = (world.clock.now(), late_by(&world, late, &[]));
    carry_out_with(&undisturbed(&world), Switch::Rename, asking).await.unwrap();
    assert!(world.clock.now().duration_since(began_at) >= late, "it was waited for");
    assert_eq!((world.bears(OWN).as_deref(), world.replicas("bank/ledger")), (Some("db-NEW"), 3));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_the_old_instance_for_good_starts_nothing() {
    let world = World::new();
    let ended =
        carry_out_with(&undisturbed(&world), Switch::Rename, late_by(&world, SignedDuration::from_hours(9), &[])).await;
    let error = ended.unwrap_err();
    assert!(matches!(&error, RecoverError::NotLed { why, .. } if why.contains("the same server as")), "{error:?}");
    assert_eq!(world.replicas("bank/ledger"), 0, "nothing was started");
    // Somebody has seen to it: the same command goes on.
    carry_out_with(&undisturbed(&world), Switch::Rename, late_by(&world, SignedDuration::ZERO, &[])).await.unwrap();
    assert_eq!(world.replicas("bank/ledger"), 3);
}

#[rstest]
#[case::the_damaged_one_is_silent(&[OLD_HOST], true)]
#[case::the_restored_one_is_silent(&[NEW_HOST], false)]
#[tokio::test(start_paused = true)]
async fn an_old_instance_that_does_not_answer_holds_nobody_back_for_long(
    #[case] silent: &[&'static str],
    #[case] starts: bool,
) {
    let world = World::new();
    let ended =
        carry_out_with(&undisturbed(&world), Switch::Rename, late_by(&world, SignedDuration::ZERO, silent)).await;
    assert_eq!((ended.is_ok(), world.replicas("bank/ledger") > 0), (starts, starts), "{ended:?}");
}

/// That the name answers proves nothing where the old instance is what answers.
#[rstest]
#[case::it_leads_to_the_old_one_for_good(SignedDuration::from_hours(9), false)]
#[case::it_leads_to_the_new_one_in_time(SignedDuration::from_mins(2), true)]
#[tokio::test(start_paused = true)]
async fn an_old_instance_that_nobody_finds_under_its_new_name_is_told_by_where_it_listened(
    #[case] late: SignedDuration,
    #[case] starts: bool,
) {
    let world = World::new();
    let late = BTreeMap::from([(NEW_HOST.to_owned(), (world.clock.now() + late, OLD_HOST))]);
    let names = asking(Names { world: Arc::clone(&world), late, silent: Vec::new(), aside_is_unknown: true });
    let ended = carry_out_with(&undisturbed(&world), Switch::Rename, names).await;
    assert_eq!((ended.is_ok(), world.replicas("bank/ledger") > 0), (starts, starts), "{ended:?}");
}

/// A damaged instance is gone back to only because somebody wants that: whether it answers is not ours to demand.
#[rstest]
#[case::it_answers(&[], true)]
#[case::it_is_silent(&[OLD_HOST], true)]
#[case::the_name_still_leads_to_the_restored_one(&[], false)]
#[tokio::test(start_paused = true)]
async fn undone_the_name_leads_back_before_anything_starts(#[case] silent: &[&'static str], #[case] leads_back: bool) {
    let world = World::new();
    let tools = undisturbed(&world);
    carry_out_with(&tools, Switch::Rename, None).await.unwrap();
    let late = if leads_back { Timestamp::MIN } else { Timestamp::MAX };
    let names = BTreeMap::from([(OLD_HOST.to_owned(), (late, NEW_HOST))]);
    let names =
        asking(Names { world: Arc::clone(&world), late: names, silent: silent.to_vec(), aside_is_unknown: false });
    let token = CancellationToken::new();
    let journal = Journal::current(&tools, &recovery(Switch::Rename).source).await.unwrap().unwrap();
    let ended = Recovering::new(&tools, journal, &token).asking(names).undo(Approver::Option, &mut |_| {}).await;
    assert_eq!((ended.is_ok(), world.replicas("bank/ledger") > 0), (leads_back, leads_back), "{ended:?}");
}
