//! Sets a job up before its first step: workspace, user, secret files, checkout.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use longshore_agent_protocol::ImageConfig;
use longshore_agent_protocol::message::{AgentError, JobSpec, MemberPurpose};
use longshore_core::Record;
use longshore_core::docker::BUILDX_FOLDER;
use rustix::io::Errno;

use super::{Job, JobError, SECRETS};
use crate::account;
use crate::ca_certificates::CaCertificates;
use crate::caches;
use crate::checkout::{self, Chunk};
use crate::files::private_file;
use crate::step::StepLauncher;
use crate::wake::Event;

impl Job {
    /// Creates the workspace, and returns the launcher of steps, with workspace, script folder, user and environment.
    pub(super) fn prepare(&self, spec: &JobSpec) -> Result<StepLauncher, JobError> {
        let image = self.runtime.options.membership.as_ref().map(|membership| membership.image.clone());
        let user = match &image {
            Some(image) if spec.user.is_empty() => &image.user,
            Some(_) | None => &spec.user,
        };
        let account = account::lookup(user, &self.runtime.options.etc)
            .map_err(|message| JobError::new(AgentError::ImageUnusable, message))?;
        let ca_certificates = CaCertificates::write(&spec.authorities, &self.runtime.options)
            .map_err(|error| setup_error("could not write the operator's certificate authorities", &error))?;
        crate::docker::offer(&self.runtime.options.root, Path::new("/var"))
            .map_err(|error| setup_error("could not create /var/run/docker.sock", &error))?;
        crate::buildx::offer(&spec.env, Path::new(BUILDX_FOLDER))
            .map_err(|error| setup_error("could not create the folder of `docker buildx`", &error))?;
        let scripts = self.runtime.options.root.join("tmp");
        if let (Some(image), Some(purpose)) = (image, &spec.member) {
            let workspace = match purpose {
                MemberPurpose::Step => PathBuf::from(&spec.workspace),
                // A service runs in its image's WORKDIR.
                MemberPurpose::Service { .. } => Path::new("/").join(&image.directory),
            };
            return Ok(StepLauncher::new(account, workspace, scripts, image, ca_certificates));
        }
        let workspace = PathBuf::from(&spec.workspace);
        let made = fs::create_dir_all(&workspace).and_then(|()| {
            if account::differs_from_ours(&account) {
                std::os::unix::fs::chown(&workspace, Some(account.uid), Some(account.gid))?;
            }
            Ok(())
        });
        made.map_err(|error| setup_error(&format!("could not create the workspace {}", workspace.display()), &error))?;
        if spec.on_workspace
            && caches::take_over(&workspace, &account)
                .map_err(|error| setup_error("could not change the owner of the workspace to the job's user", &error))?
        {
            self.note(
                Record::NO_STEP,
                "the workspace belonged to another user; its owner is now this job's user".to_owned(),
            )?;
        }
        let changed = caches::prepare(&spec.caches, &account, &workspace)
            .map_err(|error| setup_error("could not change the owner of the caches to the job's user", &error))?;
        for path in changed {
            self.note(
                Record::NO_STEP,
                format!("cache {path}: its files belonged to another user; their owner is now this job's user"),
            )?;
        }
        Ok(StepLauncher::new(account, workspace, scripts, ImageConfig::default(), ca_certificates))
    }

    /// Writes the secrets that are files, for the steps' user only. Returns the variables with their paths.
    pub(super) fn write_secrets(
        &mut self,
        spec: &JobSpec,
        launcher: &StepLauncher,
    ) -> Result<BTreeMap<String, String>, JobError> {
        if spec.secret_files.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut folder = self.runtime.options.root.join(SECRETS);
        if !is_in_memory(&folder) {
            folder.clone_from(&launcher.scripts);
            self.note(
                Record::NO_STEP,
                "the job's secret files are on the engine's disk until the job ends, because this engine provides no tmpfs for them".to_owned(),
            )?;
        }
        let mut variables = BTreeMap::new();
        for (at, (variable, value)) in spec.secret_files.iter().enumerate() {
            let path = folder.join(format!("secret-{at}"));
            private_file(&path, value.as_bytes(), &launcher.account).map_err(|error| {
                let message = format!("could not write the secret `{variable}` to its file: {error}");
                JobError::new(AgentError::Internal, message)
            })?;
            variables.insert(variable.clone(), path.display().to_string());
        }
        self.secret_variables.clone_from(&variables);
        Ok(variables)
    }

    pub(super) fn check_out(&mut self, launcher: &StepLauncher, chunks: Receiver<Chunk>) -> Result<(), JobError> {
        let workspace = launcher.workspace.clone();
        let account = &launcher.account;
        let owner = account::differs_from_ours(account).then_some((account.uid, account.gid));
        let mailbox = self.runtime.mailbox.clone();
        let unpacking = move || {
            let result = checkout::unpack(chunks, &workspace, owner).map_err(|error| error.to_string());
            mailbox.post(Event::CheckedOut(result));
        };
        std::thread::Builder::new().name("checkout".to_owned()).spawn(unpacking).map_err(|error| {
            JobError::new(AgentError::Internal, format!("could not start a thread for the checkout: {error}"))
        })?;
        while self.checked_out.is_none() && self.stop.is_none() {
            self.turn(None)?;
        }
        match &self.checked_out {
            Some(Err(message)) => {
                Err(JobError::new(AgentError::CheckoutFailed, format!("the checkout failed: {message}")))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}

/// Returns the error that ends a job whose files or folders could not be created.
fn setup_error(what: &str, error: &io::Error) -> JobError {
    let is_full = error.raw_os_error() == Some(Errno::NOSPC.raw_os_error());
    JobError::new(if is_full { AgentError::DiskFull } else { AgentError::Internal }, format!("{what}: {error}"))
}

/// Returns whether files in this folder never reach a disk.
fn is_in_memory(folder: &Path) -> bool {
    // TMPFS_MAGIC and RAMFS_MAGIC of the kernel's magic.h.
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    rustix::fs::statfs(folder)
        .is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| IN_MEMORY.contains(&kind)))
}
