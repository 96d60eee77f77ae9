//! HTTP: routes, live streams, OpenAPI
