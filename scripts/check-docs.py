#!/usr/bin/env python3
"""Checks that the paths and tests that documents name exist.

A word in backquotes that begins with a folder of the repository is a path; NAME stands for any name. In docs/extending.md a word
with three underscores or more is a test, or another function.
"""

import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
PATHS_IN = ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/extending.md"]
TESTS_IN = "docs/extending.md"
FOLDERS = ("crates/", "docs/", "fuzz/", "migrations/", "pipelines-examples/", "schema/", "scripts/", "tests/")


def words(document: str) -> list[str]:
    """Returns the words in backquotes outside of code blocks."""
    text = re.sub(r"^```.*?^```", "", (TOP / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return [word for quoted in re.findall(r"`([^`\n]+)`", text) for word in quoted.split()]


def main() -> int:
    wrong = []
    for document in PATHS_IN:
        for path in words(document):
            if path.startswith(FOLDERS) and not any(TOP.glob(path.rstrip("/").replace("NAME", "*"))):
                wrong.append(f"{document} names {path}, which does not exist")
    tests = [word for word in words(TESTS_IN) if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+){3,}", word)]
    code = "".join(path.read_text() for top in ("crates", "tests") for path in sorted((TOP / top).rglob("*.rs")))
    wrong += [f"{TESTS_IN} names {test}, and no function is called so" for test in tests if f"fn {test}(" not in code]
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(PATHS_IN)} documents, {len(tests)} tests, {len(wrong)} wrong names")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
