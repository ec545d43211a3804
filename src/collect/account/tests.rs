//! An account that answers, one that stops answering, and one that hangs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::*;
use crate::domain::diagnosis::Quota;
use crate::domain::key::Layout;
use crate::ports::ErrorKind;
use crate::ports::account::Account;
use crate::testing::at;
use crate::testing::world::World;

/// How it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Answers { used: u64 },
    Refuses,
    Hangs,
}

struct Moody {
    mood: Mutex<Mood>,
    asked: Mutex<Vec<String>>,
}

impl Moody {
    fn new(mood: Mood) -> Arc<Moody> {
        Arc::new(Moody { mood: Mutex::new(mood), asked: Mutex::default() })
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// What it was asked for since the last time.
    fn asked(&self) -> BTreeSet<String> {
        std::mem::take(&mut *self.asked.lock().unwrap()).into_iter().collect()
    }

    async fn answer(&self, what: &str) -> Result<u64, PortError> {
        self.asked.lock().unwrap().push(what.to_owned());
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Answers { used } => Ok(used),
            Mood::Refuses => Err(PortError::new("ask", ErrorKind::PermissionDenied)),
            Mood::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Account for Moody {
    async fn quotas(&self) -> Result<Vec<Quota>, PortError> {
        let used = self.answer("quotas").await?;
        Ok(vec![Quota { name: "ManualSnapshots".to_owned(), used, max: 100 }])
    }

    async fn parameter_group(&self, group: &ParameterGroupName) -> Result<Option<ParameterGroup>, PortError> {
        self.answer(&group.name).await?;
        Ok(Some(ParameterGroup { forces_tls: true }))
    }
}

/// A world of one source whose account has this mood.
struct Bench {
    world: World,
    ports: Ports,
    account: Arc<Moody>,
    collector: Collector,
}

impl Bench {
    fn new(mood: Mood) -> Bench {
        let world = World::of(&[("accounts", &["accounts"])]).starting_at(at("2026-11-23T12:00:00Z")).build();
        let account = Moody::new(mood);
        let ports = Ports { account: Arc::clone(&account) as Arc<_>, ..world.daemon("pod-1").ports.clone() };
        let collector = Collector::new(Layout::new("strongroom"));
        Bench { world, ports, account, collector }
    }

    async fn look(&mut self) -> AccountFacts {
        let mut instances: Vec<Instance> = self.ports.rds.instances().await.unwrap().iter().cloned().collect();
        instances.iter_mut().for_each(|own| own.protection.parameter_group = Some("bank-pg15".to_owned()));
        let instances = Complete::after_last_page(instances);
        self.collector.look_at_account(&self.ports, &self.world.policy, Some(&instances)).await
    }
}

fn used(facts: &AccountFacts) -> Option<u64> {
    facts.quotas.as_ref().map(|quotas| quotas[0].used)
}

async fn minutes(count: u64) {
    tokio::time::advance(Duration::from_mins(count)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_as_it_should_be_is_asked_for_seldom_and_what_has_to_be_mended_at_each_look() {
    let mut bench = Bench::new(Mood::Answers { used: 1 });
    bench.look().await;
    assert_eq!(bench.account.asked(), BTreeSet::from(["bank-pg15".to_owned(), "quotas".to_owned()]));
    minutes(14).await;
    bench.look().await;
    assert!(bench.account.asked().is_empty());
    bench.account.becomes(Mood::Answers { used: 99 });
    minutes(1).await;
    assert_eq!(used(&bench.look().await), Some(99));
    assert_eq!(bench.account.asked(), BTreeSet::from(["quotas".to_owned()]));
    bench.account.becomes(Mood::Answers { used: 2 });
    assert_eq!(used(&bench.look().await), Some(2), "it is seen at once that there is room again");
}

/// Otherwise trouble would be over as soon as nobody may look.
#[tokio::test(start_paused = true)]
async fn an_account_that_stops_answering_is_as_it_was_last_seen() {
    let mut bench = Bench::new(Mood::Answers { used: 99 });
    bench.look().await;
    bench.account.becomes(Mood::Refuses);
    minutes(61).await;
    let facts = bench.look().await;
    assert_eq!(used(&facts), Some(99));
    assert!(facts.parameter_groups.values().all(|group| *group == Some(ParameterGroup { forces_tls: true })));
    assert!(facts.quotas_unseen.is_some() && facts.groups_unseen.len() == 1, "and that nobody sees it is told");
    let facts = Bench::new(Mood::Refuses).look().await;
    assert!(facts.quotas.is_none() && facts.quotas_unseen.is_some(), "{facts:?}");
    assert!(facts.parameter_groups.is_empty() && facts.groups_unseen.len() == 1, "{facts:?}");
}

#[tokio::test(start_paused = true)]
async fn an_account_that_hangs_holds_up_a_look_for_seconds_only() {
    let mut bench = Bench::new(Mood::Hangs);
    let began_at = Instant::now();
    let facts = bench.look().await;
    assert!(began_at.elapsed() <= ANSWERED_WITHIN, "{:?}", began_at.elapsed());
    assert!(facts.quotas_unseen.is_some() && facts.groups_unseen.len() == 1, "{facts:?}");
}
