-- What jobs reported: results of tests, coverage, annotations. Nothing here refers to jobs but `job_reports`: the rows of a job are many,
-- and go in the background, a few thousand a transaction.

-- A job of a pipeline, by its key: the same in every build.
CREATE TABLE test_jobs (
    id   INTEGER PRIMARY KEY,
    repo TEXT NOT NULL,
    key  TEXT NOT NULL,
    UNIQUE (repo, key)
) STRICT;

-- A test: the same in every build. Its name is here once.
CREATE TABLE tests (
    id          INTEGER PRIMARY KEY,
    job         INTEGER NOT NULL,
    suite       TEXT NOT NULL,
    name        TEXT NOT NULL,
    -- When it last had both results on the same files, and in which build.
    flaky_at    INTEGER,
    flaky_build INTEGER,
    UNIQUE (job, suite, name)
) STRICT;
CREATE INDEX tests_flaky ON tests (job) WHERE flaky_at IS NOT NULL;

-- The reports of one attempt of a job. Nobody sees them before `job_reports` names them, with the attempt's end.
CREATE TABLE report_runs (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    test_job         INTEGER NOT NULL,
    job              TEXT NOT NULL,
    attempt          INTEGER NOT NULL,
    -- The build's number, branch, pull request and commit, and the commit's tree.
    number           INTEGER NOT NULL,
    branch           TEXT,
    pull_request     INTEGER,
    commit_id        TEXT NOT NULL,
    tree             TEXT NOT NULL,
    -- Whether it is no stranger's: only then others are compared with it.
    trusted          INTEGER NOT NULL CHECK (trusted IN (0, 1)),
    created_at       INTEGER NOT NULL,
    -- The run of the branch before, which this one is compared with, and the newest before it that had coverage.
    base             INTEGER,
    coverage_base    INTEGER,
    passed           INTEGER NOT NULL DEFAULT 0,
    failed           INTEGER NOT NULL DEFAULT 0,
    skipped          INTEGER NOT NULL DEFAULT 0,
    new_failures     INTEGER NOT NULL DEFAULT 0,
    duration_ms      INTEGER NOT NULL DEFAULT 0,
    lines_covered    INTEGER,
    lines_total      INTEGER,
    branches_covered INTEGER,
    branches_total   INTEGER,
    annotations      INTEGER NOT NULL DEFAULT 0,
    -- JSON: what is missing in the reports, and why.
    remarks          TEXT NOT NULL DEFAULT '[]',
    UNIQUE (job, attempt)
) STRICT;
CREATE INDEX report_runs_by_number ON report_runs (test_job, number);
CREATE INDEX report_runs_by_branch ON report_runs (test_job, branch, number);
CREATE INDEX report_runs_by_tree ON report_runs (test_job, tree);

-- Whose reports they are: the attempt's, and those of the jobs that it was carried over to.
CREATE TABLE job_reports (
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    run     INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_reports_by_run ON job_reports (run);

CREATE TABLE test_results (
    run         INTEGER NOT NULL,
    test        INTEGER NOT NULL,
    -- 0 failed, 1 passed, 2 skipped: the order of lists.
    status      INTEGER NOT NULL CHECK (status IN (0, 1, 2)),
    duration_ms INTEGER,
    -- The place among the run's slowest, from 1.
    slow        INTEGER,
    -- Whether it failed and passed in this run.
    flaky       INTEGER NOT NULL DEFAULT 0 CHECK (flaky IN (0, 1)),
    PRIMARY KEY (run, test)
) STRICT, WITHOUT ROWID;
CREATE INDEX test_results_not_passed ON test_results (run, status, test) WHERE status <> 1;
CREATE INDEX test_results_slow ON test_results (run, slow) WHERE slow IS NOT NULL;
CREATE INDEX test_results_flaky ON test_results (run) WHERE flaky = 1;

-- What there is to say about a result: of every failed one, and of others that have a message.
CREATE TABLE test_details (
    id           INTEGER PRIMARY KEY,
    run          INTEGER NOT NULL,
    test         INTEGER NOT NULL,
    message      TEXT,
    output       TEXT,
    file         TEXT,
    line         INTEGER,
    -- Of a failure: the number of the build since which it fails, and whether the branch before does not have it.
    first_failed INTEGER,
    new          INTEGER NOT NULL DEFAULT 0 CHECK (new IN (0, 1)),
    UNIQUE (run, test)
) STRICT;

CREATE TABLE coverage_files (
    run              INTEGER NOT NULL,
    path             TEXT NOT NULL,
    lines_covered    INTEGER NOT NULL,
    lines_total      INTEGER NOT NULL,
    branches_covered INTEGER NOT NULL,
    branches_total   INTEGER NOT NULL,
    -- The lines that nothing ran, as ranges.
    missed           TEXT NOT NULL,
    -- Hundredths of a percent more or less than in the branch before; nothing for a file that it does not have.
    change           INTEGER,
    PRIMARY KEY (run, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX coverage_files_changed ON coverage_files (run, change) WHERE change <> 0;

CREATE TABLE annotations (
    run      INTEGER NOT NULL,
    position INTEGER NOT NULL,
    level    TEXT NOT NULL,
    file     TEXT,
    line     INTEGER,
    end_line INTEGER,
    col      INTEGER,
    title    TEXT,
    message  TEXT NOT NULL,
    tool     TEXT,
    rule     TEXT,
    PRIMARY KEY (run, position)
) STRICT, WITHOUT ROWID;
