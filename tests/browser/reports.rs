//! Reports of jobs, as people see them.

use super::{browser, every_page::looks_well, url};
use crate::support::{api::text, engine::BUSYBOX, world::World};

#[test]
fn tests_coverage_and_annotations_look_well_and_open_with_a_key() {
    let world = World::start();
    let browser = browser();
    let pipeline = |hits: u8, verdict: &str| {
        format!(
            "jobs:
  one:
    image: {BUSYBOX}
    steps:
      - name: test
        run: |
          {{ echo '<testsuites>'
          for n in 1 2 3 4 5 6 7 8 9; do echo \"<testcase classname='shop.cart' name='adds $n prices' time='$n.5'/>\"; done
          echo \"<testcase classname='shop.cart.a.very.long.name.of.a.module.that.does.not.end.soon' name='takes a discount of 10 % of everything in the cart, and says so in words'>{verdict}</testcase>\"
          echo \"<testcase classname='shop' name='guesses'><flakyFailure message='not at first'/></testcase>\"
          echo \"<testcase classname='shop' name='waits'><skipped message='no currency yet'/></testcase>\"
          echo '</testsuites>'; }} > junit.xml
          printf 'SF:src/cart.c\\nDA:1,1\\nDA:2,{hits}\\nend_of_record\\nSF:src/shop.c\\nDA:1,1\\nend_of_record\\n' > lcov.info
          echo '::error file=src/cart.c,line=2,col=7,title=Broken::a discount is not negative'
          echo '::warning file=src/a/very/long/path/to/a/file/that/does/not/end/soon/at/all.c,line=1234::this is unused'
          echo 'broken' > broken.xml
    reports: {{ junit: '*.xml', coverage: lcov.info }}
"
        )
    };
    world.run(&pipeline(1, ""));
    let build = world.run(&pipeline(0, "<failure message='assert 90 == 50'>test_shop.py:16: AssertionError</failure>"));
    let id = text(&build, "id");
    browser.open(&url(&world, &format!("/builds/{id}")));
    let counts = browser.text("#test-counts");
    for words in ["1 failed", "10 passed", "1 skipped", "1 new", "1 flaky", "compared with #1"] {
        assert!(counts.contains(words), "{words}: {counts}");
    }
    browser.click("#test-failures summary");
    assert!(browser.text("#test-failures pre").contains("AssertionError"), "{}", browser.text("#test-failures"));
    assert!(browser.text("#coverage-sum").contains("66.66 %"), "{}", browser.text("#coverage-sum"));
    assert!(browser.text("#annotation-list").contains("src/cart.c:2:7"), "{}", browser.text("#annotation-list"));
    assert!(browser.text("#report-remarks").contains("broken.xml"), "{}", browser.text("#report-remarks"));
    looks_well(&browser, "build-reports");
    for page in ["tests", "tests?status=passed", "coverage", "annotations"] {
        browser.open(&url(&world, &format!("/builds/{id}/{page}")));
        looks_well(&browser, &format!("build-{}", page.replace(['?', '='], "-")));
    }
    browser.open(&url(&world, &format!("/builds/{id}/tests")));
    browser.click("#tests li a");
    browser.until("document.getElementById('history') !== null");
    let history = browser.text("#history");
    assert!(history.contains("#2") && history.contains("#1"), "{history}");
    looks_well(&browser, "test-history");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}
