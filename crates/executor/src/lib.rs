//! The engine: berths, job containers, the agent's stream
