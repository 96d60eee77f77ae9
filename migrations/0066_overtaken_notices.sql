-- A message to which its place answers with an error again and again: those after it do not wait for it any more.
ALTER TABLE notices ADD COLUMN overtaken INTEGER NOT NULL DEFAULT 0 CHECK (overtaken IN (0, 1));
