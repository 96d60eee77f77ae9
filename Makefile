# The two commands are `make up` (a running demo) and `make test` (everything that is checked).
# What each target does stands at the head of its script.
.DEFAULT_GOAL := help
.PHONY: help build image up down test bench chaos fuzz browser screenshots

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 8

build: ## the static program, at target/release/longshore
	@scripts/build.sh

image: build ## the server's image, longshore:latest
	@scripts/setup.sh
	@scripts/image.sh

up: ## Longshore in its container, a demo repository, a push, its build live on the terminal
	@scripts/up.sh

down: ## removes all that `make up` made
	@scripts/down.sh

test: ## format, lints, documentation, dependencies, licences, all tests on two engines
	@scripts/test.sh

bench: ## measures Longshore beside the raw engine; a table, and target/bench.json
	@scripts/bench.sh

chaos: ## kills the server and restarts the engine under running builds; figures in target/chaos-*.json
	@scripts/chaos.sh

fuzz: ## every fuzz target for a minute, with the compiler that is there
	@scripts/fuzz.sh

browser: ## of the tests only those of the pages: in a real Chromium, which it installs, with axe on every one
	@scripts/browser.sh

screenshots: ## the README's pictures, taken of the real pages in Chromium
	@scripts/screenshots.sh
