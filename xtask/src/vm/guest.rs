//! What happens inside a virtual machine: its init, a script for busybox's shell.

use std::path::PathBuf;

/// One command that the machine runs.
pub(super) struct Step {
    pub(super) name: String,
    /// Program and arguments.
    pub(super) command: Vec<String>,
}

/// The init: mounts, modules, then every step, also after one that failed. The result, 0 or how many steps failed, goes
/// to the second serial line.
pub(super) fn init(modules: &[String], environment: &[(&str, PathBuf)], steps: &[Step]) -> String {
    let mut script = String::from(SETUP);
    for module in modules {
        script.push_str(&format!("insmod /modules/{module}.ko || echo 'cannot load {module}'\n"));
    }
    for (name, value) in environment {
        script.push_str(&format!("export {name}={}\n", quoted(&value.to_string_lossy())));
    }
    script.push_str(STEP);
    for Step { name, command } in steps {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        script.push_str(&format!("step {} {}\n", quoted(name), words.join(" ")));
    }
    script.push_str(END);
    script
}

const SETUP: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root CI=true RUST_BACKTRACE=1
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mkdir -p /dev/shm /dev/pts
mount -t devpts pts /dev/pts
ip link set lo up
hostname penstock-vm
";

const STEP: &str = "failed=0
step() {
    name=$1
    shift
    echo \"== $(uname -r): $name\"
    \"$@\"
    code=$?
    echo \"== $(uname -r): $name: exit code $code\"
    [ $code -eq 0 ] || failed=$((failed + 1))
}
";

const END: &str = "echo $failed > /dev/ttyS1
reboot -f
";

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{Step, init, quoted};

    #[test]
    fn words_reach_the_command_as_they_are() {
        assert_eq!(quoted("a b$c"), "'a b$c'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn modules_are_loaded_before_the_steps_and_the_result_is_written_last() {
        let steps =
            [Step { name: "packet".to_owned(), command: vec!["/t".to_owned(), "--exact".to_owned()] }];
        let script = init(&["veth".to_owned()], &[("A", "/b".into())], &steps);
        let at = |text: &str| script.find(text).unwrap_or_else(|| panic!("{text} is not in {script}"));
        assert!(at("insmod /modules/veth.ko") < at("step 'packet' '/t' '--exact'"));
        assert!(at("export A='/b'") < at("step 'packet'"));
        assert!(at("step 'packet'") < at("> /dev/ttyS1"));
    }
}
