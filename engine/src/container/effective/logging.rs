//! Log drivers and their options. An option we would not act on is an error, never ignored.

use super::text::{parse_bool, parse_size};
use super::{Log, LogDriver};
use crate::container::spec::LogSpec;
use crate::log::ship;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// Docker's for `local`.
const LOCAL_SIZE: u64 = 20 << 20;
const LOCAL_FILES: u32 = 5;

/// The driver that is used: the container's, else the server's.
pub(super) fn log(asked: &LogSpec, default: &LogSpec) -> Result<Log> {
    // As with Docker the server's options count for its own driver only.
    let (driver, mut options) = match asked.driver.as_str() {
        "" => (default.driver.as_str(), default.options.clone()),
        name if name == default.driver => (name, default.options.clone()),
        name => (name, Default::default()),
    };
    if asked.options.get("max-size").is_some_and(|size| size == "-1") {
        // Without end there is nothing to rotate.
        options.remove("max-file");
    }
    options.extend(asked.options.clone());
    delivery(&options)?;
    chosen(&options)?;
    let driver = match driver {
        "none" => LogDriver::None,
        "local" | "json-file" => file(driver, &options)?,
        "awslogs" | "splunk" | "gcplogs" | "etwlogs" => return Err(Error::unsupported(&format!("the logging driver {driver}"))),
        other => match ship::parse(other, &options)? {
            Some(shipping) => sent(shipping, &options)?,
            None => return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
        },
    };
    Ok(Log { driver, options })
}

/// `mode` and `max-buffer-size`. Neither changes what we do: a container's output goes to the file's page cache at once and
/// waits for nobody, so that `blocking` does not block, and `non-blocking` has no buffer that could be full and lose lines.
/// What is sent elsewhere is read from that file, which holds more than such a buffer does.
fn delivery(options: &BTreeMap<String, String>) -> Result<()> {
    let mode = options.get("mode").map(String::as_str).unwrap_or_default();
    if !matches!(mode, "" | "blocking" | "non-blocking") {
        return Err(Error::invalid(format!("logger: logging mode not supported: {mode}")));
    }
    match options.get("max-buffer-size") {
        Some(_) if mode != "non-blocking" => {
            Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"))
        }
        Some(size) => parse_size(size).map(drop),
        None => Ok(()),
    }
}

/// What is said of the container must be sayable.
fn chosen(options: &BTreeMap<String, String>) -> Result<()> {
    crate::log::attributes(options, [], &[])?;
    crate::log::tag(options.get("tag").map(String::as_str).unwrap_or_default(), &crate::log::Facts::sample()).map(drop)
}

/// A driver that sends keeps a copy as `local` does, which is Docker's cache for reading and the buffer of what is to be sent.
fn sent(shipping: ship::Shipping, options: &BTreeMap<String, String>) -> Result<LogDriver> {
    let cache = ship::CACHE.iter().filter_map(|(name, own)| Some(((*own).to_owned(), options.get(*name)?.clone()))).collect();
    let LogDriver::Local { max_size, max_files, compress } = file("local", &cache)? else {
        return Err(Error::invalid("the copy of a log that is sent is kept as local"));
    };
    let disabled = match options.get("cache-disabled") {
        Some(text) => parse_bool(text).ok_or_else(|| Error::invalid(format!("invalid value for cache-disabled: {text:?}")))?,
        None => false,
    };
    // Whoever asks for a buffer of that size gets one that is not smaller.
    let buffer = options.get("max-buffer-size").map(|size| parse_size(size)).transpose()?.unwrap_or(0);
    let max_size = max_size.max(buffer.div_ceil(u64::from(max_files)));
    Ok(LogDriver::Sent { max_size, max_files, compress, readable: !disabled, shipping })
}

fn file(driver: &str, options: &BTreeMap<String, String>) -> Result<LogDriver> {
    let json = driver == "json-file";
    let mut max_size = (!json).then_some(LOCAL_SIZE);
    let mut max_files = if json { 1 } else { LOCAL_FILES };
    let mut compress = None;
    for (key, value) in options {
        match key.as_str() {
            // Clients write -1 for "without end".
            "max-size" if value == "-1" && json => max_size = None,
            "max-size" => {
                let size = parse_size(value)?;
                if size == 0 {
                    return Err(Error::invalid("max-size must be a positive number"));
                }
                max_size = Some(size);
            }
            "max-file" => {
                max_files = value.parse().map_err(|_| Error::invalid(format!("invalid value for max-file: {value:?}")))?;
                if max_files < 1 {
                    return Err(Error::invalid("max-file cannot be less than 1"));
                }
                if max_files > 1000 {
                    return Err(Error::invalid("max-file cannot be more than 1000"));
                }
            }
            "compress" => {
                compress = Some(parse_bool(value).ok_or_else(|| Error::invalid(format!("invalid value for compress: {value:?}")))?)
            }
            "mode" | "max-buffer-size" => {}
            // What they choose does not change: `docker logs --details` takes it from the container.
            "labels" | "labels-regex" | "env" | "env-regex" => {}
            "tag" if json => {}
            other if json => return Err(Error::invalid(format!("unknown log opt '{other}' for json-file log driver"))),
            other => return Err(Error::invalid(format!("unknown log opt '{other}' for log driver local"))),
        }
    }
    if json && max_files > 1 && max_size.is_none() {
        return Err(Error::invalid("max-size option must be set when max-file option is more than 1"));
    }
    if json && compress == Some(true) && (max_files < 2 || max_size.is_none()) {
        return Err(Error::invalid("compress cannot be true when max-file is less than 2 or max-size is not set"));
    }
    let Some(size) = max_size.filter(|_| !json) else {
        return Ok(LogDriver::JsonFile { max_size, max_files, compress: compress.unwrap_or(false) });
    };
    Ok(LogDriver::Local { max_size: size, max_files, compress: compress.unwrap_or(true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &[(&str, &str)]) -> Result<LogDriver> {
        let default = LogSpec { driver: "local".into(), options: [("max-size".to_owned(), "1m".to_owned())].into() };
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        log(&LogSpec { driver: driver.into(), options }, &default).map(|l| l.driver)
    }

    #[test]
    fn drivers_and_options() {
        assert_eq!(parse("", &[]).unwrap(), LogDriver::Local { max_size: 1 << 20, max_files: 5, compress: true });
        assert_eq!(parse("local", &[("max-size", "5m")]).unwrap(), LogDriver::Local { max_size: 5 << 20, max_files: 5, compress: true });
        assert_eq!(parse("json-file", &[]).unwrap(), LogDriver::JsonFile { max_size: None, max_files: 1, compress: false });
        assert_eq!(
            parse("json-file", &[("max-size", "10m"), ("max-file", "3")]).unwrap(),
            LogDriver::JsonFile { max_size: Some(10 << 20), max_files: 3, compress: false }
        );
        assert_eq!(parse("none", &[]).unwrap(), LogDriver::None);
        assert!(parse("json-file", &[("labels", "a"), ("env", "b")]).is_ok());
        // What the server rotates where nothing was asked does not stand in the way of a log without end.
        let server = LogSpec {
            driver: "json-file".into(),
            options: [("max-size", "20m"), ("max-file", "5")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        };
        let asked = LogSpec { driver: String::new(), options: [("max-size".to_owned(), "-1".to_owned())].into() };
        assert_eq!(log(&asked, &server).unwrap().driver, LogDriver::JsonFile { max_size: None, max_files: 1, compress: false });
        assert_eq!(
            log(&LogSpec::default(), &server).unwrap().driver,
            LogDriver::JsonFile { max_size: Some(20 << 20), max_files: 5, compress: false }
        );
    }

    #[test]
    fn dockers_errors() {
        for (driver, options, error) in [
            ("nosuch", &[][..], "logger: no log driver named 'nosuch' is registered"),
            ("json-file", &[("foo", "1")], "unknown log opt 'foo' for json-file log driver"),
            ("local", &[("tag", "1")], "unknown log opt 'tag' for log driver local"),
            ("local", &[("max-file", "0")], "max-file cannot be less than 1"),
            ("json-file", &[("max-size", "x")], "invalid size: 'x'"),
        ] {
            assert_eq!(parse(driver, options).unwrap_err().to_string(), error);
        }
        assert_eq!(parse("awslogs", &[]).unwrap_err().kind(), crate::Kind::Unsupported);
        let options = [
            ("gelf-address", "udp://h"),
            ("cache-max-size", "1m"),
            ("cache-disabled", "true"),
            ("mode", "non-blocking"),
            ("max-buffer-size", "50m"),
        ];
        match parse("gelf", &options).unwrap() {
            LogDriver::Sent { max_size, max_files: 5, compress: true, readable: false, shipping } => {
                assert_eq!((max_size, shipping.name()), (10 << 20, "gelf"));
            }
            other => panic!("{other:?}"),
        }
        for options in [&[("mode", "x")][..], &[("max-buffer-size", "1m")], &[("env-regex", "(")], &[("tag", "{{.No}}")]] {
            assert_eq!(parse("json-file", options).unwrap_err().kind(), crate::Kind::Invalid, "{options:?}");
        }
        parse("json-file", &[("mode", "non-blocking"), ("max-buffer-size", "4m"), ("labels", "a"), ("tag", "{{.Name}}")]).unwrap();
    }
}
