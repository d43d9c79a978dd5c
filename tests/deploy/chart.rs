//! The chart for Kubernetes: linted and rendered by Helm, held against Kubernetes' own schemas, and
//! its pod's settings against the hub.

use std::process::Command;

use serde_json::Value;

use crate::support::trials::{Lack, Outcome};
use crate::support::{Hub, run_hub};
use crate::tools::{json_of, program, python, python_packages};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/helm/cpi-hub");

/// Helm's exit, and what it said or rendered.
fn helm(arguments: &[&str]) -> Result<Result<String, String>, Lack> {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(program("helm")?);
    let output = command.args(arguments).env("HOME", home.path()).output().expect("it runs");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    })
}

fn values(case: &str) -> String {
    format!("{CHART}/ci/{case}.yaml")
}

/// What a case of `ci/` becomes, with further settings.
fn rendered(case: &str, more: &[&str]) -> Result<(String, Vec<Value>), Lack> {
    let values = values(case);
    let arguments = ["template", "chat", CHART, "--namespace", "talk", "--values", &values];
    let text = helm(&[&arguments[..], more].concat())?.unwrap_or_else(|said| panic!("{said}"));
    let documents = json_of(&text)?;
    Ok((text, documents))
}

fn of_kind<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|it| it["kind"] == kind).collect()
}

pub fn the_chart_is_read_without_a_complaint() -> Outcome {
    for case in ["small", "whole"] {
        let linted = helm(&["lint", "--strict", CHART, "--values", &values(case)])?;
        let said = linted.unwrap_or_else(|said| panic!("{said}"));
        assert!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{said}");
    }
    Ok(())
}

pub fn kubernetes_takes_what_the_chart_makes() -> Outcome {
    if !python_packages().join("kubernetes_validate").is_dir() {
        return Err(Lack("kubernetes-validate is missing: `scripts/test` installs it".into()));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let check = |text: &str, version: &str| {
        let file = dir.path().join("rendered.yaml");
        std::fs::write(&file, text).expect("it writes");
        let arguments = ["-m", "kubernetes_validate", "--strict", "-k", version];
        let output = python().args(arguments).arg(file).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    for case in ["small", "whole"] {
        let (text, documents) = rendered(case, &[])?;
        for version in ["1.27", "1.34"] {
            let (passed, said) = check(&text, version);
            let known = documents.iter().filter(|it| it["kind"] != "ServiceMonitor").count();
            assert!(passed && said.matches(" passed for ").count() == known, "{said}");
        }
    }
    let (text, _) = rendered("small", &[])?;
    let (passed, said) = check(&text.replace("periodSeconds", "period"), "1.34");
    assert!(!passed && said.contains("period"), "{said}");
    Ok(())
}

pub fn the_chart_fits_the_hub() -> Outcome {
    for case in ["small", "whole"] {
        let (_, documents) = rendered(case, &[])?;
        let [set] = of_kind(&documents, "StatefulSet")[..] else { panic!("one of them") };
        let pod = &set["spec"]["template"]["spec"];
        let hub = &pod["containers"][0];
        if case == "small" {
            assert_eq!(hub["image"], concat!("cpi-hub:", env!("CARGO_PKG_VERSION")));
        }
        let env = hub["env"].as_array().expect("variables");
        let variable = |name: &str| {
            let one = env.iter().find(|it| it["name"] == name);
            one.and_then(|it| it["value"].as_str()).unwrap_or_default().to_owned()
        };
        let seconds = |text: &str| text.trim_end_matches('s').parse::<u64>().expect("seconds");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        assert!(grace > seconds(&variable("HUB_STOP_WAIT")) + 5, "{grace}");
        // The selectors find the pods.
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        for document in &documents {
            let selector = &document["spec"]["selector"];
            let selector = selector.get("matchLabels").unwrap_or(selector);
            let pairs = selector.as_object().into_iter().flatten();
            assert!(pairs.into_iter().all(|(name, value)| labels[name] == *value), "{document}");
        }
        // The hub takes each variable as it is given.
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("jwt_secret"), "x".repeat(40)).expect("it writes");
        let folder = dir.path().to_str().expect("a text path");
        let given = env.iter().map(|it| {
            let name = it["name"].as_str().expect("a name");
            let value = it["value"].as_str().expect("a text");
            (name, if name == "CREDENTIALS_DIRECTORY" { folder } else { value })
        });
        // An address beside TLS needs a certificate, which is not made here.
        let given: Vec<_> = given.filter(|(name, _)| *name != "HUB_TLS_PLAIN_LISTEN").collect();
        let output = run_hub(&["config"], &given);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

pub fn the_probes_ask_what_the_hub_answers() -> Outcome {
    let (_, documents) = rendered("small", &[])?;
    let [set] = of_kind(&documents, "StatefulSet")[..] else { panic!("one of them") };
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    let hub = Hub::start(&[]);
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert_eq!(hub.get(path).status, 200, "{probe}");
    }
    let (_, documents) = rendered("whole", &[])?;
    let [monitor] = of_kind(&documents, "ServiceMonitor")[..] else { panic!("one of them") };
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(hub.get(endpoint["path"].as_str().expect("a path")).status, 200);
    let ports =
        of_kind(&documents, "Service").into_iter().map(|it| &it["spec"]["ports"][0]["name"]);
    assert_eq!(ports.filter(|name| **name == endpoint["port"]).count(), 1);
    let [budget] = of_kind(&documents, "PodDisruptionBudget")[..] else { panic!("one of them") };
    assert_eq!(budget["spec"]["maxUnavailable"], 2, "one that waits is never Ready");
    Ok(())
}

pub fn values_that_can_not_work_are_refused_with_their_name() -> Outcome {
    for (more, expected) in [
        ("auth.secretName=", "auth.secretName: "),
        ("database.standby=true", "database.standby: "),
        ("drain.window=60", "drain.stopWait: "),
        ("settings.listen=x", "settings.listen: "),
        ("image.tag=latest", "image/tag"),
        ("servicePort=1", "servicePort"),
        ("settings.messageRate=1", "messageRate"),
    ] {
        let values = values("small");
        let arguments = ["template", "chat", CHART, "--values", &values, "--set-string", more];
        let arguments = match more.contains("standby") || more.contains("window") {
            true => [&arguments[..5], &["--set", more]].concat(),
            false => arguments.to_vec(),
        };
        let said = helm(&arguments)?.expect_err(more);
        assert!(said.contains(expected), "{more}: {said}");
    }
    Ok(())
}
