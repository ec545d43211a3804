//! Asking whoever is at the terminal.

use std::io::{BufRead, IsTerminal, Write};

use tokio::sync::oneshot;

use crate::cli::interrupted;
use crate::domain::recovery::Approver;

/// Who approves steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Whoever gave the command has approved all of them.
    Approved,
    /// Somebody is at the terminal.
    Terminal,
    /// Nobody is there, and nothing was approved.
    Nobody,
}

impl Asker {
    pub(super) fn new(approved: bool) -> Asker {
        match (approved, std::io::stdin().is_terminal()) {
            (true, _) => Asker::Approved,
            (false, true) => Asker::Terminal,
            (false, false) => Asker::Nobody,
        }
    }

    /// Who approves; `None` where nobody does.
    pub(super) async fn approves(self, question: &str) -> std::io::Result<Option<Approver>> {
        match self {
            Asker::Approved => Ok(Some(Approver::Option)),
            Asker::Nobody => Ok(None),
            Asker::Terminal => Ok(says_yes(question).await?.then_some(Approver::Person)),
        }
    }

    /// Whether a person says so: no option stands for them.
    pub(super) async fn person_approves(self, question: &str) -> std::io::Result<bool> {
        match self {
            Asker::Terminal => says_yes(question).await,
            Asker::Approved | Asker::Nobody => Ok(false),
        }
    }
}

/// Only `yes` or `y` is a yes. Ctrl-C is a no.
async fn says_yes(question: &str) -> std::io::Result<bool> {
    let question = format!("{question} [y/N] ");
    let (tell, told) = oneshot::channel();
    let ask = move || {
        let mut answer = String::new();
        let mut terminal = std::io::stderr().lock();
        let asked = terminal.write_all(question.as_bytes()).and_then(|()| terminal.flush());
        drop(terminal);
        let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
        // Nobody listens any more where the question was interrupted.
        drop(tell.send(read.map(|_| is_yes(&answer))));
    };
    // A thread of its own: the runtime would wait at its end for a read that nobody answers.
    std::thread::Builder::new().name("answer".to_owned()).spawn(ask)?;
    tokio::select! {
        told = told => told.map_err(std::io::Error::other)?,
        interrupted = interrupted() => interrupted.map(|()| false),
    }
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_no_yes() {
        for (answer, expected) in [("y\n", true), ("Yes\n", true), ("\n", false), ("", false), ("yeah\n", false)] {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn an_option_approves_steps_and_nothing_else() {
        assert_eq!(Asker::Approved.approves("?").await.unwrap(), Some(Approver::Option));
        assert!(!Asker::Approved.person_approves("?").await.unwrap());
        assert_eq!(Asker::Nobody.approves("?").await.unwrap(), None);
    }
}
