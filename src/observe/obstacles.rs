//! What stands in the way of a cutover at this moment: one text per cause, set
//! by whoever sees the cause and cleared by the same.
//!
//! Decides nothing: `control::attempt::drive` holds "ready" back while there is any.

use std::collections::BTreeMap;

use parking_lot::Mutex;

/// Causes by name, each with what was found and what to do about it.
#[derive(Debug, Default)]
pub struct Obstacles(Mutex<BTreeMap<&'static str, String>>);

impl Obstacles {
    /// Sets the text of one cause; it stands until it is cleared. Logged when the
    /// cause is new.
    pub fn set(&self, cause: &'static str, text: impl Into<String>) {
        let text = text.into();
        let before = self.0.lock().insert(cause, text.clone());
        if before.is_none() {
            tracing::warn!("a cutover is not possible now: {text}");
        }
    }

    pub fn clear(&self, cause: &'static str) {
        if self.0.lock().remove(cause).is_some() {
            tracing::info!("no longer in the way of a cutover: {cause}");
        }
    }

    /// Sets the cause, or clears it where there is no text.
    pub fn put(&self, cause: &'static str, text: Option<String>) {
        match text {
            Some(text) => self.set(cause, text),
            None => self.clear(cause),
        }
    }

    /// Clears all causes: whatever saw them is gone.
    pub fn clear_all(&self) {
        self.0.lock().clear();
    }

    pub fn texts(&self) -> Vec<String> {
        self.0.lock().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_has_one_text_and_stands_until_it_is_cleared() {
        let obstacles = Obstacles::default();
        obstacles.set("watch", "first");
        obstacles.put("watch", Some("second".to_owned()));
        obstacles.set("reads", "third");
        assert_eq!(obstacles.texts(), ["third", "second"]);
        obstacles.put("watch", None);
        obstacles.clear("reads");
        obstacles.clear("reads");
        assert!(obstacles.texts().is_empty());
    }
}
