//! The roles that each release needs, by a login: with those of the README `validate` finds
//! nothing missing, and without one it names the grant.

use shardlift::cluster::connect;
use shardlift::cluster::deployment::Side;
use shardlift::control::validate;

use super::{RELEASES, set_with};
use crate::fixture;
use loadgen::cluster::{ReplicaSet, User};

const SOURCE: [&str; 3] = ["readAnyDatabase", "backup", "clusterMonitor"];
const TARGET: [&str; 3] = ["readWriteAnyDatabase", "restore", "clusterMonitor"];
/// Beside them on a target of 5.0, where `restore` does not grant `applyOps`.
const APPLIES: &str = "dbAdminAnyDatabase";

/// The roles of a target of this release.
fn of_target(release: &str) -> Vec<&'static str> {
    let more = (release == "5.0").then_some(APPLIES);
    TARGET.into_iter().chain(more).collect()
}

async fn told(set: &ReplicaSet, side: Side, user: &str) -> String {
    let deployment = connect::connect(side, &set.uri_as(user), fixture::TIMEOUT)
        .await
        .unwrap();
    let check = validate::privileges_of(&deployment).await;
    if !check.has_failed() {
        return String::new();
    }
    format!("{}; {}", check.found, check.remedy.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_roles_of_the_readme_are_enough_on_every_release_and_a_missing_one_is_named() {
    for release in RELEASES {
        let mut users = vec![
            User::new("source", &SOURCE),
            User::new("target", &of_target(release)),
        ];
        let mut lacking = Vec::new();
        for (side, roles) in [
            (Side::Source, SOURCE.to_vec()),
            (Side::Target, of_target(release)),
        ] {
            for role in &roles {
                // Without the first nobody connects at all; `backup` grants what the second does.
                if ["clusterMonitor", "readAnyDatabase"].contains(role) {
                    continue;
                }
                let name = format!("{side}_without_{role}");
                let others: Vec<&str> = roles.iter().filter(|r| *r != role).copied().collect();
                users.push(User::new(&name, &others));
                lacking.push((side, *role, name));
            }
        }
        let set = set_with(release, "rights", Some(users)).await;
        assert_eq!(told(&set, Side::Source, "source").await, "", "{release}");
        assert_eq!(told(&set, Side::Target, "target").await, "", "{release}");
        for (side, role, user) in lacking {
            let told = told(&set, side, &user).await;
            let grant = format!(
                "db.getSiblingDB(\"admin\").grantRolesToUser(\"{user}\", [{{ \"role\": \"{role}\", \"db\": \"admin\" }}])"
            );
            assert!(told.contains(&grant), "{release} {user}: {told}");
        }
    }
}
