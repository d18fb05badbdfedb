//! The sources of values: merged by precedence and checked against their knobs.
//!
//! Knows nothing about what a value is used for.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::config::knobs::{self, Bounds, KNOBS, Knob, Preset};
use crate::config::{Config, hide, secret};
use crate::error::{Error, Kind, Result};
use crate::scope::filters::Pattern;
use crate::scope::renames::Renames;

const DEFAULTS: &str = "defaults";
const ENVIRONMENT: &str = "environment";
const FLAGS: &str = "flags";

/// Raw values, weakest first; below them all are the defaults.
#[derive(Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    /// Variables as (name, value); those without our prefix are passed over.
    pub env: Vec<(String, String)>,
    /// By knob name.
    pub flags: BTreeMap<String, String>,
}

impl Sources {
    /// The process's own environment beside these flags. The file is that of
    /// `--config`, else of `SHARDLIFT_CONFIG`.
    pub fn of_process(file: Option<PathBuf>, flags: BTreeMap<String, String>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let env: Vec<(String, String)> = std::env::vars_os().filter_map(text).collect();
        let file = file.or_else(|| {
            env.iter()
                .find(|(name, _)| name == "SHARDLIFT_CONFIG")
                .map(|(_, path)| path.into())
        });
        Sources { file, env, flags }
    }

    /// Warnings about these sources for the operator.
    pub fn warnings(&self) -> Vec<String> {
        let moved = self.env.iter().any(|(name, _)| name == hide::MARKER);
        moved
            .then(|| hide::WARNING.to_string())
            .into_iter()
            .collect()
    }

    fn env_values(&self) -> Dict {
        let value = |knob: &Knob| {
            let variable = knob.variable();
            let (_, text) = self.env.iter().find(|(name, _)| *name == variable)?;
            Some((knob.name.to_string(), raw_value(knob, text)))
        };
        KNOBS.iter().filter_map(value).collect()
    }

    fn flag_values(&self) -> Dict {
        let value = |(name, text): (&String, &String)| {
            Some((name.clone(), raw_value(knobs::find(name)?, text)))
        };
        self.flags.iter().filter_map(value).collect()
    }
}

/// Text from a flag or variable: a number where the knob is one and it reads
/// as one, else text, which the check then refuses.
fn raw_value(knob: &Knob, text: &str) -> Value {
    match text.trim().parse::<u64>() {
        Ok(number) if knob.is_number() => Value::from(number),
        _ if knob.bounds == Bounds::List => Value::from(text.lines().collect::<Vec<_>>()),
        _ => Value::from(text),
    }
}

/// A source that is already in memory.
struct Layer(&'static str, Dict);

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.0)
    }

    fn data(&self) -> std::result::Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.1.clone()))
    }
}

/// Merges and checks everything that does not depend on the command.
pub(super) fn merge(sources: &Sources) -> Result<Config> {
    let mut figment = Figment::new().merge(Layer(DEFAULTS, defaults()));
    if let Some(path) = &sources.file {
        if !path.exists() || path.is_dir() {
            return Err(Error::new(
                Kind::Config,
                format!("config file {} does not exist", path.display()),
            )
            .remedy("give --config the path of a readable TOML file"));
        }
        figment = figment.merge(Toml::file_exact(path));
    }
    let figment = figment
        .merge(Layer(ENVIRONMENT, sources.env_values()))
        .merge(Layer(FLAGS, sources.flag_values()));
    let values: Dict = figment.extract().map_err(|e| unreadable(sources, &e))?;
    for (name, value) in &values {
        let knob = knobs::find(name).ok_or_else(|| unknown_key(name))?;
        check(knob, value, &origin(knob, sources, &figment))?;
    }
    figment.extract().map_err(|e| refused(&e))
}

fn defaults() -> Dict {
    let value = |knob: &Knob| match knob.default {
        Preset::Unset => None,
        Preset::Number(number) => Some((knob.name.to_string(), Value::from(number))),
        Preset::Text(text) => Some((knob.name.to_string(), Value::from(text))),
    };
    KNOBS.iter().filter_map(value).collect()
}

/// Where the winning value of `knob` came from, as the operator knows it.
fn origin(knob: &Knob, sources: &Sources, figment: &Figment) -> String {
    match (
        figment
            .find_metadata(knob.name)
            .map(|layer| layer.name.as_ref()),
        &sources.file,
    ) {
        (Some(FLAGS), _) => format!("--{}", knob.flag()),
        (Some(ENVIRONMENT), _) => knob.variable(),
        (Some(DEFAULTS), _) | (_, None) => "default".to_string(),
        (_, Some(path)) => path.display().to_string(),
    }
}

fn check(knob: &Knob, value: &Value, origin: &str) -> Result<()> {
    let fits = match knob.bounds {
        Bounds::Any | Bounds::Hidden => value.as_str().is_some(),
        Bounds::List => value
            .as_array()
            .is_some_and(|texts| texts.iter().all(|text| text.as_str().is_some())),
        Bounds::Between(least, most) => whole(value)
            .is_some_and(|number| (i128::from(least)..=i128::from(most)).contains(&number)),
        Bounds::OneOf(words) => value.as_str().is_some_and(|word| words.contains(&word)),
    };
    if fits {
        return Ok(());
    }
    let found = if knob.is_secret() {
        secret::HIDDEN.to_owned()
    } else {
        secret::redact(&plain(value))
    };
    let (name, bounds) = (knob.name, knob.bounds_text());
    Err(Error::new(
        Kind::Config,
        format!("{name} = {found} ({origin}) is out of bounds: {bounds}"),
    )
    .remedy(format!(
        "set {name} within its bounds; it means: {}",
        knob.help
    )))
}

fn whole(value: &Value) -> Option<i128> {
    value
        .to_i128()
        .or_else(|| i128::try_from(value.to_u128()?).ok())
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{text}\""),
        Value::Num(_, number) => match whole(value) {
            Some(whole) => whole.to_string(),
            None => number.to_f64().unwrap_or(f64::NAN).to_string(),
        },
        Value::Bool(_, yes) => yes.to_string(),
        _ => "a list or table".to_string(),
    }
}

fn unknown_key(name: &str) -> Error {
    let names: Vec<&str> = KNOBS.iter().map(|knob| knob.name).collect();
    Error::new(
        Kind::Config,
        format!("unknown key `{name}` in the config file"),
    )
    .remedy(format!("use one of: {}", names.join(", ")))
}

/// A file that is no TOML. The parser quotes the line it stopped at, which may
/// hold a password: those lines are left out.
fn unreadable(sources: &Sources, error: &figment::Error) -> Error {
    let text = error.to_string();
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains('|'))
        .map(str::trim)
        .collect();
    let path = sources
        .file
        .as_ref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    Error::new(
        Kind::Config,
        format!(
            "config file {path} cannot be read: {}",
            secret::redact(&kept.join(" ")).trim()
        ),
    )
    .remedy("correct the file; it is TOML, one `name = value` per line, text in quotes")
}

/// The error for a value that bounds alone cannot judge, such as the form of `map`.
fn refused(error: &figment::Error) -> Error {
    let message = match &error.kind {
        figment::error::Kind::Message(message) => message.clone(),
        other => format!("{}: {other}", error.path.join(".")),
    };
    Error::new(Kind::Config, secret::redact(&message))
        .remedy("correct the value; `shardlift migrate --help` lists every knob with its bounds")
}

/// Reads filters (`crate::scope`).
pub(super) fn patterns<'de, D: Deserializer<'de>>(
    d: D,
) -> std::result::Result<Vec<Pattern>, D::Error> {
    parsed(d)
}

/// Reads names on the target (`crate::scope`).
pub(super) fn renames<'de, D: Deserializer<'de>>(d: D) -> std::result::Result<Renames, D::Error> {
    Renames::new(parsed(d)?).map_err(D::Error::custom)
}

fn parsed<'de, D: Deserializer<'de>, T: FromStr<Err = String>>(
    d: D,
) -> std::result::Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(d)?;
    let one = |text: &String| text.parse().map_err(D::Error::custom);
    texts.iter().map(one).collect()
}

/// Reads `a=x,b=y`; every shard may be named once per side.
pub(super) fn shard_map<'de, D: Deserializer<'de>>(
    d: D,
) -> std::result::Result<Vec<(String, String)>, D::Error> {
    let text = String::deserialize(d)?;
    let mut map: Vec<(String, String)> = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (source, target) = part.split_once('=').unwrap_or((part, ""));
        let (source, target) = (source.trim(), target.trim());
        if source.is_empty() || target.is_empty() {
            return Err(D::Error::custom(format!(
                "map has `{part}`, which is not source shard=target shard"
            )));
        }
        if map.iter().any(|(s, t)| s == source || t == target) {
            return Err(D::Error::custom(format!(
                "map names a shard of `{part}` twice"
            )));
        }
        map.push((source.to_string(), target.to_string()));
    }
    Ok(map)
}
