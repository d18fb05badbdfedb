//! Server versions.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// What is started where nothing else is asked for.
pub const DEFAULT: Version = Version {
    major: 6,
    minor: 0,
    patch: 5,
};

impl Version {
    /// True if both are of one release series, such as 6.0.
    pub fn same_series(self, other: Version) -> bool {
        (self.major, self.minor) == (other.major, other.minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `6.0.5`, with or without `v` or a `-rc` tail; `6.0` is `6.0.0`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let numbers = text
            .trim()
            .trim_start_matches('v')
            .split('-')
            .next()
            .unwrap_or_default();
        let parts: Option<Vec<u32>> = numbers.split('.').map(|part| part.parse().ok()).collect();
        match parts.as_deref() {
            Some([major, minor]) => Ok(Version {
                major: *major,
                minor: *minor,
                patch: 0,
            }),
            Some([major, minor, patch]) => Ok(Version {
                major: *major,
                minor: *minor,
                patch: *patch,
            }),
            _ => {
                Err(Error::new(format!("{text:?} is not a server version"))
                    .remedy("write it as 6.0.5"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_by_series() {
        let version: Version = "v6.0.5".parse().unwrap();
        assert_eq!(version, DEFAULT);
        assert!(version.same_series("6.0.27-rc1".parse().unwrap()));
        assert!(!version.same_series("5.0.4".parse().unwrap()));
        assert!("six".parse::<Version>().is_err());
    }
}
