-- Whether anybody has looked at what a repository has under `schedule` since it was added. Of those with builds somebody has.
ALTER TABLE repos ADD COLUMN schedules_known INTEGER NOT NULL DEFAULT 0 CHECK (schedules_known IN (0, 1));
UPDATE repos SET schedules_known = 1 WHERE next_number > 1;
