//! The programs that read what is deployed: found where `scripts/test` puts them, or on the path.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::front::find;
use crate::support::trials::Lack;

const TOOLS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/tools");

/// Where Python's packages for these tests are.
pub fn python_packages() -> PathBuf {
    Path::new(TOOLS).join("python")
}

/// Where a program is.
pub fn program(name: &str) -> Result<PathBuf, Lack> {
    let ours = ["bin", "python/bin"].map(|folder| Path::new(TOOLS).join(folder).join(name));
    let there = ours.into_iter().find(|file| file.is_file()).or_else(|| find(name));
    there.ok_or_else(|| Lack(format!("{name} is missing: `scripts/test` installs it")))
}

/// A command of Python's, with the packages of these tests.
pub fn python() -> Command {
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", python_packages());
    command
}

/// The documents of a YAML text, as JSON.
pub fn json_of(yaml: &str) -> Result<Vec<Value>, Lack> {
    const SCRIPT: &str = "import json, sys, yaml\n\
                          made = [it for it in yaml.safe_load_all(sys.stdin) if it]\n\
                          json.dump(made, sys.stdout)";
    let mut command = python();
    command.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let lack = || Lack("python3 or its yaml is missing: `scripts/test` installs them".into());
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|_| lack())?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let text = yaml.to_owned();
    let writer = std::thread::spawn(move || _ = stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("it writes");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("No module named") {
        return Err(lack());
    }
    assert!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout).expect("JSON"))
}
