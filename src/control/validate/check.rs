//! One check: what it is about, its verdict, and what to do.
//!
//! Knows nothing about servers.

use std::fmt;

use serde::Serialize;

use crate::cluster::deployment::Side;
use crate::error::{Error, Result};

/// What a check is about. The groups are shown in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    Connect,
    Topology,
    Release,
    Privileges,
    #[serde(rename = "source state")]
    SourceState,
    #[serde(rename = "target state")]
    TargetState,
    Content,
    Capacity,
}

impl Group {
    /// The state of that side.
    pub(super) fn state_of(side: Side) -> Group {
        match side {
            Side::Source => Group::SourceState,
            Side::Target => Group::TargetState,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// Fit, but the operator should know.
    Warning,
    /// No migration begins.
    Failed,
}

/// The same text as in JSON.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// The same text as in JSON.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One check and what it found.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub group: Group,
    pub name: &'static str,
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// None exactly if the verdict is ok.
    pub remedy: Option<String>,
    /// All of what `found` may name the first few of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
}

impl Check {
    pub(in crate::control) fn pass(name: &'static str, found: impl Into<String>) -> Self {
        Check {
            group: Group::Content,
            name,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: None,
            names: Vec::new(),
        }
    }

    pub(in crate::control) fn fail(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Check {
            verdict: Verdict::Failed,
            remedy: Some(remedy.into()),
            ..Check::pass(name, found)
        }
    }

    /// Fit, but the operator should know.
    pub(in crate::control) fn warn(
        name: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Check {
            verdict: Verdict::Warning,
            ..Check::fail(name, found, remedy)
        }
    }

    /// A check whose question the server did not answer has failed.
    pub(in crate::control) fn answered(name: &'static str, answer: Result<Check>) -> Self {
        answer.unwrap_or_else(|e| Check::unanswered(name, &e))
    }

    pub(in crate::control) fn unanswered(name: &'static str, e: &Error) -> Self {
        let remedy = e
            .remedy
            .clone()
            .unwrap_or_else(|| "see the server's message".to_owned());
        Check::fail(name, e.message.clone(), remedy)
    }

    /// Passes if nothing was found to be wrong.
    pub(super) fn none_of(
        name: &'static str,
        wrong: &[String],
        good: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        if wrong.is_empty() {
            Check::pass(name, good)
        } else {
            Check::fail(name, listed(wrong), remedy).naming(wrong)
        }
    }

    /// Passes if the operator need know nothing.
    pub(super) fn warn_of(
        name: &'static str,
        noted: &[String],
        good: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        if noted.is_empty() {
            Check::pass(name, good)
        } else {
            Check::warn(name, listed(noted), remedy).naming(noted)
        }
    }

    /// What was found is of all these.
    pub(super) fn naming(self, names: &[String]) -> Self {
        Check {
            names: names.to_vec(),
            ..self
        }
    }

    pub(in crate::control) fn about(self, group: Group) -> Self {
        Check { group, ..self }
    }

    pub fn has_failed(&self) -> bool {
        self.verdict == Verdict::Failed
    }
}

/// Most names an operator is shown in one line.
const NAMES_MAX: usize = 10;

/// Names in one line, the first few of many.
pub(super) fn listed(names: &[String]) -> String {
    let shown = names
        .iter()
        .take(NAMES_MAX)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_few_of_many_names_are_shown() {
        let names: Vec<String> = (0..12).map(|i| format!("n{i}")).collect();
        assert_eq!(listed(&names[..2]), "n0, n1");
        assert!(listed(&names).ends_with("n9 and 2 more"));
        let check = serde_json::to_value(Check::none_of("n", &names, "g", "r")).unwrap();
        assert_eq!(check["names"].as_array().unwrap().len(), 12, "{check}");
        let good = serde_json::to_value(Check::pass("n", "g")).unwrap();
        assert!(good.get("names").is_none(), "{good}");
    }

    #[test]
    fn only_what_is_not_ok_has_a_remedy() {
        let wrong = ["w".to_owned()];
        let rows = [
            (Check::pass("n", "f"), Verdict::Ok),
            (Check::none_of("n", &[], "g", "r"), Verdict::Ok),
            (Check::warn_of("n", &[], "g", "r"), Verdict::Ok),
            (Check::warn_of("n", &wrong, "g", "r"), Verdict::Warning),
            (Check::none_of("n", &wrong, "g", "r"), Verdict::Failed),
            (
                Check::answered("n", Err(Error::internal("e"))),
                Verdict::Failed,
            ),
        ];
        for (check, verdict) in rows {
            assert_eq!(check.verdict, verdict, "{check:?}");
            assert_eq!(check.remedy.is_none(), verdict == Verdict::Ok, "{check:?}");
        }
        assert_eq!(Group::SourceState.to_string(), "source state");
    }
}
