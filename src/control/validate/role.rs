//! A role of one's own that grants exactly what a user lacks, ready to be made.
//!
//! Pure.

use bson::{Document, doc};

use crate::control::validate::privileges::{Need, On, covers};

/// Those that no privilege covers.
pub(super) fn lacking(privileges: &[Document], needs: &[Need]) -> Vec<Need> {
    let covered = |need: &&Need| !privileges.iter().any(|held| covers(held, need));
    needs.iter().filter(covered).copied().collect()
}

/// `createRole` of a role with these rights.
pub(super) fn making(role: &str, lacking: &[Need]) -> Document {
    let mut by_place: Vec<(On, Vec<&str>)> = Vec::new();
    for need in lacking {
        let place = by_place.iter_mut().find(|(on, _)| *on == need.on);
        match place {
            Some((_, actions)) if actions.contains(&need.action) => {}
            Some((_, actions)) => actions.push(need.action),
            None => by_place.push((need.on, vec![need.action])),
        }
    }
    let privilege = |(on, actions)| doc! {"resource": resource(on), "actions": actions};
    let privileges: Vec<Document> = by_place.into_iter().map(privilege).collect();
    doc! {"createRole": role, "privileges": privileges, "roles": []}
}

fn resource(on: On) -> Document {
    match on {
        On::Cluster => doc! {"cluster": true},
        On::AnyDatabase => doc! {"db": "", "collection": ""},
        On::Collection(db, coll) => doc! {"db": db, "collection": coll},
        On::AnyBuckets => doc! {"db": "", "system_buckets": ""},
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_a_privilege_for_each_place_and_no_action_twice() {
        let need = |action, on| Need {
            action,
            on,
            role: "r",
        };
        let settings = On::Collection("config", "settings");
        let needs = [
            need("find", On::AnyDatabase),
            need("find", settings),
            need("update", settings),
            need("find", settings),
            need("inprog", On::Cluster),
        ];
        let held = doc! {"resource": {"db": "", "collection": ""}, "actions": ["find"]};
        let lacking = lacking(&[held], &needs);
        let expect = doc! {"createRole": "own", "privileges": [
            {"resource": {"db": "config", "collection": "settings"}, "actions": ["find", "update"]},
            {"resource": {"cluster": true}, "actions": ["inprog"]},
        ], "roles": []};
        assert_eq!(making("own", &lacking), expect);
    }
}
