//! Writes every page with sample data into a folder, with the static files, to look at in a browser:
//! `cargo run -p web --example preview -- /tmp/pages && python3 -m http.server -d /tmp/pages`.

mod samples;

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("which folder?")?);
    std::fs::create_dir_all(folder.join("ui/static"))?;
    for asset in web::assets::ASSETS {
        std::fs::write(folder.join(asset.path.trim_start_matches('/')), asset.bytes)?;
    }
    for theme in ["light", "dark"] {
        for (name, html) in samples::pages(theme, &|text| text.to_owned())? {
            std::fs::write(folder.join(format!("{name}-{theme}.html")), html)?;
        }
    }
    Ok(())
}
