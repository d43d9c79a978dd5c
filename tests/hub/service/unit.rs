//! The units of `deploy/`, held against the hub.

use std::net::SocketAddr;
use std::time::Duration;

use cpi_hub::cli::EXIT_CONFIG;
use cpi_hub::limits::Limits;

use crate::support::run_hub;

/// A unit's settings, in order; those that are offered as comments too.
struct Unit(Vec<(String, String)>);

impl Unit {
    fn read(name: &str) -> Unit {
        let path = format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a unit");
        let settings = text.lines().filter_map(|line| {
            let (key, value) = line.trim_start_matches('#').split_once('=')?;
            let is_key = key.chars().all(|letter| letter.is_ascii_alphabetic());
            is_key.then(|| (key.to_owned(), value.to_owned()))
        });
        Unit(settings.collect())
    }

    fn all(&self, key: &str) -> Vec<&str> {
        let of_key = self.0.iter().filter(|(known, _)| known == key);
        of_key.map(|(_, value)| value.as_str()).collect()
    }

    fn one(&self, key: &str) -> &str {
        let all = self.all(key);
        let [value] = all[..] else { panic!("{key}: {all:?}") };
        value
    }

    fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs(self.one(key).parse().expect("seconds"))
    }
}

#[test]
fn the_units_of_systemd_fit_the_hub() {
    let unit = Unit::read("cpi-hub.service");
    let stop_wait = Duration::from_millis(Limits::default().stop_wait);
    assert!(unit.seconds("TimeoutStopSec") > stop_wait);
    // Longer than it takes until a part counts as hanging.
    assert!(unit.seconds("WatchdogSec") > Duration::from_secs(20));
    assert_eq!(unit.one("RestartPreventExitStatus"), EXIT_CONFIG.to_string());
    assert!(["notify", "notify-reload"].contains(&unit.one("Type")));
    let data_dir = format!("/var/lib/{}", unit.one("StateDirectory"));
    let env: Vec<_> =
        unit.all("Environment").iter().map(|it| it.split_once('=').expect("a variable")).collect();
    let output = run_hub(&["config"], &env);
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(&format!("data_dir = \"{data_dir}\"")), "{shown}");
    let socket = Unit::read("cpi-hub.socket");
    assert_ne!(socket.one("FileDescriptorName"), "plain");
    let address: SocketAddr = socket.one("ListenStream").parse().expect("an address");
    assert!(address.ip().is_loopback(), "{address}");
    assert_eq!(unit.one("Requires"), "cpi-hub.socket");
}

#[test]
fn each_credential_of_the_unit_is_one_that_the_hub_reads() {
    let unit = Unit::read("cpi-hub.service");
    let names = unit.all("LoadCredential");
    assert_eq!(names.len(), 4, "{names:?}");
    for credential in names {
        let (name, _) = credential.split_once(':').expect("a name and a file");
        let dir = tempfile::tempdir().expect("a directory");
        // Whatever is read is refused.
        std::fs::write(dir.path().join(name), "of no use").expect("a file");
        let path = dir.path().to_str().expect("a text path");
        let output = run_hub(&["config"], &[("CREDENTIALS_DIRECTORY", path)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(EXIT_CONFIG.into()), "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
    }
}
