//! Overview of all proxies.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, get};
use askama::Template;
use db::types::Time;
use rest::{Problem, reply};
use serde::{Deserialize, Serialize};

use super::session_extractor::Viewer;
use super::{Frame, Refusal, assets, html, show};
use crate::Proxy;
use crate::auth::admin::Admin;
use crate::cluster::peers::is_of_peer;
use crate::delivery::ledger::{self, TopicLedger};

/// Path for scripts and peers.
const JSON: &str = "/admin/overview.json";

/// Current state of a proxy.
#[derive(Default, Serialize, Deserialize)]
struct Node {
    name: String,
    /// Error, if a peer does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    away: Option<String>,
    /// Bytes of events waiting for Kafka, and the limit.
    log_bytes: u64,
    log_limit: u64,
    /// Since when the oldest event waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_since: Option<Time>,
    /// True if events go to Kafka.
    to_kafka: bool,
    /// Error of Kafka, if unavailable.
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka_away: Option<String>,
    /// Topics deleted on Kafka.
    missing: Vec<String>,
    topics: BTreeMap<String, TopicLedger>,
}

impl Node {
    /// Returns the state of this proxy.
    async fn own(proxy: &Proxy) -> Result<Self, Problem> {
        let to_kafka = proxy.delivery.is_there();
        let topics = proxy.db.read(move |conn| ledger::count(conn, to_kafka)).await?;
        let (log_bytes, log_limit) = proxy.room.used();
        Ok(Self {
            name: proxy.settings.node.name.clone(),
            away: None,
            log_bytes,
            log_limit,
            waits_since: proxy.room.oldest(),
            to_kafka,
            kafka_away: proxy.delivery.away(),
            missing: proxy.topics.missing(),
            topics,
        })
    }

    fn state(&self) -> (&'static str, String) {
        match (&self.away, &self.kafka_away) {
            (Some(away), _) => ("bad", away.clone()),
            (None, _) if self.log_bytes >= self.log_limit => ("bad", "The log is full".into()),
            (None, Some(away)) => ("warn", format!("Kafka is away: {away}")),
            (None, None) if self.to_kafka => ("ok", "Kafka is there".into()),
            (None, None) => ("ok", "No Kafka is set: events stay in the log".into()),
        }
    }

    fn sum(&self) -> TopicLedger {
        sum(self.topics.values())
    }
}

/// All proxies, this proxy first.
#[derive(Serialize, Deserialize)]
struct Overview {
    nodes: Vec<Node>,
}

impl Overview {
    async fn own(proxy: &Proxy) -> Result<Self, Problem> {
        Ok(Self { nodes: vec![Node::own(proxy).await?] })
    }

    /// Returns the state of this proxy and the peers; a silent peer counts as unavailable.
    async fn of_all(proxy: &Proxy) -> Result<Self, Problem> {
        let credentials = proxy.admin.credentials();
        let peers = proxy.peers.look::<Self>(JSON, &credentials);
        let (own, peers) = futures::future::join(Self::own(proxy), peers).await;
        let away = |url| Node { name: url, away: Some("It does not answer".into()), ..Node::default() };
        let of = |(url, answer): (String, Option<Self>)| {
            answer.and_then(|overview| overview.nodes.into_iter().next()).unwrap_or_else(|| away(url))
        };
        Ok(Self { nodes: own?.nodes.into_iter().chain(peers.into_iter().map(of)).collect() })
    }

    /// Returns the outcomes of all events of all proxies, by topic.
    fn topics(&self) -> BTreeMap<&str, TopicLedger> {
        let mut all = BTreeMap::<&str, Vec<&TopicLedger>>::new();
        for (topic, ledger) in self.nodes.iter().flat_map(|node| &node.topics) {
            all.entry(topic).or_default().push(ledger);
        }
        all.into_iter().map(|(topic, ledgers)| (topic, sum(ledgers))).collect()
    }

    fn total(&self) -> TopicLedger {
        sum(self.nodes.iter().flat_map(|node| node.topics.values()))
    }

    fn log(&self) -> (u64, u64) {
        self.nodes.iter().fold((0, 0), |(used, limit), node| (used + node.log_bytes, limit + node.log_limit))
    }

    /// Returns the used share of the log, in percent.
    fn log_share(&self) -> u64 {
        let (used, limit) = self.log();
        (u128::from(used) * 100 / u128::from(limit.max(1))).min(100) as u64
    }

    fn missing(&self) -> Vec<&str> {
        let mut missing: Vec<_> = self.nodes.iter().flat_map(|node| &node.missing).map(String::as_str).collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }
}

fn sum<'l>(ledgers: impl IntoIterator<Item = &'l TopicLedger>) -> TopicLedger {
    ledgers.into_iter().fold(TopicLedger::default(), |all, more| TopicLedger {
        accepted: all.accepted + more.accepted,
        delivered: all.delivered + more.delivered,
        queued: all.queued + more.queued,
        retrying: all.retrying + more.retrying,
        dead: all.dead + more.dead,
        discarded: all.discarded + more.discarded,
    })
}

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    frame: Frame,
    overview: Overview,
}

/// Shows the overview.
#[get("/admin")]
pub(crate) async fn page(proxy: Data<Proxy>, viewer: Viewer) -> Result<HttpResponse, Refusal> {
    let frame = Frame::new(&proxy, &viewer, "", "Overview");
    Ok(html(StatusCode::OK, &OverviewPage { frame, overview: Overview::of_all(&proxy).await? }))
}

/// Returns the overview as JSON, for scripts of the page, and for peers.
#[get("/admin/overview.json")]
pub(crate) async fn json(proxy: Data<Proxy>, request: HttpRequest, _admin: Admin) -> Result<HttpResponse, Problem> {
    let overview = if is_of_peer(&request) { Overview::own(&proxy).await } else { Overview::of_all(&proxy).await };
    Ok(reply::ok(&overview?))
}
