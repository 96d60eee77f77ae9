#!/usr/bin/env python3
"""Checks the dependencies between crates with `cargo metadata`: data flows one way, and nothing points back.

Three tables hold the rules. A crate that is not in the first one is an error, so that nobody adds one unseen, and so is a name in a table
that no crate has any more. In some crates the files, too, know each other in one direction only.
"""

import json
import pathlib
import re
import subprocess
import sys

# What each of our crates may depend on directly (normal dependencies; tests may use more).
MAY_KNOW = {
    "longshore-core": set(),
    "longshore-agent-protocol": {"longshore-core"},
    "longshore-agent": {"longshore-agent-protocol", "longshore-core"},
    "longshore-audit": set(),
    "longshore-object-store": set(),
    "longshore-files": {"longshore-core", "longshore-object-store"},
    "longshore-store": {"longshore-audit", "longshore-core", "longshore-files", "longshore-reports"},
    "longshore-forge": {"longshore-core"},
    "longshore-forge-client": {"longshore-core"},
    "longshore-git": {"longshore-core", "longshore-forge"},
    "longshore-notification": {"longshore-core"},
    "longshore-outbox": {"longshore-core", "longshore-pipeline", "longshore-reports", "longshore-store", "longshore-forge-client", "longshore-notification"},
    "longshore-executor": {"longshore-core", "longshore-agent-protocol"},
    "longshore-engine-docker": {"longshore-core", "longshore-executor", "longshore-guard"},
    "longshore-guard": set(),
    "longshore-guard-transport": {"longshore-audit", "longshore-guard"},
    "longshore-pipeline": {"longshore-core"},
    "longshore-reports": set(),
    "longshore-convert": {"longshore-core", "longshore-pipeline"},
    "longshore-scheduler": {"longshore-core", "longshore-pipeline", "longshore-store", "longshore-forge", "longshore-forge-client",
                            "longshore-git"},
    "longshore-api": {"longshore-core", "longshore-files", "longshore-pipeline", "longshore-store", "longshore-scheduler", "longshore-forge",
                      "longshore-forge-client", "longshore-notification", "longshore-reports"},
    "longshore": None,  # the program puts the pieces together
}

# The only crates that may depend on a library, and the crates that must not get it even through others.
ONLY = {
    "bollard": {"longshore-engine-docker"},
    "sqlx": {"longshore-store"},
    "axum": {"longshore-api"},
}
# What no pure crate may get. The fuzz targets, which are a workspace of their own, need pure crates only.
PURE = {"tokio", "sqlx", "axum", "bollard", "hyper"}
NEVER = {
    "longshore-audit": PURE,
    "longshore-core": PURE,
    "longshore-agent-protocol": PURE,
    "longshore-agent": PURE,
    "longshore-guard": PURE,
    "longshore-guard-transport": {"sqlx", "axum", "bollard"},
    "longshore-pipeline": PURE,
    "longshore-convert": PURE,
    "longshore-reports": PURE,
    "longshore-object-store": PURE,
    "longshore-files": {"sqlx", "axum", "bollard", "hyper"},
    "longshore-store": {"axum", "bollard", "hyper"},
    "longshore-forge": PURE,
    "longshore-forge-client": PURE,
    "longshore-git": {"sqlx", "axum", "bollard", "hyper"},
    # lettre names tokio for features that are off: the lock file knows it, the compiler does not.
    "longshore-notification": PURE - {"tokio"},
    "longshore-outbox": {"axum", "bollard", "hyper"},
    "longshore-executor": {"sqlx", "axum", "bollard", "hyper"},
    "longshore-engine-docker": {"sqlx", "axum"},
    "longshore-scheduler": {"axum", "bollard", "hyper"},
    "longshore-api": {"bollard"},
}
# Crates whose files may not know each other in a circle.
NO_CIRCLES = ["api", "executor", "engine-docker"]


def paths(use: str) -> list[str]:
    """The paths of a `use`, each written out."""
    head, brace, rest = use.partition("{")
    if not brace:
        return [use.strip()]
    parts, depth = [""], 0
    for letter in rest.rpartition("}")[0]:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [head.strip() + path for part in parts if part.strip() for path in paths(part)]


def circles(crate: str) -> list[str]:
    """The files of a crate that know each other in a circle, by the paths that they name."""
    folder = pathlib.Path(__file__).parent.parent / "crates" / crate / "src"
    files = {}
    for path in folder.rglob("*.rs"):
        name = path.relative_to(folder).with_suffix("").parts
        files[name[:-1] if name[-1] == "mod" else name] = path
    del files[("lib",)]
    knows = {}
    for name, path in files.items():
        text = re.sub(r"//[^\n]*", "", path.read_text().split("#[cfg(test)]")[0])
        uses = r"\buse\s+([^;]+);"
        named = [one for use in re.findall(uses, text) for one in paths(use)]
        named += re.findall(r"(?:\b\w+::)+\w+", re.sub(uses, "", text))
        knows[name] = set()
        for words in (one.split("::") for one in named):
            above = len(words) - len([word for word in words if word != "super"])
            base = () if words[0] == "crate" else name[:len(name) - above]
            full = (*base, *(word for word in words if word not in ("crate", "self", "super")))
            known = next((full[:n] for n in range(len(full), 0, -1) if full[:n] in files), name)
            knows[name] |= {known} - {name}
    # What is left after every file that knows none of the rest has gone, knows itself.
    while free := [name for name, others in knows.items() if not others & knows.keys()]:
        for name in free:
            del knows[name]
    return sorted("/".join(name) for name in knows)


class Graph:
    """The crates of a workspace and what each needs, by cargo's package ids."""

    def __init__(self, manifest: pathlib.Path) -> None:
        command = ["cargo", "metadata", "--format-version", "1", "--locked", "--manifest-path", str(manifest)]
        answer = subprocess.run(command, stdout=subprocess.PIPE)
        if answer.returncode != 0:
            sys.exit(answer.returncode)
        metadata = json.loads(answer.stdout)
        self.names = {package["id"]: package["name"] for package in metadata["packages"]}
        self.members = sorted(metadata["workspace_members"], key=self.names.get)
        self.needs = {
            node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] is None for kind in d["dep_kinds"])]
            for node in metadata["resolve"]["nodes"]
        }

    def everything_below(self, top: str) -> set[str]:
        """Returns the names of all crates that `top` gets through its normal dependencies."""
        seen, waiting = set(), [top]
        while waiting:
            for below in self.needs[waiting.pop()]:
                if below not in seen:
                    seen.add(below)
                    waiting.append(below)
        return {self.names[below] for below in seen}


def main() -> int:
    root = pathlib.Path(__file__).parent.parent
    graph, fuzz = Graph(root / "Cargo.toml"), Graph(root / "fuzz" / "Cargo.toml")
    ours = {graph.names[member] for member in graph.members}
    wrong = []
    for member in graph.members:
        name, direct = graph.names[member], {graph.names[below] for below in graph.needs[member]}
        if name not in MAY_KNOW:
            wrong.append(f"{name} is not in MAY_KNOW: write down what it may depend on")
            continue
        if MAY_KNOW[name] is not None:
            wrong += [f"{name} may not depend on {other}" for other in sorted((direct & ours) - MAY_KNOW[name])]
        wrong += [f"only {', '.join(sorted(who))} may name {lib}, not {name}"
                  for lib, who in ONLY.items() if lib in direct and name not in who]
        wrong += [f"{name} gets {lib} through its dependencies"
                  for lib in sorted(NEVER.get(name, set()) & graph.everything_below(member))]
    for member in fuzz.members:
        wrong += [f"{fuzz.names[member]} gets {lib} through its dependencies"
                  for lib in sorted(PURE & fuzz.everything_below(member))]
    told = set(MAY_KNOW) | set(NEVER) | set().union(*ONLY.values())
    wrong += [f"{name} is in a table of this script, and no crate is called so" for name in sorted(told - ours)]
    for crate in NO_CIRCLES:
        if found := circles(crate):
            wrong.append(f"files of {crate} know each other in a circle, among them: {', '.join(found)}")
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(graph.members)} crates, {len(wrong)} wrong dependencies")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
