//! Formats single values the same way on every page: a status, a time, a duration, somebody's text. Templates call
//! these by path, `{{ show::status(build.status) }}`; a page's module says `use super::show;` for that.

use std::fmt::{self, Display, Formatter};

use askama::filters::{Escaper as _, Safe};
use longshore_core::{
    Event, EventName, Status, Timestamp,
    outcome::{human_bytes, human_duration, rough_age},
};
use longshore_store::builds::Build;

use super::escape::{Escape, escaped_len};

/// The most bytes of a text, as written in the page, that a `title` shows in full.
const IN_A_TITLE: usize = 400;

/// Returns an address with a query. Empty values are left out.
pub(crate) fn address(path: &str, asked: &[(&str, &str)]) -> String {
    let asked: Vec<_> = asked.iter().filter(|(_, value)| !value.is_empty()).collect();
    match serde_urlencoded::to_string(asked).unwrap_or_default() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// A shape (drawn by the style), a colour and a word.
pub(crate) struct StatusMark(Status);

pub(crate) fn status(status: &Status) -> Safe<StatusMark> {
    Safe(StatusMark(*status))
}

impl Display for StatusMark {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<span class=\"st {}\">{}</span>", self.0, self.0.word())
    }
}

/// Like [`status`], for a job. The failure of a job that may fail looks like none.
pub(crate) fn job_status(status: &Status, may_fail: &bool) -> Safe<JobMark> {
    Safe(JobMark { status: *status, may_fail: *may_fail })
}

pub(crate) struct JobMark {
    status: Status,
    may_fail: bool,
}

impl Display for JobMark {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.may_fail, self.status) {
            (true, Status::Failure | Status::Error | Status::TimedOut) => {
                write!(f, "<span class=\"st ignored\">{}</span>", self.status.word())
            }
            _ => StatusMark(self.status).fmt(f),
        }
    }
}

/// Returns the status that pages show for a build.
pub(crate) const fn standing(build: &Build) -> Status {
    build.status.shown_of_build(build.reason.is_some(), build.started_at.is_some())
}

/// A moment, past or future. The script converts it to the reader's time zone.
pub(crate) struct Moment(Timestamp);

pub(crate) fn moment(time: &Timestamp) -> Safe<Moment> {
    Safe(Moment(*time))
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<time class=\"at\" datetime=\"{0}\" title=\"{1}\">{1}</time>", self.0, exact(&self.0))
    }
}

/// Returns one line about what is built: the pull request's title, else the commit's message.
pub(crate) fn change_title(event: &Event) -> &str {
    event.pull_request.as_ref().map_or(&event.message, |pull_request| &pull_request.title)
}

/// Returns where it comes from: the branch or tag, or the pull request's number and branch.
pub(crate) fn origin(event: &Event) -> String {
    match &event.pull_request {
        Some(pull_request) => format!("#{} {}", pull_request.number, pull_request.source_branch),
        None => ref_name(&event.git_ref).to_owned(),
    }
}

/// Returns what started it, `None` for a push.
pub(crate) fn started_by(event: &Event) -> Option<&'static str> {
    (event.name != EventName::Push).then(|| event.name.word())
}

/// How long ago. The script keeps it up to date, and puts the exact time in the reader's zone into its title.
pub(crate) struct Ago(Timestamp);

pub(crate) fn ago(time: &Timestamp) -> Safe<Ago> {
    Safe(Ago(*time))
}

impl Display for Ago {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = Timestamp::now().since(self.0);
        write!(
            f,
            "<time class=\"ago\" datetime=\"{0}\" title=\"{1}\">{2}</time>",
            self.0,
            exact(&self.0),
            rough_age(ms)
        )
    }
}

/// Returns the time as `2026-01-31 12:00:00 UTC`.
pub(crate) fn exact(time: &Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).map_or_else(|| text.clone(), |text| format!("{} UTC", text.replace('T', " ")))
}

/// How long something took, or has taken so far: the script then counts on.
pub(crate) struct Elapsed {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

pub(crate) fn elapsed(from: &Option<Timestamp>, to: &Option<Timestamp>) -> Safe<Elapsed> {
    Safe(Elapsed { from: *from, to: *to })
}

/// Like [`elapsed`], for something that has not ended.
pub(crate) fn since(from: &Option<Timestamp>) -> Safe<Elapsed> {
    Safe(Elapsed { from: *from, to: None })
}

impl Display for Elapsed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.from, self.to) {
            (None, _) => Ok(()),
            (Some(from), Some(to)) => f.write_str(&human_duration(to.since(from))),
            (Some(from), None) => {
                let so_far = human_duration(Timestamp::now().since(from));
                write!(f, "<span class=\"counts\" data-since=\"{}\">{so_far}</span>", from.as_millis())
            }
        }
    }
}

/// Somebody's text on one line: isolated from the text around it, cut, and whole in its title.
pub(crate) struct Quote<'a> {
    text: &'a str,
    at_most: usize,
    /// Texts between backquotes are code.
    code: bool,
}

/// Shows at most `at_most` characters of the first line that is not empty.
pub(crate) fn quote(text: &str, at_most: usize) -> Safe<Quote<'_>> {
    Safe(Quote { text, at_most, code: false })
}

/// Like [`quote`], for a sentence that Longshore wrote, such as a reason: text between backquotes is set as code.
pub(crate) fn prose(text: &str, at_most: usize) -> Safe<Quote<'_>> {
    Safe(Quote { text, at_most, code: true })
}

impl Display for Quote<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let text = self.text.trim();
        let line = text.lines().next().unwrap_or_default();
        let shown = fitting(cut(line, self.at_most), 2 * self.at_most);
        let whole = shown.len() == text.len();
        f.write_str("<bdi")?;
        if !whole {
            f.write_str(" title=\"")?;
            let title = fitting(text, IN_A_TITLE);
            Escape.write_escaped_str(&mut *f, title)?;
            f.write_str(if title.len() < text.len() { "…\"" } else { "\"" })?;
        }
        f.write_str(">")?;
        let mut rest = shown;
        let is_cut = shown.len() < line.len();
        while let Some((before, code, after)) = self.code.then(|| between_backquotes(rest, is_cut)).flatten() {
            Escape.write_escaped_str(&mut *f, before)?;
            f.write_str("<code>")?;
            Escape.write_escaped_str(&mut *f, code)?;
            f.write_str("</code>")?;
            rest = after;
        }
        Escape.write_escaped_str(&mut *f, rest)?;
        f.write_str(if is_cut { "…</bdi>" } else { "</bdi>" })
    }
}

/// Splits at the first two backquotes. In a text that was cut, the second one may be gone.
fn between_backquotes(text: &str, is_cut: bool) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('`')?;
    let (code, after) = rest.split_once('`').or(is_cut.then_some((rest, "")))?;
    Some((before, code, after))
}

/// Returns the beginning of a text that takes at most `at_most` bytes once escaped: outsiders must not choose a page's
/// size.
pub(super) fn fitting(text: &str, at_most: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += escaped_len(*c);
        bytes > at_most
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// Returns the first `at_most` characters of a text.
pub(crate) fn cut(text: &str, at_most: usize) -> &str {
    text.char_indices().nth(at_most).map_or(text, |(end, _)| &text[..end])
}

/// Formats a duration.
pub(crate) fn duration(ms: &u64) -> String {
    human_duration(*ms)
}

/// Returns a commit id's first ten characters.
pub(crate) fn short(commit: &str) -> &str {
    cut(commit, 10)
}

/// Returns the short name of a branch, tag or ref: `refs/pull/5/head` is `pull/5`.
pub(crate) fn ref_name(git_ref: &str) -> &str {
    let short = git_ref.strip_prefix("refs/heads/").or_else(|| git_ref.strip_prefix("refs/tags/"));
    short.or_else(|| git_ref.strip_prefix("refs/")?.strip_suffix("/head")).unwrap_or(git_ref)
}

/// Formats a number of bytes as `12.3 GiB`.
pub(crate) fn bytes(bytes: &u64) -> String {
    human_bytes(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_cut_and_stand_whole_in_the_title_up_to_a_limit() {
        assert_eq!(quote("short", 10).to_string(), "<bdi>short</bdi>");
        assert_eq!(quote("", 10).to_string(), "<bdi></bdi>");
        assert_eq!(quote("one\n\ntwo", 10).to_string(), "<bdi title=\"one\n\ntwo\">one</bdi>");
        assert_eq!(quote("<b>\u{202e}<b>", 3).to_string(), "<bdi title=\"&lt;b&gt;\u{fffd}&lt;b&gt;\">&lt;b…</bdi>");
        let long = "x".repeat(100_000);
        assert!(quote(&long, 100).to_string().len() < 600);
        assert!(quote(&"\"".repeat(100_000), 100).to_string().len() < 700);
    }

    #[test]
    fn code_in_a_sentence_is_code() {
        let shown = prose("step `<b>` failed, `y", 80).to_string();
        assert_eq!(shown, "<bdi>step <code>&lt;b&gt;</code> failed, `y</bdi>");
        let cut = prose("step `a long one` failed", 8).to_string();
        assert_eq!(cut, "<bdi title=\"step `a long one` failed\">step <code>a </code>…</bdi>");
    }

    #[test]
    fn refs_and_sizes_are_short() {
        let refs = ["refs/heads/a/b", "refs/tags/v1", "refs/pull/5/head", "refs/notes/x", "odd"];
        assert_eq!(refs.map(ref_name), ["a/b", "v1", "pull/5", "refs/notes/x", "odd"]);
        assert_eq!([0, 1023, 1536, 5 << 30].map(|n| bytes(&n)), ["0 bytes", "1023 bytes", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn ages_are_one_figure() {
        let ages = [0, 59_000, 60_000, 7_200_000, 90_000_000, 2_592_000_000, 63_072_000_000];
        assert_eq!(ages.map(rough_age), ["now", "59 s ago", "1 min ago", "2 h ago", "1 d ago", "1 mo ago", "2 y ago"]);
    }
}
