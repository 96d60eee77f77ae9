//! The store over which the bench measures pages is a store like any other.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that goes wrong")]

use longshore_store::{
    Store,
    builds::{self, BuildFilter},
};

mod seed;

#[tokio::test]
async fn a_store_that_was_filled_for_the_bench_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    seed::fill(folder.path(), seed::Seed { repos: 3, builds: 50, jobs_per_build: 5, log_lines: 1000 }).await.unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let page = builds::list(&store, &BuildFilter::default(), None, 100).await.unwrap();
    assert_eq!(page.items.len(), 50);
    store.close().await;
}
