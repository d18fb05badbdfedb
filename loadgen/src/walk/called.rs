//! Which commands of the engine were run.

/// Each with its arguments.
#[derive(Debug, Default)]
pub(super) struct Called(Vec<String>);

impl Called {
    pub(super) fn note(&mut self, call: String) {
        self.0.push(call);
    }

    /// Those that no call begins with, word by word.
    pub(super) fn missing<'a>(&self, commands: &[&'a str]) -> Vec<&'a str> {
        let commands = commands.iter().copied();
        commands.filter(|command| !self.has(command)).collect()
    }

    fn has(&self, command: &str) -> bool {
        let mut rests = self.0.iter().filter_map(|call| call.strip_prefix(command));
        rests.any(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_was_run_if_a_call_begins_with_its_words() {
        let calls = ["cutover --no-wait", "reverse status", "man"];
        let called = Called(calls.map(str::to_owned).to_vec());
        let rows = [
            ("cutover", true),
            ("cutover --no-wait", true),
            ("cutover --block-writes", false),
            ("reverse", true),
            ("reverse stop", false),
            ("rev", false),
            ("man", true),
            ("mirror", false),
        ];
        for (command, was_run) in rows {
            assert_eq!(called.missing(&[command]).is_empty(), was_run, "{command}");
        }
    }
}
