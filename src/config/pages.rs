//! What is made from the command line itself: shell completions and the manual.
//!
//! Knows nothing about what the commands do.

use std::io::{Result, Write};

use clap_complete::Shell;
use clap_mangen::Man;

use crate::config::cli;

/// Completions of every command and flag, for that shell.
pub fn completions(shell: Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut cli::command(), "shardlift", out);
}

/// The manual in roff: the program's page, then one of each command.
///
/// # Errors
/// Those of `out`.
pub fn manual(out: &mut dyn Write) -> Result<()> {
    let command = cli::command();
    Man::new(command.clone()).render(out)?;
    for one in command.get_subcommands() {
        let name = format!("shardlift-{}", one.get_name());
        Man::new(one.clone().name(name)).render(out)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_completed_and_in_the_manual() {
        let mut man = Vec::new();
        manual(&mut man).unwrap();
        let man = String::from_utf8(man).unwrap();
        let command = cli::command();
        let commands: Vec<&str> = command
            .get_subcommands()
            .map(|one| one.get_name())
            .collect();
        assert!(16 <= commands.len(), "{commands:?}");
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            completions(shell, &mut text);
            let text = String::from_utf8(text).unwrap();
            let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).collect();
            for command in &commands {
                assert!(words.contains(command), "{shell} {command}");
                let page = format!("shardlift\\-{command}");
                assert!(man.contains(&page), "{command}");
            }
        }
    }
}
