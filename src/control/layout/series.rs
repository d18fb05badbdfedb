//! Time series: their buckets are collections like others, made with the options that the
//! source lists. The time series itself is a view of them, made beside.
//!
//! Not by the command for time series: that would give the buckets the validator of the
//! target's own release.

use bson::raw::{CString, cstr};
use bson::{RawArrayBuf, RawDocument, RawDocumentBuf, rawdoc};

use crate::bson::element::elements;
use crate::cluster::admin;
use crate::cluster::catalog::listing::without;
use crate::cluster::catalog::{self, Collection, CollectionKind, Namespace};
use crate::cluster::deployment::Deployment;
use crate::error::{Error, Kind, Result};

/// Makes the time series of these buckets, which are there. No error if it is there.
pub(super) async fn make_view(target: &Deployment, buckets: &Collection) -> Result<()> {
    let Some(series) = buckets.ns.time_series() else {
        return Ok(());
    };
    if is_there(target, &series).await? {
        return Ok(());
    }
    let view = view(buckets, target.dialect.catalog.series_exclude)?;
    match admin::create(&target.entry, &series, &view).await {
        Err(_) if is_there(target, &series).await? => Ok(()),
        made => made,
    }
}

/// # Errors
/// `Refused` if another kind of collection has the name.
async fn is_there(target: &Deployment, series: &Namespace) -> Result<bool> {
    match catalog::read_one(target, series).await? {
        None => Ok(false),
        Some(there) if there.kind == CollectionKind::TimeSeries => Ok(true),
        Some(_) => Err(super::exists(series, "is no time series")),
    }
}

/// The shard key of buckets as it is given for their time series: by names of measurements.
pub(super) fn public_key(buckets: &Collection, key: &RawDocument) -> Result<RawDocumentBuf> {
    let of = series_of(buckets)?;
    let field = |name| of.get_str(name).unwrap_or_default();
    let (meta, time) = (field("metaField"), field("timeField"));
    let mut public = RawDocumentBuf::new();
    for part in key {
        let (name, order) = part?;
        let name = match name.as_str().strip_prefix("meta") {
            Some(below) => format!("{meta}{below}"),
            None => time.to_owned(),
        };
        public.append(CString::try_from(name)?, order);
    }
    Ok(public)
}

/// Time is part of the shard key: no zone may have a bound in it (72).
pub(super) fn is_by_time(buckets: &Collection, key: &RawDocument) -> bool {
    buckets.ns.time_series().is_some() && elements(key).any(|e| e.name.starts_with(b"control."))
}

/// What the server itself writes for a time series. `excludes`: also that it leaves out no
/// field.
fn view(buckets: &Collection, excludes: bool) -> Result<RawDocumentBuf> {
    let mut unpack = without(series_of(buckets)?, &["granularity"]);
    if excludes {
        unpack.append(cstr!("exclude"), RawArrayBuf::new());
    }
    let mut view = rawdoc! {
        "viewOn": buckets.ns.coll.as_str(), "pipeline": [{ "$_internalUnpackBucket": unpack }],
    };
    if let Ok(collation) = buckets.options.get_document("collation") {
        view.append(cstr!("collation"), collation.to_owned());
    }
    Ok(view)
}

/// # Errors
/// `Unsupported` if they are not of a time series.
fn series_of(buckets: &Collection) -> Result<&RawDocument> {
    let of = buckets.options.get_document("timeseries");
    of.map_err(|_| {
        let found = format!(
            "{} is listed without what it is a time series by",
            buckets.ns
        );
        Error::new(Kind::Unsupported, found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(options: RawDocumentBuf) -> Collection {
        let ns = Namespace {
            db: "d".to_owned(),
            coll: "system.buckets.x".to_owned(),
        };
        Collection {
            ns,
            kind: CollectionKind::Plain,
            uuid: None,
            options,
            primary: 0,
            sharded: None,
            key_index: None,
        }
    }

    #[test]
    fn a_shard_key_of_buckets_is_given_by_the_names_of_measurements() {
        let listed = buckets(rawdoc! {"timeseries": {"timeField": "at", "metaField": "sensor"}});
        let rows = [
            (rawdoc! {"meta": 1}, rawdoc! {"sensor": 1}),
            (rawdoc! {"meta": "hashed"}, rawdoc! {"sensor": "hashed"}),
            (
                rawdoc! {"meta.a.b": 1, "control.min.at": 1},
                rawdoc! {"sensor.a.b": 1, "at": 1},
            ),
        ];
        for (stored, expect) in rows {
            assert_eq!(public_key(&listed, &stored).unwrap(), expect);
        }
    }

    #[test]
    fn a_time_series_is_the_view_that_each_release_makes_of_its_buckets() {
        let series = rawdoc! {"timeField": "t", "metaField": "m", "granularity": "minutes", "bucketMaxSpanSeconds": 86400};
        let listed =
            buckets(rawdoc! {"validator": {}, "clusteredIndex": true, "timeseries": series});
        let unpack = rawdoc! {"timeField": "t", "metaField": "m", "bucketMaxSpanSeconds": 86400};
        assert_eq!(
            view(&listed, false).unwrap(),
            rawdoc! {"viewOn": "system.buckets.x", "pipeline": [{"$_internalUnpackBucket": unpack}]}
        );
        let stage = rawdoc! {"timeField": "t", "bucketMaxSpanSeconds": 3600, "exclude": []};
        let listed = buckets(
            rawdoc! {"timeseries": {"timeField": "t", "granularity": "seconds", "bucketMaxSpanSeconds": 3600}, "collation": {"locale": "de"}},
        );
        assert_eq!(
            view(&listed, true).unwrap(),
            rawdoc! {
                "viewOn": "system.buckets.x", "pipeline": [{"$_internalUnpackBucket": stage}],
                "collation": {"locale": "de"},
            }
        );
        assert!(view(&buckets(rawdoc! {}), true).is_err());
    }
}
