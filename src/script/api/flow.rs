//! The functions every script is built from, callable without a namespace: steps, facts, waits, approvals, notes.

use rhai::plugin::*;

#[export_module]
#[allow(clippy::needless_pass_by_value, unreachable_pub, reason = "Rhai hands values over and wants `pub`")]
pub(crate) mod flow {
    use super::super::{approve, own, parallel, wait};
    use super::*;
    use crate::journal::StepKind;
    use crate::script::api::error::{Fail, raise};
    use crate::script::api::step;
    use crate::script::api::wanted::Wanted;
    use rhai::{Array, FnPtr, Map};

    type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

    /// Runs a closure once per run and gives back its result; a later incarnation gets the stored result.
    ///
    /// # Shape
    /// step(name: string, [opts: map], body: || -> data) -> data
    /// opts   key: string or int, undo: |result| …, release: |result| …, inputs: data, retries: int = 0,
    ///        backoff: "exponential" | "fixed" = "exponential", base: duration = "2s", cap: duration = "60s",
    ///        deadline: duration
    ///
    /// # Units
    /// Durations as `"90s"` or whole seconds.
    ///
    /// # Effects
    /// Journalled before the body starts and after it ends. `undo` runs on `decamp undo`, newest step first, also if the
    /// step did not end; its argument is the result, or () if there is none. `release` runs when the run fails or is
    /// stopped before the next pivot; the step and all after it then run again on resume.
    /// Steps are known by name (and `key`) within the step around them, never by position. Captured variables are
    /// copies: return a value instead of changing one.
    ///
    /// # Errors
    /// `invalid` if the name was used before without another `key`, the result is no plain data, or `inputs` differ from
    /// those of the stored result. Else what the body failed with, after `retries` further attempts for a failure that is
    /// `retryable`. `timeout` after `deadline`.
    ///
    /// # Source
    /// src/script/api/step.rs
    ///
    /// # Example
    /// ```rhai
    /// let n = step("count", || 1 + 2);
    /// assert_eq(n, 3);
    /// ```
    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step_plain(context: NativeCallContext, name: &str, body: FnPtr) -> Result<Dynamic> {
        let wanted = Wanted::plain(name, StepKind::Step).map_err(Fail::from);
        raise(&context, wanted.and_then(|wanted| step::run(&context, wanted, body)))
    }

    #[rhai_fn(name = "step", return_raw, volatile)]
    pub fn step_with(context: NativeCallContext, name: &str, opts: Map, body: FnPtr) -> Result<Dynamic> {
        raise(&context, wait::step_with(&context, name, opts, body))
    }

    /// Reads something once per run and keeps it: what a run iterates over or branches on around a step.
    ///
    /// # Shape
    /// fact(name: string, [opts: map], body: || -> data) -> data
    /// opts   key: string or int, inputs: data, retries: int = 0, backoff, base, cap, deadline as for `step`
    ///
    /// # Effects
    /// Reads only, once: the value is journalled. A plan reads it for real.
    ///
    /// # Errors
    /// As `step`. `invalid` if the body changes something: that belongs into a step.
    ///
    /// # Source
    /// src/script/api/step.rs
    ///
    /// # Example
    /// ```rhai
    /// let names = fact("names", || ["a", "b"]);
    /// assert_eq(names.len(), 2);
    /// ```
    #[rhai_fn(name = "fact", return_raw, volatile)]
    pub fn fact_plain(context: NativeCallContext, name: &str, body: FnPtr) -> Result<Dynamic> {
        let wanted = Wanted::plain(name, StepKind::Fact).map_err(Fail::from);
        raise(&context, wanted.and_then(|wanted| step::run(&context, wanted, body)))
    }

    #[rhai_fn(name = "fact", return_raw, volatile)]
    pub fn fact_with(context: NativeCallContext, name: &str, opts: Map, body: FnPtr) -> Result<Dynamic> {
        raise(&context, wait::fact_with(&context, name, opts, body))
    }

    /// Runs a closure on several items at once, each on a thread and on a path of its own, and gives back the results in
    /// the order of the items.
    ///
    /// # Shape
    /// parallel(items: list, [opts: map], body: |item| -> data) -> list
    /// opts   name: string = "parallel", max: int = 4 (so many at once), key: |item| … (else the item itself if it is a
    ///        text, number or flag, else its field `key`, `id` or `name`), on_error: "stop" | "collect" = "stop"
    /// result with "collect" a list of #{ ok: true, value } and #{ ok: false, error }
    ///
    /// # Effects
    /// Journalled: the steps inside, as `name[key]/step`. What changes anything belongs into a step, as everywhere;
    /// where `parallel` itself is called inside a step, each branch is one, and its result must be plain data.
    /// A plan runs the branches one after the other.
    ///
    /// # Errors
    /// `invalid` if an item has no key, two items have the same, or the name was used before at this place. With "stop" no
    /// branch begins after a failure, those that run go on to their end, and the failure of the first item that failed is
    /// thrown, with the names of the others. What ends the run ends all: cancellation, an approval, an effect in doubt.
    ///
    /// # Source
    /// src/script/api/parallel.rs
    ///
    /// # Example
    /// ```rhai
    /// let sizes = parallel(["a", "b"], #{ max: 2 }, |name| step("scan", || copy::scan(tmp + "/" + name).counts.files));
    /// assert_eq(sizes, [3, 0]);
    /// ```
    #[rhai_fn(name = "parallel", return_raw, volatile)]
    pub fn parallel_plain(context: NativeCallContext, items: Array, body: FnPtr) -> Result<Dynamic> {
        raise(&context, parallel::parallel(&context, items, Map::new(), body))
    }

    #[rhai_fn(name = "parallel", return_raw, volatile)]
    pub fn parallel_with(context: NativeCallContext, items: Array, opts: Map, body: FnPtr) -> Result<Dynamic> {
        raise(&context, parallel::parallel(&context, items, opts, body))
    }

    /// Calls a closure again and again until it gives something other than `false` or `()`, and gives that back.
    ///
    /// # Shape
    /// wait_until(name: string, opts: map, body: || -> data) -> data
    /// opts   timeout: duration (required), every: duration = "5s", key: string or int
    ///
    /// # Units
    /// Durations as `"90s"` or whole seconds.
    ///
    /// # Effects
    /// Reads only. The deadline is journalled on the first call: a resumed run waits only for the rest.
    /// A plan asks once and does not wait.
    ///
    /// # Errors
    /// `timeout` if the condition did not come. `invalid` if the body changes something: that belongs into a step. What
    /// the body failed with.
    ///
    /// # Source
    /// src/script/api/wait.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(wait_until("ready", #{ timeout: "1s" }, || 7), 7);
    /// ```
    #[rhai_fn(name = "wait_until", return_raw, volatile)]
    pub fn wait_until(context: NativeCallContext, name: &str, opts: Map, body: FnPtr) -> Result<Dynamic> {
        raise(&context, wait::wait_until(&context, name, opts, body))
    }

    /// Goes on only if a person has agreed: on the terminal, by `decamp approve RUN NAME` from another one, or in advance
    /// by `--approve NAME`.
    ///
    /// # Shape
    /// approve(name: string, [opts: map])
    /// opts   summary: string = the name, show: list of strings = [], dangerous: bool = false
    ///
    /// # Effects
    /// Journalled with who agreed, when and how. `--yes` answers it, but not one that is `dangerous`: there the name must be
    /// typed or given. A plan lists it and goes on.
    ///
    /// # Errors
    /// `denied` if the person says no. Where nobody can be asked the run ends with exit code 5 and waits, or goes on
    /// waiting with `--on-approval=wait`.
    ///
    /// # Source
    /// src/script/api/approve.rs
    ///
    /// # Example
    /// ```rhai
    /// approve("delete-old-data", #{ summary: "delete the old server's data?", dangerous: true });
    /// ```
    #[rhai_fn(name = "approve", return_raw, volatile)]
    pub fn approve_plain(context: NativeCallContext, name: &str) -> Result<()> {
        raise(&context, approve::approve(&context, name, Map::new()))
    }

    #[rhai_fn(name = "approve", return_raw, volatile)]
    pub fn approve_with(context: NativeCallContext, name: &str, opts: Map) -> Result<()> {
        raise(&context, approve::approve(&context, name, opts))
    }

    /// Marks the point of no return: what comes before is not undone any more.
    ///
    /// # Shape
    /// pivot(name: string)
    ///
    /// # Effects
    /// Journalled. `release` closures of earlier steps are forgotten; `decamp undo` refuses and lists what to do by hand.
    ///
    /// # Errors
    /// `invalid` if the name was used for a step before.
    ///
    /// # Source
    /// src/script/api/wait.rs
    ///
    /// # Example
    /// ```rhai
    /// pivot("old-data-deleted");
    /// ```
    #[rhai_fn(name = "pivot", return_raw, volatile)]
    pub fn pivot(context: NativeCallContext, name: &str) -> Result<()> {
        raise(&context, wait::pivot(&context, name))
    }

    /// Puts a value into the run's report, under a heading.
    ///
    /// # Shape
    /// note(section: string, value: data)
    ///
    /// # Effects
    /// None outside the report and the journal's events.
    ///
    /// # Errors
    /// `invalid` if the value is no plain data.
    ///
    /// # Source
    /// src/script/api/wait.rs
    ///
    /// # Example
    /// ```rhai
    /// note("evidence", #{ files: 3 });
    /// ```
    #[rhai_fn(name = "note", return_raw, volatile)]
    pub fn note(context: NativeCallContext, section: &str, value: Dynamic) -> Result<()> {
        raise(&context, wait::note(&context, section, &value))
    }

    /// Says whether the script is only planning: effects are listed and not done.
    ///
    /// # Shape
    /// is_plan() -> bool
    ///
    /// # Errors
    /// None.
    ///
    /// # Source
    /// src/script/profile.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(is_plan(), false);
    /// ```
    #[rhai_fn(name = "is_plan", return_raw, volatile)]
    pub fn is_plan(context: NativeCallContext) -> Result<bool> {
        raise(&context, wait::is_plan(&context))
    }

    /// Gives the id of the run, by which what it makes elsewhere can be found again.
    ///
    /// # Shape
    /// run_id() -> string
    /// result `PLAN` in a plan
    ///
    /// # Errors
    /// None.
    ///
    /// # Source
    /// src/script/api/own.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(run_id().len() > 3, true);
    /// ```
    #[rhai_fn(name = "run_id", return_raw, volatile)]
    pub fn run_id(context: NativeCallContext) -> Result<String> {
        raise(&context, own::id(&context))
    }

    /// Gives a directory that only the owner may enter, for keys and other files of this run.
    ///
    /// # Shape
    /// run_dir() -> path
    /// result below the state directory; it goes when the run is pruned
    ///
    /// # Effects
    /// Reads only, but for the directory itself. A plan makes nothing.
    ///
    /// # Errors
    /// `io` if it cannot be made.
    ///
    /// # Source
    /// src/script/api/own.rs
    ///
    /// # Example
    /// ```rhai
    /// let key = run_dir() + "/key";
    /// ```
    #[rhai_fn(name = "run_dir", return_raw, volatile)]
    pub fn run_dir(context: NativeCallContext) -> Result<String> {
        raise(&context, own::dir(&context))
    }

    /// Waits; ends at once when the run is stopped.
    ///
    /// # Shape
    /// sleep(time: duration)
    ///
    /// # Units
    /// `"90s"`, or seconds as a whole number or a fraction.
    ///
    /// # Effects
    /// None. A plan does not wait.
    ///
    /// # Errors
    /// `invalid` if it is no duration.
    ///
    /// # Source
    /// src/cancel.rs
    ///
    /// # Example
    /// ```rhai
    /// sleep("10ms");
    /// ```
    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep(context: NativeCallContext, time: Dynamic) -> Result<()> {
        raise(&context, wait::sleep(&context, &time))
    }

    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep_int(context: NativeCallContext, time: rhai::INT) -> Result<()> {
        raise(&context, wait::sleep(&context, &time.into()))
    }

    #[rhai_fn(name = "sleep", return_raw, volatile)]
    pub fn sleep_float(context: NativeCallContext, time: rhai::FLOAT) -> Result<()> {
        raise(&context, wait::sleep(&context, &time.into()))
    }

    /// Fails unless two values are equal.
    ///
    /// # Shape
    /// assert_eq(left: data, right: data)
    ///
    /// # Errors
    /// `mismatch` with both values.
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(1 + 1, 2);
    /// ```
    #[rhai_fn(name = "assert_eq", return_raw)]
    pub fn assert_eq(context: NativeCallContext, left: Dynamic, right: Dynamic) -> Result<()> {
        raise(&context, wait::assert_eq(&left, &right))
    }
}
