//! `strongroom man`: manual pages, made of what `--help` says.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use super::{Cli, Exit, text};

/// Prints the main page, or writes all of them.
pub(super) fn write(directory: Option<&Path>) -> anyhow::Result<Exit> {
    let mut root = Cli::command();
    match directory {
        None => {
            let mut page = Vec::new();
            Man::new(root).render(&mut page)?;
            text::print(&String::from_utf8_lossy(&page))?;
        }
        Some(directory) => {
            root.build();
            pages(&root, directory)?;
        }
    }
    Ok(Exit::Done)
}

/// A page for a command, and for each below it.
fn pages(command: &clap::Command, directory: &Path) -> anyhow::Result<()> {
    let man = Man::new(command.clone());
    let path = directory.join(man.get_filename());
    let mut page = Vec::new();
    man.render(&mut page)?;
    std::fs::write(&path, page).map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    for below in command.get_subcommands().filter(|own| !own.is_hide_set() && own.get_name() != "help") {
        pages(below, directory)?;
    }
    Ok(())
}
