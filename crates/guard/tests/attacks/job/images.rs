//! Images: pulls, tags, pushes and builds.

use longshore_guard::{BeforePush, Decision, Local, Reply, Rule};
use serde_json::json;

use crate::world::*;

#[test]
fn images_of_others_are_neither_taken_nor_replaced() {
    let guard = job(JOB, 41);
    // A tag is the job's own, whatever it is called: the engine's image of that name stays.
    let tagged = ask(&guard, "POST", "/images/busybox/tag?repo=alpine&tag=latest", "").unwrap();
    assert!(
        tagged.call.path.starts_with(&format!("/images/sha256:{IMAGE}/tag?repo=longshore-guard%2Fjob1&tag=")),
        "{}",
        tagged.call.path
    );
    for (rule, method, target) in [
        (Rule::Registry, "POST", "/images/create?fromImage=127.0.0.1:5000%2Ffoo"),
        (Rule::Registry, "POST", "/images/create?fromImage=169.254.169.254%2Ffoo"),
        (Rule::Registry, "POST", "/images/create?fromSrc=http%3A%2F%2F127.0.0.1%3A1%2F"),
        (Rule::Image, "POST", "/images/create?fromSrc=-"),
        (Rule::Image, "POST", "/images/create?fromSrc=-&repo=alpine"),
        (Rule::Image, "POST", "/images/create?fromImage=alpine&changes=ENV+x"),
        (Rule::Registry, "POST", "/images/busybox/push?tag=latest"),
        (Rule::Registry, "POST", "/images/evil.example.com/busybox/push?tag=latest"),
        (Rule::Foreign, "POST", "/images/ghcr.io/us/not-ours/push?tag=latest"),
    ] {
        refused(&guard, rule, method, target, "");
    }
    for server in ["http://127.0.0.1:5000", "evil.example.com", "https://169.254.169.254/v2/"] {
        refused(
            &guard,
            Rule::Registry,
            "POST",
            "/auth",
            &format!(r#"{{"username":"a","password":"b","serveraddress":"{server}"}}"#),
        );
    }
    let login = decide(
        &guard,
        "POST",
        "/auth",
        r#"{"username":"a","password":"b","serveraddress":"https://index.docker.io/v1/"}"#,
    );
    assert!(
        matches!(login, Ok(Decision::Answer(Local::Json { status: 200, .. }))),
        "the registry is not asked from the host"
    );
    let pulled = ask(&guard, "POST", "/images/create?fromImage=ghcr.io%2Fa%2Fb&tag=1", "").unwrap();
    assert_eq!(pulled.call.path, "/images/create?fromImage=ghcr.io%2Fa%2Fb&tag=1");
    // An image that is everybody's loses only the job's name for it.
    let removed = decide(&guard, "DELETE", "/images/busybox", "").unwrap();
    assert!(matches!(removed, Decision::Answer(Local::Json { status: 200, .. })), "{removed:?}");
}

#[test]
fn the_refusal_of_a_pull_says_what_may_be_pulled_instead() {
    let pull = |registries: &str| {
        let guard = job(&JOB.replace(r#"["docker.io","ghcr.io"]"#, registries), 41);
        decide(&guard, "POST", "/images/create?fromImage=quay.io%2Fa%2Fb", "").unwrap_err().reason
    };
    let all = pull("[]");
    assert!(all.contains("pulling images from quay.io is not allowed here, nor from any other registry"), "{all}");
    let others = pull(r#"["docker.io","ghcr.io"]"#);
    assert!(others.contains("from quay.io is not allowed here, only from docker.io, ghcr.io"), "{others}");
}

#[test]
fn no_push_gives_the_engine_an_image_by_a_name_of_ours_or_of_dockers_own_library() {
    let mut guard = job(&JOB.replace("ghcr.io/us/*", "docker.io/*"), 41);
    for repository in ["longshore-agent", "longshore", "alpine", "me%2Ftool"] {
        let target = format!("/images/busybox/tag?repo={repository}&tag=0123456789ab");
        let tagged = ask(&guard, "POST", &target, "").unwrap();
        guard.settle(&tagged.effect, true, None);
    }
    for name in ["longshore-agent", "docker.io/library/longshore-agent", "longshore", "alpine"] {
        refused(&guard, Rule::Registry, "POST", &format!("/images/{name}/push?tag=0123456789ab"), "");
    }
    assert!(ask(&guard, "POST", "/images/me/tool/push?tag=0123456789ab", "").is_ok());
}

#[test]
fn no_push_gives_the_engine_an_image_by_the_name_of_one_that_others_start() {
    let kept = r#""push":["docker.io/*"],"reserved":["moby/buildkit:rootless"]"#;
    let mut guard = job(&JOB.replace(r#""push":["ghcr.io/us/*"]"#, kept), 41);
    for repository in ["moby%2Fbuildkit", "moby%2Fbuildkit-fork"] {
        let tagged = ask(&guard, "POST", &format!("/images/busybox/tag?repo={repository}&tag=rootless"), "").unwrap();
        guard.settle(&tagged.effect, true, None);
    }
    for name in ["moby/buildkit", "docker.io/moby/buildkit", "index.docker.io/moby/buildkit"] {
        refused(&guard, Rule::Registry, "POST", &format!("/images/{name}/push?tag=rootless"), "");
    }
    assert!(ask(&guard, "POST", "/images/moby/buildkit-fork/push?tag=rootless", "").is_ok());
}

#[test]
fn an_image_that_is_there_for_a_push_alone_is_nobody_elses() {
    let mut guard = job(&JOB.replace(r#""build":true"#, r#""build":true,"local_images":true"#), 41);
    let tagged = ask(&guard, "POST", "/images/busybox/tag?repo=ghcr.io%2Fus%2Fapp&tag=1", "").unwrap();
    guard.settle(&tagged.effect, true, None);
    let Ok(Decision::Push(push)) = decide(&guard, "POST", "/images/ghcr.io/us/app/push?tag=1", "") else { panic!() };
    let (_, tag) = push.mark.path.rsplit_once("&tag=").unwrap();
    let image = |names: &[&str]| json!({ "Id": format!("sha256:{VICTIM}"), "RepoTags": names, "RepoDigests": [] });
    let marked = image(&["ghcr.io/us/app:1", &format!("longshore-guard/job1:{tag}")]);
    let mut other = job(&JOB.replace("job1", "job2").replace(r#""build":true"#, r#""local_images":true"#), 41);
    let name = "ghcr.io/us/app:1";
    other.learn_answer(name, &marked);
    other.settle_image(name, name, false, &marked);
    assert!(!other.knows_image(name));
    // Another name of the same image is not there for the push.
    other.learn_answer("ghcr.io/us/app:2", &marked);
    other.learn_answer(name, &image(&[name]));
    assert!(other.knows_image(name) && other.knows_image("ghcr.io/us/app:2"));

    assert_eq!(push.before(None), Ok(BeforePush::Other { restore: None }));
    assert_eq!(push.before(Some(&marked)), Ok(BeforePush::Other { restore: None }), "of a guard that was killed");
    assert_eq!(push.before(Some(&json!({ "Id": format!("sha256:{IMAGE}") }))), Ok(BeforePush::TheImage));
    assert_eq!(push.before(Some(&image(&[name]))).unwrap_err().rule, Rule::Image, "it is in no registry");
    let mut pulled = image(&[name]);
    pulled["RepoDigests"] = json!([format!("ghcr.io/us/app@sha256:{VICTIM}")]);
    let Ok(BeforePush::Other { restore: Some(restore) }) = push.before(Some(&pulled)) else { panic!() };
    assert_eq!(restore.path, format!("/images/sha256:{VICTIM}/tag?repo=ghcr.io%2Fus%2Fapp&tag=1"));
}

#[test]
fn builds_reach_neither_the_host_nor_what_others_built() {
    let mut guard = job(JOB, 41);
    for query in [
        "remote=http%3A%2F%2F127.0.0.1%2F",
        "version=2",
        "outputs=%5B%7B%22Type%22%3A%22local%22%7D%5D",
        "session=x",
        "securityopt=%5B%22seccomp%3Dunconfined%22%5D",
        "cgroupparent=%2F",
        "extrahosts=a%3A127.0.0.1",
        "cpusetcpus=0",
        "squash=1",
        "dockerfile=..%2F..%2Fx",
        "dockerfile=%2Fetc%2Fpasswd",
        "target=a%0Ab",
        "isolation=hyperv",
    ] {
        refused(&guard, Rule::Build, "POST", &format!("/build?{query}"), "");
    }
    for (rule, query) in [
        (Rule::Foreign, "networkmode=host"),
        (Rule::Foreign, "networkmode=victim-net"),
        (Rule::Foreign, &format!("networkmode=container:{VICTIM}")[..]),
        (Rule::Label, "labels=%7B%22longshore.guard.scope%22%3A%22job2%22%7D"),
        (Rule::Image, "t=a%20b"),
        (Rule::Body, "buildargs=%7B%22a%22%3A1%7D"),
        (Rule::Syntax, "dockerfile=a&dockerfile=b"),
        (Rule::Syntax, "pulll=1"),
    ] {
        refused(&guard, rule, "POST", &format!("/build?{query}"), "");
    }
    let off = job(&JOB.replace("\"build\":true", "\"build\":false"), 41);
    refused(&off, Rule::Build, "POST", "/build", "");
    // What the command line and docker-py send.
    let built = ask(&guard, "POST", "/v1.41/build?dockerfile=Dockerfile&t=alpine%3Alatest&t=x&version=1&rm=1&cachefrom=%5B%22victim%22%5D&buildargs=%7B%22A%22%3A%22b%22%2C%22C%22%3Anull%7D&q=False&nocache=False&pull=False&forcerm=True&ulimits=null", "").unwrap();
    let path = &built.call.path;
    assert!(path.starts_with(&format!("/build?dockerfile=.longshore-{NONCE}&t=longshore-guard%2Fjob1%3A")), "{path}");
    for part in [
        "&nocache=1",
        "&forcerm=1",
        &format!("&networkmode={NET}"),
        "&cpuquota=400000",
        "&buildargs=%7B%22A%22%3A%22b%22%7D",
        "&version=1",
    ] {
        assert!(path.contains(part), "{part}: {path}");
    }
    assert!(!path.contains("cachefrom") && !path.contains("alpine"), "{path}");
    // The builder makes a layer of each label of a request, so that only the client's are in it.
    assert!(!path.contains("labels="), "{path}");
    let labelled = ask(&guard, "POST", "/build?labels=%7B%22a%22%3A%22b%22%7D", "").unwrap();
    assert!(labelled.call.path.contains("&labels=%7B%22a%22%3A%22b%22%7D"), "{}", labelled.call.path);
    let context = built.build.unwrap();
    assert!(guard.dockerfile(&context.build, "FROM secret:1").is_err());
    assert_eq!(
        guard.dockerfile(&context.build, "FROM busybox").unwrap(),
        format!("FROM sha256:{IMAGE}\nLABEL longshore.guard.scope=job1\n"),
        "what is left of a build is found"
    );
}

#[test]
fn an_image_stays_for_everybody_what_it_is_on_this_platform() {
    let guard = job(JOB, 41);
    for platform in ["linux/arm64", "arm64", "linux/386", "windows/amd64", "linux/amd64x", "freebsd"] {
        let platform = platform.replace('/', "%2F");
        for target in
            [format!("/images/create?fromImage=node&tag=22&platform={platform}"), format!("/build?platform={platform}")]
        {
            refused(&guard, Rule::Image, "POST", &target, "");
        }
        refused(
            &guard,
            Rule::Image,
            "POST",
            &format!("/containers/create?platform={platform}"),
            r#"{"Image":"busybox"}"#,
        );
    }
    for platform in ["", "linux", "linux/amd64", "amd64", "linux/x86_64", "linux/amd64/v2"] {
        ask(&guard, "POST", &format!("/images/create?fromImage=node&tag=22&platform={platform}"), "").unwrap();
    }
}

#[test]
fn images_are_loaded_only_in_jobs_with_a_builder_of_their_own() {
    let refusal = decide(&job(JOB, 41), "POST", "/images/load", "").unwrap_err();
    assert_eq!(refusal.rule, Rule::Build);
    for part in ["LONGSHORE_BUILDKIT_IMAGE", "`longshore repo docker REPO --branch BRANCH --buildkit`", "build or pull"]
    {
        assert!(refusal.reason.contains(part), "{refusal}");
    }
    let with_builder = job(&JOB.replace(r#""build":true"#, r#""build":true,"load":true"#), 41);
    assert!(decide(&with_builder, "POST", "/images/load", "").is_ok());
}

#[test]
fn the_history_of_an_image_names_no_image_of_others() {
    let guard = job(JOB, 41);
    let history = serde_json::json!([
        { "Id": IMAGE, "Tags": ["busybox:latest", "private.corp/payroll:1"], "CreatedBy": "x" },
        { "Id": "<missing>", "Tags": ["private.corp/base:1"] },
    ]);
    let forward = ask(&guard, "GET", "/images/busybox/history", "").unwrap();
    let Reply::Json(shape) = &forward.reply else { panic!("{forward:?}") };
    let shown = guard.rewrite(shape, history).unwrap();
    assert_eq!(shown[0]["Tags"], serde_json::json!(["busybox:latest"]));
    assert_eq!((&shown[1]["Tags"], &shown[0]["CreatedBy"]), (&serde_json::Value::Null, &serde_json::json!("x")));
}

#[test]
fn a_base_image_of_others_brings_no_trigger_that_a_dockerfile_may_not_have() {
    let build_with = |trigger: &str, scope: &str, kept: bool| {
        let mut guard = job(JOB, 41);
        let labels = serde_json::json!({ "longshore.guard.scope": scope });
        let image = serde_json::json!({ "Id": IMAGE, "Config": { "OnBuild": ["ENV A=b", trigger], "Labels": labels } });
        guard.settle_image("docker.io/library/base:1", "docker.io/library/base:1", kept, &image);
        let forward = ask(&guard, "POST", "/build", "").unwrap();
        let build = forward.build.unwrap().build;
        guard.dockerfile(&build, "FROM base:1\n")
    };
    for trigger in ["COPY --from=secret:1 /a /b", "ADD http://169.254.169.254/ /x", "LABEL longshore.guard.scope=x"] {
        let refusal = build_with(trigger, "job1", true).unwrap_err();
        assert!(format!("{refusal:?}").contains("ONBUILD"), "{refusal:?}");
    }
    // What makes a layer before the job's label is there is for bases that the job has built.
    for trigger in ["run true", "COPY . /usr/src/app", "\tADD bomb.tar.gz /x", "Workdir /a"] {
        for (scope, kept) in [("other", false), ("job1", false), ("other", true)] {
            let refusal = build_with(trigger, scope, kept).unwrap_err();
            assert!(format!("{refusal:?}").contains("ONBUILD"), "{refusal:?}");
        }
        build_with(trigger, "job1", true).unwrap();
    }
    build_with("ARG A", "other", false).unwrap();
}

#[test]
fn an_image_that_is_pulled_counts_unless_it_was_there() {
    let mut guard = job(&JOB.replace(r#""build":true"#, r#""build":true,"budget":{"image_bytes":1000}"#), 41);
    let image = |id: &str, bytes: u64| json!({ "Id": id.repeat(64), "Size": bytes });
    guard.note_present(&image("2", 5000));
    for (id, bytes, left) in [("2", 5000, true), ("3", 600, true), ("3", 600, true), ("4", 400, false)] {
        guard.settle_image("docker.io/library/x:latest", "docker.io/library/x:latest", false, &image(id, bytes));
        assert_eq!(guard.judge_image_bytes(0).is_ok(), left, "{id}");
    }
}

/// Builds with a base image of these settings.
fn build_of(config: serde_json::Value, query: &str, text: &str) -> Result<String, longshore_guard::DockerfileError> {
    let mut guard = job(JOB, 41);
    let image = json!({ "Id": "7".repeat(64), "Config": config });
    guard.settle_image("docker.io/library/base:1", "docker.io/library/base:1", false, &image);
    let forward = ask(&guard, "POST", &format!("/build?{query}"), "").unwrap();
    guard.dockerfile(&forward.build.unwrap().build, text)
}

#[test]
fn what_a_build_expands_in_the_engines_memory_is_bounded() {
    let (long, many) = ("x".repeat(60_000), "$A".repeat(30_000));
    let plain = json!({});
    let args = format!("buildargs=%7B%22A%22%3A%22{}%22%7D", "x".repeat(60_000));
    let doubled = |word: &str| (0..40).map(|_| format!("{word}\n")).collect::<String>();
    for (config, query, steps) in [
        (&plain, "", format!("ENV A={long}\nENV B={many}\n")),
        (&plain, "", format!("ENV A={long}\nENV B {}\n", "$A ".repeat(30_000))),
        (&plain, "", format!("ARG A={long}\nLABEL B={many}\n")),
        (&plain, "", format!("ENV A={long}\nWORKDIR /{many}\n")),
        (&plain, "", format!("ENV A={long}\nUSER {}\n", "${A:-b}".repeat(100))),
        (&plain, "", format!("ENV A={long}\n{}", doubled("ENV B=$A"))),
        (&plain, "", format!("ENV A=xx\n{}", doubled("ENV A=$A$A"))),
        (&plain, "", format!("ENV A=xx\n{}", doubled("env A $A $A"))),
        (&plain, "", "ENV A=xx\nENV B=${A//x/yyyy}\n".to_owned()),
        (&plain, "", "ENV #=xx\nENV B=${#/x/yyyy}\n".to_owned()),
        (&plain, args.as_str(), format!("ARG A\nENV B={many}\n")),
        (&json!({ "Env": [format!("A={long}")] }), "", format!("ENV B={many}\n")),
        (&json!({ "Env": ["A=xx"], "OnBuild": ["ENV A=$A$A"] }), "", doubled("FROM base:1")),
        (&plain, "", format!("ENV A=xx\nONBUILD ENV A=$A$A\n{}", doubled("FROM base:1 AS a\nFROM a"))),
    ] {
        let outcome = build_of(config.clone(), query, &format!("FROM base:1\n{steps}"));
        assert!(outcome.is_err(), "{}", steps.chars().take(60).collect::<String>());
    }
    for (config, query, steps) in [
        (json!({ "Env": [format!("PATH={}", "x".repeat(500))] }), "", doubled("ENV PATH=$PATH:/a LD=$PATH:/b")),
        (plain.clone(), args.as_str(), "ARG A\nENV B=$A\nRUN echo $A$A$A$A\n".to_owned()),
        (plain.clone(), "", format!("RUN {long}{many}\nENV B=${{A:+/x}} C=a/$B\n")),
        (json!({ "OnBuild": ["ARG X", "ENV X=$X"] }), "", "RUN true\n".to_owned()),
    ] {
        build_of(config, query, &format!("FROM base:1\n{steps}")).unwrap();
    }
}

#[test]
fn what_a_build_has_the_engine_write_and_list_is_bounded_and_counted() {
    let (long, plain) = ("x".repeat(7_000), json!({}));
    let args = format!("buildargs=%7B%22X%22%3A%22{long}%22%7D");
    let environment: String = (0..40).map(|at| format!("ENV E{at}=$X\n")).collect();
    let lines = |line: &str, count: usize| format!("{line}\n").repeat(count);
    let labelled = json!({ "Labels": { "a": "x".repeat(30_000) } });
    for (config, query, steps) in [
        // The engine adds each rune to a copy of all before it.
        (&plain, args.as_str(), format!("ARG X\nENV E={}\n", "$X".repeat(10))),
        (&plain, args.as_str(), format!("ARG X\nENV E {}\n", "$X ".repeat(10))),
        (&plain, args.as_str(), format!("ARG X\nWORKDIR {}\n", "/$X /".repeat(10))),
        (&plain, args.as_str(), "ARG X\nENV X=\"$X$X$X\"\nENV X=\"$X$X$X\"\nENV X=\"$X$X\"\n".to_owned()),
        (&plain, "", format!("LABEL a={}\n", "x".repeat(70_000))),
        (&plain, "", format!("ENV \"A\"={long}\nENV B={}\n", "$A".repeat(10))),
        (&plain, "", format!("ENV A\u{e9}={long}\nENV B={}\n", "$A\u{e9}".repeat(10))),
        (&plain, "", format!("ENV 1={long}\nENV B={}\n", "$1x".repeat(10))),
        (&plain, "buildargs=%7B%22X%22%3A%22%5Cu0001%22%7D", format!("ARG X\nENV B={}\n", "$X".repeat(10_000))),
        (&plain, args.as_str(), "ARG X\nCOPY [\"\\u0024X\", \"/\"]\n".to_owned()),
        // Each instruction makes an image, with all that is set so far.
        (&plain, args.as_str(), format!("ARG X\n{environment}{}", lines("USER root", 100))),
        (&plain, "", lines("USER a", 20_000)),
        (&plain, args.as_str(), format!("ARG X\n{}", lines("RUN true", 1_000))),
        // Each list has the labels of all images.
        (&plain, args.as_str(), "ARG X\nLABEL a=$X b=$X c=$X d=$X e=$X\n".to_owned()),
        (&labelled, args.as_str(), "ARG X\nLABEL b=$X\n".to_owned()),
        (&plain, "labels=%7B%22a%22%3A%22b%22%7D", format!("LABEL b={}\n", "x".repeat(32 << 10))),
    ] {
        let outcome = build_of(config.clone(), query, &format!("FROM base:1\n{steps}"));
        assert!(outcome.is_err(), "{}", steps.chars().take(60).collect::<String>());
    }
    let paths: String = (0..30).map(|at| format!("ENV D{at}=${{HOME}}/lib:$LD/{at} LD=$LD:/{at}\n")).collect();
    for (config, query, steps) in [
        (
            json!({ "Env": ["PATH=/usr/bin", "HOME=/root"] }),
            "",
            format!("{paths}{}", lines("RUN make && make install", 60)),
        ),
        (plain.clone(), args.as_str(), format!("ARG X\nENV A=$X B=$X\nLABEL a=$X\n{}", lines("RUN true", 20))),
        (labelled.clone(), "", "ENV A=b\nRUN true\n".to_owned()),
        (plain, "", format!("COPY [\"a b\", \"/c\"]\nRUN {}\n", "x".repeat(100_000))),
    ] {
        build_of(config, query, &format!("FROM base:1\n{steps}")).unwrap();
    }
    // It counts for what the images of the job may take.
    let policy = JOB.replace(r#""build":true"#, r#""build":true,"budget":{"image_bytes":6000}"#);
    let mut guard = job(&policy, 41);
    let forward = ask(&guard, "POST", "/build", "").unwrap();
    let build = forward.build.unwrap().build;
    assert!(guard.judge_image_bytes(0).is_ok());
    guard.dockerfile(&build, &format!("FROM busybox\n{}", lines("USER root", 3))).unwrap();
    assert!(guard.judge_image_bytes(0).is_ok());
    guard.dockerfile(&build, &format!("FROM busybox\n{}", lines("USER root", 3))).unwrap();
    assert!(guard.judge_image_bytes(0).is_err());
}

#[test]
fn no_image_gives_a_container_more_volumes_than_a_container_may_have() {
    let volumes = |count: usize| {
        let volumes: serde_json::Map<_, _> = (0..count).map(|at| (format!("/v{at}"), json!({}))).collect();
        json!({ "Volumes": volumes })
    };
    let mut guard = job(JOB, 41);
    for (count, is_allowed) in [(16, true), (17, false)] {
        let name = format!("docker.io/library/volumes:{count}");
        guard.learn_image(&name, &json!({ "Id": format!("{count:064}"), "Config": volumes(count) }));
        let body = format!(r#"{{"Image":"volumes:{count}"}}"#);
        assert_eq!(decide(&guard, "POST", "/containers/create", &body).is_ok(), is_allowed, "{count}");
        assert_eq!(build_of(volumes(count), "", "FROM base:1\nRUN true\n").is_ok(), is_allowed, "{count}");
        let paths: Vec<String> = (0..count).map(|at| format!("/v{at}")).collect();
        for line in [paths.join(" "), json!(paths).to_string(), paths.join("\nVOLUME ")] {
            let built = build_of(json!({}), "", &format!("FROM base:1\nVOLUME {line}\nRUN true\n"));
            assert_eq!(built.is_ok(), is_allowed, "{line}");
        }
    }
}

#[test]
fn a_name_that_goes_to_another_image_leaves_none_uncounted_on_the_engine() {
    let policy = JOB.replace(r#""build":true"#, r#""build":true,"budget":{"images":3,"image_bytes":1000}"#);
    let mut guard = job(&policy, 41);
    let name = "docker.io/library/a:1";
    let tag = "/images/busybox/tag?repo=b&tag=1";
    for (at, is_left) in [("3", true), ("4", true), ("5", false)] {
        let image = json!({ "Id": at.repeat(64), "Size": 400, "Config": {} });
        guard.settle_image(name, &format!("longshore-guard/job1:{at}"), true, &image);
        assert_eq!(decide(&guard, "POST", tag, "").is_ok(), is_left, "{at}");
    }
    assert!(guard.judge_image_bytes(0).is_err(), "what was loaded counts while it has a name");
    let left: Vec<String> = guard.left_names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["longshore-guard/job1:3", "longshore-guard/job1:4"]);
    let removals = guard.removals();
    assert!(left.iter().all(|name| removals.iter().any(|call| call.path == format!("/images/{name}"))));
    left.iter().for_each(|name| guard.forget_left_name(name));
    assert!(guard.judge_image_bytes(0).is_ok() && guard.left_names().is_empty());
    // A tag that goes to another image has the same name on the engine.
    for _ in 0..3 {
        let tagged = ask(&guard, "POST", tag, "").unwrap();
        guard.settle(&tagged.effect, true, None);
    }
    let tagged = ask(&guard, "POST", "/images/busybox/tag?repo=a&tag=1", "").unwrap();
    guard.settle(&tagged.effect, true, None);
    assert_eq!(guard.left_names().len(), 1, "the loaded one");
    // What a build has made is measured by its layers.
    let built =
        json!({ "Id": "6".repeat(64), "Size": 5000, "Config": { "Labels": { "longshore.guard.scope": "job1" } } });
    guard.settle_image("docker.io/library/c:1", "longshore-guard/job1:6", true, &built);
    assert!(guard.judge_image_bytes(0).is_ok());
}
