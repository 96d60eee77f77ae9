-- JSON: what a pull request's last delivery told of its labels and whether it is a draft. Some forges say only that something changed.
ALTER TABLE told_refs ADD COLUMN state TEXT;
