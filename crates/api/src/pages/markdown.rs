//! Renders what a step wrote to `LONGSHORE_SUMMARY`. Only markup made here gets into the page: markup in the text is
//! shown as text, links lead to http, https and mail, and an image becomes a link to it, since a page loads nothing
//! from elsewhere.

use std::{fmt::Write as _, iter::Peekable};

use askama::filters::Escaper as _;
use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd};

use super::{
    escape::{Escape, escaped_len},
    show::fitting,
};

/// Rendered Markdown, as far as it fits.
#[derive(Debug)]
pub(super) struct Markdown {
    pub(super) html: String,
    /// The text goes on.
    pub(super) cut: bool,
}

/// Renders the beginning of a text in about `at_most` bytes of markup.
pub(super) fn markdown(text: &str, at_most: usize) -> Markdown {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut page = Page { html: String::new(), open: Vec::new(), closing: 0, at_most, in_head: false };
    let mut events = Parser::new_ext(text, options).peekable();
    let mut cut = false;
    while let Some(event) = events.next() {
        if page.is_full() {
            cut = true;
            break;
        }
        cut |= page.push_event(event, &mut events);
    }
    while let Some((_, end)) = page.open.pop() {
        page.html.push_str(end);
    }
    Markdown { html: page.html, cut }
}

struct Page {
    html: String,
    /// The open elements, each with its closing markup.
    open: Vec<(TagEnd, &'static str)>,
    /// How many bytes all closing markup takes.
    closing: usize,
    at_most: usize,
    /// Inside a table's first row.
    in_head: bool,
}

impl Page {
    fn left(&self) -> usize {
        self.at_most.saturating_sub(self.html.len() + self.closing)
    }

    fn is_full(&self) -> bool {
        self.left() == 0
    }

    /// Returns whether the event was cut.
    fn push_event<'a>(&mut self, event: Event<'a>, rest: &mut Peekable<Parser<'a>>) -> bool {
        match event {
            Event::Start(tag) => self.start(tag, rest),
            Event::End(end) => {
                self.end(end);
                false
            }
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(text) => {
                self.html.push_str("<code>");
                let cut = self.text(&text);
                self.html.push_str("</code>");
                cut
            }
            Event::SoftBreak => self.text("\n"),
            Event::HardBreak => self.raw("<br>"),
            Event::Rule => self.raw("<hr>"),
            Event::TaskListMarker(done) => self.text(if done { "☑ " } else { "☐ " }),
            // The parser's options are off for these, so none of them comes.
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => self.text(&text),
        }
    }

    fn raw(&mut self, markup: &str) -> bool {
        self.html.push_str(markup);
        false
    }

    fn text(&mut self, text: &str) -> bool {
        let shown = fitting(text, self.left());
        // Writing to a String cannot fail.
        let _ = Escape.write_escaped_str(&mut self.html, shown);
        shown.len() < text.len()
    }

    fn start<'a>(&mut self, tag: Tag<'a>, rest: &mut Peekable<Parser<'a>>) -> bool {
        let end = tag.to_end();
        let empty = rest.peek() == Some(&Event::End(end));
        let (begins, ends) = match tag {
            Tag::Paragraph | Tag::HtmlBlock => ("<p>", "</p>"),
            // Below the page's own headings, whatever their level is.
            Tag::Heading { .. } => ("<h3>", "</h3>"),
            Tag::BlockQuote(_) => ("<blockquote>", "</blockquote>"),
            Tag::CodeBlock(_) => ("<pre tabindex=\"0\">", "</pre>"),
            Tag::List(Some(first)) => {
                let _ = write!(self.html, "<ol start=\"{first}\">");
                ("", "</ol>")
            }
            Tag::List(None) => ("<ul>", "</ul>"),
            Tag::Item => ("<li>", "</li>"),
            Tag::Table(_) => ("<div class=\"scroll\" tabindex=\"0\"><table>", "</table></div>"),
            Tag::TableHead => {
                self.in_head = true;
                ("<thead><tr>", "</tr></thead>")
            }
            Tag::TableRow => ("<tr>", "</tr>"),
            Tag::TableCell if self.in_head && !empty => ("<th scope=\"col\">", "</th>"),
            Tag::TableCell => ("<td>", "</td>"),
            Tag::Emphasis => ("<em>", "</em>"),
            Tag::Strong => ("<strong>", "</strong>"),
            Tag::Strikethrough => ("<del>", "</del>"),
            Tag::Link { link_type: LinkType::Email, dest_url, .. } => {
                return self.link(end, &format!("mailto:{dest_url}"), empty);
            }
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => return self.link(end, &dest_url, empty),
            Tag::FootnoteDefinition(_)
            | Tag::DefinitionList
            | Tag::DefinitionListTitle
            | Tag::DefinitionListDefinition
            | Tag::Superscript
            | Tag::Subscript
            | Tag::MetadataBlock(_) => ("", ""),
        };
        self.begin(end, begins, ends);
        false
    }

    /// Starts a link. A link without text shows its address.
    fn link(&mut self, end: TagEnd, address: &str, empty: bool) -> bool {
        let within =
            self.open.iter().any(|(open, ends)| matches!(open, TagEnd::Link | TagEnd::Image) && !ends.is_empty());
        let bytes: usize = address.chars().map(escaped_len).sum();
        let leads = !within && is_allowed(address) && bytes < self.left();
        if leads {
            self.begin(end, "<a rel=\"nofollow noopener noreferrer\" href=\"", "</a>");
            let _ = Escape.write_escaped_str(&mut self.html, address);
            self.html.push_str("\">");
        } else {
            self.begin(end, "", "");
        }
        empty && self.text(address)
    }

    fn begin(&mut self, end: TagEnd, begins: &str, ends: &'static str) {
        self.html.push_str(begins);
        self.closing += ends.len();
        self.open.push((end, ends));
    }

    fn end(&mut self, end: TagEnd) {
        self.in_head &= end != TagEnd::TableHead;
        if self.open.last().is_some_and(|(open, _)| *open == end)
            && let Some((_, ends)) = self.open.pop()
        {
            self.closing -= ends.len();
            self.html.push_str(ends);
        }
    }
}

fn is_allowed(address: &str) -> bool {
    let scheme = address.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    scheme.is_some_and(|scheme| matches!(scheme.as_str(), "http" | "https" | "mailto"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        markdown(text, 10_000).html
    }

    #[test]
    fn a_summary_reads_as_it_does_on_github() {
        assert_eq!(
            html("# Tests\n\n*3* of **4** `ok`\n"),
            "<h3>Tests</h3><p><em>3</em> of <strong>4</strong> <code>ok</code></p>"
        );
        assert_eq!(html("- [x] a\n- ~~b~~\n"), "<ul><li>☑ a</li><li><del>b</del></li></ul>");
        assert_eq!(
            html("| a | |\n|---|---|\n| 1 | 2 |\n"),
            "<div class=\"scroll\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">a</th><td></td></tr></thead>\
             <tr><td>1</td><td>2</td></tr></table></div>"
        );
        assert_eq!(html("```sh\na <b>\n```\n"), "<pre tabindex=\"0\">a &lt;b&gt;\n</pre>");
    }

    #[test]
    fn what_a_summary_says_is_never_markup_of_its_own() {
        for text in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<div\nonclick=x>\n\n</div>",
            "[a](javascript:alert(1))",
            "[a](JaVaScRiPt:alert(1)) [b](data:text/html,x) [c](//forge.example) [d](/settings)",
            "<javascript:alert(1)>",
            "![](https://forge.example/a.png \"x\\\" onerror=\")",
            "`<b>` \u{202e}evil\u{1b}[31m",
        ] {
            let html = html(text);
            let mut tags = html.split('<').skip(1).map(|tag| tag.split(['>', ' ']).next().unwrap());
            assert!(tags.all(|tag| ["p", "/p", "a", "/a", "code", "/code"].contains(&tag)), "{html}");
            assert!(
                !html.contains("href=\"java") && !html.contains("href=\"/") && !html.contains("src=x onerror=\""),
                "{html}"
            );
            assert!(!html.contains(['\u{202e}', '\u{1b}']), "{html}");
        }
    }

    #[test]
    fn links_lead_out_and_images_are_links() {
        let link = |address: &str, words: &str| {
            format!("<p><a rel=\"nofollow noopener noreferrer\" href=\"{address}\">{words}</a></p>")
        };
        assert_eq!(html("[a](https://a.example/?b&c)"), link("https://a.example/?b&amp;c", "a"));
        assert_eq!(html("<me@a.example>"), link("mailto:me@a.example", "me@a.example"));
        assert_eq!(html("![](http://a.example/a.png)"), link("http://a.example/a.png", "http://a.example/a.png"));
        assert_eq!(html("[![built](http://b.example/b.svg)](http://a.example)"), link("http://a.example", "built"));
    }

    #[test]
    fn a_long_summary_is_cut_and_whole_in_itself() {
        let long = format!("> - **{}**\n", "<&".repeat(5_000));
        for text in
            [long.as_str(), &"> ".repeat(3_000), &"- a\n".repeat(3_000), &format!("[a](https://{})", "x".repeat(5_000))]
        {
            let Markdown { html, cut } = markdown(text, 1_000);
            assert!(html.len() < 1_100, "{}", html.len());
            assert_eq!(html.matches("</").count(), html.matches('<').count() / 2, "{html}");
            assert!(cut || html.len() < 900, "{html}");
        }
    }
}
