//! Log drivers and their options. An option we would not act on is an error, never ignored.

use super::text::{parse_bool, parse_size};
use super::{Log, LogDriver};
use crate::container::spec::LogSpec;
use crate::{Error, Result};

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
    let driver = match driver {
        "none" => LogDriver::None,
        "local" | "json-file" => file(driver, &options)?,
        "syslog" | "journald" | "gelf" | "fluentd" | "awslogs" | "splunk" | "gcplogs" | "etwlogs" => {
            return Err(Error::unsupported(&format!("the logging driver {driver}")));
        }
        other => return Err(Error::invalid(format!("logger: no log driver named '{other}' is registered"))),
    };
    Ok(Log { driver, options })
}

fn file(driver: &str, options: &std::collections::BTreeMap<String, String>) -> Result<LogDriver> {
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
            // Ours never blocks on anything but the disk.
            "mode" if value == "blocking" || value.is_empty() => {}
            "mode" if value == "non-blocking" => return Err(Error::unsupported("the log mode non-blocking")),
            "mode" => return Err(Error::invalid(format!("logger: logging mode not supported: {value}"))),
            "max-buffer-size" => {
                return Err(Error::invalid("logger: max-buffer-size option is only supported with 'mode=non-blocking'"));
            }
            // Labels and variables do not change: `docker logs --details` takes them from the container.
            "labels" | "env" => {}
            "labels-regex" | "env-regex" | "tag" if json => {
                return Err(Error::unsupported(&format!("the log option {key}")));
            }
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
        assert_eq!(parse("syslog", &[]).unwrap_err().kind(), crate::Kind::Unsupported);
        assert_eq!(parse("json-file", &[("tag", "a")]).unwrap_err().kind(), crate::Kind::Unsupported);
    }
}
