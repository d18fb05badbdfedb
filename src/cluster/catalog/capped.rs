//! What capped collections may hold: as it is listed, and as `collMod` takes it.
//!
//! Pure functions.

use bson::raw::cstr;
use bson::{RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::element::field;
use crate::bson::view::View;
use crate::cluster::catalog::listing::without;

/// Names of the limits in listed options.
pub const LIMITS: [&str; 2] = ["size", "max"];

/// Far more bytes than any collection holds, and a thousandth of what a server accepts. The
/// server reserves nothing for it.
const ROOM_BYTES: i64 = 1 << 40;

/// `max` of a collection with any number of documents, as 6.0.5 lists it.
const UNLIMITED: i64 = i32::MAX as i64;

/// What a capped collection may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub bytes: i64,
    /// None: none was ever set.
    pub documents: Option<i64>,
}

impl Limits {
    /// None.
    pub const ROOM: Limits = Limits {
        bytes: ROOM_BYTES,
        documents: Some(UNLIMITED),
    };

    /// None if it is not capped.
    pub fn of(options: &RawDocument) -> Option<Self> {
        if !options.get_bool("capped").unwrap_or(false) {
            return None;
        }
        let listed = |name: &str| number(options, name);
        Some(Limits {
            bytes: listed(LIMITS[0])?,
            documents: listed(LIMITS[1]),
        })
    }

    /// No limits, in place of these. Larger ones stay.
    pub fn room(self) -> Self {
        Limits {
            bytes: self.bytes.max(ROOM_BYTES),
            documents: self.documents.and(Self::ROOM.documents),
        }
    }

    pub fn are_room(self) -> bool {
        self == self.room()
    }

    /// As `collMod` takes them. Smaller ones let nothing go before the next insert.
    pub fn change(self) -> RawDocumentBuf {
        let mut change = rawdoc! { "cappedSize": self.bytes };
        match self.documents {
            // As it is listed, and not taken.
            Some(UNLIMITED) => change.append(cstr!("cappedMax"), -1_i64),
            Some(documents) => change.append(cstr!("cappedMax"), documents),
            None => {}
        }
        change
    }
}

/// These options, without limits if they are those of a capped collection.
pub fn with_room(options: &RawDocument) -> RawDocumentBuf {
    let Some(limits) = Limits::of(options) else {
        return options.to_owned();
    };
    let mut roomy = without(options, &LIMITS);
    roomy.append(cstr!("size"), limits.room().bytes);
    roomy
}

fn number(options: &RawDocument, name: &str) -> Option<i64> {
    match View::from(field(options.as_bytes(), name.as_bytes())?) {
        View::Int(number) => Some(number),
        View::Double(number) => Some(number as i64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_in_any_type_and_taken_as_collmod_takes_them() {
        let listed = [
            rawdoc! {"capped": true, "size": 4096, "max": 7},
            rawdoc! {"capped": true, "size": 4096.0, "max": 7i64},
        ];
        for options in listed {
            let limits = Limits::of(&options).unwrap();
            assert_eq!(
                limits.change(),
                rawdoc! {"cappedSize": 4096i64, "cappedMax": 7i64}
            );
            assert!(!limits.are_room() && limits.room().are_room());
        }
        let unlimited = rawdoc! {"capped": true, "size": 512, "max": i32::MAX};
        let change = Limits::of(&unlimited).unwrap().change();
        assert_eq!(change, rawdoc! {"cappedSize": 512i64, "cappedMax": -1i64});
        assert_eq!(Limits::of(&rawdoc! {"size": 4096}), None);
        let larger = Limits::of(&rawdoc! {"capped": true, "size": ROOM_BYTES + 256}).unwrap();
        assert!(larger.are_room() && larger.room() == larger);
    }

    #[test]
    fn room_is_made_of_capped_collections_alone() {
        let capped = rawdoc! {"capped": true, "size": 4096, "max": 7, "validator": {"a": 1}};
        let roomy = with_room(&capped);
        assert!(Limits::of(&roomy).unwrap().are_room());
        assert_eq!(
            roomy,
            rawdoc! {"capped": true, "validator": {"a": 1}, "size": ROOM_BYTES}
        );
        let plain = rawdoc! {"validator": {"a": 1}};
        assert_eq!(with_room(&plain), plain);
    }
}
