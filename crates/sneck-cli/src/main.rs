//! The command `sneck`: arguments as typed (`args`), as meant (`plan`), and done (`run`, `acquire`, `release`, `breaking`, `vigil`, `status`, `list`, `protocols`: one file or folder
//! a verb; `pages`: what is printed about the command itself).
//!
//! Exit codes are all in `exit`; `sys` is the only unsafe and nearly the only cfg.

// Tests may sleep, and write what they like.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

mod acquire;
mod advice;
mod args;
mod breaking;
mod duration;
mod exit;
mod families;
mod json;
mod list;
mod pages;
mod plan;
mod protocols;
mod release;
mod run;
mod screen;
mod seen;
mod shown;
mod status;
mod sys;
mod taking;
#[cfg_attr(sneck_unsupported, allow(dead_code))]
mod variables;
mod vigil;
mod waiting;
mod words;

use args::{Cli, Verb};
use clap::Parser;
use exit::Exit;

fn main() {
    if let Some(exit) = sys::keep() {
        std::process::exit(exit.code());
    }
    // Not an `ExitCode`: that has eight bits, and a command's status on Windows has 32.
    std::process::exit(sneck().code());
}

fn sneck() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to stdout.
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
            let _ = error.print();
            return exit;
        }
    };
    let registry = plan::registry();
    let exit = match cli.verb {
        Verb::Run(args) => plan::Run::new(args, &registry).map(|plan| run::run(&plan, &registry)),
        Verb::Acquire(args) => {
            plan::Acquire::new(args, &registry).map(|plan| acquire::acquire(&plan, &registry))
        }
        Verb::Release(args) => {
            plan::Release::new(args, &registry).map(|plan| release::release(&plan, &registry))
        }
        Verb::Break(args) => {
            plan::Break::new(args, &registry).map(|plan| breaking::break_locks(&plan, &registry))
        }
        Verb::Wait(args) => {
            plan::Wait::new(args, &registry).map(|plan| vigil::wait(&plan, &registry))
        }
        Verb::Status(args) => {
            plan::Status::new(args, &registry).map(|plan| status::status(&plan, &registry))
        }
        Verb::List(args) => list::list(&plan::List::from(args)),
        Verb::Completions(args) => Ok(pages::completions(args.shell, &registry)),
        Verb::Man(args) => pages::man(args.verb.as_deref(), &registry),
        Verb::Protocols(args) => Ok(protocols::protocols(plan::Form::from(&args), &registry)),
    };
    exit.unwrap_or_else(|error| {
        waiting::tell(&format!("sneck: {error}"));
        Exit::from(&error)
    })
}
