//! Typing on a terminal: colours, completion, history, lines that go on.

use std::sync::{Arc, Mutex, PoisonError};

use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, KeyCode, KeyModifiers, MenuBuilder, Reedline, ReedlineEvent,
    ReedlineMenu, Signal, default_emacs_keybindings,
};

use super::complete::{Completions, World};
use super::highlight::{Colors, Whole};
use super::history::Kept;
use super::prompt::Before;
use super::quiet::Quiet;
use super::reader::{Reader, hung_up};
use super::shell;
use super::shell::{Flow, Shell};
use crate::cancel::Reason;
use crate::error::{Error, Kind};
use crate::script::session::Mode;

const MENU: &str = "completion";

/// Reads and evaluates until the person leaves.
pub(super) fn read(shell: &mut Shell<'_>) -> Result<(), Error> {
    shell.greet();
    let _quiet = Quiet::terminal();
    let world = Arc::new(Mutex::new(World::of(&shell.session, Vec::new())));
    let history = Kept::open(&shell.setup.state);
    let mut editor = editor(shell, &world, &history);
    let unreadable = |source| Error::new(Kind::Io, "cannot read from the terminal").because(source);
    let reader = Reader::start(move |prompt: Before| editor.read_line(&prompt).map_err(unreadable))?;
    loop {
        *world.lock().unwrap_or_else(PoisonError::into_inner) = World::of(&shell.session, shell::runs(shell.setup));
        let prompt = Before { text: shell.prompt(), live: shell.mode == Mode::Live && !shell.setup.read_only };
        match reader.next(prompt, &shell.interrupt)? {
            None => return Ok(()),
            Some(Ok(Signal::Success(line))) => {
                let flow = shell.typed(&line);
                if let Some(history) = &history {
                    history.forget_secrets();
                }
                if flow == Flow::Leave {
                    return Ok(());
                }
            }
            Some(Ok(Signal::CtrlD)) => return Ok(()),
            Some(Ok(_)) => {}
            // The terminal went away: what the session holds is ended like any other.
            Some(Err(_)) if shell.ended() => return Ok(()),
            Some(Err(_)) if hung_up() => {
                shell.interrupt.end(Reason::HangUp);
                return Ok(());
            }
            Some(Err(error)) => return Err(error),
        }
        if shell.ended() {
            return Ok(());
        }
    }
}

fn editor(shell: &Shell<'_>, world: &Arc<Mutex<World>>, history: &Option<Kept>) -> Reedline {
    let color = shell.setup.out.on();
    let mut keys = default_emacs_keybindings();
    let complete = ReedlineEvent::UntilFound(vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext]);
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, complete);
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, ReedlineEvent::Edit(vec![EditCommand::InsertNewline]));
    let mut editor = Reedline::create()
        .with_ansi_colors(color)
        .with_completer(Box::new(Completions(Arc::clone(world))))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(Whole))
        .with_highlighter(Box::new(Colors))
        .with_hinter(Box::new(DefaultHinter::default().with_style(Style::new().fg(Color::DarkGray))))
        .with_history_exclusion_prefix(Some(" ".to_owned()))
        .use_bracketed_paste(true)
        .with_break_signal(Arc::clone(&shell.interrupt.wake));
    if !color {
        // Without colours a hint looks like typed text.
        editor = editor.disable_hints();
    }
    match history {
        Some(history) => editor.with_history(Box::new(history.clone())),
        None => editor,
    }
}
