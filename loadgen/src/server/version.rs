//! Releases of the server, as they are asked for, and versions, as servers tell theirs.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// What a server says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
    pub patch: u32,
}

/// What is asked for: a series, such as 6.0, or one version of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Release {
    pub major: u32,
    pub minor: u32,
    /// None: any version of the series will do.
    pub patch: Option<u32>,
}

/// What is started where nothing else is asked for.
pub const DEFAULT: Release = Release {
    major: 6,
    minor: 0,
    patch: None,
};

impl Release {
    pub fn includes(self, version: Version) -> bool {
        (self.major, self.minor) == (version.major, version.minor)
            && self.patch.is_none_or(|patch| patch == version.patch)
    }

    /// The same of any patch.
    pub fn series(self) -> Release {
        Release {
            patch: None,
            ..self
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.patch {
            Some(patch) => write!(f, ".{patch}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Version {
    type Err = Error;

    /// Reads `6.0.5`, with or without `v` or a `-rc` tail.
    fn from_str(text: &str) -> Result<Self, Error> {
        match numbers(text).as_deref() {
            Some(&[major, minor, patch]) => Ok(Version {
                major,
                minor,
                patch,
            }),
            _ => Err(Error::new(format!("{text:?} is not a server version"))),
        }
    }
}

impl FromStr for Release {
    type Err = Error;

    /// Reads `6.0` or `6.0.5`, as [`Version`] is read.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (major, minor, patch) = match numbers(text).as_deref() {
            Some(&[major, minor]) => (major, minor, None),
            Some(&[major, minor, patch]) => (major, minor, Some(patch)),
            _ => {
                let error = Error::new(format!("{text:?} is not a release of the server"));
                return Err(error.remedy("write it as 6.0 or 6.0.5"));
            }
        };
        Ok(Release {
            major,
            minor,
            patch,
        })
    }
}

fn numbers(text: &str) -> Option<Vec<u32>> {
    let text = text.trim().trim_start_matches('v');
    let numbers = text.split('-').next().unwrap_or_default();
    numbers.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_series_or_one_version_of_it() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        let release = |text: &str| text.parse::<Release>().unwrap();
        assert_eq!(release("6.0"), DEFAULT);
        assert!(release("6.0").includes(version("v6.0.5")));
        assert!(release("6.0").includes(version("6.0.27-rc1")));
        assert!(!release("6.0").includes(version("5.0.4")));
        assert!(release("6.0.27").includes(version("6.0.27")));
        assert!(!release("6.0.27").includes(version("6.0.5")));
        assert!(release("6.0.27").series().includes(version("6.0.5")));
        assert!("six".parse::<Release>().is_err() && "6.0".parse::<Version>().is_err());
    }

    #[test]
    fn a_release_is_shown_as_it_is_written() {
        for text in ["4.2", "4.2.6"] {
            assert_eq!(text.parse::<Release>().unwrap().to_string(), text);
        }
    }
}
