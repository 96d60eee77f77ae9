#!/usr/bin/env python3
"""Runs programs of tests, several at a time, as `cargo test` runs them one after the other.

run-tests.py AT_ONCE ARGUMENT...: the arguments are those of `cargo test` that choose the tests: `--lib --test NAME`. The
output of each program is printed when it has ended. One that takes longer than LIMIT is ended, and fails: a test that
hangs must not take the results of all others with it. How the outputs of what failed end is
printed once more at the end, since a log of this length is rarely read whole.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time

LIMIT = 1800  # seconds, several times what the slowest program takes on a slow machine
SLOWEST = 10
LAST_LINES = 40  # of a program that failed


def compiled(arguments):
    """Compiles the tests, and returns the program and the folder of each."""
    command = ["cargo", "test", "--locked", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"]
    cargo = subprocess.run(command + arguments, stdout=subprocess.PIPE, check=False)
    if cargo.returncode != 0:
        sys.exit(cargo.returncode)
    programs = {}
    for line in cargo.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            programs[message["executable"]] = os.path.dirname(message["manifest_path"])
    return programs


def run(program, folder):
    """Runs a program. Returns whether its tests passed, its output, and how long it took."""
    begun = time.monotonic()
    environment = dict(os.environ, CARGO_MANIFEST_DIR=folder)
    # What a test has started may outlive it, and would hold a pipe open.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [program], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            output.seek(0, os.SEEK_END)
            output.write(f"\nerror: ended after {LIMIT} s: see above which test has been running for so long\n".encode())
        output.seek(0)
        return process.returncode == 0, output.read(), time.monotonic() - begun


def main():
    at_once, arguments = int(sys.argv[1]), sys.argv[2:]
    programs = compiled(arguments)
    # Those of the whole program are the largest, and take the longest.
    largest_first = sorted(programs, key=os.path.getsize, reverse=True)
    failed, times = [], []
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        running = {pool.submit(run, program, programs[program]): program for program in largest_first}
        for done in concurrent.futures.as_completed(running):
            name = os.path.basename(running[done]).rsplit("-", 1)[0]
            passed, output, seconds = done.result()
            times.append((seconds, name))
            if not passed:
                failed.append((name, output.splitlines()[-LAST_LINES:]))
            sys.stdout.buffer.write(f"     Running {name} ({running[done]})\n".encode() + output)
            sys.stdout.flush()
    slowest = ", ".join(f"{name} {seconds:.0f} s" for seconds, name in sorted(times, reverse=True)[:SLOWEST])
    print(f"the slowest of {len(times)} programs: {slowest}")
    for name, lines in failed:
        print(f"--- {name} failed:")
        # Indented, so that no result is counted twice.
        print("\n".join("  " + line.decode(errors="replace") for line in lines))
        print("---")
    sys.exit(bool(failed))


main()
