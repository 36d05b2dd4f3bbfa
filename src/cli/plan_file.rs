//! The flags of kept plans: `--plan --out FILE` keeps one, `--from-plan FILE` does what it says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::ctx::shell_word;
use crate::error::Error;
use crate::report::output::tell;
use crate::script::plan_file::{self, KeptPlan};
use crate::units::{parse_duration, path_text};

/// The flags, as `run` has them.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct PlanFile {
    /// With --plan: keep the plan in a new file, to be done as it is with --from-plan
    #[arg(long, value_name = "FILE", requires = "plan")]
    pub(crate) out: Option<PathBuf>,

    /// Do what a kept plan says, or nothing if it would be something else by now; takes the place of NAME and parameters
    #[arg(long, value_name = "FILE", conflicts_with_all = ["set", "out"])]
    pub(crate) from_plan: Option<PathBuf>,

    /// With --from-plan: refuse a plan older than this, such as 1h
    #[arg(long, value_name = "TIME", value_parser = age, requires = "from_plan")]
    pub(crate) max_age: Option<Duration>,

    /// With --from-plan: go on although something is not as it was planned; it is shown
    #[arg(long, requires = "from_plan")]
    pub(crate) accept_drift: bool,
}

fn age(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// What is to be kept, or was.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// Where the plan goes.
    pub(crate) out: Option<PathBuf>,
    /// The plan to do.
    pub(crate) kept: Option<Arc<KeptPlan>>,
    /// Whether differences stop it.
    pub(crate) accept_drift: bool,
}

impl PlanFile {
    /// Reads the plan that is to be done, and sees to it that the one to be kept has a place.
    pub(crate) fn read(self) -> Result<Wish, Error> {
        if let Some(path) = self.out.as_ref().filter(|path| path.symlink_metadata().is_ok()) {
            // Told now, and not when a long plan is ready.
            return Err(plan_file::exists(path));
        }
        let kept = self.from_plan.map(|path| KeptPlan::read(&path, self.max_age).map(Arc::new)).transpose()?;
        Ok(Wish { out: self.out, kept, accept_drift: self.accept_drift })
    }
}

impl Wish {
    /// Writes the plan, and says how to do it.
    pub(crate) fn keep(&self, kept: impl FnOnce() -> Result<KeptPlan, Error>) -> Result<(), Error> {
        let Some(path) = &self.out else { return Ok(()) };
        let kept = kept()?;
        kept.write(path)?;
        let shown = path_text(path.as_os_str().as_encoded_bytes());
        tell(&format!("kept in {shown}; do it with: decamp run --from-plan {}", shell_word(&path.to_string_lossy())));
        if let Some(why) = kept.stops() {
            tell(&format!("it binds up to where it stops: {why}"));
        }
        Ok(())
    }
}
