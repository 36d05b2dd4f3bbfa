//! `secret(ref)`, and the places where a secret may go: standard input and environment of a command.

use rhai::plugin::*;

use rhai::{Engine, Map};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use crate::error::{Error, Kind};
use crate::journal::Level;
use crate::redact::{self, Strength};
use crate::script::outcome::Say;
use crate::script::profile::Profile;
use crate::script::secret::Secret;

#[export_module]
#[allow(clippy::needless_pass_by_value, unreachable_pub, reason = "Rhai hands values over and wants `pub`")]
pub(crate) mod flow {
    use super::*;
    use crate::script::api::error::raise;

    /// Reads a secret by its reference; what comes back has a value that only commands get to see.
    ///
    /// # Shape
    /// secret(reference: string) -> secret
    /// result prints as `Secret`; `==` and `!=` compare values, with a secret or a text; nothing else can be done with it
    ///        but to give it to `host.exec` in `stdin` or `env`
    ///
    /// `env:NAME` is a variable of the environment, `file:PATH` a file that only its owner may read (without the newline
    /// at its end), `command:WORDS` the first line that a command prints, run without a shell. Any other text is a name
    /// from `[secrets]` of the run's site file.
    ///
    /// # Effects
    /// Reads only, once in each incarnation of a run; the journal keeps the reference. The value, and what it looks like
    /// escaped, in hexadecimal and in base64, is replaced by `[secret REF]` in all that is shown and recorded (by `[secret]`
    /// if the reference itself holds the value, as in the example). A plan reads variables and files, and runs the command only if a read with `read_only: true` is given the secret.
    ///
    /// # Errors
    /// `not_found` if it is not there or its command fails, `denied` for a file that others may read, `invalid` if it is
    /// empty, no text, or above 16 KiB, and for a text that is no reference.
    ///
    /// # Source
    /// src/script/secret.rs
    ///
    /// # Example
    /// ```rhai
    /// let token = secret("command:echo Not-so-secret");
    /// let said = host::local().exec(["cat"], #{ stdin: token, read_only: true }).stdout;
    /// assert_eq(said, "[secret]");
    /// assert_eq(`${token}`, "Secret");
    /// ```
    #[rhai_fn(name = "secret", return_raw, volatile)]
    pub fn secret(context: NativeCallContext, reference: &str) -> Result<Secret, Box<EvalAltResult>> {
        raise(&context, find(&context, reference))
    }

    #[rhai_fn(name = "==", return_raw, volatile)]
    pub fn same(context: NativeCallContext, left: Secret, right: Secret) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, equal(&context, &left, &right))
    }

    #[rhai_fn(name = "!=", return_raw, volatile)]
    pub fn other(context: NativeCallContext, left: Secret, right: Secret) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, equal(&context, &left, &right).map(|same| !same))
    }

    #[rhai_fn(name = "==", return_raw, volatile)]
    pub fn same_text(context: NativeCallContext, left: Secret, right: &str) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, is(&context, &left, right))
    }

    #[rhai_fn(name = "!=", return_raw, volatile)]
    pub fn other_text(context: NativeCallContext, left: Secret, right: &str) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, is(&context, &left, right).map(|same| !same))
    }

    #[rhai_fn(name = "==", return_raw, volatile)]
    pub fn text_same(context: NativeCallContext, left: &str, right: Secret) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, is(&context, &right, left))
    }

    #[rhai_fn(name = "!=", return_raw, volatile)]
    pub fn text_other(context: NativeCallContext, left: &str, right: Secret) -> Result<bool, Box<EvalAltResult>> {
        raise(&context, is(&context, &right, left).map(|same| !same))
    }
}

/// Lets scripts print a secret, which tells nothing.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Secret>("secret");
    engine.register_fn("to_string", |_: &mut Secret| "Secret".to_owned());
    engine.register_fn("to_debug", |_: &mut Secret| "Secret".to_owned());
}

fn find(context: &NativeCallContext<'_>, reference: &str) -> Result<Secret, Fail> {
    let ctx = Ctx::of(context)?;
    let secret = ctx.secrets.find(reference)?;
    match ctx.profile() {
        Profile::Live | Profile::Test => read(&ctx, &secret)?,
        Profile::Plan => secret.look(&ctx.cancel())?,
        Profile::Replay => {}
    }
    Ok(secret)
}

/// Reads a secret and records that; warns of one that may be shown by chance.
fn read(ctx: &Ctx, secret: &Secret) -> Result<(), Fail> {
    let strength = secret.read(&ctx.cancel())?;
    if !secret.first_use() {
        return Ok(());
    }
    if strength == Strength::Short {
        ctx.say(Say::Line(&format!(
            "warning: the secret `{}` has fewer than {} bytes: it cannot be told from other text and is not taken out of what \
             commands print",
            secret.reference(),
            redact::LEAST
        )));
    }
    if let Some(run) = &ctx.run {
        let step = Ctx::frame().and_then(|frame| frame.step);
        run.event(Level::Info, "secret.read", step, json!({ "reference": secret.reference() }))?;
    }
    Ok(())
}

fn equal(context: &NativeCallContext<'_>, left: &Secret, right: &Secret) -> Result<bool, Fail> {
    let ctx = Ctx::of(context)?;
    Ok(left.is(right.value(&ctx.cancel())?.expose_secret(), &ctx.cancel())?)
}

fn is(context: &NativeCallContext<'_>, secret: &Secret, text: &str) -> Result<bool, Fail> {
    let ctx = Ctx::of(context)?;
    Ok(secret.is(text, &ctx.cancel())?)
}

/// What a command is given: a text, or the value of a secret.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    pub(super) value: SecretString,
    /// What the journal keeps in its place: the reference, or a hash of a text.
    pub(super) template: Value,
}

impl Given {
    /// Whether it is the value of a secret.
    pub(super) fn is_secret(&self) -> bool {
        self.template.as_str().is_some_and(|template| template.starts_with("secret:"))
    }
}

/// `value`, a text or a secret; `None` if it is neither. Without `reading` a secret is left unread.
fn given(ctx: &Ctx, value: &Dynamic, reading: bool) -> Option<Result<Given, Error>> {
    if let Some(secret) = value.read_lock::<Secret>() {
        let template = format!("secret:{}", secret.reference()).into();
        let value = if reading { secret.value(&ctx.cancel()).cloned() } else { Ok(SecretString::default()) };
        return Some(value.map(|value| Given { value, template }));
    }
    let text = value.clone().into_string().ok()?;
    let template = ctx.run.as_ref().map_or(Value::Null, |run| run.fingerprint().of(&text).into());
    Some(Ok(Given { value: text.into(), template }))
}

/// The option `stdin` of `host.exec`.
pub(super) fn stdin(ctx: &Ctx, value: &Dynamic, reading: bool) -> Result<Given, Error> {
    given(ctx, value, reading)
        .unwrap_or_else(|| Err(Error::new(Kind::Invalid, "option `stdin` of host.exec must be a text or a secret")))
}

/// The content of `host.write`.
pub(super) fn content(ctx: &Ctx, value: &Dynamic, reading: bool) -> Result<Given, Error> {
    given(ctx, value, reading)
        .unwrap_or_else(|| Err(Error::new(Kind::Invalid, "the content of host.write must be a text or a secret")))
}

/// The option `env` of `host.exec`.
pub(super) fn env(ctx: &Ctx, value: &Dynamic, reading: bool) -> Result<Vec<(String, Given)>, Error> {
    let wrong = |what: &str| Error::new(Kind::Invalid, format!("option `env` of host.exec {what}"));
    let map = value.read_lock::<Map>().ok_or_else(|| wrong("must be a map of texts and secrets"))?;
    let variable = |(name, item): (&rhai::Identifier, &Dynamic)| {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(wrong(&format!("cannot set a variable of the name `{}`", name.escape_debug())));
        }
        let given = given(ctx, &item.flatten_clone(), reading);
        let given = given.ok_or_else(|| wrong(&format!("must give `{name}` a text or a secret")))??;
        if given.value.expose_secret().contains('\0') {
            return Err(wrong(&format!("gives `{name}` a value with a zero byte")));
        }
        Ok((name.to_string(), given))
    };
    map.iter().map(variable).collect()
}

/// The words of a command: texts, and none of them a secret, which every user of the machine could read there.
pub(super) fn words(argv: rhai::Array) -> Result<Vec<String>, Error> {
    let word = |value: Dynamic| {
        if let Some(secret) = value.read_lock::<Secret>() {
            return Err(visible(&format!("the secret `{}`", secret.reference())));
        }
        let text = value
            .into_string()
            .map_err(|found| Error::new(Kind::Invalid, format!("a command is a list of texts, not of {found}")))?;
        redact::spoken(&text).map_or(Ok(text), |label| Err(visible(&label)))
    };
    argv.into_iter().map(|value| word(value.flatten())).collect()
}

fn visible(what: &str) -> Error {
    Error::new(Kind::Invalid, format!("{what} stands among the words of a command"))
        .hint("every user of the machine can read the words of a running command; give it to the command another way:")
        .hint("host.exec([…], #{ stdin: token }) or host.exec([…], #{ env: #{ TOKEN: token } })")
}
