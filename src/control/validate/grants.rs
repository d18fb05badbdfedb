//! What users lack, as commands that grant it. A mongos and every shard have users of their
//! own, who may lack other things.
//!
//! Pure.

use bson::{Document, doc};

use crate::control::validate::privileges::Need;
use crate::control::validate::{lack, role};

/// The logged-in user of one server, and its privileges.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) user: String,
    /// Where the user is defined: `$external` by a certificate.
    pub(super) db: String,
    pub(super) privileges: Vec<Document>,
}

impl Login {
    /// The role is one of `admin`. A name alone would be one of the user's own database.
    fn grant(&self, role: &str) -> String {
        let (db, user) = (&self.db, &self.user);
        let role = doc! {"role": role, "db": "admin"};
        format!("db.getSiblingDB({db:?}).grantRolesToUser({user:?}, [{role}])")
    }
}

/// Commands, and the servers that they are for.
#[derive(Debug, Default)]
pub(super) struct Grants(Vec<(Vec<String>, String)>);

impl Grants {
    /// `own`: what a role is called that grants nothing more.
    pub(super) fn add(&mut self, place: &str, login: &Login, needs: &[Need], own: &str) {
        let lacking = role::lacking(&login.privileges, needs);
        if lacking.is_empty() {
            return;
        }
        let roles = lack::missing(&login.privileges, needs);
        let roles: Vec<String> = roles.iter().map(|lack| login.grant(lack.role)).collect();
        let commands = format!(
            "{}; or, to grant no more than what is missing, db.adminCommand({}), then {}",
            roles.join("; "),
            role::making(own, &lacking),
            login.grant(own)
        );
        let known = self.0.iter_mut().find(|(_, known)| *known == commands);
        match known {
            Some((places, _)) => places.push(place.to_owned()),
            None => self.0.push((vec![place.to_owned()], commands)),
        }
    }

    pub(super) fn remedy(&self) -> String {
        let on = |(places, commands): &(Vec<String>, String)| {
            format!("on {} {commands}", places.join(", "))
        };
        let all: Vec<String> = self.0.iter().map(on).collect();
        format!(
            "a mongos and every shard have their own users; run {}",
            all.join("; and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::validate::privileges::On;

    #[test]
    fn each_user_is_granted_what_it_lacks_on_its_server_by_its_database() {
        let need = |action, role| Need {
            action,
            on: On::Cluster,
            role,
        };
        let (router, shard) = (
            [need("balance", "clusterManager")],
            [need("note", "backup"), need("inprog", "clusterMonitor")],
        );
        let login = |user: &str, db: &str, actions: &[&str]| Login {
            user: user.to_owned(),
            db: db.to_owned(),
            privileges: vec![doc! {"resource": {"cluster": true}, "actions": actions.to_vec()}],
        };
        let of_shards = login("CN=\"mover\"", "$external", &["inprog"]);
        let mut grants = Grants::default();
        for (place, login, needs) in [
            ("shard0", &of_shards, &shard[..]),
            ("shard1", &of_shards, &shard[..]),
            (
                "shard2",
                &login("mover", "app", &["note", "inprog"]),
                &shard[..],
            ),
            ("mongos", &login("mover", "app", &["note"]), &router[..]),
        ] {
            grants.add(place, login, needs, "own");
        }
        let text = grants.remedy();
        let (of_shards, of_router) = text.split_once("; and ").unwrap();
        let grant = r#"on shard0, shard1 db.getSiblingDB("$external").grantRolesToUser("CN=\"mover\"", [{ "role": "backup", "db": "admin" }]); or"#;
        assert!(
            of_shards.contains(grant) && !of_shards.contains("clusterM"),
            "{text}"
        );
        let grant = r#"on mongos db.getSiblingDB("app").grantRolesToUser("mover", [{ "role": "clusterManager", "db": "admin" }]); or"#;
        let own = r#"["balance"] }], "roles": [] }), then db.getSiblingDB("app").grantRolesToUser("mover", [{ "role": "own", "db": "admin" }])"#;
        assert!(
            of_router.starts_with(grant) && of_router.ends_with(own),
            "{text}"
        );
        assert!(!text.contains("shard2"), "it lacks nothing: {text}");
    }
}
