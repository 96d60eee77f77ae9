-- Whose pull requests wait for approval before anything of theirs runs, and whether newer commits of one cancel its older builds.
ALTER TABLE repos ADD COLUMN strangers TEXT NOT NULL DEFAULT 'all' CHECK (strangers IN ('none', 'first-time', 'all'));
ALTER TABLE repos ADD COLUMN cancel_older INTEGER NOT NULL DEFAULT 1 CHECK (cancel_older IN (0, 1));

-- The number of the pull request that a build is of.
ALTER TABLE builds ADD COLUMN pull_request INTEGER;
UPDATE builds SET pull_request = json_extract(event_json, '$.pull_request.number') WHERE event = 'pull-request';
CREATE INDEX builds_of_pull_request ON builds (repo, pull_request) WHERE pull_request IS NOT NULL;

-- People of whom something was approved or merged in a repository: the forge's number for them (`id 42`), or their name (`name ada`)
-- where it tells none.
CREATE TABLE known_people (
    repo   TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    person TEXT NOT NULL,
    since  INTEGER NOT NULL,
    PRIMARY KEY (repo, person)
) STRICT, WITHOUT ROWID;

-- Behind which others a job waits in the queue: the repository's id and, of a stranger's pull request, its number.
ALTER TABLE jobs ADD COLUMN lane TEXT NOT NULL DEFAULT '';
UPDATE jobs SET lane = (
    SELECT builds.repo || iif(coalesce(json_extract(event_json, '$.pull_request.fork'), 0), ' ' || pull_request, '')
    FROM builds WHERE builds.id = jobs.build
) WHERE finished_at IS NULL;
CREATE INDEX jobs_queued ON jobs (lane) WHERE finished_at IS NULL AND status = 'queued';

-- Who takes turns with others (a repository, its own jobs, those of strangers, a lane), and the claim that was its last, counted from 1.
CREATE TABLE turns (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    taker TEXT NOT NULL,
    turn  INTEGER NOT NULL,
    PRIMARY KEY (repo, taker)
) STRICT, WITHOUT ROWID;
CREATE INDEX turns_by_turn ON turns (turn);
