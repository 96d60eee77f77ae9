//! Attacks as raw HTTP requests, each family beside legitimate requests. No attack reaches the engine, and the objects
//! of others stay as they were.

use crate::world::{BUSYBOX, World, engine};

fn create(host: &str) -> String {
    format!(r#"{{"Image":"{BUSYBOX}","Cmd":["true"],"HostConfig":{host}}}"#)
}

/// Somebody else's container, network, volume and image.
struct Victim {
    name: String,
    container: String,
    network: String,
    volume: String,
    image: String,
}

impl Victim {
    fn new(world: &World) -> Self {
        let name = format!("victim-{}", world.scope);
        let network = engine(&["network", "create", &name]);
        let volume = engine(&["volume", "create", &name]);
        let container = engine(&[
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            &name,
            "-v",
            &format!("{name}:/data"),
            BUSYBOX,
            "sleep",
            "600",
        ]);
        let image = format!("longshore-test/{name}:1");
        engine(&["commit", &container, &image]);
        Self { name, container, network, volume, image }
    }

    fn snapshot(&self) -> String {
        let of = |args: &[&str]| engine(args);
        [
            of(&["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.Name}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy}} {{json .NetworkSettings.Networks}}", &self.container]),
            of(&["exec", &self.container, "ls", "-A", "/", "/data"]),
            of(&["network", "inspect", "-f", "{{.Id}} {{len .Containers}}", &self.network]),
            of(&["volume", "inspect", &self.volume]),
            of(&["image", "inspect", "-f", "{{.Id}} {{.RepoTags}}", &self.image]),
        ]
        .join("\n")
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        for args in [
            &["rm", "-f", &self.container][..],
            &["network", "rm", &self.network],
            &["volume", "rm", &self.volume],
            &["rmi", &self.image],
        ] {
            let _ = std::process::Command::new("docker").args(args).output();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_on_the_wire_never_reach_the_engine_and_their_twins_do() {
    let world = World::new(true).await;
    let victim = Victim::new(&world);
    let Victim { name, container, network, volume, image } = &victim;
    let own = world.ok(&["run", "-d", "--name", "own", BUSYBOX, "sleep", "600"]);
    world.ok(&["network", "create", "own"]);
    world.ok(&["tag", BUSYBOX, "own:1"]);
    let before = victim.snapshot();
    world.front.heard();

    let mut attacks: Vec<(String, String, String)> = Vec::new();
    let mut attack = |method: &str, target: &str, body: &str| {
        attacks.push((method.to_owned(), target.to_owned(), body.to_owned()));
    };
    let at = "/v1.41/containers/create";
    // Bodies that Docker's parser reads differently from most.
    for body in [
        format!(r#"{{"image":"{BUSYBOX}","hostconfig":{{"privileged":true,"binds":["/:/h"]}}}}"#),
        format!(r#"{{"Image":"{BUSYBOX}","HostConfig":{{"Binds":["/:/h"]}},"HostConfig":{{"Privileged":false}}}}"#),
        format!(r#"{{"Image":"{BUSYBOX}","Ho\u017ftConfig":{{"Privileged":true}}}}"#),
        format!("{{\"Image\":\"{BUSYBOX}\",\"Ho\u{17f}tConfig\":{{\"Privileged\":true}}}}"),
        format!(r#"{{"Image":"{BUSYBOX}","Host\u0043onfig":{{"Pri\u0076ileged":true}}}}"#),
        format!(r#"{{"Image":"{BUSYBOX}","HostConfig":null,"HOSTCONFIG":{{"Privileged":true}}}}"#),
        format!(r#"{{"Image":"{BUSYBOX}"}} {{"HostConfig":{{"Privileged":true}}}}"#),
        format!(r#"{{"Image":"{BUSYBOX}","Privileged":true}}"#),
    ] {
        attack("POST", at, &body);
    }
    // The host's files, devices and namespaces.
    for host in [
        r#"{"Binds":["/:/h"]}"#.to_owned(),
        r#"{"Binds":["/etc/../:/h"]}"#.to_owned(),
        r#"{"Binds":["/longshore/workspace/../../etc:/h"]}"#.to_owned(),
        r#"{"Mounts":[{"Type":"bind","Source":"/","Target":"/h"}]}"#.to_owned(),
        r#"{"Mounts":[{"Type":"volume","Target":"/v","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"type":"none","o":"bind","device":"/etc"}}}}]}"#.to_owned(),
        r#"{"Mounts":[{"Type":"volume","Target":"/v","VolumeOptions":{"DriverConfig":{"Options":{"type":"overlay","o":"lowerdir=/etc:/usr"}}}}]}"#.to_owned(),
        r#"{"Mounts":[{"Type":"npipe","Source":"/","Target":"/h"}]}"#.to_owned(),
        format!(r#"{{"VolumesFrom":["{name}"]}}"#),
        r#"{"VolumeDriver":"sshfs"}"#.to_owned(),
        r#"{"Binds":["/longshore/workspace:/w:rshared"]}"#.to_owned(),
        r#"{"Mounts":[{"Type":"volume","Source":"v","Target":"/v","VolumeOptions":{"Subpath":"../other"}}]}"#.to_owned(),
        r#"{"Devices":[{"PathOnHost":"/dev/mem","PathInContainer":"/dev/mem","CgroupPermissions":"rwm"}]}"#.to_owned(),
        r#"{"DeviceCgroupRules":["b *:* rwm"]}"#.to_owned(),
        r#"{"DeviceRequests":[{"Driver":"cdi","DeviceIDs":["x"]}]}"#.to_owned(),
        r#"{"ContainerIDFile":"/x"}"#.to_owned(),
        r#"{"StorageOpt":{"size":"1T"}}"#.to_owned(),
        r#"{"Privileged":true}"#.to_owned(),
        r#"{"PidMode":"host"}"#.to_owned(),
        format!(r#"{{"PidMode":"container:{container}"}}"#),
        r#"{"UTSMode":"host"}"#.to_owned(),
        r#"{"UsernsMode":"host"}"#.to_owned(),
        r#"{"IpcMode":"host"}"#.to_owned(),
        r#"{"NetworkMode":"host"}"#.to_owned(),
        r#"{"NetworkMode":"ns:/proc/1/ns/net"}"#.to_owned(),
        r#"{"Cgroup":"container:x"}"#.to_owned(),
        r#"{"CgroupnsMode":"host"}"#.to_owned(),
        r#"{"SecurityOpt":["seccomp=unconfined"]}"#.to_owned(),
        r#"{"SecurityOpt":["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}"]}"#.to_owned(),
        r#"{"SecurityOpt":["apparmor=unconfined"]}"#.to_owned(),
        r#"{"SecurityOpt":["no-new-privileges=false"]}"#.to_owned(),
        r#"{"SecurityOpt":["writable-cgroups=true"]}"#.to_owned(),
        r#"{"MaskedPaths":[],"ReadonlyPaths":[]}"#.to_owned(),
        r#"{"Runtime":"io.containerd.runc.v2"}"#.to_owned(),
        r#"{"Isolation":"hyperv"}"#.to_owned(),
        r#"{"Sysctls":{"kernel.core_pattern":"|/x"}}"#.to_owned(),
        r#"{"CgroupParent":"/"}"#.to_owned(),
        r#"{"GroupAdd":["999"]}"#.to_owned(),
        r#"{"CapAdd":["SYS_ADMIN"]}"#.to_owned(),
        r#"{"CapAdd":["ALL"]}"#.to_owned(),
        r#"{"CpuRealtimeRuntime":1000}"#.to_owned(),
        r#"{"OomKillDisable":true}"#.to_owned(),
        r#"{"OomScoreAdj":-500}"#.to_owned(),
        r#"{"Ulimits":[{"Name":"memlock","Soft":-1,"Hard":-1}]}"#.to_owned(),
        r#"{"Memory":1000000000000}"#.to_owned(),
        r#"{"ShmSize":1000000000000}"#.to_owned(),
        r#"{"Tmpfs":{"/t":"size=64m,exec,suid"}}"#.to_owned(),
        r#"{"LogConfig":{"Type":"syslog","Config":{"syslog-address":"tcp://127.0.0.1:1"}}}"#.to_owned(),
        format!(r#"{{"Links":["{name}:x"]}}"#),
        format!(r#"{{"NetworkMode":"container:{container}"}}"#),
        format!(r#"{{"NetworkMode":"{network}"}}"#),
        r#"{"PortBindings":{"53/sctp":[{"HostPort":"53"}]}}"#.to_owned(),
    ] {
        attack("POST", at, &create(&host));
    }
    attack(
        "POST",
        at,
        &format!(
            r#"{{"Image":"{BUSYBOX}","HostConfig":{{"NetworkMode":"none"}},"NetworkingConfig":{{"EndpointsConfig":{{"{network}":{{}}}}}}}}"#
        ),
    );
    attack("POST", at, &format!(r#"{{"Image":"{BUSYBOX}","Labels":{{"longshore.instance":"x"}}}}"#));
    attack(
        "POST",
        at,
        &format!(r#"{{"Image":"{image}","HostConfig":{{}}}}"#).replace("longshore-test/", "registry.invalid/"),
    );
    attack("POST", &format!("{at}?name={}", &container[..12]), &create("{}"));
    attack("POST", &format!("{at}?name=longshore-x"), &create("{}"));
    // Objects of others.
    for reference in [container.as_str(), name, &container[..12], &format!("%2F{name}")] {
        for (method, rest, body) in [
            ("GET", "/json", ""),
            ("GET", "/logs?stdout=1", ""),
            ("GET", "/top", ""),
            ("GET", "/stats?stream=0", ""),
            ("GET", "/export", ""),
            ("GET", "/changes", ""),
            ("GET", "/archive?path=/root", ""),
            ("HEAD", "/archive?path=/root", ""),
            ("POST", "/exec", r#"{"Cmd":["id"]}"#),
            ("POST", "/exec", r#"{"cmd":["id"],"privileged":true}"#),
            ("POST", "/attach?stream=1", ""),
            ("POST", "/wait", ""),
            ("POST", "/start", ""),
            ("POST", "/stop", ""),
            ("POST", "/restart", ""),
            ("POST", "/kill", ""),
            ("POST", "/pause", ""),
            ("POST", "/update", r#"{"Memory":8388608}"#),
            ("POST", "/rename?name=mine", ""),
            ("DELETE", "?force=1", ""),
        ] {
            attack(method, &format!("/v1.41/containers/{reference}{rest}"), body);
        }
    }
    for (method, target, body) in [
        ("POST", format!("/containers/{own}/exec"), r#"{"Cmd":["id"],"Privileged":true}"#.to_owned()),
        (
            "POST",
            format!("/containers/{own}/update"),
            r#"{"Memory":0,"PidsLimit":-1,"RestartPolicy":{"Name":"always"}}"#.to_owned(),
        ),
        ("POST", format!("/containers/{own}/rename?name=longshore-x"), String::new()),
        ("POST", format!("/v1.18/containers/{own}/start"), r#"{"Binds":["/:/h:ro"],"Privileged":true}"#.to_owned()),
        ("GET", format!("/containers/{own}/attach/ws?stream=1"), String::new()),
        ("POST", format!("/containers/{own}/copy"), r#"{"Resource":"/etc"}"#.to_owned()),
        ("POST", "/exec/0123456789abcdef/start".to_owned(), r#"{"Detach":false}"#.to_owned()),
        ("POST", format!("/commit?container={own}&repo=alpine"), String::new()),
        // Networks, volumes, images.
        ("POST", format!("/networks/{network}/connect"), format!(r#"{{"Container":"{own}"}}"#)),
        ("POST", "/networks/own/connect".to_owned(), format!(r#"{{"Container":"{container}"}}"#)),
        ("POST", format!("/networks/{network}/disconnect"), format!(r#"{{"Container":"{container}","Force":true}}"#)),
        ("DELETE", format!("/networks/{network}"), String::new()),
        ("GET", format!("/networks/{network}"), String::new()),
        (
            "POST",
            "/networks/create".to_owned(),
            r#"{"Name":"n","Driver":"macvlan","Options":{"parent":"eth0"}}"#.to_owned(),
        ),
        (
            "POST",
            "/networks/create".to_owned(),
            r#"{"Name":"n","Options":{"com.docker.network.bridge.name":"docker0"}}"#.to_owned(),
        ),
        (
            "POST",
            "/networks/create".to_owned(),
            r#"{"Name":"n","IPAM":{"Config":[{"Subnet":"169.254.169.0/24"}]}}"#.to_owned(),
        ),
        ("GET", format!("/volumes/{volume}"), String::new()),
        ("DELETE", format!("/volumes/{volume}"), String::new()),
        (
            "POST",
            "/volumes/create".to_owned(),
            r#"{"Name":"v","DriverOpts":{"type":"none","o":"bind","device":"/"}}"#.to_owned(),
        ),
        ("POST", "/volumes/create".to_owned(), r#"{"Name":"v","Driver":"sshfs"}"#.to_owned()),
        ("POST", "/volumes/create".to_owned(), r#"{"Name":"longshore-agent-x"}"#.to_owned()),
        ("GET", format!("/images/get?names={image}"), String::new()),
        ("POST", format!("/images/{image}/push"), String::new()),
        ("DELETE", format!("/images/{image}"), String::new()),
        ("POST", "/images/create?fromSrc=http://127.0.0.1:1/".to_owned(), String::new()),
        ("POST", "/images/create?fromImage=127.0.0.1:1/foo/bar&tag=x".to_owned(), String::new()),
        ("POST", "/images/load".to_owned(), String::new()),
        ("POST", "/auth".to_owned(), r#"{"serveraddress":"http://127.0.0.1:1"}"#.to_owned()),
        // Builds.
        ("POST", "/build?remote=http://127.0.0.1:1/".to_owned(), String::new()),
        ("POST", "/build?version=2".to_owned(), String::new()),
        ("POST", "/build?networkmode=host".to_owned(), String::new()),
        ("POST", format!("/build?networkmode=container:{container}"), String::new()),
        ("POST", "/build?outputs=[{\"Type\":\"local\"}]".to_owned(), String::new()),
        ("POST", "/build?session=x".to_owned(), String::new()),
        ("POST", "/build/cancel?id=x".to_owned(), String::new()),
        ("POST", "/session".to_owned(), String::new()),
        ("POST", "/grpc".to_owned(), String::new()),
        // The engine itself, and paths that are not routes.
        ("POST", "/containers/prune?filters={\"label!\":[\"x\"]}".to_owned(), String::new()),
        ("POST", "/containers/prune?filters={\"until\":[\"1h\"]}".to_owned(), String::new()),
        ("GET", "/system/df".to_owned(), String::new()),
        ("POST", "/swarm/init".to_owned(), "{}".to_owned()),
        ("GET", "/services".to_owned(), String::new()),
        ("GET", "/secrets".to_owned(), String::new()),
        ("GET", "/plugins".to_owned(), String::new()),
        ("GET", "/plugins/privileges?remote=x".to_owned(), String::new()),
        ("POST", "/plugins/x/enable".to_owned(), String::new()),
        ("OPTIONS", "/containers/json".to_owned(), String::new()),
        ("PATCH", "/containers/json".to_owned(), String::new()),
        ("GET", "/images/..%2fcontainers/json".to_owned(), String::new()),
        ("GET", "/%2e%2e/containers/json".to_owned(), String::new()),
        ("GET", "//v1.41/containers/json".to_owned(), String::new()),
        ("GET", "/v1.41/./info".to_owned(), String::new()),
        ("GET", "/v1.99/containers/json".to_owned(), String::new()),
        ("GET", "/containers/json?all=1&all=0".to_owned(), String::new()),
        ("GET", "/containers/json?filters=%7B%22label%22%3A%5B%22a%22%5D%7D;x=y".to_owned(), String::new()),
    ] {
        attacks.push((method.to_owned(), target, body));
    }
    for (method, target, body) in &attacks {
        let (status, answer) = world.send_json(method, target, body);
        assert!((400..500).contains(&status), "{method} {target} {body}: {answer}");
        let mut heard = world.front.heard();
        // The guard's own look at what the job's images take, before it reads an archive.
        heard.retain(|line| !line.contains("/images/json?filters=%7B%22label%22%3A"));
        assert_eq!(heard, Vec::<String>::new(), "{method} {target} {body} reached the engine: {answer}");
    }
    // Compressed archives, which the headers or the first bytes show.
    for bytes in [&b"\x1f\x8b\x08\0"[..], b"\xfd7zXZ\0", b"BZh9", b"\x28\xb5\x2f\xfd"] {
        let archive = [bytes, &[0; 1024]].concat();
        let (status, answer) = world.send("PUT", &format!("/containers/{own}/archive?path=/"), "", &archive);
        assert_eq!((status, world.front.heard()), (415, Vec::new()), "{answer}");
    }
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let (status, answer) = world.send("POST", "/images/own:1/tag?repo=ok", form, b"repo=evil&tag=b");
    assert_eq!((status, world.front.heard()), (415, Vec::new()), "{answer}");
    let denied = world.audit().iter().filter(|entry| entry["decision"] == "denied" && entry["rule"] != "").count();
    assert!(denied > attacks.len(), "{denied} of {} are in the audit", attacks.len());
    assert_eq!(victim.snapshot(), before);

    // Legitimate twins of these requests.
    for (method, target, body, wanted) in [
        (
            "POST",
            format!("{at}?name=a"),
            create(
                r#"{"Privileged":false,"Binds":["/longshore/workspace:/w:ro"],"CapAdd":["CHOWN"],"PidMode":"container:own"}"#,
            ),
            201,
        ),
        (
            "POST",
            format!("{at}?name=b"),
            create(
                r#"{"Mounts":[{"Type":"volume","Source":"v","Target":"/v"}],"NetworkMode":"own","Tmpfs":{"/t":"size=8m"},"Sysctls":{"net.core.somaxconn":"1024"}}"#,
            ),
            201,
        ),
        (
            "POST",
            format!("{at}?name=c"),
            create(
                r#"{"MaskedPaths":null,"ReadonlyPaths":null,"MemorySwappiness":-1,"OomKillDisable":false,"Devices":[],"PortBindings":{"80/tcp":[{"HostIp":"","HostPort":""}]}}"#,
            ),
            201,
        ),
        (
            "POST",
            "/containers/own/exec".to_owned(),
            r#"{"Cmd":["id"],"Privileged":false,"Container":"own"}"#.to_owned(),
            201,
        ),
        ("POST", "/containers/own/update".to_owned(), r#"{"Memory":16777216,"MemorySwap":16777216}"#.to_owned(), 200),
        ("GET", format!("/containers/{}/json", &own[..12]), String::new(), 200),
        ("GET", "/containers/c/archive?path=/etc/passwd".to_owned(), String::new(), 200),
        (
            "POST",
            "/networks/own/connect".to_owned(),
            r#"{"Container":"own","EndpointConfig":{"Aliases":["x"]}}"#.to_owned(),
            200,
        ),
        ("POST", "/volumes/create".to_owned(), r#"{"Name":"w","Driver":"local","DriverOpts":{}}"#.to_owned(), 201),
        ("GET", "/images/own:1/json".to_owned(), String::new(), 200),
        ("GET", "/v1.32/info".to_owned(), String::new(), 200),
        ("GET", "/version".to_owned(), String::new(), 200),
        (
            "GET",
            r"/containers/json?all=1&filters=%7B%22label%22%3A%7B%22x%22%3Atrue%7D%7D".to_owned(),
            String::new(),
            200,
        ),
    ] {
        let (status, answer) = world.send_json(method, &target, &body);
        assert_eq!(status, wanted, "{method} {target} {body}: {answer}");
    }
    assert_eq!(victim.snapshot(), before);
    world.end().await;
}
