//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::Outcome;

pub(crate) const HELP: &str = "\
Measures decamp against its peers and checks what each of them kept. Needs root: file systems are mounted.

  cargo bench --bench tree -- [OPTIONS] [SCENARIO…]

A scenario may be named by its beginning; without one all are measured, which takes some hours. Every peer that is
installed takes part, in turn. Time is until the command has ended and its destination's file system is synced.
The exit status is 0 if decamp kept everything, 1 if not or if something failed, 2 for wrong use.

  --list           Show the scenarios and who takes part
  --runs N         Count so many runs of each [default: 5]
  --scale F        Multiply the size of every tree, such as 0.01 for a quick look [default: 1]
  --peers A,B      Measure these only (names as --list shows them)
  --dir DIR        Make images and mount points here, on a local disk [default: the directory for temporary files]
  --check WHICH    Check each run, or only the first of every peer but decamp: each, first [default: each]
  --quiet SECONDS  Wait at most so long for an idle machine before every run [default: 5]
  --json FILE      Add a line of JSON for each run to this file
  --from FILE      Measure nothing; show what such a file holds, the newest of each scenario
  --markdown       Print one table for the manual instead of one for each scenario
";

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Args {
    Help,
    List,
    Measure(Options),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) scenarios: Vec<String>,
    pub(crate) runs: u32,
    pub(crate) scale: f64,
    pub(crate) peers: Vec<String>,
    pub(crate) dir: PathBuf,
    pub(crate) check_all: bool,
    pub(crate) patience: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) from: Option<PathBuf>,
    pub(crate) markdown: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenarios: Vec::new(),
            runs: 5,
            scale: 1.0,
            peers: Vec::new(),
            dir: std::env::temp_dir(),
            check_all: true,
            patience: Duration::from_secs(5),
            json: None,
            from: None,
            markdown: false,
        }
    }
}

/// Understands the words of a command line.
pub(crate) fn parse(words: &[OsString]) -> Outcome<Args> {
    let mut options = Options::default();
    let mut words = words.iter().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let (flag, given) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
            _ => (word, None),
        };
        let mut value = || given.clone().or_else(|| words.next()).ok_or_else(|| format!("{flag} needs a value"));
        match &*flag {
            "-h" | "--help" => return Ok(Args::Help),
            "--list" => return Ok(Args::List),
            // cargo says so to every program it runs for `cargo bench`.
            "--bench" => {}
            "--markdown" => options.markdown = true,
            "--runs" => options.runs = number(&flag, &value()?, |runs: &u32| *runs > 0)?,
            "--scale" => options.scale = number(&flag, &value()?, |scale: &f64| *scale > 0.0 && scale.is_finite())?,
            "--quiet" => {
                let seconds = number(&flag, &value()?, |seconds: &f64| (0.0..=3600.0).contains(seconds))?;
                options.patience = Duration::from_secs_f64(seconds);
            }
            "--peers" => options.peers = value()?.split(',').map(str::to_owned).collect(),
            "--dir" => options.dir = value()?.into(),
            "--json" => options.json = Some(value()?.into()),
            "--from" => options.from = Some(value()?.into()),
            "--check" => {
                options.check_all = match &*value()? {
                    "each" => true,
                    "first" => false,
                    other => return Err(format!("--check is each or first, not {other:?}")),
                }
            }
            _ if flag.starts_with('-') => return Err(format!("unknown option {flag}; try --help")),
            _ => options.scenarios.push(flag),
        }
    }
    Ok(Args::Measure(options))
}

fn number<T: std::str::FromStr>(flag: &str, text: &str, fits: impl Fn(&T) -> bool) -> Outcome<T> {
    text.parse().ok().filter(fits).ok_or_else(|| format!("{flag} does not take {text:?}"))
}

#[test]
fn command_lines_are_understood() {
    let parse = |line: &str| parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>());
    assert_eq!(parse("--bench"), Ok(Args::Measure(Options::default())));
    assert_eq!(parse("tmpfs --help"), Ok(Args::Help));
    let line = "tmpfs --runs 3 --scale=0.01 mixed --peers cp-a,rsync-a --check first --quiet 0 --markdown";
    let wanted = Options {
        scenarios: vec!["tmpfs".into(), "mixed".into()],
        runs: 3,
        scale: 0.01,
        peers: vec!["cp-a".into(), "rsync-a".into()],
        check_all: false,
        patience: Duration::ZERO,
        markdown: true,
        ..Options::default()
    };
    assert_eq!(parse(line), Ok(Args::Measure(wanted)));
    for bad in ["--runs 0", "--runs", "--scale -1", "--scale inf", "--check some", "--fast", "--quiet x"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
