-- The bodies of deliveries that were dealt with, of forges whose bodies always differ: a signed body that is sent again under another id
-- starts and cancels nothing. A row stays as long as its repository.
CREATE TABLE told_bodies (
    repo  TEXT NOT NULL REFERENCES repos (id) ON DELETE CASCADE,
    -- A hash of the body.
    body  TEXT NOT NULL,
    -- The number of the build that it became; none where it became none.
    build INTEGER,
    PRIMARY KEY (repo, body)
) STRICT, WITHOUT ROWID;

-- What told of it last says less than all of them.
ALTER TABLE told DROP COLUMN body;
