//! Test images, imported from tars that are made here: a busybox, one with a USER, and one without any shell.

use std::io;

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptions, TagImageOptionsBuilder};
use futures_util::StreamExt as _;
use tokio::sync::Mutex;

pub const BUSYBOX: &str = "longshore-test/busybox:latest";
pub const BUSYBOX_USER: &str = "longshore-test/busybox-user:latest";
pub const NO_SHELL: &str = "longshore-test/no-shell:latest";
/// An image whose program is a plugin or a service: it has everything that an image can say about its containers.
pub const TOOL: &str = "longshore-test/tool:latest";
/// The program: says what it was started with, and where. With `serve` it answers on port 7777 until it is ended.
const TOOL_PROGRAM: &[u8] = br#"#!/bin/sh
echo "tool $* as $(id -un) in $(pwd) with $COLOR $PLUGIN_REPO_NAME $PLUGIN_TAGS"
case $1 in
  serve) while :; do echo served | nc -l -p 7777; done ;;
  fail) exit "$2" ;;
  *) [ -z "$LONGSHORE_OUTPUT" ] || echo "said=$1" >> "$LONGSHORE_OUTPUT" ;;
esac
"#;

/// The tests of one process create the images once.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Creates the images that are missing.
pub async fn ensure(docker: &Docker) {
    let _turn = ONE_AT_A_TIME.lock().await;
    for (image, changes) in [(BUSYBOX, Vec::new()), (BUSYBOX_USER, vec!["USER app".to_owned()])] {
        if docker.inspect_image(image).await.is_err() {
            import(docker, image, busybox(None), changes).await;
        }
    }
    if docker.inspect_image(TOOL).await.is_err() {
        let changes = [
            "ENTRYPOINT [\"tool\"]",
            "CMD [\"by\", \"default\"]",
            "USER app",
            "WORKDIR /home/app",
            "ENV COLOR=blue",
            "EXPOSE 7777",
        ];
        import(docker, TOOL, busybox(Some(TOOL_PROGRAM)), changes.map(str::to_owned).to_vec()).await;
    }
    if docker.inspect_image(NO_SHELL).await.is_err() {
        import(docker, NO_SHELL, tar_of(&[("hello", b"not a program", 0o755)]), Vec::new()).await;
    }
}

/// Imports a tar as an image. The image is tagged by a separate call, because Podman takes no tag with an import.
pub async fn import(docker: &Docker, image: &str, tar: Vec<u8>, changes: Vec<String>) {
    let (repo, tag) = image.rsplit_once(':').unwrap();
    let options = CreateImageOptions { from_src: Some("-".to_owned()), changes, ..CreateImageOptions::default() };
    let mut progress = std::pin::pin!(docker.create_image(Some(options), Some(bollard::body_full(tar.into())), None));
    let mut id = None;
    while let Some(info) = progress.next().await {
        id = info.unwrap().status.filter(|status| status.starts_with("sha256:")).or(id);
    }
    let options = TagImageOptionsBuilder::new().repo(repo).tag(tag).build();
    docker.tag_image(&id.unwrap(), Some(options)).await.unwrap();
}

pub fn tar_of(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, data, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, path, *data).unwrap();
    }
    tar.into_inner().unwrap()
}

fn busybox(tool: Option<&[u8]>) -> Vec<u8> {
    let program = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| std::path::Path::new(path).exists());
    let program = program.expect("no busybox here: install busybox-static");
    let applets = std::process::Command::new(program).arg("--list").output().unwrap().stdout;
    let mut tar = tar::Builder::new(Vec::new());
    for (path, mode) in [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("home/app/", 0o755), ("tmp/", 0o1777)] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        tar.append_data(&mut header, path, io::empty()).unwrap();
    }
    tar.append_path_with_name(program, "bin/busybox").unwrap();
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    if let Some(tool) = tool {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(tool.len() as u64);
        tar.append_data(&mut header, "bin/tool", tool).unwrap();
    }
    for (path, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n"),
        ("etc/group", "root:x:0:\napp:x:1000:\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}
