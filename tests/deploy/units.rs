//! The units of systemd, by systemd's own programs.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::trials::{Lack, Outcome};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy");

fn analyze(arguments: &[&str]) -> Result<Output, Lack> {
    let lack = |_| Lack("systemd-analyze is missing: `scripts/test` installs it".into());
    Command::new("systemd-analyze").args(arguments).output().map_err(lack)
}

pub fn the_unit_of_systemd_leaves_the_hub_little_to_reach() -> Outcome {
    let unit = format!("{DEPLOY}/cpi-hub.service");
    let output = analyze(&["security", "--offline=true", "--no-pager", "--threshold=20", &unit])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let level = said.lines().last().unwrap_or_default();
    assert!(output.status.success() && level.contains("exposure level"), "above 2.0: {level}");
    Ok(())
}

pub fn systemd_reads_the_units_without_a_complaint() -> Outcome {
    let version = analyze(&["--version"])?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
    let complaints = |change: &[(&str, &str)]| {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["cpi-hub.service", "cpi-hub.socket"] {
            let mut text = std::fs::read_to_string(Path::new(DEPLOY).join(name)).expect("a unit");
            for (from, to) in change {
                text = text.replace(from, to);
            }
            std::fs::write(dir.path().join(name), text).expect("it writes");
        }
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (service, socket) = (file("cpi-hub.service"), file("cpi-hub.socket"));
        let output = analyze(&["verify", "--man=no", &service, &socket])?;
        Ok::<_, Lack>(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Its program need not be there where it is read; before version 253 the unit is to be changed
    // as it says itself.
    let program = ("/usr/local/bin/cpi-hub", "/bin/true");
    let older = ("\nType=notify-reload\n", "\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n");
    let changes = if version >= Some(253) { &[program][..] } else { &[program, older] };
    assert_eq!(complaints(changes)?, "");
    let planted =
        complaints(&[changes, &[("\nWatchdogSec=30\n", "\nWatchdogSec=often\n")]].concat())?;
    assert!(planted.contains("often"), "{planted}");
    Ok(())
}
