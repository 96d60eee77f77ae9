#!/usr/bin/env python3
"""Checks that the paths and tests that documents name exist, and that texts for people use this project's words.

A word in backquotes that begins with a folder of the repository is a path; NAME stands for any name. `store/queue.rs` stands for
crates/store/src/queue.rs. In docs/extending.md and docs/guarantees.md a word with three underscores or more is a test, another function
or a figure of the benchmarks; `…` stands for any rest of its name.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PATHS_IN = ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/extending.md", "docs/guarantees.md"]
TESTS_IN = ["docs/extending.md", "docs/guarantees.md"]
FOLDERS = ("crates/", "docs/", "fuzz/", "migrations/", "pipelines-examples/", "schema/", "scripts/", "tests/")

# What texts for people no longer say, and what they say instead. Pages, sentences in the code, the API's description and documents are
# searched.
GONE = {
    "Nothing runs.": "No running jobs",
    "Nothing waits.": "No waiting jobs",
    "There is nothing here": "Page not found",
    "Jobs at once": "Concurrent jobs",
    "Memory at most": "Peak memory",
    "Let the forge tell of": "Connect the webhook",
    "What each call became": "See Deliveries for what happened to each call",
    "Everybody may see": "Public: anyone can see builds and logs",
    "Remove for ever": "Delete repository",
    "Where the time went": "Timeline",
    "The same as a table": "Show as table",
    "` does not hold": "was false",
    "which it needs,": "needs `job`, which failed",
    "of the same matrix,": "in the same matrix",
    "waits for the group": "waiting for #1 (concurrency group `name`)",
    "has taken the group": "superseded by #1 (concurrency group `name`)",
    "passed over:": "allowed to fail:",
    "ran longer than its limit": "timed out after",
    "from the event to the end": "total",
    "builds like it": "builds usually take",
    "What stands out": "Anomalies",
    "What the address is": "Address formats",
    "where it is not given": "by default",
    "where none is given": "by default",
    "this try": "the attempt",
    "is asked to stop": "canceling",
    "runs it once more": "rerun as",
    "as the forge says": "as reported by the forge",
    "shown this once": "shown only once",
    "cannot be had": "cannot get",
    "Take note": "Note",
    "take note": "note",
    "and this is {}": "but this is {}",
    "has a zero byte": "contains a NUL byte",
    "Unfold": "Expand",
    "There are none.": "No tests",
    "API's answer": "API response",
    "Reports are not read whole": "Some reports could not be read completely",
    "waits for approval": "awaiting approval",
    "are passed over": "allowed to fail",
    "jobs are over": "3 of 5 jobs finished",
    "no webhook told of": "no webhook reported",
    "is kept between": "is saved between",
    "is believed": "is trusted",
    "may administer": "is an admin of",
    "tatuses of commits": "commit statuses",
    "for want of": "because memory ran out",
    "nobody took": "timed out",
    "are looked after": "are cleaned up",
    "does not get Docker": "Docker is not available to the job",
    "has given up": "has stopped retrying",
    "is no valid": "is not a valid",
    "leave one of them out": "remove one of them",
    "Told of builds": "These are sent for builds of all repositories",
    "Nobody is told": "No notifications yet",
}
# What older versions wrote, which has to be understood.
ALLOWED = {("crates/core/src/rules/approvals.rs", "waits for approval")}
# Where sentences stand beside code: there, only what is between quotation marks is searched.
CODE = ("crates/*/src/**/*.rs",)
PROSE = ("crates/api/templates/**/*.html", "crates/api/assets/*.js", "docs/openapi.json", "docs/*.md", "schema/*.json", "README.md", "CHANGELOG.md")


def sentences(path: pathlib.Path) -> str:
    """Returns what a file says to people: of Rust, its strings outside of tests and the documentation of commands and of the API."""
    text = path.read_text()
    if path.suffix != ".rs":
        return text
    text = text.split("#[cfg(test)]")[0]
    of_people = re.search(r"crates/(api/src/(routes|views|acts|params)|longshore/src/(args|config))", str(path))
    documented = re.findall(r"^ *///.*", text, flags=re.MULTILINE) if of_people else []
    code = re.sub(r"^ *//.*$", "", text, flags=re.MULTILINE)
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', code, flags=re.DOTALL)
    return "\n".join([*documented, *(re.sub(r"\\\n\s*", "", one) for one in quoted)])


def check_words() -> list[str]:
    wrong = []
    for path in sorted(path for glob in (*CODE, *PROSE) for path in TOP.glob(glob)):
        said = sentences(path)
        name = path.relative_to(TOP)
        wrong += [f"{name} says `{old}`; say it as in `{new}`" for old, new in GONE.items() if old in said and (str(name), old) not in ALLOWED]
    return wrong


def words(document: str) -> list[str]:
    """Returns the words in backquotes outside of code blocks."""
    text = re.sub(r"^```.*?^```", "", (TOP / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [word for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split()]


def exists(path: str) -> bool:
    """Returns whether a path of the repository, or of a file in a crate's `src`, exists. Other words are no paths."""
    if path.startswith(FOLDERS):
        return any(TOP.glob(path.rstrip("/").replace("NAME", "*")))
    crate, _, file = path.partition("/")
    if file.endswith(".rs") and (TOP / "crates" / crate).is_dir():
        return (TOP / "crates" / crate / "src" / file).exists()
    return True


def main() -> int:
    wrong = [f"{document} names {path}, which does not exist" for document in PATHS_IN for path in words(document) if not exists(path)]
    code = "".join(path.read_text() for top in ("crates", "tests") for path in sorted((TOP / top).rglob("*.rs")))
    names = set(re.findall(r"fn (\w+)\(", code)) | set(re.findall(r'"(\w+)"', code))
    tests = [(document, word) for document in TESTS_IN for word in words(document) if re.fullmatch(r"…?[a-z0-9]+(_[a-z0-9]+){3,}(_?…)?", word)]
    for document, test in tests:
        pattern = re.compile(test.replace("…", r"\w+"))
        if test not in names and not any(pattern.fullmatch(name) for name in names):
            wrong.append(f"{document} names {test}, and no function is called so")
    wrong += check_words()
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(PATHS_IN)} documents, {len(tests)} tests, {len(wrong)} wrong names or words")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
