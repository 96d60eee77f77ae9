//! The limits of a file: exceeding one is an error that says so. `make bench` measures what they cost.

use longshore_pipeline as pipeline;
use longshore_pipeline::{Planned, SourceFile, TemplateFiles, report};

use super::{check, codes, facts, plan, push, text};

#[test]
fn a_file_over_its_limit_is_refused_before_it_is_read() {
    let large = "# comment\n".repeat(30_000);
    assert_eq!(codes(&text(&large)), ["LS001"]);
}

#[test]
fn a_billion_laughs_are_refused_before_they_are_expanded() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..20 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", ")));
    }
    // Nine to the power of twenty: more than any machine can hold.
    assert_eq!(codes(&text(&bomb)), ["LS008"]);

    let script = "x".repeat(100_000);
    let repeated = format!("a: &a '{script}'\nb: [*a, *a, *a, *a, *a, *a, *a, *a]\n");
    assert_eq!(codes(&text(&repeated)), ["LS008"]);
}

#[test]
fn more_findings_than_anyone_reads_are_counted() {
    let unknown: String = (0..150).map(|n| format!("unknown{n}: x\n")).collect();
    let found = check(&text(&unknown)).diagnostics;
    assert_eq!(found.len(), 101);
    assert_eq!(found[100].code, "LS040");
    assert_eq!(found[100].message, "51 more problems are not shown");
}

#[test]
fn a_need_that_is_no_job_is_told_from_the_jobs_that_there_are() {
    let help = |jobs: &str| check(&text(&format!("jobs:\n{jobs}"))).diagnostics[0].help.clone().unwrap_or_default();
    let job = |name: &str| format!("  {name}: {{ image: x, needs: [nobody], steps: [{{ run: a }}] }}\n");
    assert_eq!(help(&job("alone")), "there is no other job");
    assert_eq!(help(&(job("one") + &job("two"))), "the other jobs are: `two`");
}

#[test]
fn warnings_beyond_those_shown_stop_no_build_and_hide_no_error() {
    let job = |n: usize| format!("  a{n}: {{ image: x, secrets: [A], steps: [{{ run: a, env: {{ A: b }} }}] }}\n");
    let file = format!("jobs:\n{}", (0..150).map(job).collect::<String>());
    let checked = check(&text(&file));
    assert_eq!((checked.diagnostics.len(), checked.diagnostics[100].code.as_str()), (101, "LS040"));
    assert!(matches!(checked.plan(&push(), &facts()), Planned::Build(_)));

    let found =
        check(&text(&format!("{file}  b: {{ image: x, steps: [{{ run: a }}], needs: [nobody] }}\n"))).diagnostics;
    assert!(found.iter().any(|found| found.code == "LS022"), "{}", report::human(&found));
    assert_eq!(found[100].message, "51 more problems are not shown");
}

#[test]
fn what_a_job_carries_has_a_limit() {
    let value = "x".repeat(70 * 1024);
    assert_eq!(
        codes(&text(&format!("env: {{ A: {value} }}\njobs: {{ a: {{ image: x, steps: [{{ run: a }}] }} }}\n"))),
        ["LS036"]
    );
    let script = "x".repeat(200_000);
    let steps = "{ run: *s }, { run: *s }";
    let job = format!("jobs: {{ a: {{ image: x, steps: [{{ run: &s {script} }}, {steps}] }} }}\n");
    assert_eq!(codes(&text(&job)), ["LS036"]);
}

#[test]
fn what_a_build_carries_has_a_limit() {
    let script = "x".repeat(200_000);
    let axis = (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let file = format!("jobs: {{ a: {{ image: x, matrix: {{ n: [{axis}] }}, steps: [{{ run: {script} }}] }} }}\n");
    let Planned::Broken(found) = plan(&text(&file), &push()) else { panic!("planned") };
    assert_eq!(found[0].code, "LS039");

    let file = |name: &str| {
        let job = format!("jobs: {{ a: {{ image: x, matrix: {{ n: [{axis}] }}, steps: [{{ run: a }}] }} }}\n");
        SourceFile::new(format!(".longshore/{name}.yml"), job)
    };
    let Planned::Broken(found) = plan(&[file("a"), file("b")], &push()) else { panic!("planned") };
    assert_eq!((found[0].code.as_str(), found[0].file.as_str()), ("LS029", ".longshore/b.yml"));
}

#[test]
fn a_server_may_have_another_limit_of_jobs() {
    let axis = (0..300).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let job = |axis: &str| {
        text(&format!("jobs: {{ a: {{ image: x, matrix: {{ n: [{axis}] }}, steps: [{{ run: a }}] }} }}\n"))
    };
    let within = |files: &[SourceFile], most| {
        let checked = pipeline::check_within(files, &TemplateFiles::new(), most);
        match checked.plan(&push(), &facts()) {
            Planned::Build(plan) => Ok(plan.jobs.len()),
            Planned::Broken(found) => Err(found[0].message.clone()),
            other => panic!("{other:?}"),
        }
    };
    assert!(within(&job(&axis), 256).is_err());
    assert_eq!(within(&job(&axis), 300), Ok(300));
    assert_eq!(within(&job("1, 2"), 2), Ok(2));
    let refused = within(&job("1, 2, 3"), 2).unwrap_err();
    assert_eq!(refused, "this matrix has 3 combinations, but a build can have at most 2 jobs");
}

#[test]
fn files_made_of_brackets_are_refused_while_they_are_read() {
    for unit in ["{a: b},", "[],", "a,", "{a: {a: {a: 1}}},"] {
        let text = SourceFile::new(".longshore.yml", format!("jobs: [{}", unit.repeat(255 * 1024 / unit.len())));
        assert_eq!(codes(&[text]), ["LS057"], "{unit}");
    }
}

#[test]
fn expressions_that_a_matrix_multiplies_are_counted() {
    let texts = "${{ matrix.a }}".repeat(300);
    let file = format!(
        "jobs: {{ a: {{ image: x, matrix: {{ a: [{}] }}, steps: [{{ run: '{texts}' }}] }} }}\n",
        (0..200).map(|n| n.to_string()).collect::<Vec<_>>().join(", ")
    );
    assert_eq!(codes(&text(&file)), ["LS039"]);
}

#[test]
fn a_file_just_under_its_limit_is_read_and_planned() {
    let mut large = "jobs:\n".to_owned();
    for job in 0..250 {
        large.push_str(&format!("  job-{job}:\n    image: debian:12\n    env: {{ A: b }}\n    steps:\n"));
        for step in 0..18 {
            large.push_str(&format!("      - run: make step-{step} # {}\n", "x".repeat(20)));
        }
    }
    assert!((200_000..=256 * 1024).contains(&large.len()), "{}", large.len());
    let checked = check(&text(&large));
    assert_eq!(report::human(&checked.diagnostics), "");
    let Planned::Build(plan) = checked.plan(&push(), &facts()) else { panic!("not planned") };
    assert_eq!(plan.jobs.len(), 250);
}
