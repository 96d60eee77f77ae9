#!/usr/bin/env python3
"""Checks the committed JSON Schema with an independent validator, as an editor's language server would use it.

Every example has to be valid by it, and every mistake that a schema can see has to be refused.
"""

import json
import pathlib
import re
import sys

import jsonschema
import yaml

TOP = pathlib.Path(__file__).resolve().parent.parent

# Each of these has a wrong structure, which an editor can underline.
REFUSED = [
    "jobs: {}",
    "jobs: { a: { image: x } }",
    "jobs: { a: { image: x, steps: [] } }",
    "jobs: { a: { imgae: x, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, steps: [{ runs: y }] } }",
    "jobs: { a: { image: x, steps: [{ name: y }] } }",
    "jobs: { 'a b': { image: x, steps: [{ run: y }] } }",
    "on: pull_request\njobs: { a: { image: x, steps: [{ run: y }] } }",
    "on: { schedule: [{ timezone: UTC }] }\njobs: { a: { image: x, steps: [{ run: y }] } }",
    "on: { pull-request: { types: [opend] } }\njobs: { a: { image: x, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, timeout: 30, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, docker: please, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, services: { DB: y }, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, services: { db: { image: y, ready: { tcp: 1, exec: z } } }, steps: [{ run: y }] } }",
    "jobs: { a: { image: x, cache: [{ path: y }], steps: [{ run: y }] } }",
    "jobs: { a: { image: x, retry: { max: 1, on: [errors] }, steps: [{ run: y }] } }",
]


class Yaml12(yaml.SafeLoader):
    """Loads YAML 1.2, where `on`, `no` and `1:30` are texts."""


Yaml12.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("tag:yaml.org,2002:float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("tag:yaml.org,2002:merge", r"^<<$", "<"),
]:
    Yaml12.add_implicit_resolver(tag, re.compile(pattern), list(first))


def main() -> int:
    schema = json.loads((TOP / "schema/longshore.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    wrong = 0
    files = sorted((TOP / "pipelines-examples").glob("*.yml")) + sorted((TOP / "examples").glob("**/.longshore.yml"))
    for file in files:
        for error in validator.iter_errors(yaml.load(file.read_text(), Yaml12)):
            wrong += 1
            print(f"error: {file.relative_to(TOP)}: {error.json_path}: {error.message[:200]}", file=sys.stderr)
    for text in REFUSED:
        if validator.is_valid(yaml.load(text, Yaml12)):
            wrong += 1
            print(f"error: the schema takes {text!r}", file=sys.stderr)
    print(f"{len(files)} examples are valid, {len(REFUSED)} mistakes are refused, {wrong} errors")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
