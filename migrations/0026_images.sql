-- What each container was started from, as its pipeline names it, and what the image's registry calls it; and when a service was ready.
-- Of the attempt that runs, as the other columns are.
ALTER TABLE jobs ADD COLUMN image TEXT;
ALTER TABLE jobs ADD COLUMN image_digest TEXT;
ALTER TABLE steps ADD COLUMN image TEXT;
ALTER TABLE steps ADD COLUMN image_digest TEXT;
ALTER TABLE steps ADD COLUMN ready_at INTEGER;
