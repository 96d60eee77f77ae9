-- When a job's image began to be pulled (nothing where it was there) and when its container began to be made. With claimed_at before
-- and started_at after them they say where the time before the first step went. Of the attempt that runs, as those are.
ALTER TABLE jobs ADD COLUMN pulling_at INTEGER;
ALTER TABLE jobs ADD COLUMN starting_at INTEGER;
