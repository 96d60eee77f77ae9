-- What people did and what the server decided, one line of JSON each, chained by hashes (crates/audit). The line is the record; the
-- columns are read from it, so that they cannot say anything else.
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

-- The last record that retention has removed: what is left begins after it.
CREATE TABLE audit_start (
    only_one INTEGER PRIMARY KEY CHECK (only_one = 1),
    number   INTEGER NOT NULL,
    hash     TEXT NOT NULL
) STRICT;
INSERT INTO audit_start VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000');

-- Records are only added at the end, each after the one before.
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
-- From the oldest on, and only what the start has passed.
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
