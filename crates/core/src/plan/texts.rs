//! The texts of a plan: those to fill in, those that become scripts, and the names of images.

use super::{JobPlan, Reports, StepPlan};
use crate::{
    expression::{Expression, Refers},
    template::Template,
};

impl StepPlan {
    /// Applies `change` to every text of the step, until it fails.
    pub fn change<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        let texts = self
            .run
            .iter_mut()
            .chain(self.env.values_mut())
            .chain(&mut self.working_directory)
            .chain(&mut self.image)
            .chain(self.with.values_mut())
            .chain(&mut self.entrypoint)
            .chain(&mut self.command);
        for text in texts {
            change(text)?;
        }
        Ok(())
    }

    /// Returns the texts that become a script, a program's arguments or directory, or an image's name.
    pub fn scripts_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.run
            .iter_mut()
            .chain(&mut self.working_directory)
            .chain(&mut self.image)
            .chain(&mut self.entrypoint)
            .chain(&mut self.command)
    }

    /// Returns what the step's texts and its condition refer to.
    pub fn refers(&self) -> impl Iterator<Item = Refers> {
        self.run
            .iter()
            .chain(self.env.values())
            .chain(&self.working_directory)
            .chain(&self.image)
            .chain(self.with.values())
            .chain(&self.entrypoint)
            .chain(&self.command)
            .map(Template::refers)
            .chain(self.condition.iter().map(Expression::refers))
    }

    /// Returns the script for people, as far as it is known; empty for a plugin.
    #[must_use]
    pub fn shown_script(&self) -> String {
        self.run.as_ref().map(Template::shown).unwrap_or_default()
    }
}

impl JobPlan {
    /// Applies `change` to every text of the job and of its steps, until it fails.
    pub fn change<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        self.change_own(change)?;
        for text in self.outputs.values_mut() {
            change(text)?;
        }
        for step in &mut self.steps {
            step.change(change)?;
        }
        Ok(())
    }

    /// Returns what the texts and conditions of the job and of its steps refer to.
    #[must_use]
    pub fn refers(&self) -> Refers {
        let mut refers = Refers::default();
        let conditions = self.condition.iter().chain(self.steps.iter().filter_map(|step| step.condition.as_ref()));
        conditions.for_each(|condition| refers.extend(condition.refers()));
        let collected = self.clone().change(&mut |text| {
            refers.extend(text.refers());
            Ok::<(), std::convert::Infallible>(())
        });
        match collected {
            Ok(()) => refers,
        }
    }

    /// Returns the first place where text that the pipeline's author did not write would become script or an image's
    /// name, and the path of that text. Always `None` for a plan whose file was checked by this version; plans of
    /// earlier versions may have such places.
    #[must_use]
    pub fn foreign_in_scripts(&self) -> Option<(&'static str, String)> {
        fn of<'t>(
            place: &'static str,
            texts: impl IntoIterator<Item = &'t Template>,
        ) -> Option<(&'static str, String)> {
            texts.into_iter().find_map(|text| Some((place, text.foreign()?)))
        }
        let of_services = || self.services.iter();
        let of_steps = || self.steps.iter();
        of("image", self.images())
            .or_else(|| of("entrypoint", of_services().flat_map(|service| &service.entrypoint)))
            .or_else(|| of("command", of_services().flat_map(|service| &service.command)))
            .or_else(|| of("run", of_steps().filter_map(|step| step.run.as_ref())))
            .or_else(|| of("working-directory", of_steps().filter_map(|step| step.working_directory.as_ref())))
            .or_else(|| of("entrypoint", of_steps().flat_map(|step| &step.entrypoint)))
            .or_else(|| of("command", of_steps().flat_map(|step| &step.command)))
    }

    /// Returns the images of the job, of its services and of its steps.
    pub fn images(&self) -> impl Iterator<Item = &Template> {
        [&self.image]
            .into_iter()
            .chain(self.services.iter().map(|service| &service.image))
            .chain(self.steps.iter().filter_map(|step| step.image.as_ref()))
    }

    /// Applies `change` to the job's own texts. The agent fills in those of its steps and its outputs.
    pub fn change_own<E>(&mut self, change: &mut dyn FnMut(&mut Template) -> Result<(), E>) -> Result<(), E> {
        change(&mut self.image)?;
        for text in self.env.values_mut() {
            change(text)?;
        }
        for service in &mut self.services {
            change(&mut service.image)?;
            let texts = service.env.values_mut().chain(&mut service.entrypoint).chain(&mut service.command);
            for text in texts {
                change(text)?;
            }
        }
        for cache in &mut self.cache {
            for text in cache.paths.iter_mut().chain([&mut cache.key]).chain(&mut cache.fallback) {
                change(text)?;
            }
        }
        for artifact in &mut self.artifacts {
            for text in artifact.paths.iter_mut().chain([&mut artifact.name]) {
                change(text)?;
            }
        }
        let Reports { junit, coverage, sarif } = &mut self.reports;
        for text in junit.iter_mut().chain(coverage).chain(sarif) {
            change(text)?;
        }
        Ok(())
    }
}
