//! The image and the composition: their files by a linter, what they tell the hub by the hub. No
//! image is built here: that needs an engine.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::front::find;
use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, run_hub};
use crate::tools::{json_of, program};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions of the Dockerfile, each on one line; comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = read("deploy/Dockerfile");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let whole = lines.join("\n").replace("\\\n", " ");
    let split = whole.lines().filter_map(|line| line.split_once(' '));
    split.map(|(name, rest)| (name.to_owned(), rest.trim().to_owned())).collect()
}

/// What the last stage sets in the environment.
fn environment() -> Vec<(String, String)> {
    let all = instructions();
    let last = all.iter().rposition(|(name, _)| name == "FROM").expect("a stage");
    let sets = all[last..].iter().filter(|(name, _)| name == "ENV");
    let pairs = sets.flat_map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let pairs = pairs.map(|pair| pair.split_once('=').expect("NAME=value"));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Runs a command of the hub as the image would, but for what the machine has in other places.
fn run_as_in_the_image(arguments: &[&str], other: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut set: HashMap<String, String> = environment().into_iter().collect();
    set.extend(other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let set: Vec<_> = set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let output = run_hub(arguments, &set);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

pub fn a_linter_of_images_finds_nothing() -> Outcome {
    let linter = program("hadolint")?;
    let lint = |file: &Path| {
        let output = Command::new(&linter).arg("--failure-threshold=style").arg(file).output();
        let output = output.expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let found = lint(&Path::new(ROOT).join("deploy/Dockerfile"));
    assert_eq!(found, (true, String::new()));
    let planted = tempfile::NamedTempFile::new().expect("a file");
    let text = read("deploy/Dockerfile").replace("rust:1.95.0-slim-bookworm", "rust:latest");
    fs::write(planted.path(), text).expect("it writes");
    let (passed, found) = lint(planted.path());
    assert!(!passed && found.contains("DL3007"), "{found}");
    Ok(())
}

pub fn the_image_holds_the_hub_alone_and_runs_it_as_nobody() {
    let all = instructions();
    let of = |name: &str| -> Vec<&str> {
        let those = all.iter().filter(|(known, _)| known == name);
        those.map(|(_, rest)| rest.as_str()).collect()
    };
    assert_eq!(of("USER"), ["65532:65532"]);
    assert_eq!(of("FROM").last(), Some(&"scratch"));
    assert_eq!(of("ENTRYPOINT"), [r#"["/usr/bin/cpi-hub"]"#]);
    let health = of("HEALTHCHECK").concat();
    assert!(health.ends_with(r#"CMD ["/usr/bin/cpi-hub", "ready"]"#), "{health}");
    // What is built with is what the repository is tested with.
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.expect("a channel").trim_matches('"');
    assert!(of("FROM")[0].starts_with(&format!("rust:{channel}-")), "{:?}", of("FROM"));
    assert!(of("ENV")[0].contains(&format!("RUSTUP_TOOLCHAIN={channel}")), "{:?}", of("ENV"));
}

pub fn what_is_sent_to_the_build_is_enough_for_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let ignored = read("deploy/Dockerfile.dockerignore");
    assert_eq!(ignored.lines().next(), Some("*"), "nothing is sent but what is named");
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        let (from, to) = (Path::new(ROOT).join(name), dir.path().join(name));
        fs::create_dir_all(to.parent().expect("a folder")).expect("it is made");
        let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
        assert!(copied.success(), "{name}");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--locked", "--offline", "--format-version=1", "--no-deps"]);
    let output = metadata.current_dir(dir.path()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // What the sources take in when they are compiled.
    assert!(dir.path().join("migrations/sqlite").is_dir());
    assert!(dir.path().join("src/console").is_dir() && dir.path().join("LICENSE").is_file());
}

pub fn without_a_key_the_image_serves_nobody_and_says_why() {
    let (code, said) = run_as_in_the_image(&["config"], &[("CREDENTIALS_DIRECTORY", "/nowhere")]);
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("insecure"), "{said}");
}

pub fn the_composition_gives_the_hub_what_it_needs() -> Outcome {
    let made = json_of(&read("deploy/compose/compose.yml"))?;
    let (hub, db) = (&made[0]["services"]["hub"], &made[0]["services"]["db"]);
    assert_eq!((&hub["read_only"], &hub["cap_drop"][0]), (&Value::from(true), &"ALL".into()));
    assert_eq!(hub["depends_on"]["db"]["condition"], "service_healthy");
    assert_eq!(hub["stop_grace_period"], "45s");
    let ports = hub["ports"].as_array().expect("ports");
    assert!(ports.iter().all(|port| port.as_str().is_some_and(|it| it.starts_with("127.0.0.1:"))));
    assert_eq!(hub["image"], concat!("cpi-hub:", env!("CARGO_PKG_VERSION")));
    for image in [&hub["image"], &db["image"]] {
        let (_, tag) = image.as_str().and_then(|it| it.split_once(':')).expect("a tag");
        assert_ne!(tag, "latest");
    }
    // The secrets are made as the file says, and taken by the hub under the names that it gives.
    let dir = tempfile::tempdir().expect("a directory");
    let make = format!("{ROOT}/deploy/compose/make-secrets");
    let status = Command::new(&make).arg(dir.path()).status().expect("it runs");
    assert!(status.success());
    let again = Command::new(&make).arg(dir.path()).output().expect("it runs");
    assert!(!again.status.success(), "what is there stays");
    let secrets = dir.path().join("secrets");
    for secret in hub["secrets"].as_array().expect("secrets") {
        let name = secret.as_str().expect("a name");
        let file = format!("./secrets/{name}");
        assert_eq!(made[0]["secrets"][name]["file"], *file);
        assert!(secrets.join(name).is_file(), "{name}");
    }
    let folder = secrets.to_str().expect("a text path");
    let (code, said) = run_as_in_the_image(&["config"], &[("CREDENTIALS_DIRECTORY", folder)]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("db:5432/cpihub") && said.contains("# CREDENTIALS_DIRECTORY"), "{said}");
    let password = fs::read_to_string(secrets.join("database_password")).expect("a password");
    assert!(!said.contains(&password), "{said}");
    Ok(())
}

pub fn the_health_check_tells_a_hub_that_serves_from_one_that_does_not() {
    let mut hub = Hub::start(&["--hosts", "hub"]);
    let address = hub.address.to_string();
    let everywhere = format!("0.0.0.0:{}", hub.address.port());
    let ask =
        |listen: &str| run_as_in_the_image(&["ready", "--insecure"], &[("HUB_LISTEN", listen)]);
    assert_eq!(ask(&address), (Some(0), "ready\n".into()));
    assert_eq!(ask(&everywhere), (Some(0), "ready\n".into()));
    fs::rename(hub.data_dir().join("hub.sqlite3"), hub.data_dir().join("elsewhere"))
        .expect("it is moved");
    let refusing = crate::support::eventually("it is noticed", || {
        let (code, said) = ask(&address);
        (code == Some(1)).then_some(said)
    });
    assert_eq!(refusing, "cpi-hub: refusing: database_file\n");
    hub.kill();
    let (code, said) = ask(&address);
    assert!(code == Some(1) && said.contains("is the hub running?"), "{said}");
}

pub fn shells_find_nothing_in_the_scripts() -> Outcome {
    let Some(linter) = find("shellcheck") else {
        return Err(Lack("shellcheck is missing: `scripts/test` installs it".into()));
    };
    let mut scripts = vec!["deploy/compose/make-secrets".to_owned()];
    for entry in fs::read_dir(Path::new(ROOT).join("scripts")).expect("scripts") {
        let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
        if !name.ends_with(".py") {
            scripts.push(format!("scripts/{name}"));
        }
    }
    let mut command = Command::new(linter);
    let output = command.args(["-x", "-S", "warning"]).args(&scripts).current_dir(ROOT).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}
