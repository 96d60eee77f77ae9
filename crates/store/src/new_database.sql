CREATE TABLE settings (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE repos (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL UNIQUE,
    forge          TEXT NOT NULL,
    clone_url      TEXT NOT NULL,
    hook_secret    TEXT NOT NULL,
    public         INTEGER NOT NULL DEFAULT 0 CHECK (public IN (0, 1)),
    default_branch TEXT,
    -- The number the next build gets; raised in the transaction that creates the build, so there are no gaps.
    next_number    INTEGER NOT NULL DEFAULT 1,
    created_at     INTEGER NOT NULL
, schedules_known INTEGER NOT NULL DEFAULT 0 CHECK (schedules_known IN (0, 1)), strangers TEXT NOT NULL DEFAULT 'all' CHECK (strangers IN ('none', 'first-time', 'all')), cancel_older INTEGER NOT NULL DEFAULT 1 CHECK (cancel_older IN (0, 1)), hook_secret_sealed BLOB, clone_url_sealed BLOB, connection TEXT REFERENCES connections (id), hook_id TEXT, forge_id TEXT, looked_at INTEGER, look_error TEXT, submodules TEXT NOT NULL DEFAULT '[]', docker TEXT NOT NULL DEFAULT 'false', statuses TEXT NOT NULL DEFAULT 'pipeline' CHECK (statuses IN ('pipeline', 'job', 'none')), deploy_key_sealed BLOB, deploy_key_public TEXT, host_keys TEXT, comments INTEGER NOT NULL DEFAULT 0 CHECK (comments IN (0, 1)), former_hook_secret_sealed BLOB) STRICT;
CREATE TABLE deliveries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    repo         TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    delivery_key TEXT NOT NULL,
    event        TEXT NOT NULL,
    status       TEXT NOT NULL CHECK (status IN ('pending', 'done', 'ignored', 'failed')),
    reason       TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    received_at  INTEGER NOT NULL,
    next_try_at  INTEGER NOT NULL,
    finished_at  INTEGER,
    body         BLOB NOT NULL, by_hand INTEGER NOT NULL DEFAULT 0 CHECK (by_hand IN (0, 1)), found INTEGER NOT NULL DEFAULT 0 CHECK (found IN (0, 1)), hurried_by INTEGER, body_key TEXT,
    UNIQUE (repo, delivery_key)
) STRICT;
CREATE INDEX deliveries_of_repo ON deliveries (repo);
CREATE INDEX deliveries_pending ON deliveries (next_try_at) WHERE status = 'pending';
CREATE TABLE builds (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    repo        TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    event       TEXT NOT NULL,
    branch      TEXT,
    commit_id   TEXT NOT NULL,
    delivery    TEXT REFERENCES deliveries (id) ON DELETE SET NULL,
    rerun_of    TEXT REFERENCES builds (id) ON DELETE SET NULL,
    created_at  INTEGER NOT NULL,
    started_at  INTEGER,
    finished_at INTEGER,
    plan_version INTEGER NOT NULL,
    event_json  TEXT NOT NULL,
    diagnostics TEXT NOT NULL, pull_request INTEGER,
    UNIQUE (repo, number)
) STRICT;
CREATE INDEX builds_of_repo ON builds (repo);
CREATE INDEX builds_by_status ON builds (status);
CREATE INDEX builds_of_repo_by_status ON builds (repo, status);
CREATE INDEX builds_of_repo_by_branch ON builds (repo, branch);
CREATE INDEX builds_of_repo_by_branch_and_status ON builds (repo, branch, status);
CREATE INDEX builds_of_repo_by_event ON builds (repo, event);
CREATE INDEX builds_by_branch ON builds (branch);
CREATE INDEX builds_by_event ON builds (event);
CREATE INDEX builds_by_commit ON builds (commit_id);
CREATE INDEX builds_of_delivery ON builds (delivery) WHERE delivery IS NOT NULL;
CREATE INDEX builds_rerun_of ON builds (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE TABLE jobs (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    build        TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    position     INTEGER NOT NULL,
    key          TEXT NOT NULL,
    name         TEXT NOT NULL,
    pipeline     TEXT NOT NULL,
    matrix       TEXT NOT NULL,
    status       TEXT NOT NULL,
    reason       TEXT,
    exit_code    INTEGER,
    -- 0 until it is claimed; every claim raises it. It fences off whoever speaks for an older attempt.
    attempt      INTEGER NOT NULL DEFAULT 0,
    claimed_at   INTEGER,
    started_at   INTEGER,
    finished_at  INTEGER,
    carried_over TEXT,
    log_bytes    INTEGER NOT NULL DEFAULT 0,
    -- What the executor needs to find its attempt again on the daemon: written before the engine is called.
    engine_facts TEXT,
    plan         TEXT NOT NULL, outputs TEXT, ready INTEGER NOT NULL DEFAULT 0, approved_by TEXT, approved_at INTEGER, concurrency_group TEXT, continue_on_error INTEGER NOT NULL DEFAULT 0, pulling_at INTEGER, starting_at INTEGER, lane TEXT NOT NULL DEFAULT '', image TEXT, image_digest TEXT, report_readings INTEGER NOT NULL DEFAULT 0,
    UNIQUE (build, position),
    UNIQUE (build, key)
) STRICT;
CREATE INDEX jobs_unfinished ON jobs (status) WHERE finished_at IS NULL;
CREATE TABLE job_needs (
    job  TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    need TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (job, need)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_needs_by_need ON job_needs (need);
CREATE TABLE steps (
    job               TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position          INTEGER NOT NULL,
    name              TEXT NOT NULL,
    status            TEXT NOT NULL,
    exit_code         INTEGER,
    signal            INTEGER,
    started_at        INTEGER,
    finished_at       INTEGER,
    wall_ms           INTEGER,
    cpu_ms            INTEGER,
    peak_memory_bytes INTEGER,
    out_of_memory     INTEGER NOT NULL DEFAULT 0 CHECK (out_of_memory IN (0, 1)), summary TEXT, image TEXT, image_digest TEXT, ready_at INTEGER,
    PRIMARY KEY (job, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE tokens (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    expires_at   INTEGER
, repos TEXT) STRICT;
CREATE TABLE changes (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    kind   TEXT NOT NULL,
    repo   TEXT,
    build  TEXT,
    job    TEXT,
    at     INTEGER NOT NULL
) STRICT;
CREATE TABLE secrets (
    repo       TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    name       TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed value with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL, rules TEXT NOT NULL DEFAULT '{}',
    PRIMARY KEY (repo, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_in_links (
    hash       BLOB PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    token      TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    -- When the session that it opens has to end, where the token ends before it would.
    session_until INTEGER,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_in_links_of_token ON sign_in_links (token);
CREATE TABLE sessions (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    hash         BLOB NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    token        TEXT REFERENCES tokens (id) ON DELETE CASCADE,
    browser      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of_token ON sessions (token);
CREATE INDEX jobs_unfinished_of_group ON jobs (concurrency_group) WHERE finished_at IS NULL AND concurrency_group IS NOT NULL;
CREATE TABLE job_attempts (
    job         TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    exit_code   INTEGER,
    claimed_at  INTEGER,
    started_at  INTEGER,
    finished_at INTEGER NOT NULL,
    log_bytes   INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_removals (
    path TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX builds_by_end ON builds (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX deliveries_by_end ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_by_log_bytes ON jobs (log_bytes) WHERE log_bytes > 0 AND carried_over IS NULL;
CREATE INDEX jobs_by_carried_over ON jobs (carried_over) WHERE carried_over IS NOT NULL;
CREATE TABLE schedules (
    repo      TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    cron      TEXT NOT NULL,
    timezone  TEXT NOT NULL,
    branch    TEXT NOT NULL,
    -- JSON: the pipelines' names.
    pipelines TEXT NOT NULL,
    -- Moves on in the transaction that makes the build: no time makes two, and those that were slept through make one.
    next_at   INTEGER NOT NULL,
    -- How often the time that is due could not be carried out, and when that is tried again.
    attempts  INTEGER NOT NULL DEFAULT 0,
    try_at    INTEGER NOT NULL,
    -- What became of the last time.
    last_due_at INTEGER,
    last_build  TEXT REFERENCES builds (id) ON DELETE SET NULL,
    reason      TEXT,
    PRIMARY KEY (repo, cron, timezone, branch)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_by_try ON schedules (try_at);
CREATE INDEX schedules_by_last_build ON schedules (last_build) WHERE last_build IS NOT NULL;
CREATE TABLE acts (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    build TEXT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    -- Where it was done with one job alone.
    job   TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    act   TEXT NOT NULL CHECK (act IN ('started', 'canceled', 'rerun', 'approved', 'declined')),
    at    INTEGER NOT NULL,
    name  TEXT NOT NULL,
    via   TEXT NOT NULL,
    -- No reference: tokens end, what was done with them stays.
    token TEXT,
    -- The build that a rerun made. No reference: it may be gone before the first.
    made  TEXT
) STRICT;
CREATE INDEX acts_of_build ON acts (build);
CREATE INDEX acts_of_job ON acts (job) WHERE job IS NOT NULL;
CREATE INDEX builds_of_pull_request ON builds (repo, pull_request) WHERE pull_request IS NOT NULL;
CREATE TABLE known_people (
    repo   TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    person TEXT NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (repo, person)
) STRICT, WITHOUT ROWID;
CREATE INDEX jobs_queued ON jobs (lane) WHERE finished_at IS NULL AND status = 'queued';
CREATE TABLE turns (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    taker TEXT NOT NULL,
    turn  INTEGER NOT NULL,
    PRIMARY KEY (repo, taker)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_by_turn ON turns (turn);
CREATE TABLE told (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- A hash of the event, its ref, its commits, and the pull request's number and action.
    key   TEXT NOT NULL,
    -- A hash of the body that told of it last.
    build INTEGER,
    PRIMARY KEY (repo, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE told_refs (
    repo    TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    git_ref TEXT NOT NULL,
    at      TEXT NOT NULL, state TEXT,
    PRIMARY KEY (repo, git_ref)
) STRICT, WITHOUT ROWID;
CREATE TABLE told_bodies (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- A hash of the body.
    body  TEXT NOT NULL,
    -- The number of the build that it became; none where it became none.
    build INTEGER,
    PRIMARY KEY (repo, body)
) STRICT, WITHOUT ROWID;
CREATE TABLE registries (
    repo       TEXT REFERENCES repos (id) ON DELETE CASCADE,
    host       TEXT NOT NULL,
    username   TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed password with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX registries_by_owner ON registries (coalesce(repo, ''), host);
CREATE INDEX registries_of_repo ON registries (repo) WHERE repo IS NOT NULL;
CREATE TABLE guarded_registries (
    host TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
CREATE TABLE connections (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    url        TEXT NOT NULL,
    -- The account that the token belongs to.
    account    TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed token with its tag.
    sealed     BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL
) STRICT;
CREATE INDEX repos_of_connection ON repos (connection) WHERE connection IS NOT NULL;
CREATE INDEX deliveries_found ON deliveries (repo) WHERE found = 1;
CREATE TABLE cache_uses (
    job      TEXT NOT NULL,
    attempt  INTEGER NOT NULL,
    -- Which of the job's caches, from 0.
    position INTEGER NOT NULL,
    repo     TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    key      TEXT NOT NULL,
    paths    TEXT NOT NULL,
    -- JSON: the entry that it began with, if there was one.
    found    TEXT,
    -- The number of the user that the job runs as.
    owner    INTEGER NOT NULL DEFAULT 0,
    -- The branch that what it saves counts for; NULL for none.
    scope   TEXT,
    begun_at INTEGER NOT NULL,
    PRIMARY KEY (job, attempt, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE cache_volumes (
    volume TEXT PRIMARY KEY,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE cache_lookups (
    repo  TEXT PRIMARY KEY REFERENCES repos (id) ON DELETE CASCADE,
    asked INTEGER NOT NULL,
    found INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE artifact_contents (
    id    INTEGER PRIMARY KEY,
    files INTEGER NOT NULL,
    -- Of its files, before packing.
    bytes INTEGER NOT NULL,
    -- The path of the page to open first, if one of the files is a page.
    page  TEXT
) STRICT;
CREATE TABLE artifact_files (
    content    INTEGER NOT NULL REFERENCES artifact_contents (id) ON DELETE CASCADE,
    path       TEXT NOT NULL,
    executable INTEGER NOT NULL CHECK (executable IN (0, 1)),
    bytes      INTEGER NOT NULL,
    blob       BLOB NOT NULL CHECK (length(blob) = 32),
    PRIMARY KEY (content, path)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_files_by_blob ON artifact_files (blob);
CREATE TABLE artifacts (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    job        TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- `files`, or the format of reports.
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    content    INTEGER NOT NULL REFERENCES artifact_contents (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    UNIQUE (job, kind, name)
) STRICT;
CREATE INDEX artifacts_by_content ON artifacts (content);
CREATE INDEX artifacts_by_expiry ON artifacts (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE blob_removals (
    blob BLOB PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE test_jobs (
    id   INTEGER PRIMARY KEY,
    repo TEXT NOT NULL,
    key  TEXT NOT NULL,
    UNIQUE (repo, key)
) STRICT;
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
CREATE TABLE commit_statuses (
    repo        TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    commit_id   TEXT NOT NULL,
    context     TEXT NOT NULL,
    -- The build that it speaks of, the newest with that context. None where a pipeline had nothing to do.
    build       TEXT REFERENCES builds (id) ON DELETE CASCADE,
    state       TEXT NOT NULL,
    description TEXT NOT NULL,
    -- The branch or tag by its short name; of a pull request, its source branch.
    ref_name    TEXT,
    wanted      INTEGER NOT NULL DEFAULT 1,
    told        INTEGER NOT NULL DEFAULT 0,
    -- Since when the forge shows something else.
    owed_since  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL DEFAULT 0,
    try_at      INTEGER NOT NULL,
    -- Why it could not be reported yet.
    problem     TEXT,
    -- The forge will not take it, however often it is asked.
    given_up    INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)), check_run TEXT, check_build TEXT, as_status INTEGER NOT NULL DEFAULT 0 CHECK (as_status IN (0, 1)), stranger INTEGER NOT NULL DEFAULT 0 CHECK (stranger IN (0, 1, 2)),
    PRIMARY KEY (repo, commit_id, context)
) STRICT, WITHOUT ROWID;
CREATE INDEX commit_statuses_owed ON commit_statuses (try_at) WHERE told <> wanted AND given_up = 0;
CREATE INDEX commit_statuses_of_build ON commit_statuses (build) WHERE build IS NOT NULL;
CREATE TABLE pulled_images (
    name    TEXT PRIMARY KEY,
    image   TEXT NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE room_made (
    seq   INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    what  TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    why   TEXT NOT NULL
) STRICT;
CREATE TABLE engine_disk (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    free  INTEGER NOT NULL,
    total INTEGER NOT NULL,
    -- Why jobs that should start wait for room, if they do.
    held  TEXT
) STRICT;
CREATE TABLE notifications (
    id         TEXT PRIMARY KEY NOT NULL,
    repo       TEXT REFERENCES repos (id) ON DELETE CASCADE,
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    shown      TEXT NOT NULL,
    -- 24 bytes of nonce, then the sealed address and secret, as JSON, with the tag.
    sealed     BLOB NOT NULL,
    -- JSON: what is told, and globs of branches (all, if none is there).
    events     TEXT NOT NULL,
    branches   TEXT NOT NULL,
    -- Whether it may be at an address of the server's own network: only if an administrator of the server set it.
    internal   INTEGER NOT NULL CHECK (internal IN (0, 1)),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
CREATE INDEX notifications_of_repo ON notifications (repo);
CREATE TABLE reusable (
    job    TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    lane   TEXT NOT NULL,
    -- A hash over the repository, the files, the definition and what the needed jobs gave.
    inputs TEXT NOT NULL,
    -- The images that it was started from.
    images TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX reusable_by_inputs ON reusable (inputs, lane);
CREATE TABLE pull_request_comments (
    repo         TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    pull_request INTEGER NOT NULL,
    build        TEXT REFERENCES builds (id) ON DELETE SET NULL,
    -- The forge's id of the comment. While one is sent for the first time, it is not known whether it is there.
    comment      TEXT,
    sent         INTEGER NOT NULL DEFAULT 0 CHECK (sent IN (0, 1)),
    wanted       INTEGER NOT NULL DEFAULT 1,
    told         INTEGER NOT NULL DEFAULT 0,
    owed_since   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    try_at       INTEGER NOT NULL,
    problem      TEXT,
    given_up     INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
    PRIMARY KEY (repo, pull_request)
) STRICT, WITHOUT ROWID;
CREATE INDEX pull_request_comments_owed ON pull_request_comments (try_at) WHERE told <> wanted AND given_up = 0;
CREATE INDEX pull_request_comments_of_build ON pull_request_comments (build) WHERE build IS NOT NULL;
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY,
    line     TEXT NOT NULL,
    at       INTEGER AS (line ->> '$.entry.at'),
    who      TEXT AS (line ->> '$.entry.who'),
    action   TEXT AS (line ->> '$.entry.action'),
    repo     TEXT AS (line ->> '$.entry.repo'),
    decision TEXT AS (line ->> '$.entry.decision')
) STRICT;
CREATE INDEX audit_who ON audit (who);
CREATE INDEX audit_action ON audit (action);
CREATE INDEX audit_repo ON audit (repo);
CREATE INDEX audit_decision ON audit (decision) WHERE decision <> 'allowed';
CREATE TABLE audit_start (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    number   INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT;
INSERT INTO audit_start VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');
CREATE TRIGGER audit_appends BEFORE INSERT ON audit
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM audit), (SELECT number FROM audit_start))
    OR NEW.number <> NEW.line ->> '$.number'
    OR NEW.line ->> '$.previous' <> coalesce(
        (SELECT line ->> '$.hash' FROM audit ORDER BY number DESC LIMIT 1), (SELECT hash FROM audit_start))
BEGIN
    SELECT raise(ABORT, 'the audit log is only added to');
END;
CREATE TRIGGER audit_stays BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit log does not change');
END;
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
WHEN OLD.number > (SELECT number FROM audit_start)
BEGIN
    SELECT raise(ABORT, 'the audit log is kept');
END;
CREATE TRIGGER audit_start_moves_on BEFORE UPDATE ON audit_start
WHEN NEW.number < OLD.number
    OR NEW.hash IS NOT (SELECT line ->> '$.hash' FROM audit WHERE number = NEW.number)
BEGIN
    SELECT raise(ABORT, 'the audit log begins after a record of its own');
END;
CREATE TRIGGER audit_start_stays BEFORE DELETE ON audit_start
BEGIN
    SELECT raise(ABORT, 'the audit log has a beginning');
END;
CREATE TABLE lasting_workspaces (
    -- The job and the attempt that left it. The job's build may be gone.
    job     TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    -- The job's name, for people.
    name    TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE workspace_claims (
    claimed_by TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    job        TEXT NOT NULL,
    attempt    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE anomalies (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    kind     TEXT NOT NULL,
    -- Whom or what it is about: the same kind about the same is one anomaly for a while.
    about    TEXT NOT NULL,
    message  TEXT NOT NULL,
    repo     TEXT,
    job      TEXT,
    -- The newest record that showed it.
    record   INTEGER NOT NULL,
    times    INTEGER NOT NULL DEFAULT 1,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL
) STRICT;
CREATE INDEX anomalies_about ON anomalies (kind, about, last_at);
CREATE TABLE refused_hooks (
    repo TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (repo, reason)
) STRICT;
CREATE TABLE "notices" (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    notification TEXT NOT NULL REFERENCES notifications (id) ON DELETE CASCADE,
    build        TEXT REFERENCES builds (id) ON DELETE CASCADE,
    anomaly      INTEGER REFERENCES anomalies (seq) ON DELETE CASCADE,
    event        TEXT NOT NULL,
    -- JSON: the pipelines that are fixed, or the jobs that wait.
    about        TEXT NOT NULL,
    -- A stranger's pull request, of which little is told.
    pull_request INTEGER,
    owed_since   INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    try_at       INTEGER NOT NULL,
    problem      TEXT,
    told_at      INTEGER,
    -- Nobody is told of it any more: it is no longer so, or the place does not take it.
    given_up     INTEGER NOT NULL DEFAULT 0 CHECK (given_up IN (0, 1)),
    -- A message to which its place answers with an error again and again: those after it do not wait for it any more.
    overtaken    INTEGER NOT NULL DEFAULT 0 CHECK (overtaken IN (0, 1)),
    CHECK ((build IS NULL) <> (anomaly IS NULL))
) STRICT;
CREATE INDEX notices_of_notification ON notices (notification, seq);
CREATE INDEX notices_owed ON notices (notification, seq) WHERE told_at IS NULL AND given_up = 0;
CREATE INDEX notices_of_build ON notices (build);
CREATE TABLE repo_registries (
    repo     TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    registry TEXT NOT NULL,
    -- The build that was the first.
    build    TEXT NOT NULL,
    PRIMARY KEY (repo, registry)
) STRICT, WITHOUT ROWID;
CREATE INDEX commit_statuses_of_no_build ON commit_statuses (repo, owed_since) WHERE build IS NULL;
CREATE INDEX deliveries_by_body ON deliveries (repo, body_key, seq) WHERE body_key IS NOT NULL;
CREATE TABLE caches (
    id         TEXT PRIMARY KEY,
    repo       TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- Whose it is: the full name of a branch or a tag, or a pull request's with the branches whose files it runs.
    scope      TEXT NOT NULL,
    key        TEXT NOT NULL,
    -- JSON: the paths as they are written in the pipeline. Only a cache with the same paths gets the entry.
    paths      TEXT NOT NULL,
    shared     INTEGER NOT NULL,
    -- JSON: for each path its volumes on the engine, the topmost layer first.
    layers     TEXT NOT NULL,
    -- The number of the user whose files these are.
    owner      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    used_at    INTEGER NOT NULL,
    -- How many jobs began with it.
    hits       INTEGER NOT NULL DEFAULT 0,
    UNIQUE (repo, scope, paths, shared, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX caches_by_use ON caches (used_at);
