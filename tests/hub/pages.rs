//! The pages that the hub brings, with all that they are made of.

use std::fs;
use std::path::Path;

use crate::support::Hub;

#[test]
fn every_file_of_the_console_is_served() {
    let hub = Hub::start(&[]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console");
    let mut folders = vec![root.clone()];
    let mut served = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let file = entry.expect("an entry").path();
            if file.is_dir() {
                folders.push(file);
                continue;
            }
            let name = file.strip_prefix(&root).expect("it is inside").to_string_lossy();
            if name.ends_with("LICENSE") {
                continue;
            }
            let kind = match name.rsplit('.').next() {
                Some("html") => "text/html",
                Some("css") => "text/css",
                Some("ts") => "text/plain",
                _ => "text/javascript",
            };
            let path = match &*name {
                "index.html" => "/".to_owned(),
                "docs.html" => "/docs".to_owned(),
                "operator/index.html" => "/console".to_owned(),
                name => format!("/{}", name.replacen("operator/", "console/", 1)),
            };
            let page = hub.get(&path);
            assert_eq!(page.status, 200, "{path}");
            assert_eq!(page.text(), fs::read_to_string(&file).expect("text"), "{path}");
            assert!(page.header("content-type").is_some_and(|it| it.starts_with(kind)), "{path}");
            assert!(page.header("content-security-policy").is_some(), "{path}");
            served += 1;
        }
    }
    assert!(served > 10, "{served} files");
}
