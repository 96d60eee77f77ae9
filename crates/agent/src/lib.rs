//! What runs as PID 1 inside a job's container
