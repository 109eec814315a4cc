//! Packages of Debian suites that the machine itself does not use, from the package mirror that it does use.
//!
//! apt does the work, with lists and sources of our own: so the machine's proxies and keys are honoured, every file is
//! checked against the suite's signature, and nothing of the machine's own package state changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{pins, shell, workspace};

/// Where the machine's own package sources are described.
const SOURCES: [&str; 2] = ["/etc/apt/sources.list", "/etc/apt/sources.list.d"];

/// One archive of the machine's sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mirror {
    uri: String,
    suites: Vec<String>,
    /// The keyring that the sources name for it, if any.
    signed_by: Option<String>,
}

/// A suite on one of the machine's mirrors, as other programs than apt want to be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) uri: String,
    pub(crate) suite: String,
    /// The keyring that the sources name for it, if any.
    pub(crate) signed_by: Option<String>,
}

/// The machine's package mirror, asked for suites of Debian.
pub(crate) struct Apt {
    mirrors: Vec<Mirror>,
    suites: Vec<String>,
}

/// One suite on one mirror, its list of packages fetched.
pub(crate) struct Suite {
    options: Vec<String>,
}

/// One version of a package that a suite has.
pub(crate) struct Package {
    suite: Suite,
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Apt {
    /// Reads the machine's sources.
    ///
    /// # Errors
    /// Where there is no apt, or no archive in its sources.
    pub(crate) fn new() -> Result<Self> {
        anyhow::ensure!(shell::exists("apt-get"), "this machine has no apt-get");
        let mut mirrors = Vec::new();
        for file in source_files()? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let found = match file.extension().and_then(|e| e.to_str()) {
                Some("sources") => deb822(&text),
                _ => one_line(&text),
            };
            mirrors.extend(found);
        }
        // The security archive and its like hold no suites but their own.
        mirrors.retain(|mirror| !mirror.suites.iter().all(|suite| suite.contains("-security")));
        anyhow::ensure!(!mirrors.is_empty(), "the apt sources of this machine name no package mirror");
        let mut suites: Vec<String> = mirrors.iter().flat_map(|mirror| mirror.suites.clone()).collect();
        suites.extend(pins::DEBIAN_SUITES.iter().map(|&suite| suite.to_owned()));
        let mut seen = Vec::new();
        suites.retain(|suite| !seen.contains(suite) && (seen.push(suite.clone()), true).1);
        Ok(Self { mirrors, suites })
    }

    /// The suite that the machine itself is installed from.
    ///
    /// # Errors
    /// Where its sources name updates and the like only.
    pub(crate) fn own_suite(&self) -> Result<Archive> {
        own_suite(&self.mirrors).context("the apt sources of this machine name no whole suite")
    }

    /// Asks suite by suite, the machine's own first, for a package's name and version; the first answer is taken.
    pub(crate) fn find(
        &self,
        ask: impl Fn(&Suite) -> Result<Option<(String, String)>>,
    ) -> Result<Option<Package>> {
        for name in &self.suites {
            for mirror in &self.mirrors {
                let Some(suite) = Suite::fetch(mirror, name)? else { continue };
                if let Some((name, version)) = ask(&suite)? {
                    return Ok(Some(Package { suite, name, version }));
                }
            }
        }
        Ok(None)
    }
}

impl Suite {
    /// Fetches the suite's list; `None` where this mirror has no such suite.
    fn fetch(mirror: &Mirror, name: &str) -> Result<Option<Self>> {
        let folder = workspace::target().join("apt").join(slug(&mirror.uri)).join(name);
        for sub in ["sources", "lists/partial", "cache/archives/partial"] {
            let sub = folder.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
        }
        let mut source = format!("Types: deb\nURIs: {}\nSuites: {name}\nComponents: main\n", mirror.uri);
        if let Some(keyring) = &mirror.signed_by {
            source.push_str(&format!("Signed-By: {keyring}\n"));
        }
        fs::write(folder.join("sources/suite.sources"), source)?;
        let at = folder.display();
        let options = [
            "Dir::Etc::SourceList=/dev/null".to_owned(),
            format!("Dir::Etc::SourceParts={at}/sources"),
            format!("Dir::State::Lists={at}/lists"),
            format!("Dir::Cache={at}/cache"),
            "Acquire::Languages=none".to_owned(),
            // apt's own user cannot read a checkout in somebody's home.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let suite =
            Self { options: options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect() };
        let fetched = shell::output(suite.apt("apt-get").args(["update", "-q", "--error-on=any"]));
        Ok(fetched.is_ok().then_some(suite))
    }

    /// The versions of `package` in this suite, newest first.
    pub(crate) fn versions_of(&self, package: &str) -> Result<Vec<String>> {
        // package | version | where
        let table = shell::output(self.apt("apt-cache").args(["madison", package]))?;
        Ok(table.lines().filter_map(|line| line.split('|').nth(1)).map(|v| v.trim().to_owned()).collect())
    }

    /// The packages of this suite whose names start so.
    pub(crate) fn names_with_prefix(&self, prefix: &str) -> Result<Vec<String>> {
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

impl Package {
    /// Downloads the package and unpacks it below `scratch`, which is emptied before; returns the unpacked root.
    pub(crate) fn unpack(&self, scratch: &Path) -> Result<PathBuf> {
        let root = scratch.join("root");
        if scratch.exists() {
            fs::remove_dir_all(scratch).with_context(|| format!("cannot empty {}", scratch.display()))?;
        }
        fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
        eprintln!("fetching {} {} from this machine's package mirror", self.name, self.version);
        let wanted = format!("{}={}", self.name, self.version);
        shell::output(self.suite.apt("apt-get").args(["download", "-q", &wanted]).current_dir(scratch))?;
        let archive = fs::read_dir(scratch)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get download left no package in {}", scratch.display()))?;
        shell::output(Command::new("dpkg").arg("-x").arg(&archive).arg(&root))?;
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        Ok(root)
    }
}

fn source_files() -> Result<Vec<PathBuf>> {
    let [list, parts] = SOURCES.map(PathBuf::from);
    let mut files: Vec<PathBuf> = list.is_file().then_some(list).into_iter().collect();
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).with_context(|| format!("cannot read {}", parts.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "list" || extension == "sources") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The archives of a `sources.list`: `deb [option=value ...] uri suite component...`.
fn one_line(text: &str) -> Vec<Mirror> {
    text.lines().filter_map(one_line_entry).collect()
}

fn one_line_entry(line: &str) -> Option<Mirror> {
    let line = line.split('#').next().unwrap_or_default();
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.starts_with([' ', '\t', '[']).then(|| rest.trim_start())?;
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracketed) => bracketed.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    words.any(|component| component == "main").then(|| Mirror {
        uri: uri.to_owned(),
        suites: vec![suite.to_owned()],
        signed_by: options
            .split_whitespace()
            .find_map(|option| option.strip_prefix("signed-by="))
            .map(str::to_owned),
    })
}

/// The archives of a `.sources` file: paragraphs of `Field: value`, continued by indented lines.
fn deb822(text: &str) -> Vec<Mirror> {
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    text.split(|line| line.trim().is_empty()).flat_map(deb822_paragraph).collect()
}

fn deb822_paragraph(lines: &[&str]) -> Vec<Mirror> {
    let field = |name: &str| -> Vec<String> {
        let mut inside = false;
        let mut words = Vec::new();
        for line in lines {
            let value = if line.starts_with([' ', '\t']) {
                inside.then_some(*line)
            } else {
                let (key, value) = line.split_once(':').unwrap_or((line, ""));
                inside = key.eq_ignore_ascii_case(name);
                inside.then_some(value)
            };
            words.extend(value.into_iter().flat_map(str::split_whitespace).map(str::to_owned));
        }
        words
    };
    let off = field("Enabled").first().is_some_and(|value| value == "no");
    let is_binary = field("Types").iter().any(|kind| kind == "deb");
    if off || !is_binary || !field("Components").iter().any(|component| component == "main") {
        return Vec::new();
    }
    // A keyring by path only: an inlined key has no place in a word of ours.
    let signed_by = field("Signed-By").into_iter().next().filter(|value| value.starts_with('/'));
    let mirror = |uri| Mirror { uri, suites: field("Suites"), signed_by: signed_by.clone() };
    field("URIs").into_iter().map(mirror).collect()
}

/// The first suite that is whole: updates, backports and the like have their name after a dash.
fn own_suite(mirrors: &[Mirror]) -> Option<Archive> {
    mirrors.iter().find_map(|mirror| {
        let suite = mirror.suites.iter().find(|suite| !suite.contains(['-', '/']))?;
        Some(Archive { uri: mirror.uri.clone(), suite: suite.clone(), signed_by: mirror.signed_by.clone() })
    })
}

/// A folder's name for a mirror.
fn slug(uri: &str) -> String {
    uri.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::{Archive, Mirror, deb822, one_line, own_suite};

    fn mirror(uri: &str, suites: &[&str], signed_by: Option<&str>) -> Mirror {
        Mirror {
            uri: uri.to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn a_sources_list_is_read_with_its_options_and_without_what_is_off() {
        let text = "# deb http://old.example/debian bookworm main\n\
            deb http://mirror.example/debian bookworm main contrib # the machine's own\n\
            deb-src http://mirror.example/debian bookworm main\n\
            deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian trixie main\n\
            deb http://other.example/tools stable nightly\n";
        let wanted = [
            mirror("http://mirror.example/debian", &["bookworm"], None),
            mirror("http://mirror.example/debian", &["trixie"], Some("/usr/share/keyrings/k.gpg")),
        ];
        assert_eq!(one_line(text), wanted);
    }

    #[test]
    fn a_deb822_file_is_read_with_comments_continuations_and_several_mirrors() {
        let text = "Types: deb\n\
            # http://snapshot.example/\n\
            URIs: http://a.example/debian\n  http://b.example/debian\n\
            Suites: bookworm bookworm-updates\n\
            Components: main\n\
            Signed-By: /usr/share/keyrings/k.gpg\n\
            \n\
            Enabled: no\nTypes: deb\nURIs: http://off.example/\nSuites: x\nComponents: main\n\
            \n\
            types: deb-src\nURIs: http://src.example/\nSuites: x\nComponents: main\n";
        let suites = ["bookworm", "bookworm-updates"];
        let wanted = ["http://a.example/debian", "http://b.example/debian"]
            .map(|uri| mirror(uri, &suites, Some("/usr/share/keyrings/k.gpg")));
        assert_eq!(deb822(text), wanted);
    }

    #[test]
    fn the_machines_own_suite_is_the_first_that_is_whole() {
        let mirrors = [
            mirror("http://a.example/debian", &["bookworm-backports"], None),
            mirror("http://b.example/debian", &["bookworm-updates", "bookworm"], Some("/k.gpg")),
        ];
        let wanted = Archive {
            uri: "http://b.example/debian".to_owned(),
            suite: "bookworm".to_owned(),
            signed_by: Some("/k.gpg".to_owned()),
        };
        assert_eq!(own_suite(&mirrors), Some(wanted));
        assert_eq!(own_suite(&mirrors[..1]), None);
    }
}
