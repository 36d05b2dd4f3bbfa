//! The texts of a script as the rules look at them: every function with its own statements, closures among them.
//!
//! Rhai's syntax tree is for running: it gives nodes out only to a callback, and a closure is a function of its own that
//! is named by a hash. Copied out once, all rules can go through the same statements in their own way.

use rhai::{AST, ASTNode, Expr, FnAccess, FnPtr, Position, Stmt};

use crate::script::library::{Library, MAIN, functions};

/// A function or closure.
pub(super) struct Def {
    pub(super) name: String,
    pub(super) params: Vec<String>,
    pub(super) at: Position,
    pub(super) body: Vec<Stmt>,
    pub(super) private: bool,
}

impl Def {
    /// Whether it is a closure.
    pub(super) fn anonymous(&self) -> bool {
        self.name.contains('$')
    }
}

/// One text.
pub(super) struct Module {
    /// `main`, `std/passes`, `./lib/tools`.
    pub(super) name: String,
    /// What it is called in messages.
    pub(super) label: String,
    pub(super) text: String,
    /// Alias and name of what it imports.
    pub(super) imports: Vec<(String, String)>,
    /// What stands outside functions.
    pub(super) top: Vec<Stmt>,
    pub(super) defs: Vec<Def>,
}

impl Module {
    /// The function or closure of that name and number of parameters.
    pub(super) fn def(&self, name: &str, params: usize) -> Option<&Def> {
        self.defs.iter().find(|def| def.name == name && def.params.len() == params)
    }

    /// The closure of that name.
    pub(super) fn closure(&self, name: &str) -> Option<&Def> {
        self.defs.iter().find(|def| def.name == name)
    }

    /// Where the name of a function stands; where its body begins, if that cannot be found.
    pub(super) fn name_of(&self, def: &Def) -> Position {
        let Some(line) = def.at.line() else { return def.at };
        let lines: Vec<&str> = self.text.lines().take(line).collect();
        let named = |line: &str| {
            line.match_indices("fn ").find_map(|(at, _)| {
                let rest = line[at + 3..].trim_start().strip_prefix(def.name.as_str())?;
                let start = line.len() - rest.len() - def.name.len();
                rest.trim_start().starts_with('(').then(|| line[..start].chars().count() + 1)
            })
        };
        let found = lines.iter().enumerate().rev().find_map(|(number, line)| Some((number + 1, named(line)?)));
        let part = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
        found.map_or(def.at, |(line, column)| Position::new(part(line), part(column)))
    }

    /// What an alias stands for.
    pub(super) fn import(&self, alias: &str) -> Option<&str> {
        self.imports.iter().find(|(known, _)| known == alias).map(|(_, target)| target.as_str())
    }

    /// Whether findings in it are for the author of the script: a standard module is checked when it is named itself.
    pub(super) fn own(&self) -> bool {
        !self.name.starts_with("std/")
    }
}

/// A script and everything it imports.
pub(super) struct Program {
    pub(super) modules: Vec<Module>,
}

impl Program {
    pub(super) fn of(library: &Library) -> Self {
        let modules = library.iter().map(|(name, text)| Module {
            name: name.to_owned(),
            label: text.label.clone(),
            text: text.text.clone(),
            imports: text.imports.clone(),
            top: text.ast.statements().to_vec(),
            defs: defs(&text.ast),
        });
        Self { modules: modules.collect() }
    }

    /// The text that was named: a script, or a module on its own.
    pub(super) fn main(&self) -> &Module {
        self.module(MAIN).unwrap_or(&self.modules[0])
    }

    pub(super) fn module(&self, name: &str) -> Option<&Module> {
        self.modules.iter().find(|module| module.name == name)
    }

    /// Whether the text that was named is a script, and no module.
    pub(super) fn is_script(&self) -> bool {
        self.main().defs.iter().any(|def| matches!(def.name.as_str(), "run" | "params"))
    }
}

fn defs(ast: &AST) -> Vec<Def> {
    let mut all: Vec<Def> = functions(ast)
        .map(|function| {
            let (mut body, mut params, mut private) = (Vec::new(), Vec::new(), false);
            // A program of this one function: what is walked at the top belongs to it.
            let mut alone = ast.clone_functions_only();
            alone.retain_functions(|_, _, name, count| name == function.name && count == function.params);
            alone.walk(&mut |path: &[ASTNode<'_>]| {
                if let [ASTNode::Stmt(stmt)] = path {
                    body.push((*stmt).clone());
                }
                true
            });
            for known in alone.iter_functions() {
                params = known.params.iter().map(|param| (*param).to_owned()).collect();
                private = known.access == FnAccess::Private;
            }
            Def { name: function.name.to_owned(), params, at: function.start, body, private }
        })
        .collect();
    all.sort_by(|a, b| (a.at, &a.name).cmp(&(b.at, &b.name)));
    all
}

/// A part of a program.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Stmt(&'a Stmt),
    Expr(&'a Expr),
}

impl<'a> Node<'a> {
    /// The parts it is made of, in the order they are written. A closure is none of them: it is a [`Def`].
    pub(super) fn children(self) -> Vec<Node<'a>> {
        let mut parts = Vec::new();
        match self {
            Self::Stmt(stmt) => {
                let block = |parts: &mut Vec<_>, body: &'a rhai::StmtBlock| parts.extend(body.iter().map(Node::Stmt));
                match stmt {
                    Stmt::If(flow, _) | Stmt::While(flow, _) | Stmt::Do(flow, ..) | Stmt::TryCatch(flow, _) => {
                        if !matches!(stmt, Stmt::TryCatch(..)) {
                            parts.push(Node::Expr(&flow.expr));
                        }
                        block(&mut parts, &flow.body);
                        block(&mut parts, &flow.branch);
                    }
                    Stmt::Switch(switch, _) => {
                        parts.push(Node::Expr(&switch.0));
                        for case in &switch.1.expressions {
                            parts.extend([Node::Expr(&case.lhs), Node::Expr(&case.rhs)]);
                        }
                    }
                    Stmt::For(each, _) => {
                        parts.push(Node::Expr(&each.2.expr));
                        block(&mut parts, &each.2.body);
                    }
                    Stmt::Var(var, ..) => parts.push(Node::Expr(&var.1)),
                    Stmt::Assignment(set) => parts.extend([Node::Expr(&set.1.lhs), Node::Expr(&set.1.rhs)]),
                    Stmt::FnCall(call, _) => parts.extend(call.args.iter().map(Node::Expr)),
                    Stmt::Block(body) => block(&mut parts, body),
                    Stmt::Expr(expr) => parts.push(Node::Expr(expr)),
                    Stmt::BreakLoop(Some(value), ..) | Stmt::Return(Some(value), ..) => parts.push(Node::Expr(value)),
                    _ => {}
                }
            }
            Self::Expr(expr) => match expr {
                Expr::InterpolatedString(items, _) | Expr::Array(items, _) => {
                    parts.extend(items.iter().map(Node::Expr));
                }
                Expr::Map(map, _) => parts.extend(map.0.iter().map(|(_, value)| Node::Expr(value))),
                Expr::Stmt(body) => parts.extend(body.iter().map(Node::Stmt)),
                Expr::MethodCall(call, _) | Expr::FnCall(call, _) => parts.extend(call.args.iter().map(Node::Expr)),
                Expr::Dot(pair, ..) | Expr::Index(pair, ..) => {
                    parts.extend([Node::Expr(&pair.lhs), Node::Expr(&pair.rhs)]);
                }
                Expr::And(items, _) | Expr::Or(items, _) | Expr::Coalesce(items, _) => {
                    parts.extend(items.iter().map(Node::Expr));
                }
                _ => {}
            },
        }
        parts
    }
}

/// Visits every part of `body`, ancestors first; closures are not entered.
pub(super) fn walk<'a>(body: &'a [Stmt], visit: &mut dyn FnMut(&[Node<'a>])) {
    fn go<'a>(path: &mut Vec<Node<'a>>, visit: &mut dyn FnMut(&[Node<'a>])) {
        visit(path);
        let children = path.last().map(|node| node.children()).unwrap_or_default();
        for child in children {
            path.push(child);
            go(path, visit);
            path.pop();
        }
    }
    for stmt in body {
        go(&mut vec![Node::Stmt(stmt)], visit);
    }
}

/// The name of the closure an expression makes, and how many variables it captures.
pub(super) fn closure_of(expr: &Expr) -> Option<(String, usize)> {
    let plain = |expr: &Expr| match expr {
        Expr::DynamicConstant(value, _) => value.read_lock::<FnPtr>().map(|closure| closure.fn_name().to_owned()),
        _ => None,
    };
    match expr {
        // A closure with captures is a block that shares them and then binds them to the closure.
        Expr::Stmt(block) if block.iter().any(|stmt| matches!(stmt, Stmt::Share(_))) => {
            block.iter().find_map(|stmt| match stmt {
                Stmt::Expr(expr) => match &**expr {
                    Expr::FnCall(curry, _) => Some((plain(curry.args.first()?)?, curry.args.len() - 1)),
                    _ => None,
                },
                Stmt::FnCall(curry, _) => Some((plain(curry.args.first()?)?, curry.args.len() - 1)),
                _ => None,
            })
        }
        expr => Some((plain(expr)?, 0)),
    }
}

/// Where an expression begins, its namespace included.
pub(super) fn start_of(expr: &Expr) -> Position {
    match expr {
        Expr::FnCall(call, _) if !call.namespace.is_empty() => call.namespace.position(),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => start_of(&pair.lhs),
        other => other.start_position(),
    }
}
