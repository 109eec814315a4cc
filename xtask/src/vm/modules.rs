//! Which kernel modules a machine loads, and in which order: what a module depends on comes before it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

use crate::shell;

/// What the lab and the programs need and a distribution's kernel has as modules, if not built in.
const WANTED: &[&str] = &["veth", "sch_ingress", "cls_bpf", "bridge", "tun", "nf_tables"];

/// A module, decompressed.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) contents: Vec<u8>,
}

/// The wanted modules of the kernel whose modules are below `folder`, in the order to load them in.
pub(super) fn in_order(folder: &Path) -> Result<Vec<Module>> {
    let files = files_below(folder)?;
    let builtin = fs::read_to_string(folder.join("modules.builtin"))
        .with_context(|| format!("cannot read the list of built-in modules of {}", folder.display()))?;
    let mut loaded = Vec::new();
    for name in WANTED {
        if !builtin.lines().any(|path| module_name(Path::new(path)).as_deref() == Some(name)) {
            load(name, &files, &mut loaded)?;
        }
    }
    Ok(loaded)
}

fn load(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<Module>) -> Result<()> {
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(file) = files.get(name) else { bail!("this kernel has no module {name}, nor is it built in") };
    let contents = decompressed(file)?;
    for needed in dependencies(&contents).with_context(|| format!("{}", file.display()))? {
        load(&needed, files, loaded)?;
    }
    loaded.push(Module { name: name.to_owned(), contents });
    Ok(())
}

fn decompressed(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_none_or(|extension| extension != "xz") {
        return fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    }
    let output = Command::new("xz").arg("-dc").arg(file).output().context("cannot run xz")?;
    if !output.status.success() {
        bail!("cannot decompress {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// What a module says of itself: strings `key=value` in the section `.modinfo`.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module).context("this is no ELF object")?;
    let section = file.section_by_name(".modinfo").context("this is no kernel module")?;
    Ok(depends(section.data()?))
}

fn depends(modinfo: &[u8]) -> Vec<String> {
    let strings = modinfo.split(|&byte| byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let lists = strings.filter_map(|string| string.strip_prefix("depends="));
    lists.flat_map(|list| list.split(',')).filter(|name| !name.is_empty()).map(normal).collect()
}

/// A file's module name: `kernel/net/sched/cls_bpf.ko.xz` is `cls_bpf`.
fn module_name(file: &Path) -> Option<String> {
    let (name, suffix) = file.file_name()?.to_str()?.split_once('.')?;
    matches!(suffix, "ko" | "ko.xz").then(|| normal(name))
}

/// `-` and `_` are one letter in module names.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

fn files_below(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let listing = shell::output(Command::new("find").arg(folder).args(["-name", "*.ko*", "-type", "f"]))?;
    Ok(listing.lines().map(PathBuf::from).filter_map(|path| Some((module_name(&path)?, path))).collect())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{depends, module_name};

    #[test]
    fn a_module_says_what_it_depends_on() {
        assert_eq!(depends(b"license=GPL\0depends=stp,nf-tables\0name=bridge\0"), ["stp", "nf_tables"]);
        assert!(depends(b"depends=\0name=veth\0").is_empty());
    }

    #[test]
    fn a_module_is_named_after_its_file_compressed_or_not() {
        assert_eq!(module_name(Path::new("kernel/net/sched/cls_bpf.ko.xz")).as_deref(), Some("cls_bpf"));
        assert_eq!(module_name(Path::new("kernel/x-y.ko")).as_deref(), Some("x_y"));
        assert_eq!(module_name(Path::new("kernel/modules.order")), None);
    }
}
