//! LISTEN: notifications of other processes through PostgreSQL.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::error::{Error, Result};

/// Pause before a new connection.
const REST: Duration = Duration::from_secs(1);
/// Interval of checks of a silent server.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// Maximum time of an answer and of connecting.
const LONGEST: Duration = Duration::from_secs(10);

/// Event of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The connection is new: earlier notifications are lost.
    Connected,
    /// The connection is lost: notifications are lost until the next connection.
    Lost,
    /// The payload of a notification.
    Payload(String),
}

/// Listens on a channel until dropped; reconnects a lost connection.
pub struct Listener {
    heard: mpsc::Receiver<Heard>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    pub(crate) fn start(url: String, channel: &'static str) -> Self {
        let (said, heard) = mpsc::channel(1024);
        let task = tokio::spawn(async move {
            loop {
                if let Err(error) = listen(&url, channel, &said).await {
                    tracing::warn!(%error, channel, "not listening to PostgreSQL; polling goes on");
                }
                let _ = said.send(Heard::Lost).await; // a listener that is gone ends this task
                tokio::time::sleep(REST).await;
            }
        });
        Self { heard, task }
    }

    /// Returns the next event.
    pub async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await, // the task ends only with the listener
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(url: &str, channel: &str, said: &mpsc::Sender<Heard>) -> Result<()> {
    let away = |error: tokio_postgres::Error| Error::Unavailable(error.to_string());
    let silent = |_: Elapsed| Error::Unavailable("the server does not answer".into());
    let (client, mut connection) =
        timeout(LONGEST, tokio_postgres::connect(url, NoTls)).await.map_err(silent)?.map_err(away)?;
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let subscribe = async {
        let subscription = format!("LISTEN {channel}");
        timeout(LONGEST, client.batch_execute(&subscription)).await.map_err(silent)?.map_err(away)?;
        // a full channel only means that enough is known to look again
        let _ = said.try_send(Heard::Connected);
        loop {
            tokio::time::sleep(ASK_EVERY).await;
            // a path that delivers nothing looks like a server that has nothing to tell
            timeout(LONGEST, client.batch_execute("")).await.map_err(silent)?.map_err(away)?;
        }
    };
    let receive = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message.map_err(away)? {
                let _ = said.send(Heard::Payload(notification.payload().to_owned())).await;
            }
        }
        Err(Error::Unavailable("the connection was closed".into()))
    };
    tokio::select! { ended = subscribe => ended, ended = receive => ended }
}
