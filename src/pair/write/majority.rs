//! Whether the target's majority keeps up with its primary. Data is written with `w: 1`.
//! While the majority lags none of it can be recorded, and a restart would have to repeat
//! ever more. So lanes and scans wait for it.
//!
//! Knows nothing about writes; the checkpoints report the state.

use tokio::sync::watch;

#[derive(Debug)]
pub struct Majority {
    is_behind: watch::Sender<bool>,
}

impl Default for Majority {
    fn default() -> Self {
        Majority {
            is_behind: watch::Sender::new(false),
        }
    }
}

impl Majority {
    pub fn set_behind(&self, is_behind: bool) {
        self.is_behind.send_replace(is_behind);
    }

    /// Waits while it is behind.
    pub async fn keeps_up(&self) {
        // An error would say that `self` is gone.
        let _ = self.is_behind.subscribe().wait_for(|behind| !behind).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn writes_wait_exactly_while_the_majority_is_behind() {
        let majority = Majority::default();
        assert!(majority.keeps_up().now_or_never().is_some());
        majority.set_behind(true);
        let mut waits = std::pin::pin!(majority.keeps_up());
        assert!(waits.as_mut().now_or_never().is_none());
        majority.set_behind(false);
        assert!(waits.as_mut().now_or_never().is_some());
    }
}
