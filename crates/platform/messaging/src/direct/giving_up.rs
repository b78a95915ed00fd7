//! Gives up what waits on a cluster that is lost for good.

use super::{Direct, Epoch, epochs};

/// An epoch whose cluster is lost, with what nobody has handled of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub epoch: i64,
    pub cluster: Option<String>,
    /// Events, at the most, if it is known where the epoch ended. Else only the cluster could tell.
    pub events: Option<i64>,
}

/// Why nothing can be given up.
#[derive(Debug, thiserror::Error)]
pub enum GiveUpError {
    #[error("the events of {0} never go straight to a bus")]
    NotDirect(String),
    /// What waits there can be handled.
    #[error("the cluster {0} answers, and holds events of {1} that wait: have them handled")]
    Answers(String, String),
    #[error(transparent)]
    Database(#[from] db::Error),
}

impl Direct {
    /// What [`give_up`](Self::give_up) would give up, by the bus of this process.
    ///
    /// # Errors
    /// As [`GiveUpError`] says.
    pub async fn lost(&self, topic: &str) -> Result<Vec<Lost>, GiveUpError> {
        if !self.shared.topics.iter().any(|known| known.name == topic) {
            return Err(GiveUpError::NotDirect(topic.into()));
        }
        self.look().await?;
        let known = self.of(topic, Clone::clone);
        let waits = |epoch: &&Epoch| epoch.direct && !epoch.lacks_begins() && !epoch.is_handled(&known.positions);
        let lost: Vec<Lost> = known.epochs.iter().filter(waits).map(|epoch| epoch.lost(&known.positions)).collect();
        match self.answering().await {
            Some(cluster) if lost.iter().any(|lost| lost.cluster.as_ref() == Some(&cluster)) => {
                Err(GiveUpError::Answers(cluster, topic.into()))
            }
            _ => Ok(lost),
        }
    }

    /// Gives up what waits on clusters that do not answer: groups go on behind it, and events are taken again. Nothing
    /// can bring it back, nor does it come again should the cluster do. Returns what was given up.
    ///
    /// # Errors
    /// As [`GiveUpError`] says.
    pub async fn give_up(&self, topic: &str) -> Result<Vec<Lost>, GiveUpError> {
        let lost = self.lost(topic).await?;
        let (of, numbers) = (topic.to_owned(), lost.iter().map(|lost| lost.epoch).collect::<Vec<_>>());
        self.shared.db.write(move |tx| numbers.iter().try_for_each(|number| epochs::give_up(tx, &of, *number))).await?;
        self.look().await?;
        Ok(lost)
    }

    /// The cluster that answers. One partition that does not is no loss of all.
    async fn answering(&self) -> Option<String> {
        self.shared.bus.as_ref()?.cluster().await.ok()
    }
}
