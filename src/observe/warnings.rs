//! What an operator should know of a run: each text stands for good, or under a subject until
//! that passes.

/// Each with its subject if it may pass some day.
#[derive(Debug, Default)]
pub struct Warnings(Vec<(String, String)>);

impl Warnings {
    pub fn add(&mut self, warning: String) {
        self.0.push((String::new(), warning));
    }

    /// That about a subject, while there is a text. Logged when it appears.
    pub fn put(&mut self, about: &str, warning: Option<String>) {
        let stands = self.0.iter().position(|(known, _)| known == about);
        match (stands, warning) {
            (Some(at), Some(warning)) => self.0[at].1 = warning,
            (Some(at), None) => drop(self.0.remove(at)),
            (None, Some(warning)) => {
                tracing::warn!("{warning}");
                self.0.push((about.to_owned(), warning));
            }
            (None, None) => {}
        }
    }

    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|(_, warning)| warning.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_about_a_subject_stands_until_that_passes() {
        let mut warnings = Warnings::default();
        warnings.add("for good".to_owned());
        for text in ["first", "second"] {
            warnings.put("lag", Some(text.to_owned()));
        }
        assert_eq!(warnings.texts(), ["for good", "second"]);
        warnings.put("lag", None);
        warnings.put("lag", None);
        assert_eq!(warnings.texts(), ["for good"]);
    }
}
