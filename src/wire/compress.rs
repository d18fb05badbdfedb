//! The contents of an `OP_COMPRESSED` message: which compressors both sides know, and
//! packing and unpacking a message's payload.
//!
//! Compression is worth its CPU where the network is slow: it is off unless the URI
//! asks for it (`compressors=`). Knows nothing about headers and sockets, nor which
//! commands must go uncompressed.

use std::cell::RefCell;
use std::io;

use mongodb::options::Compressor;
use snap::raw as snappy;
use zstd::bulk as zstd_bulk;

use crate::error::{Error, Kind, Result};
use crate::limits::MESSAGE_BYTES_MAX;

/// Ids in `OP_COMPRESSED`; 2 is zlib, which we neither offer nor read.
const NOOP_ID: u8 = 0;
const SNAPPY_ID: u8 = 1;
const ZSTD_ID: u8 = 3;

/// A way to compress that we may offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Snappy,
    Zstd { level: i32 },
}

/// The compressors that the URI asks for and we support, in its order: `hello` offers
/// these.
pub fn offered(compressors: &[Compressor]) -> Vec<Method> {
    let known = |compressor: &Compressor| match compressor {
        Compressor::Snappy => Some(Method::Snappy),
        Compressor::Zstd { level } => Some(Method::Zstd {
            level: level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL),
        }),
        _ => None,
    };
    compressors.iter().filter_map(known).collect()
}

/// The first of ours that the server names in its answer; None: nothing is compressed.
pub fn agreed<'a>(offered: &[Method], named: impl IntoIterator<Item = &'a str>) -> Option<Method> {
    let named: Vec<&str> = named.into_iter().collect();
    offered
        .iter()
        .copied()
        .find(|method| named.contains(&method.name()))
}

impl Method {
    /// The name in `hello`.
    pub fn name(self) -> &'static str {
        match self {
            Method::Snappy => "snappy",
            Method::Zstd { .. } => "zstd",
        }
    }

    /// The id in `OP_COMPRESSED`.
    pub fn id(self) -> u8 {
        match self {
            Method::Snappy => SNAPPY_ID,
            Method::Zstd { .. } => ZSTD_ID,
        }
    }

    /// Appends the packed payload to `out`, which may begin with a header.
    ///
    /// # Errors
    /// `Internal` where the library refuses, as it does for over 4 GB.
    pub fn compress(self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        let packed = match self {
            Method::Snappy => {
                out.resize(start + snappy::max_compress_len(payload.len()), 0);
                snappy::Encoder::new()
                    .compress(payload, &mut out[start..])
                    .map_err(io::Error::from)
            }
            Method::Zstd { level } => {
                out.resize(start + zstd::zstd_safe::compress_bound(payload.len()), 0);
                zstd_compress(level, payload, &mut out[start..])
            }
        };
        let bytes = packed
            .map_err(|e| Error::internal(format!("{} could not compress: {e}", self.name())))?;
        out.truncate(start + bytes);
        Ok(())
    }
}

/// Unpacks a payload that should have `size` bytes, according to its message.
///
/// # Errors
/// `Server` for an id that was not offered, for a size that is impossible or not the
/// payload's, and for bytes that the library cannot read.
pub fn decompress(id: u8, payload: &[u8], size: i32) -> Result<Vec<u8>> {
    let expected = usize::try_from(size)
        .ok()
        .filter(|size| *size <= MESSAGE_BYTES_MAX);
    let expected = expected.ok_or_else(|| malformed(format!("it claims to have {size} bytes")))?;
    let unpacked = match id {
        NOOP_ID if payload.len() == expected => Ok(payload.to_vec()),
        NOOP_ID => return Err(wrong_size(payload.len(), expected)),
        // The length is part of the format: not a byte is reserved for one that lies.
        SNAPPY_ID => match snappy::decompress_len(payload) {
            Ok(found) if found != expected => return Err(wrong_size(found, expected)),
            Ok(_) => snappy::Decoder::new()
                .decompress_vec(payload)
                .map_err(io::Error::from),
            Err(e) => Err(e.into()),
        },
        ZSTD_ID => zstd_decompress(payload, expected),
        other => return Err(malformed(format!("compressor {other} was not offered"))),
    };
    let unpacked = unpacked.map_err(|e| malformed(e.to_string()))?;
    if unpacked.len() != expected {
        return Err(wrong_size(unpacked.len(), expected));
    }
    Ok(unpacked)
}

thread_local! {
    /// Kept because making one costs more than a small message: about 1.5 MB a thread
    /// at the default level, several times that at high ones.
    static ENCODER: RefCell<Option<zstd_bulk::Compressor<'static>>> = const { RefCell::new(None) };
    /// About 100 kB a thread.
    static DECODER: RefCell<Option<zstd_bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Returns how much of `out` was filled, bytes.
fn zstd_compress(level: i32, payload: &[u8], out: &mut [u8]) -> io::Result<usize> {
    ENCODER.with_borrow_mut(|kept| {
        let mut encoder = match kept.take() {
            Some(encoder) => encoder,
            None => zstd_bulk::Compressor::new(level)?,
        };
        encoder.set_compression_level(level)?;
        let bytes = encoder.compress_to_buffer(payload, out)?;
        *kept = Some(encoder);
        Ok(bytes)
    })
}

fn zstd_decompress(payload: &[u8], capacity: usize) -> io::Result<Vec<u8>> {
    DECODER.with_borrow_mut(|kept| {
        let mut decoder = match kept.take() {
            Some(decoder) => decoder,
            None => zstd_bulk::Decompressor::new()?,
        };
        let unpacked = decoder.decompress(payload, capacity)?;
        *kept = Some(decoder);
        Ok(unpacked)
    })
}

fn wrong_size(found: usize, expected: usize) -> Error {
    malformed(format!(
        "it has {found} bytes and claims to have {expected}"
    ))
}

fn malformed(found: String) -> Error {
    Error::new(
        Kind::Server,
        format!("malformed compressed message: {found}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const METHODS: [Method; 4] = [
        Method::Snappy,
        Method::Zstd { level: 3 },
        Method::Zstd { level: -5 },
        Method::Zstd { level: 12 },
    ];

    fn packed(method: Method, payload: &[u8]) -> Vec<u8> {
        let mut out = b"header".to_vec();
        method.compress(payload, &mut out).unwrap();
        out.split_off(6)
    }

    fn is_refused(id: u8, payload: &[u8], size: i32) -> bool {
        decompress(id, payload, size).is_err_and(|e| e.kind == Kind::Server)
    }

    #[test]
    fn the_first_of_ours_that_the_server_names_is_taken() {
        let ours = offered(&[Compressor::Zstd { level: Some(7) }, Compressor::Snappy]);
        assert_eq!(ours, [Method::Zstd { level: 7 }, Method::Snappy]);
        let names = |names: &[&'static str]| agreed(&ours, names.iter().copied());
        assert_eq!(names(&["snappy", "zstd"]), Some(Method::Zstd { level: 7 }));
        assert_eq!(names(&["zlib", "snappy"]), Some(Method::Snappy));
        assert_eq!(names(&["zlib"]), None);
        assert_eq!(names(&[]), None);
        assert_eq!(agreed(&offered(&[]), ["snappy", "zstd"]), None);
        assert_eq!(
            offered(&[Compressor::Zstd { level: None }]),
            [Method::Zstd { level: 3 }]
        );
    }

    #[test]
    fn what_repeats_gets_smaller_and_a_header_before_it_stays() {
        let payload = b"shard".repeat(100_000);
        for method in METHODS {
            let mut out = b"header".to_vec();
            method.compress(&payload, &mut out).unwrap();
            assert!(
                out.starts_with(b"header") && out.len() < payload.len() / 10,
                "{method:?}: {}",
                out.len()
            );
            assert_eq!(
                decompress(method.id(), &out[6..], payload.len() as i32).unwrap(),
                payload
            );
        }
    }

    #[test]
    fn lies_about_the_size_are_refused() {
        let payload = b"0123456789".repeat(50);
        let size = payload.len() as i32;
        assert_eq!(decompress(NOOP_ID, &payload, size).unwrap(), payload);
        let rows = METHODS.map(|method| (method.id(), packed(method, &payload)));
        for (id, packed) in rows.into_iter().chain([(NOOP_ID, payload.clone())]) {
            for lie in [
                size - 1,
                size + 1,
                0,
                -1,
                i32::MIN,
                i32::MAX,
                MESSAGE_BYTES_MAX as i32,
            ] {
                assert!(is_refused(id, &packed, lie), "{id} {lie}");
            }
            for cut in 0..packed.len() {
                assert!(is_refused(id, &packed[..cut], size), "{id} cut at {cut}");
            }
        }
    }

    #[test]
    fn ids_that_were_not_offered_are_refused() {
        for id in (0..=u8::MAX).filter(|id| ![NOOP_ID, SNAPPY_ID, ZSTD_ID].contains(id)) {
            assert!(is_refused(id, b"x", 1), "{id}");
        }
    }

    #[test]
    fn a_frame_that_would_unpack_past_a_message_is_refused() {
        let bomb = packed(Method::Zstd { level: 3 }, &vec![0; MESSAGE_BYTES_MAX + 1]);
        assert!(is_refused(ZSTD_ID, &bomb, MESSAGE_BYTES_MAX as i32));
        assert!(is_refused(ZSTD_ID, &bomb, MESSAGE_BYTES_MAX as i32 + 1));
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out(payload in vec(0u8..8, 0..5_000), method in 0..METHODS.len()) {
            let method = METHODS[method];
            let packed = packed(method, &payload);
            prop_assert_eq!(decompress(method.id(), &packed, payload.len() as i32).unwrap(), payload);
        }

        #[test]
        fn garbage_gives_an_error_or_as_many_bytes_as_it_says(
            payload in vec(any::<u8>(), 0..200),
            id in 0u8..5,
            size in prop_oneof![0i32..400, any::<i32>()],
        ) {
            if let Ok(unpacked) = decompress(id, &payload, size) {
                prop_assert_eq!(unpacked.len(), size as usize);
            }
        }

        #[test]
        fn a_changed_byte_gives_an_error_or_as_many_bytes(
            payload in vec(0u8..4, 1..2_000),
            method in 0..METHODS.len(),
            at in any::<prop::sample::Index>(),
            flip in 1u8..,
        ) {
            let method = METHODS[method];
            let mut packed = packed(method, &payload);
            let at = at.index(packed.len());
            packed[at] ^= flip;
            if let Ok(unpacked) = decompress(method.id(), &packed, payload.len() as i32) {
                prop_assert_eq!(unpacked.len(), payload.len());
            }
        }
    }
}
