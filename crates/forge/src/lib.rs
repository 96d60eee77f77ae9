//! Webhook signatures and payloads, git
