//! What tells of the command line: completions that a shell takes, pages that a formatter takes,
//! and the configuration in its forms.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{command, ended, json};
use crate::support::run_hub;

/// Runs a program over a text; what it says on standard output and error. `None`: it is not there.
fn over(program: &str, args: &[&str], text: &str) -> Option<(bool, String, String)> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let text = text.to_owned();
    let writing = std::thread::spawn(move || _ = stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("it is written");
    let (code, out, err) = ended(output);
    Some((code == Some(0), out, err))
}

#[test]
fn bash_completes_commands_and_options() {
    let (code, script, err) = command(&["completions", "bash"]);
    assert_eq!(code, Some(0), "{err}");
    let asked = |line: &str, last: usize| {
        let words = line.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        format!(
            "{script}\nset -e\nread -ra how <<<\"$(complete -p cpi-hub)\"\n\
             while [ \"${{how[0]}}\" != -F ]; do how=(\"${{how[@]:1}}\"); done\n\
             COMP_WORDS=({words})\nCOMP_CWORD={last}\nnow=$COMP_CWORD\n\
             \"${{how[1]}}\" cpi-hub \"${{COMP_WORDS[now]}}\" \"${{COMP_WORDS[now-1]}}\"\necho \"${{COMPREPLY[*]}}\"\n"
        )
    };
    for (line, last, expected) in [
        ("cpi-hub ta", 1, "tail"),
        ("cpi-hub tail --sp", 2, "--space"),
        ("cpi-hub serve --write-w", 2, "--write-wait"),
        ("cpi-hub completions z", 2, "zsh"),
        ("cpi-hub dead-letters --js", 2, "--json"),
        ("cpi-hub key new --sc", 3, "--scope"),
    ] {
        let (well, out, err) =
            over("bash", &["--norc"], &asked(line, last)).expect("bash is there");
        assert!(well && err.is_empty(), "{line}: {err}");
        assert_eq!(out.trim_end(), expected, "{line}");
    }
    for shell in ["zsh", "fish"] {
        let (code, script, _) = command(&["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(script.contains("write-wait") && script.contains("tail"), "{shell}");
        // Where the shell is there it says itself whether it is its language.
        if let Some((well, _, err)) = over(shell, &["-n"], &script) {
            assert!(well, "{shell}: {err}");
        }
    }
}

#[test]
fn every_manual_page_is_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().to_str().expect("a text path");
    assert_eq!(command(&["man", "--dir", path]).0, Some(0));
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    for name in ["cpi-hub.1", "cpi-hub-tail.1", "cpi-hub-doctor.1", "cpi-hub-key-new.1"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    for name in &names {
        let page = std::fs::read_to_string(dir.path().join(name)).expect("a page");
        assert!(page.contains(".SH NAME"), "{name}");
        // The formatter of the machine's own, with all its warnings, where it has one.
        if let Some((well, out, err)) = over("groff", &["-man", "-Tutf8", "-ww"], &page) {
            assert!(well && err.is_empty(), "{name}: {err}");
            assert!(out.contains("cpi-hub"), "{name}: {out}");
        }
    }
    let (code, page, _) = command(&["man", "tail"]);
    assert_eq!(code, Some(0));
    let written = std::fs::read_to_string(dir.path().join("cpi-hub-tail.1")).expect("a page");
    assert_eq!(page.trim_end(), written.trim_end());
    let (code, _, err) = command(&["man", "tial"]);
    assert_eq!(code, Some(78));
    assert!(err.starts_with("cpi-hub: `tial` is no command; there are serve, "), "{err}");
}

#[test]
fn the_configuration_is_checked_and_printed_as_json() {
    let (code, out, _) = command(&["config", "check"]);
    assert_eq!(code, Some(0));
    assert!(out.ends_with("the configuration is sound\n"), "{out}");
    let (code, _, err) = command(&["config", "check", "--ping-period", "2m"]);
    assert_eq!(code, Some(78));
    assert!(err.contains("must be below pong_wait"), "{err}");
    let (code, printed) = json(&["config", "--json", "--write-wait", "3s"]);
    assert_eq!(code, 0);
    assert_eq!(printed["settings"]["write_wait"]["value"], "3s");
    assert_eq!(printed["settings"]["write_wait"]["source"], "command line");
    let (_, defaults) = json(&["config", "default", "--json", "--write-wait", "3s"]);
    assert_eq!(defaults["settings"]["write_wait"]["value"], "10s");
}

#[test]
fn the_file_of_defaults_is_one_that_a_hub_reads() {
    let (code, text, err) = command(&["config", "default"]);
    assert_eq!(code, Some(0), "{err}");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("hub.toml");
    std::fs::write(&file, text.replace("#write_wait = \"10s\"", "write_wait = \"7s\""))
        .expect("it writes");
    let (_, printed) = json(&["config", "--json", "--config", file.to_str().expect("a path")]);
    assert_eq!(printed["settings"]["write_wait"]["value"], "7s");
    let changed = |(_, setting): &(&String, &Value)| setting["source"] != "default";
    let settings = printed["settings"].as_object().expect("settings");
    assert_eq!(settings.iter().filter(changed).count(), 1);
}

#[test]
fn tools_say_what_they_did_as_json() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let data = data.to_str().expect("a text path");
    let (_, missing) = json(&["migrate", "--dry-run", "--json", "--data-dir", data]);
    assert_eq!(missing["dry_run"], true);
    assert!(missing["steps"][0]["sql"].as_str().is_some_and(|sql| sql.contains("CREATE TABLE")));
    let (_, done) = json(&["migrate", "--json", "--data-dir", data]);
    assert_eq!(done["steps"].as_array().map(Vec::len), missing["steps"].as_array().map(Vec::len));
    let copy = dir.path().join("copy").to_str().expect("a text path").to_owned();
    let (_, copied) = json(&["backup", &copy, "--json", "--data-dir", data]);
    assert_eq!((&copied["file"], &copied["messages"]), (&copy.into(), &0.into()));
    let (_, journals) = json(&["journal", "--json", "--data-dir", data]);
    assert_eq!(journals["journals"], serde_json::json!([]));
    let (_, key) = json(&["key", "new", "--name", "billing", "--scope", "notify", "--json"]);
    assert!(key["line"].as_str().is_some_and(|line| line.starts_with("billing notify ")));
    assert!(run_hub(&["token", "--json"], &[]).stdout.is_empty(), "a token is a line as it is");
}
