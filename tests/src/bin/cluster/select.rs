//! Which cluster is meant.

use anyhow::{Result, bail, ensure};
use penstock_tests::cluster;
use penstock_tests::lab::Run;

/// The cluster that the first word names, else the only one; and the words after it.
pub(crate) fn cluster(words: &[String]) -> Result<(Run, &[String])> {
    choose(&cluster::all()?, words)
}

fn choose<'a>(up: &[Run], words: &'a [String]) -> Result<(Run, &'a [String])> {
    let (named, words) = match words.split_first() {
        Some((first, rest)) => match first.parse::<Run>() {
            Ok(run) => (Some(run), rest),
            Err(_) => (None, words),
        },
        None => (None, words),
    };
    let words = match words.split_first() {
        Some((dashes, rest)) if dashes == "--" => rest,
        _ => words,
    };
    if let Some(run) = named {
        ensure!(
            up.contains(&run),
            "there is no cluster {run}; `cargo xtask cluster list` names those that are up"
        );
        return Ok((run, words));
    }
    match up {
        [] => bail!("no cluster is up; `cargo xtask cluster up` makes one"),
        [run] => Ok((run.clone(), words)),
        several => {
            let names: Vec<String> = several.iter().map(ToString::to_string).collect();
            bail!("several clusters are up: put one of {} before the other words", names.join(", "))
        }
    }
}

/// Removes a cluster.
pub(crate) fn remove(run: &Run) -> Result<()> {
    run.remove()?;
    println!("The cluster {run} is gone.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::choose;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_only_cluster_need_not_be_named() {
        let up = ["12-1".parse().unwrap()];
        let (run, rest) = choose(&up, &words("get pods")).map(|(run, rest)| (run, rest.to_vec())).unwrap();
        assert_eq!((run, rest), (up[0].clone(), words("get pods")));
    }

    #[test]
    fn one_of_several_is_named_by_the_first_word() {
        let up = ["12-1".parse().unwrap(), "13-1".parse().unwrap()];
        let named = words("13-1 -- get pods");
        let (run, rest) = choose(&up, &named).unwrap();
        assert_eq!((run, rest), (up[1].clone(), &words("get pods")[..]));
        let error = choose(&up, &words("get pods")).unwrap_err().to_string();
        assert!(error.contains("12-1, 13-1"), "{error}");
    }

    #[test]
    fn no_cluster_and_an_unknown_one_are_errors_of_one_line() {
        for (up, text) in [(&[][..], "get pods"), (&["12-1".parse().unwrap()][..], "14-1 get pods")] {
            let error = choose(up, &words(text)).unwrap_err().to_string();
            assert!(error.contains("cargo xtask cluster") && !error.contains('\n'), "{error}");
        }
    }
}
