//! The Go modules below `tests/upstream`, and the `go` that builds programs from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{shell, workspace};

/// A module of ours that does nothing but require others, so that `go.mod` and `go.sum` pin all that is built from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Module {
    /// The folder's name below `tests/upstream`.
    pub(super) name: &'static str,
    /// The module that it is there for; its version is the build's.
    pub(super) requires: &'static str,
}

/// One call of `go`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Build {
    pub(super) what: What,
    pub(super) flags: Vec<String>,
}

/// What comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A program for each of these packages.
    Programs(&'static [&'static str]),
    /// The tests of a package, as one program `<package>.test`.
    Tests(&'static str),
}

impl Module {
    /// The version of what it requires, such as `v1.36.3`.
    pub(super) fn version(self) -> Result<String> {
        let go_mod = self.go_mod()?;
        let version = required(&go_mod, self.requires);
        let version =
            version.with_context(|| format!("{} does not require {}", self.path(), self.requires))?;
        Ok(version.to_owned())
    }

    /// All that decides what is built from it: `go.mod`, `go.sum` and sources of our own.
    pub(super) fn sources(self) -> Result<Vec<Vec<u8>>> {
        let folder = self.folder();
        let files = super::cache::files(&folder)?;
        let read = |file: PathBuf| fs::read(&file).with_context(|| format!("cannot read {}", file.display()));
        files.into_iter().map(read).collect()
    }

    /// Builds into the folder `out`.
    pub(super) fn build(self, build: &Build, out: &Path) -> Result<()> {
        self.check_go()?;
        shell::run(self.go().args(build.args()).arg(build.output(out)).args(build.packages()))
    }

    /// Where the sources of the required module lie, which a build has fetched.
    pub(super) fn source(self) -> Result<PathBuf> {
        let folder = shell::output(self.go().args(["list", "-m", "-f", "{{.Dir}}", self.requires]))?;
        Ok(PathBuf::from(folder.trim()))
    }

    /// One clear error where Go cannot build this, before it says so in its own words for each package.
    fn check_go(self) -> Result<()> {
        let go_mod = self.go_mod()?;
        let wanted =
            line(&go_mod, "go").with_context(|| format!("{} names no version of Go", self.path()))?;
        let advice = format!("{} wants Go {wanted} or newer (https://go.dev/doc/install)", self.path());
        if !shell::exists("go") {
            bail!("Go is not installed: {advice}");
        }
        // Inside the module, where a Go that is too old may fetch a newer one for it, if the machine lets it (GOTOOLCHAIN).
        match shell::output(self.go().args(["env", "GOVERSION"])) {
            Ok(version) if numbers(version.trim()) >= numbers(wanted) => Ok(()),
            _ => {
                let version = shell::output(Command::new("go").current_dir("/").args(["env", "GOVERSION"]))?;
                bail!("this machine's Go is {}: {advice}", version.trim())
            }
        }
    }

    fn go(self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(self.folder());
        // Static programs, for this machine, from this module alone.
        go.env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOOS").env_remove("GOARCH");
        go
    }

    fn folder(self) -> PathBuf {
        workspace::root().join("tests/upstream").join(self.name)
    }

    fn path(self) -> String {
        format!("tests/upstream/{}/go.mod", self.name)
    }

    fn go_mod(self) -> Result<String> {
        let file = self.folder().join("go.mod");
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
    }
}

impl Build {
    /// The programs that it makes.
    pub(super) fn programs(&self) -> Vec<String> {
        match self.what {
            What::Programs(packages) => packages.iter().map(|package| last(package).to_owned()).collect(),
            What::Tests(package) => vec![format!("{}.test", last(package))],
        }
    }

    /// Everything but packages and output, also for the key: the same flags, the same program.
    fn args(&self) -> Vec<String> {
        let verb: &[&str] = match self.what {
            What::Programs(_) => &["build"],
            What::Tests(_) => &["test", "-c"],
        };
        // No paths of this machine, no symbols that only a debugger reads.
        let args = verb.iter().copied().chain(["-trimpath", "-buildvcs=false"]).map(str::to_owned);
        args.chain(self.flags.iter().cloned()).chain(["-o".to_owned()]).collect()
    }

    fn packages(&self) -> &[&'static str] {
        match &self.what {
            What::Programs(packages) => packages,
            What::Tests(package) => std::slice::from_ref(package),
        }
    }

    /// What `-o` gets: a folder for programs, which Go names itself.
    fn output(&self, out: &Path) -> PathBuf {
        match self.what {
            // With a slash at its end: so Go takes it for a folder.
            What::Programs(_) => out.join(""),
            What::Tests(package) => out.join(format!("{}.test", last(package))),
        }
    }

    /// What of it goes into a key.
    pub(super) fn key(&self) -> String {
        [self.args(), self.packages().iter().map(|&package| package.to_owned()).collect()].concat().join(" ")
    }
}

/// A package's last element, which names its program.
fn last(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

/// The version that `go.mod` requires of a module, on a line of its own or in a block.
fn required<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word == "require");
        (words.next()? == module).then(|| words.next())?.filter(|version| version.starts_with('v'))
    })
}

/// The value of a line such as `go 1.26.0`.
fn line<'a>(go_mod: &'a str, verb: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| line.strip_prefix(verb)?.strip_prefix(' ')).map(str::trim)
}

/// `go1.26.8` and `1.26` as numbers that compare as versions do; a release candidate counts as its release.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    };
    let mut numbers: Vec<u32> = version.trim_start_matches("go").split('.').map(number).collect();
    numbers.resize(3, 0);
    numbers
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Build, What, line, numbers, required};

    const GO_MOD: &str = "module a/b\n\n\
        go 1.26.0\n\n\
        require (\n\texample.org/c v1.2.3\n\texample.org/c/v2 v2.0.0 // indirect\n)\n\
        require example.org/d v0.1.0\n\
        replace example.org/e => example.org/e v0.2.0\n";

    #[test]
    fn versions_are_read_from_lines_and_blocks() {
        assert_eq!(required(GO_MOD, "example.org/c"), Some("v1.2.3"));
        assert_eq!(required(GO_MOD, "example.org/c/v2"), Some("v2.0.0"));
        assert_eq!(required(GO_MOD, "example.org/d"), Some("v0.1.0"));
        assert_eq!(required(GO_MOD, "example.org/e"), None);
        assert_eq!(line(GO_MOD, "go"), Some("1.26.0"));
    }

    #[test]
    fn versions_of_go_compare_by_number() {
        assert!(numbers("go1.26.8") >= numbers("1.26.6"));
        assert!(numbers("go1.26.10") >= numbers("1.26.9"));
        assert!(numbers("go1.27") >= numbers("1.26.6"));
        assert!(numbers("go1.9.7") < numbers("1.26"));
        assert!(numbers("go1.26rc1") >= numbers("1.26.0"));
    }

    #[test]
    fn programs_have_the_names_that_go_gives_them() {
        let programs = Build { what: What::Programs(&["a.b/cmd/x", "a.b/cmd/y"]), flags: Vec::new() };
        assert_eq!(programs.programs(), ["x", "y"]);
        assert!(programs.output(Path::new("/out")).to_str().unwrap().ends_with('/'));
        let tests = Build { what: What::Tests("a.b/test/e2e"), flags: Vec::new() };
        assert_eq!(tests.programs(), ["e2e.test"]);
        assert_eq!(tests.output(Path::new("/out")), PathBuf::from("/out/e2e.test"));
    }

    #[test]
    fn a_builds_key_changes_with_packages_flags_and_kind() {
        let build = |what, flag: &str| Build { what, flags: vec![flag.to_owned()] }.key();
        let key = build(What::Programs(&["a"]), "-x");
        assert_ne!(key, build(What::Programs(&["b"]), "-x"));
        assert_ne!(key, build(What::Programs(&["a"]), "-y"));
        assert_ne!(key, build(What::Tests("a"), "-x"));
    }
}
