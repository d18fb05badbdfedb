//! Ends of the engine that are right: what it cannot carry over stops it, with a
//! remedy. Which ones there are, and what an operator then does, as README says.
//!
//! Reads its log; knows nothing about what was done to the deployments.

/// What its error tells an operator to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remedy {
    /// `shardlift migrate --restart`.
    Anew,
    /// `shardlift recopy --shard` with its id, then the same command.
    Shard(String),
}

/// An end that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub cause: &'static str,
    pub remedy: Remedy,
}

/// Where the log says why it ended, and where what to do about it.
const ERROR_MARK: &str = "error: ";
const REMEDY_MARK: &str = "what to do: ";

/// What is refused, by a word of its error. The first that fits counts.
const CAUSES: [(&str, &str); 5] = [
    ("no longer holds position", "oplog rolled off"),
    // A chunk, a primary, what is sharded at all; on either side.
    ("during the run", "owners changed"),
    ("since the run was last up", "owners changed"),
    // Of a sharded collection.
    ("`renameCollection`", "rename"),
    ("in the old `$v: 1` form", "old update"),
];

/// None where it ended for another reason, or does not say what to do.
pub fn of(log: &str) -> Option<Refusal> {
    let error = &log[log.rfind(ERROR_MARK)?..];
    let (found, remedy) = error.split_once(REMEDY_MARK)?;
    let (_, cause) = CAUSES.iter().find(|(word, _)| found.contains(word))?;
    let remedy = match remedy.split_once("recopy --shard ") {
        Some((_, rest)) => Remedy::Shard(
            rest.split(|c: char| c.is_whitespace() || "`;,".contains(c))
                .next()?
                .to_owned(),
        ),
        None if remedy.contains("start over") || remedy.contains("--restart") => Remedy::Anew,
        None => return None,
    };
    Some(Refusal { cause, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_known_by_its_error_and_its_remedy() {
        let moved = "INFO what to do: nothing\nerror: owners of d.c changed on the source during the run\n  what to do: keep the \
                     balancer off; start over with `shardlift migrate --restart`\n";
        assert_eq!(
            of(moved),
            Some(Refusal {
                cause: "owners changed",
                remedy: Remedy::Anew
            })
        );
        let rolled = "error: the oplog of source shard shard1 no longer holds position 5\n  what to do: run `shardlift recopy --shard shard1`, then go on\n";
        assert_eq!(
            of(rolled).unwrap().remedy,
            Remedy::Shard("shard1".to_owned())
        );
        for other in [
            "",
            "error: owners of d.c changed during the run\n",
            "error: owners of d.c changed during the run\n  what to do: nothing\n",
            "error: source and target differ\n  what to do: start over\n",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
