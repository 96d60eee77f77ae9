//! The words between the runner and the agent in a job's container
