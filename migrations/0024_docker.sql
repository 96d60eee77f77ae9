-- Which jobs of a repository may have Docker, as JSON: `false`, `{"branches":["main"]}` for a guarded API, or `"raw"` for the engine's own socket.
ALTER TABLE repos ADD COLUMN docker TEXT NOT NULL DEFAULT 'false';
