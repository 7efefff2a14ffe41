// SPDX-License-Identifier: Apache-2.0
use std::io::{self, BufRead, Write};

use crate::routing::{Instruction, Operator};
use crate::{BoxFuture, Error, Result};

/// The operator at the terminal, or whatever standard input is.
///
/// Requests go to standard error, answers come from standard input, one line each: an empty line or `yes` goes on,
/// everything else stops. The end of the input stops too: nobody is there to redirect anything.
#[derive(Debug)]
pub(super) struct Terminal {
    /// The operator has said beforehand that everything is done.
    pub(super) assume_yes: bool,
}

impl Operator for Terminal {
    fn ask<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            if self.assume_yes {
                eprintln!("{instruction}\n(going on, as --yes says)");
                return Ok(());
            }
            let request = instruction.to_string();
            let answer = tokio::task::spawn_blocking(move || read_answer(&request)).await;
            let what = match answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())) {
                Ok(Some(line)) if matches!(line.as_str(), "" | "y" | "yes") => return Ok(()),
                Ok(Some(line)) => format!("the operator answered `{line}`, nothing was switched"),
                Ok(None) => {
                    "nobody answered, for standard input is at its end; nothing was switched; say `--yes` when no \
                             client writes to these slots"
                        .to_owned()
                }
                Err(fault) => format!("the operator's answer could not be read: {fault}"),
            };
            Err(Error::Routing { what })
        })
    }

    fn tell<'a>(&'a self, instruction: &'a Instruction) -> BoxFuture<'a, Result<()>> {
        eprintln!("{instruction}");
        Box::pin(async { Ok(()) })
    }
}

/// The operator's next line; `None` at the end of the input.
fn read_answer(request: &str) -> io::Result<Option<String>> {
    // A whole line, for what follows must not stand behind it when nobody presses Enter.
    writeln!(io::stderr().lock(), "{request}\nPress Enter when that is done, or type `no` to stop.")?;
    let mut line = String::new();
    let length = io::stdin().lock().read_line(&mut line)?;
    Ok((length > 0).then(|| line.trim().to_ascii_lowercase()))
}
