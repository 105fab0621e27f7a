//! Every page, filled with hostile text in every place that comes from people or containers.

#[path = "../examples/samples/mod.rs"]
mod samples;

const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>\x1b]52;c;x\x07&";

#[test]
fn no_page_lets_hostile_text_become_markup() {
    let pages = samples::pages("dark", &|text| format!("{text}{HOSTILE}")).unwrap();
    assert!(pages.len() > 25);
    for (name, html) in pages {
        assert!(html.contains("&lt;script") || html.contains("&#60;script"), "{name} shows none of the hostile text");
        let without_ours = html.replace("<script type=\"module\" src=\"/ui/static/", "");
        assert!(!without_ours.contains("<script"), "{name} lets a script through");
        assert!(!html.contains("<img src=x"), "{name} lets an image through");
    }
}

#[test]
fn no_page_has_inline_script_or_style() {
    // The content security policy refuses them, so a page that has one is broken.
    for (name, html) in samples::pages("", &|text| text.to_owned()).unwrap() {
        assert!(!html.contains(" style=\""), "{name} has a style attribute");
        assert!(!html.contains("<style"), "{name} has a style element");
        for event in [" onclick=", " onload=", " onsubmit=", " onchange=", "javascript:", " hx-on"] {
            assert!(!html.contains(event), "{name} has {event}");
        }
    }
}

/// On a phone a table's heading is out of sight, and a row is a card: each cell says itself what it is.
#[test]
fn cells_of_a_card_are_labelled() {
    let lists = ["networks", "users", "volumes", "images", "trash", "volume-files"];
    let pages = samples::pages("", &|text| text.to_owned()).unwrap();
    for (name, html) in pages.iter().filter(|(name, _)| lists.contains(name)) {
        let body = html.split("<tbody>").nth(1).and_then(|rest| rest.split("</tbody>").next()).unwrap_or_default();
        for row in body.split("<tr").skip(1) {
            // The first cell is the name, the last the buttons.
            let cells: Vec<&str> = row.split("<td").skip(2).filter(|cell| !cell.starts_with(" class=\"acts\"")).collect();
            for cell in cells {
                let tag = cell.split('>').next().unwrap_or_default();
                assert!(tag.contains("data-label="), "{name} has a cell without a label: <td{tag}>");
            }
        }
    }
}

#[test]
fn every_page_has_one_heading_a_title_and_forms_with_the_token() {
    for (name, html) in samples::pages("light", &|text| text.to_owned()).unwrap() {
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        assert_eq!(html.matches("<main").count(), 1, "{name}");
        assert!(html.contains("<html lang=\"en\" data-theme=\"light\">"), "{name}");
        let forms = html.split("<form").skip(1).filter(|form| form.split('>').next().is_some_and(|tag| tag.contains("method=\"post\"")));
        for form in forms {
            let body = form.split("</form>").next().unwrap_or_default();
            assert!(body.contains("name=\"form_token\""), "{name} has a form without the token: {body}");
        }
        for text in html.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(!text.is_empty(), "{name} has a link to nowhere");
        }
    }
}
