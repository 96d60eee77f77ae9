//! The folder in which `docker buildx` finds the job's own builder, in a container of a job that has one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use longshore_core::Template;
use longshore_core::docker::{BUILDER, BUILDER_ADDRESS, BUILDX_FOLDER};

/// Writes the folder, if the job's variables name it. It is for steps of any user: `docker buildx` writes there, too.
pub(crate) fn offer(env: &BTreeMap<String, Template>, folder: &Path) -> io::Result<()> {
    if env.get("BUILDX_CONFIG").and_then(Template::as_known) != Some(BUILDX_FOLDER) {
        return Ok(());
    }
    let node = format!(r#"{{"Name":"{BUILDER}0","Endpoint":"{BUILDER_ADDRESS}"}}"#);
    let builder = format!(r#"{{"Name":"{BUILDER}","Driver":"remote","Nodes":[{node}],"Dynamic":false}}"#);
    let instances = folder.join("instances");
    fs::create_dir_all(&instances)?;
    let file = instances.join(BUILDER);
    fs::write(&file, builder)?;
    for (path, mode) in [(folder, 0o777), (&instances, 0o777), (&file, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_with_a_builder_finds_it_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("buildx");
        let env = |value: &str| [("BUILDX_CONFIG".to_owned(), Template::from(value))].into();
        offer(&BTreeMap::new(), &folder).unwrap();
        offer(&env("/own"), &folder).unwrap();
        assert!(!folder.exists());
        for _ in 0..2 {
            offer(&env(BUILDX_FOLDER), &folder).unwrap();
            let written = fs::read_to_string(folder.join("instances/longshore")).unwrap();
            assert_eq!(
                written,
                r#"{"Name":"longshore","Driver":"remote","Nodes":[{"Name":"longshore0","Endpoint":"tcp://127.0.0.1:8372"}],"Dynamic":false}"#
            );
            assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o777);
        }
    }
}
