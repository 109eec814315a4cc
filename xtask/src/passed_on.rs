//! Arguments that a chore leaves to the program that it starts.

/// What the program gets, as it is.
#[derive(clap::Args)]
pub(crate) struct PassedOn {
    /// Passed on; `--help` tells what there is
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

impl PassedOn {
    /// Whether the program is only to say what it can do, for which nothing but itself need be made.
    pub(crate) fn ask_for_help(&self) -> bool {
        self.words.iter().any(|word| word == "--help" || word == "-h")
    }
}
