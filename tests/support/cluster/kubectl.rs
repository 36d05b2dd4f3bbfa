//! The cluster as `kubectl` sees it, for setting up and looking; never for ever.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::Cluster;

/// What kubectl printed.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) done: bool,
    /// Standard output, and if it failed standard error behind it.
    pub(crate) text: String,
}

impl Cluster {
    /// Runs kubectl, for two minutes at most.
    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Said {
        self.feed(words, "", 120)
    }

    /// Runs kubectl, which must succeed; what it prints.
    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        let said = self.try_kubectl(words);
        assert!(said.done, "kubectl {words:?}: {}", said.text);
        said.text
    }

    /// Runs kubectl for some seconds at most.
    pub(crate) fn feed(&self, words: &[&str], input: &str, seconds: u32) -> Said {
        let mut command = Command::new("timeout");
        command.args(["-k", "5", &seconds.to_string()]).arg(&self.kubectl).arg("--kubeconfig").arg(&self.kubeconfig);
        if let Some(own) = &self.own {
            // Else it is in the home directory, for good.
            command.env("KUBECACHEDIR", own.dir().join("cache"));
        }
        let mut child =
            command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // One that is refused reads nothing.
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        let output = child.wait_with_output().unwrap();
        let done = output.status.success();
        let text = if done { output.stdout } else { [output.stdout, output.stderr].concat() };
        Said { done, text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Makes the objects of a manifest.
    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        let said = self.feed(&["apply", "-f", "-"], manifest, 120);
        assert!(said.done, "{}: {manifest}", said.text);
    }

    /// A namespace for one test, with everything a pod needs to run in it.
    pub(crate) fn namespace(&self) -> Namespace<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let name = format!("decamp-test-{}-{number}", std::process::id());
        self.kubectl(&["create", "namespace", &name]);
        let namespace = Namespace { cluster: self, name };
        until("a service account", Duration::from_secs(60), || {
            namespace.try_kubectl(&["get", "serviceaccount", "default"]).done
        });
        namespace
    }
}

/// A namespace of one test; it is deleted when dropped, without waiting for the end.
#[derive(Debug)]
pub(crate) struct Namespace<'c> {
    cluster: &'c Cluster,
    name: String,
}

impl Namespace<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Words of kubectl that mean this namespace.
    fn here<'w>(&'w self, words: &[&'w str]) -> Vec<&'w str> {
        [&["-n", self.name.as_str()][..], words].concat()
    }

    #[track_caller]
    pub(crate) fn kubectl(&self, words: &[&str]) -> String {
        self.cluster.kubectl(&self.here(words))
    }

    pub(crate) fn try_kubectl(&self, words: &[&str]) -> Said {
        self.cluster.try_kubectl(&self.here(words))
    }

    #[track_caller]
    pub(crate) fn apply(&self, manifest: &str) {
        let said = self.cluster.feed(&self.here(&["apply", "-f", "-"]), manifest, 120);
        assert!(said.done, "{}: {manifest}", said.text);
    }

    /// Runs a line of a shell in a pod; what it prints.
    #[track_caller]
    pub(crate) fn sh(&self, pod: &str, line: &str) -> String {
        self.kubectl(&["exec", pod, "--", "sh", "-ec", line])
    }

    /// Waits until a pod is ready.
    ///
    /// # Panics
    /// With what is known of the pod, after two minutes.
    #[track_caller]
    pub(crate) fn ready(&self, pod: &str) {
        let waited = self.try_kubectl(&["wait", "--for=condition=Ready", "--timeout=110s", "pod", pod]);
        assert!(waited.done, "{}\n{}", waited.text, self.try_kubectl(&["describe", "pod", pod]).text);
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        self.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it takes longer than `patience`.
#[track_caller]
pub(crate) fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "no {what} within {patience:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
