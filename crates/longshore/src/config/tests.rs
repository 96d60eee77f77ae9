use clap::{CommandFactory as _, Parser as _};

use super::{definition::Fallback, listing::readme_table, settings::tables, *};
use crate::args::{Args, Command};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");

#[test]
fn the_commented_defaults_are_a_valid_file_that_changes_nothing() {
    let file: Settings = toml::from_str(&commented_defaults()).unwrap();
    let from_file = file.resolve(None).unwrap();
    let defaults = Settings::default().resolve(None).unwrap();
    assert_eq!(format!("{from_file:?}"), format!("{defaults:?}"));
    let all = commented_defaults()
        .lines()
        .map(|line| if line.starts_with("#") && line.contains(" = ") { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n");
    toml::from_str::<Settings>(&all).unwrap();
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_that_names_it() {
    let error = toml::from_str::<Settings>("capcity = 3").unwrap_err().to_string();
    assert!(error.contains("capcity"), "{error}");
}

#[test]
fn labels_are_the_machines_own_and_those_that_are_given() {
    let found = labels("disk=ssd, zone=dmz").unwrap();
    assert_eq!((found["disk"].as_str(), found["zone"].as_str(), found["os"].as_str()), ("ssd", "dmz", "linux"));
    assert!(found.contains_key("arch") && labels("").unwrap().len() == 2);
    assert!(labels("disk").unwrap_err().to_string().contains("`disk`"));
}

#[test]
fn variables_for_jobs_are_read_a_line_each_and_what_is_wrong_is_named_by_its_line_without_its_value() {
    let found = job_env("A=1\n\n  # a note\n  URL=https://x/?a=b \r\nEMPTY=\n").unwrap();
    let expected = [("A", "1"), ("EMPTY", ""), ("URL", "https://x/?a=b")];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    for (text, says) in [
        ("A=1\nhidden", "line 2 of job_env is not `NAME=value`"),
        ("=hidden", "line 1 of job_env does not begin with the name"),
        ("1A=hidden", "does not begin with the name"),
        ("A B=hidden", "does not begin with the name"),
        ("LONGSHORE_OUTPUT=hidden", "not `LONGSHORE_` in front"),
        ("A=1\nA=hidden", "sets `A` a second time"),
        ("A=\0hidden", "NUL byte"),
    ] {
        let error = job_env(text).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hidden"), "{text:?}: {error}");
    }
    assert!(job_env(&format!("A={}", "x".repeat(64 << 10))).unwrap_err().to_string().contains("64 KiB"));
    let config = toml::from_str::<Settings>("job_env = \"\"\"\nA=1\nB=2\n\"\"\"").unwrap().resolve(None).unwrap();
    assert_eq!(config.job_env.len(), 2);
}

#[test]
fn limits_of_processes_hold_for_strangers_too_and_one_that_cannot_be_set_is_refused_by_name() {
    let resolved = |text: &str| toml::from_str::<Settings>(&format!("job_ulimits = \"{text}\"")).unwrap().resolve(None);
    let config = resolved("nofile=1024:65536, core=0").unwrap();
    assert_eq!(config.limits.ulimits.len(), 2);
    assert_eq!(config.limits.ulimits, config.strangers.limits.ulimits);
    for wrong in ["nofile=many", "fsize=1", "core=0 core=1"] {
        assert!(resolved(wrong).unwrap_err().to_string().contains("job_ulimits"), "{wrong}");
    }
}

#[test]
fn strangers_get_less_than_others_and_never_more() {
    let resolved = |text: &str| toml::from_str::<Settings>(text).unwrap().resolve(None);
    let (all, strangers) = resolved("").map(|config| (config.limits, config.strangers)).unwrap();
    assert_eq!((all.memory, strangers.limits.memory), (None, Some(2 << 30)));
    assert!(strangers.limits.pids < all.pids && strangers.limits.log < all.log && strangers.limits.cpus == Some(1.0));
    assert!(strangers.limits.time.is_some() && all.time.is_none());
    assert!(strangers.limits.artifacts.job_bytes < all.artifacts.job_bytes);
    let config =
        resolved("capacity = 4\njob_memory_mib = 512\njob_pids = 50\njob_log_mib = 1\nartifacts_job_mib = 9\n[strangers]\ncapacity = 9\njob_memory_mib = 0").unwrap();
    let limits = config.strangers.limits;
    assert_eq!((limits.memory, limits.pids, limits.log), (Some(512 << 20), 50, 1 << 20));
    assert_eq!(limits.artifacts.job_bytes, 9 << 20);
    assert_eq!(config.strangers.capacity, 4);
    assert_eq!(resolved("capacity = 4").unwrap().strangers.capacity, 2);
    for (wrong, word) in [("job_cpus = -1.0", "job_cpus"), ("job_pids = 0", "job_pids"), ("job_cpu = 1", "job_cpu")] {
        let file = toml::from_str::<Settings>(&format!("[strangers]\n{wrong}"));
        let error = file.map_err(anyhow::Error::from).and_then(|file| file.resolve(None).map(drop)).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
    }
}

#[test]
fn a_value_that_nothing_could_run_with_is_refused_with_what_to_write() {
    for (text, says) in [
        ("max_jobs = 0", "1 or more"),
        ("capacity = 0", "1 or more"),
        ("job_memory_mib = 0", "32 or more"),
        ("job_memory_mib = 1", "32 or more"),
        ("job_memory_mib = 17592186044416", "MiB"),
        ("job_pids = 0", "32 or more"),
        ("[strangers]\njob_memory_mib = 1", "strangers.job_memory_mib is 1"),
        ("[strangers]\njob_pids = 1", "strangers.job_pids is 1"),
        ("log = 'nonsense'", "write error, warn, info or debug"),
        ("log = ''", "write error, warn, info or debug"),
        ("log = 'info,longshore_store=loud'", "`loud` is not a level"),
        ("images_allow = 'debian:*, [a'", "images_allow has `[a`"),
        ("pull = 'sometimes'", "write if-missing, always or never"),
        ("url = 'https://ci.example.org/?next=1'", "https://ci.example.org"),
        ("url = 'https://ci.example.org#top'", "https://ci.example.org"),
        ("url = 'https://'", "https://ci.example.org"),
        ("url = 'https://ci example.org'", "https://ci.example.org"),
        ("url = 'ci.example.org'", "http:// or https://"),
        ("url = 'https://example.org/api'", "such as `/ci`"),
        ("url = 'https://example.org/my ci'", "https://example.org/ci"),
        ("url = 'https://example.org/my%20ci'", "https://example.org/ci"),
    ] {
        let error = toml::from_str::<Settings>(text).unwrap().resolve(None).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    for text in ["log = 'warn'", "log = 'info,longshore_executor=debug'", "log = 'OFF'", "url = 'http://ci:8080/sub'"] {
        toml::from_str::<Settings>(text).unwrap().resolve(None).unwrap();
    }
}

#[test]
fn the_name_before_of_a_setting_still_works_with_a_warning() {
    let config = toml::from_str::<Settings>("berths = 1\ncapacity = 8").unwrap().resolve(None).unwrap();
    assert_eq!((config.sandboxes, config.warnings.len()), (1, 1));
    let config = toml::from_str::<Settings>("berths = 1\nsandboxes = 3").unwrap().resolve(None).unwrap();
    assert_eq!((config.sandboxes, config.warnings.len()), (3, 1));
    assert!(config.warnings[0].contains("LONGSHORE_SANDBOXES"));
}

#[test]
fn a_flag_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("longshore.toml");
    std::fs::write(&path, "listen = \"127.0.0.1:1\"\ncapacity = 3\n").unwrap();
    let flags = Settings { listen: Some("127.0.0.1:2".to_owned()), ..Settings::default() };
    let config = flags.resolve(Some(&path)).unwrap();
    assert_eq!((config.listen.as_str(), config.capacity), ("127.0.0.1:2", 3));
}

#[test]
fn the_doctor_reads_the_settings_that_the_server_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("longshore.toml");
    std::fs::write(&path, "data = \"/srv/ci\"\ndocker_host = \"unix:///run/d.sock\"\ndenied_addresses = \"\"\n")
        .unwrap();
    let arguments = ["longshore", "doctor", "--config", path.to_str().unwrap(), "--data", "/srv/other"];
    let Command::Doctor(doctor) = Args::try_parse_from(arguments).unwrap().command else { panic!("another command") };
    let config = doctor.settings.resolve(doctor.config.as_deref()).unwrap();
    assert_eq!(config.data, Path::new("/srv/other"));
    assert_eq!((config.docker_host.as_str(), config.denied.len()), ("unix:///run/d.sock", 0));
}

fn given(arguments: &[&str]) -> Settings {
    match Args::try_parse_from([&["longshore", "serve"], arguments].concat()).unwrap().command {
        Command::Serve(serve) => serve.settings,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_readmes_table_is_the_list_of_settings() {
    let readme = std::fs::read_to_string(README).unwrap();
    let start = readme.find("| setting | default |").unwrap();
    let end = start + readme[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("LONGSHORE_BLESS").is_some() {
        std::fs::write(README, format!("{}{}{}", &readme[..start], readme_table(), &readme[end..])).unwrap();
        return;
    }
    assert!(
        readme[start..end] == readme_table(),
        "the README's table of settings is not that of settings.rs: run this test with LONGSHORE_BLESS=1 and commit it"
    );
}

#[test]
fn every_setting_is_a_flag_a_variable_and_a_key_and_a_former_name_is_in_no_help() {
    let mut command = Args::command();
    let serve = command.find_subcommand_mut("serve").unwrap();
    let help = serve.render_long_help().to_string();
    let printed = commented_defaults();
    for setting in tables().iter().flat_map(|table| &table.settings) {
        let (flag, variable) = (setting.flag(), setting.variable());
        let argument = serve.get_arguments().find(|argument| argument.get_long() == Some(&flag)).unwrap();
        assert_eq!(argument.get_env().and_then(|name| name.to_str()), Some(variable.as_str()));
        let shown = !matches!(setting.fallback, Fallback::Renamed { .. });
        assert_eq!(help.contains(&format!("--{flag} <")), shown, "--{flag}");
        let assigned = |line: &str| line.trim_start_matches('#').starts_with(&format!("{} = ", setting.key));
        assert_eq!(printed.lines().any(assigned), shown, "{}", setting.key);
    }
}

#[test]
fn a_flag_of_a_table_has_the_tables_name_before_its_own() {
    let settings = given(&["--strangers-job-pids", "50", "--retention-max-log-mib", "7", "--berths", "1"]);
    let config = settings.resolve(None).unwrap();
    assert_eq!((config.strangers.limits.pids, config.retention.max_log_bytes), (50, Some(7 << 20)));
    assert_eq!((config.sandboxes, config.warnings.len()), (1, 1));
}

#[test]
fn a_flag_wins_over_the_file_in_every_table() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("longshore.toml");
    let file =
        "capacity = 3\n[strangers]\ncapacity = 1\njob_pids = 60\n[retention]\nmax_age_days = 2\nmax_log_mib = 5\n";
    std::fs::write(&path, file).unwrap();
    let flags = ["--strangers-job-pids", "50", "--retention-max-age-days", "0"];
    let config = given(&flags).resolve(Some(&path)).unwrap();
    assert_eq!((config.strangers.limits.pids, config.strangers.capacity), (50, 1));
    assert_eq!((config.retention.max_age, config.retention.max_log_bytes), (None, Some(5 << 20)));
}

#[test]
fn a_setting_that_is_empty_counts_as_not_set() {
    let empty = toml::from_str::<Settings>("admin_token = ''\nsecret_key = ' '\nurl = ''\nca_file = ''\n").unwrap();
    let config = empty.resolve(None).unwrap();
    assert_eq!((config.admin_token, config.secret_key.is_none()), (None, true));
    assert_eq!(config.url.as_str(), "http://localhost:8080");
}
