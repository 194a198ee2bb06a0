//! What of a fetched page a model can read: text in whatever encoding, HTML as text, and nothing else.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

use crate::http::Page;

/// Width of a line of text made of HTML. Characters.
const WIDTH: usize = 100;

/// Where an HTML page says what its encoding is, if it does. Bytes; the bound of browsers.
const PRESCAN: usize = 1_024;

/// Elements within elements that are read: pages made by people have some dozens, and the time grows with the square.
const DEPTH: usize = 500;

/// Elements that stay empty, or end where the next of them begins: they do not nest, whatever a page says.
const FLAT: [&str; 24] = [
    "area", "base", "br", "col", "dd", "dt", "embed", "hr", "img", "input", "li", "link", "meta", "option",
    "p", "param", "source", "tbody", "td", "th", "thead", "tr", "track", "wbr",
];

/// Why a page cannot be shown.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    #[error("it is {kind}, and only text can be shown; look for the same as HTML or text")]
    NotText { kind: String },
    #[error("its HTML is nested more than {DEPTH} deep; look for another source")]
    Deep,
    #[error("its HTML cannot be read as text: {reason}")]
    Html { reason: String },
}

/// The page as text.
pub(super) fn text(page: &Page) -> Result<String, PageError> {
    let header = page.content_type.as_deref().unwrap_or_default();
    let kind = header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_html = match kind.as_str() {
        "text/html" | "application/xhtml+xml" => true,
        "" | "application/octet-stream" if page.body.contains(&0) => {
            return Err(PageError::NotText { kind: "binary".to_owned() });
        }
        "" => looks_like_html(&page.body),
        kind if is_text(kind) => false,
        _ => return Err(PageError::NotText { kind }),
    };
    let text = decode(header, is_html, page);
    if !is_html {
        return Ok(text);
    }
    if depth(&text) > DEPTH {
        return Err(PageError::Deep);
    }
    html2text::config::plain()
        .link_footnotes(true)
        .no_table_borders()
        .allow_width_overflow()
        .string_from_read(text.as_bytes(), WIDTH)
        .map_err(|error| PageError::Html { reason: error.to_string() })
}

/// How deep elements are nested at most, told from the tags alone.
fn depth(html: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for rest in html.split('<').skip(1) {
        let (ends, rest) = rest.strip_prefix('/').map_or((false, rest), |rest| (true, rest));
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        if name.is_empty() || FLAT.contains(&name.as_str()) {
            continue;
        }
        depth = if ends { depth.saturating_sub(1) } else { depth + 1 };
        deepest = deepest.max(depth);
    }
    deepest
}

fn is_text(kind: &str) -> bool {
    const TEXT: [&str; 12] = [
        "application/ecmascript",
        "application/javascript",
        "application/json",
        "application/json5",
        "application/octet-stream",
        "application/toml",
        "application/x-javascript",
        "application/x-ndjson",
        "application/x-sh",
        "application/x-yaml",
        "application/xml",
        "application/yaml",
    ];
    kind.starts_with("text/") || kind.ends_with("+json") || kind.ends_with("+xml") || TEXT.contains(&kind)
}

fn looks_like_html(body: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&body[..body.len().min(PRESCAN)]).trim_start().to_ascii_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// By a byte order mark, the header, the page itself; UTF-8 when nothing is said, unless it is none.
fn decode(header: &str, is_html: bool, page: &Page) -> String {
    let body = page.body.as_slice();
    let said = charset(header).or_else(|| {
        let start = String::from_utf8_lossy(&body[..body.len().min(PRESCAN)]);
        start.split("<meta").skip(1).find_map(charset).filter(|_| is_html)
    });
    let encoding = said.unwrap_or_else(|| match std::str::from_utf8(body) {
        // A cut may go through a character.
        Err(error) if !(page.cut && error.error_len().is_none()) => WINDOWS_1252,
        _ => UTF_8,
    });
    encoding.decode(body).0.into_owned()
}

/// The encoding behind `charset=`, if there is such a one.
fn charset(text: &str) -> Option<&'static Encoding> {
    let text = text.split('>').next()?;
    let at = text.to_ascii_lowercase().find("charset")?;
    let rest = text[at + "charset".len()..].trim_start().strip_prefix('=')?;
    let name = rest.trim_start().trim_start_matches(['"', '\'']);
    let end = name.find(|c: char| c.is_whitespace() || "\"';/>,".contains(c)).unwrap_or(name.len());
    Encoding::for_label(&name.as_bytes()[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(content_type: Option<&str>, body: &[u8]) -> Result<String, PageError> {
        text(&Page {
            url: "https://example.org/".to_owned(),
            status: 200,
            content_type: content_type.map(str::to_owned),
            body: body.to_vec(),
            cut: false,
        })
    }

    #[test]
    fn html_becomes_text_with_its_links() {
        let html =
            "<html><head><title>T</title><style>p{}</style><script>evil()</script></head><body><h1>Head</h1>
            <p>One <a href=\"/two\">two</a> &amp; three</p><ul><li>item</li></ul>
            <table><tr><td>a</td><td>b</td></tr></table></body></html>";
        let shown = show(Some("text/html; charset=utf-8"), html.as_bytes()).unwrap();
        for part in ["# Head", "One [two][1] & three", "* item", "[1]: /two"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("evil") && !shown.contains("p{}"), "{shown}");
        assert_eq!(show(None, b"<!DOCTYPE html><p>x").unwrap().trim(), "x");
    }

    #[test]
    fn encodings_are_found_where_they_are_said() {
        let cafe = b"caf\xE9";
        assert_eq!(show(Some("text/plain; charset=ISO-8859-1"), cafe).unwrap(), "café");
        assert_eq!(show(Some("text/plain; Charset=\"utf-8\""), "é".as_bytes()).unwrap(), "é");
        assert_eq!(show(Some("text/plain"), cafe).unwrap(), "café");
        assert_eq!(show(Some("text/plain"), "日本".as_bytes()).unwrap(), "日本");
        assert_eq!(show(Some("text/plain"), b"\xFF\xFEa\0b\0").unwrap(), "ab");
        let page = b"<meta http-equiv='x' content='y'><meta charset=\"shift_jis\"><p>\x93\xfa\x96\x7b</p>";
        assert_eq!(show(Some("text/html"), page).unwrap().trim(), "日本");
        assert_eq!(show(Some("text/plain; charset=klingon"), b"x").unwrap(), "x");
    }

    #[test]
    fn only_text_is_shown() {
        assert_eq!(show(Some("application/ld+json"), b"{}").unwrap(), "{}");
        assert_eq!(show(Some("application/octet-stream"), b"text").unwrap(), "text");
        for (kind, body) in [
            (Some("image/png"), &b"x"[..]),
            (Some("application/pdf"), b"%PDF"),
            (Some("application/octet-stream"), b"\0"),
            (None, b"a\0b"),
        ] {
            assert!(matches!(show(kind, body), Err(PageError::NotText { .. })), "{kind:?}");
        }
    }

    #[test]
    fn a_page_made_to_hurt_ends() {
        let deep = "<div>".repeat(100_000);
        assert!(matches!(show(Some("text/html"), deep.as_bytes()), Err(PageError::Deep)));
        let nested = format!("{}x", "<div>".repeat(DEPTH));
        assert_eq!(show(Some("text/html"), nested.as_bytes()).unwrap().trim(), "x");
        let flat = "<p>a<br><li><div>b</div><img src=x>".repeat(2_000);
        assert!(show(Some("text/html"), flat.as_bytes()).is_ok());
    }
}
