//! Static files: bundled by build.rs, embedded plain and gzipped, under names that change with their content.

/// One static file.
#[derive(Debug)]
pub struct Asset {
    /// The name templates use: `app.js`.
    pub name: &'static str,
    /// Where it is served: `/ui/static/app-0123456789abcdef.js`. The content never changes, so it may be cached for ever.
    pub path: &'static str,
    /// Its media type.
    pub mime: &'static str,
    /// The file.
    pub bytes: &'static [u8],
    /// The file, gzipped.
    pub gzip: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file served at a path (`/ui/static/…`).
pub fn at(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|a| a.path == path)
}

/// Where the file of a name is served; empty for a name that is none (a test keeps templates from asking for one).
pub fn url(name: &str) -> &'static str {
    ASSETS.iter().find(|a| a.name == name).map_or("", |a| a.path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn every_file_has_its_hash_in_the_name_and_a_smaller_twin() {
        for asset in ASSETS {
            assert!(asset.path.starts_with("/ui/static/"), "{asset:?}");
            assert_eq!(url(asset.name), asset.path);
            assert_eq!(at(asset.path).map(|a| a.name), Some(asset.name));
            assert!(asset.gzip.len() < asset.bytes.len(), "{} grows when gzipped", asset.name);
        }
        assert!(at("/ui/static/../secret").is_none());
    }

    #[test]
    fn pages_stay_within_their_budget() {
        // shared/UI.md: an ordinary page at most 40 KB of script and 12 KB of style sheet, the shell 130 KB, gzipped.
        let gz = |name: &str| ASSETS.iter().find(|a| a.name == name).map(|a| a.gzip.len()).unwrap();
        assert!(gz("app.js") <= 40_000, "{}", gz("app.js"));
        assert!(gz("app.css") <= 12_000, "{}", gz("app.css"));
        assert!(gz("app.js") + gz("shell.js") <= 130_000);
    }

    #[test]
    fn templates_ask_only_for_files_there_are() {
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/templates")).unwrap() {
            let mut text = String::new();
            std::fs::File::open(entry.unwrap().path()).unwrap().read_to_string(&mut text).unwrap();
            for asked in text.split("asset(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(!url(asked).is_empty(), "no static file {asked}");
            }
        }
    }
}
