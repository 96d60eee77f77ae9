-- How often the server has begun to read what the job's newest attempt reported. What ends the server each time is left unread in the
-- end, so that the job ends.
ALTER TABLE jobs ADD COLUMN report_readings INTEGER NOT NULL DEFAULT 0;
