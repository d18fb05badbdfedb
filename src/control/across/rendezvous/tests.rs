//! What pairs are told, event by event.

use super::*;

const OLD: u8 = 1;
const NEW: u8 = 2;

fn uuid(byte: u8) -> Uuid {
    Uuid::from_bytes([byte; 16])
}

fn ns() -> Namespace {
    Namespace {
        db: "d".to_owned(),
        coll: "c".to_owned(),
    }
}

/// Something that happens across the pairs of one name.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The pair meets the creation of the collection, and is told this.
    Create(usize, u8, ToMake),
    /// The turn: it is made, as the one of ten times its number.
    Make(u8),
    /// The pair meets the drop, and is told this.
    Drop(usize, u8, Arrival),
    /// The turn: it is dropped, and that removes this.
    Dropped(u8, ToDrop),
}

fn check(events: &[Event]) {
    let mut rendezvous = Rendezvous::default();
    for (at, event) in events.iter().enumerate() {
        match *event {
            Event::Create(pair, which, told) => {
                rendezvous.hold(pair, uuid(which));
                let to_make = rendezvous.to_make(&ns(), uuid(which), pair);
                assert_eq!(to_make, told, "{at} of {events:?}");
                if to_make == ToMake::Free {
                    rendezvous.claim(&ns(), uuid(which));
                }
            }
            Event::Make(which) => rendezvous.made(uuid(which), uuid(10 * which)),
            Event::Drop(pair, which, told) => {
                let arrival = rendezvous.arrive(pair, uuid(which));
                assert_eq!(arrival, told, "{at} of {events:?}");
            }
            Event::Dropped(which, removes) => {
                let to_drop = rendezvous.to_drop(&ns(), uuid(which));
                assert_eq!(to_drop, removes, "{at} of {events:?}");
                rendezvous.dropped(&ns(), uuid(which));
            }
        }
    }
}

#[test]
fn a_collection_is_made_once_and_dropped_when_the_last_pair_that_holds_it_has_come() {
    use Event::{Create, Drop, Dropped, Make};
    let made = Create(0, OLD, ToMake::Free);
    let its_drop = Dropped(OLD, ToDrop::Made(Some(uuid(10))));
    let rows: [&[Event]; 8] = [
        // One pair.
        &[made, Make(OLD), Drop(0, OLD, Arrival::Last), its_drop],
        // Two that both hold it.
        &[
            made,
            Make(OLD),
            Create(1, OLD, ToMake::Made),
            Drop(0, OLD, Arrival::Waits),
            Drop(1, OLD, Arrival::Last),
            its_drop,
        ],
        // Its name is taken until its drop is made, whoever asks.
        &[
            made,
            Make(OLD),
            Create(0, NEW, ToMake::NameTaken),
            Drop(0, OLD, Arrival::Last),
            Create(1, NEW, ToMake::NameTaken),
            its_drop,
            Create(0, NEW, ToMake::Free),
            Create(1, NEW, ToMake::Made),
        ],
        // The second pair meets its creation after its drop was due: dead for all.
        &[
            made,
            Make(OLD),
            Drop(0, OLD, Arrival::Last),
            Create(1, OLD, ToMake::Dead),
            Drop(1, OLD, Arrival::Waits),
            its_drop,
        ],
        // After it was made.
        &[
            made,
            Make(OLD),
            Drop(0, OLD, Arrival::Last),
            its_drop,
            Create(1, OLD, ToMake::Dead),
            Create(1, NEW, ToMake::Free),
            Drop(1, OLD, Arrival::Dropped),
            Create(1, NEW, ToMake::Made),
        ],
        // Dropped while it is being made: whatever has its name goes.
        &[
            made,
            Drop(0, OLD, Arrival::Last),
            Dropped(OLD, ToDrop::Made(None)),
        ],
        // Met its drop before its creation was answered.
        &[
            Drop(0, OLD, Arrival::Last),
            Dropped(OLD, ToDrop::Unclaimed),
            Create(0, NEW, ToMake::Free),
        ],
        // Its name is another's by then, which stays.
        &[
            Create(0, NEW, ToMake::Free),
            Drop(0, OLD, Arrival::Last),
            Dropped(OLD, ToDrop::PassedOn),
            Create(1, NEW, ToMake::Made),
        ],
    ];
    for events in rows {
        check(events);
    }
}

#[test]
fn a_rename_takes_a_free_name_and_frees_another() {
    let [a, b] = ["a", "b"].map(|coll| Namespace {
        coll: coll.to_owned(),
        ..ns()
    });
    let both = BTreeSet::from([0, 1]);
    let mut rendezvous = Rendezvous::default();
    assert_eq!(
        rendezvous.to_rename(uuid(OLD), &b, &both, &BTreeSet::new()),
        ToRename::Nothing
    );
    rendezvous.claim(&a, uuid(OLD));
    rendezvous.made(uuid(OLD), uuid(10));
    let free = ToRename::Free {
        from: a.clone(),
        made: uuid(10),
    };
    rendezvous.hold(1, uuid(OLD));
    let one = BTreeSet::from([1]);
    let to_rename = rendezvous.to_rename(uuid(OLD), &b, &one, &both);
    assert_eq!(to_rename, ToRename::Awaited, "the other has a chunk of it");
    rendezvous.hold(0, uuid(OLD));
    assert_eq!(
        rendezvous.to_rename(uuid(OLD), &b, &one, &both),
        ToRename::Awaited
    );
    assert_eq!(rendezvous.to_rename(uuid(OLD), &b, &both, &both), free);
    rendezvous.renamed(uuid(OLD), &a, &b);
    assert_eq!(
        rendezvous.to_rename(uuid(OLD), &b, &both, &both),
        ToRename::Named
    );
    rendezvous.hold(1, uuid(NEW));
    let awaited = rendezvous.to_make(&a, uuid(NEW), 0);
    assert_eq!(awaited, ToMake::Awaited, "its name may be another's before");
    rendezvous.hold(0, uuid(NEW));
    assert_eq!(rendezvous.to_make(&a, uuid(NEW), 0), ToMake::Free);
    rendezvous.claim(&a, uuid(NEW));
    assert_eq!(
        rendezvous.to_rename(uuid(OLD), &a, &both, &both),
        ToRename::NameTaken
    );
    assert_eq!(rendezvous.arrive(0, uuid(OLD)), Arrival::Waits);
    assert_eq!(rendezvous.arrive(1, uuid(OLD)), Arrival::Last);
    assert_eq!(
        rendezvous.to_rename(uuid(OLD), &a, &both, &both),
        ToRename::Nothing
    );
    assert_eq!(
        rendezvous.to_drop(&b, uuid(OLD)),
        ToDrop::Made(Some(uuid(10)))
    );
}

#[test]
fn what_is_dead_may_be_forgotten_once_its_drop_is_made_and_no_pair_holds_it() {
    let mut rendezvous = Rendezvous::default();
    rendezvous.hold(0, uuid(OLD));
    assert_eq!(rendezvous.arrive(0, uuid(OLD)), Arrival::Last);
    assert!(rendezvous.unheld().is_empty(), "its drop is not made");
    rendezvous.hold(1, uuid(OLD));
    rendezvous.dropped(&ns(), uuid(OLD));
    assert!(rendezvous.unheld().is_empty(), "a pair has yet to meet it");
    assert_eq!(rendezvous.arrive(1, uuid(OLD)), Arrival::Dropped);
    assert_eq!(rendezvous.unheld(), [uuid(OLD)]);
    rendezvous.forget(&[uuid(OLD)]);
    assert!(rendezvous.unheld().is_empty() && !rendezvous.is_dead(&uuid(OLD)));
}
