//! The order in which views are made: what a view is defined on comes first, so that
//! collations that must agree can be compared.
//!
//! Pure functions.

use std::collections::HashMap;

use crate::cluster::catalog::{Collection, Namespace};

/// A server allows views 20 deep (documented limit); more is a cycle.
const DEPTH_MAX: usize = 20;

/// Views sorted by how deep they stand on other views, then by name.
pub fn in_order<'a>(views: &[&'a Collection]) -> Vec<&'a Collection> {
    let by_name: HashMap<&Namespace, &Collection> = views.iter().map(|v| (&v.ns, *v)).collect();
    let mut ordered: Vec<_> = views.iter().map(|v| (depth(v, &by_name), *v)).collect();
    ordered.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.ns.cmp(&y.ns)));
    ordered.into_iter().map(|(_, view)| view).collect()
}

fn depth(view: &Collection, by_name: &HashMap<&Namespace, &Collection>) -> usize {
    let mut current = view;
    for depth in 0..DEPTH_MAX {
        let Ok(on) = current.options.get_str("viewOn") else {
            return depth;
        };
        let below = Namespace {
            db: current.ns.db.clone(),
            coll: on.to_owned(),
        };
        match by_name.get(&below) {
            Some(next) => current = next,
            None => return depth,
        }
    }
    DEPTH_MAX
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::cluster::catalog::CollectionKind;

    fn view(coll: &str, on: &str) -> Collection {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: coll.to_owned(),
        };
        let options = rawdoc! {"viewOn": on, "pipeline": []};
        Collection {
            ns,
            kind: CollectionKind::View,
            uuid: None,
            options,
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    #[test]
    fn a_view_comes_after_the_one_it_stands_on() {
        let views = [
            view("a", "b"),
            view("b", "c"),
            view("c", "data"),
            view("d", "data"),
            view("x", "x"),
        ];
        let refs: Vec<&Collection> = views.iter().collect();
        let names: Vec<&str> = in_order(&refs).iter().map(|v| v.ns.coll.as_str()).collect();
        assert_eq!(names, ["c", "d", "b", "a", "x"]);
    }
}
