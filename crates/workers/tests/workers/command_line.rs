//! Help and errors of a worker's start.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use runtime::programs::Worker;

use crate::process::{command, postgres, said};

#[test]
fn each_binary_is_in_the_list_of_programs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    let mut binaries: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    let mut listed: Vec<_> = Worker::all().iter().map(|worker| worker.name.clone()).collect();
    binaries.sort_unstable();
    listed.sort_unstable();
    assert_eq!(binaries, listed);
}

#[test]
fn each_says_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    for Worker { name, .. } in Worker::all() {
        let help = command(name, folder.path(), &[]).arg("--help").output().unwrap();
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(help.status.success() && text.contains(&format!("Usage: {name} ")), "{name}: {text}");
        assert!(
            text.contains("--config <FILE>") && text.lines().next().is_some_and(|about| about.len() > 20),
            "{text}"
        );
        let version = command(name, folder.path(), &[]).arg("--version").output().unwrap();
        assert!(String::from_utf8(version.stdout).unwrap().starts_with(&format!("{name} 0.")));
    }
}

#[test]
fn sqlite_belongs_to_the_shop_alone() {
    let folder = tempfile::tempdir().unwrap();
    for Worker { name, .. } in Worker::all() {
        let (code, line) = said(&command(name, folder.path(), &[]).output().unwrap());
        assert_eq!(code, Some(2), "{line}");
        assert!(line.starts_with(&format!("{name}: setting database.url: sqlite:")), "{line}");
    }
    assert!(!folder.path().join("data").exists(), "nothing was made");
}

#[test]
fn check_config_refuses_what_the_start_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let at = ("SHOP__DATABASE__URL", "postgres://localhost/shop");
    for (bad, key) in [
        (("SHOP__DATA_DIR", "/proc/none"), "data_dir"),
        (("SHOP__DATABASE__URL", "postgres://localhost:port/shop"), "database.url"),
        (("SHOP__DATABASE__URL", "postgres://%zz@localhost/shop"), "database.url"),
        (("SHOP__WORKER__HTTP__ADDRESS", "192.0.2.1:0"), "worker.http.address"),
        (("SHOP__HTTP__WORKERS", "513"), "http.workers"),
    ] {
        let run = |arguments: &[&str]| {
            said(&command("data-platform", folder.path(), &[at, bad]).args(arguments).output().unwrap())
        };
        let (code, line) = run(&["--check-config"]);
        assert_eq!((code, line.lines().count()), (Some(2), 1), "{line}");
        assert!(line.starts_with(&format!("data-platform: setting {key}: ")), "{line}");
        assert_eq!(run(&[]), (code, line));
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_start_is_one_line() {
    let Some(place) = postgres().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = |settings: &[(&str, &str)], arguments: &[&str]| {
        let settings: Vec<_> = [("SHOP__DATABASE__URL", &*place.url)].iter().chain(settings).copied().collect();
        said(&command("settlement", folder.path(), &settings).args(arguments).output().unwrap())
    };
    let is_wrong = |(code, line): (Option<i32>, String), what: &str| {
        assert!(code == Some(2) && line.starts_with("settlement: ") && line.contains(what), "{what}: {line}");
    };
    is_wrong(run(&[], &["--wrong"]), "--wrong");
    is_wrong(run(&[], &["--config", "nowhere.toml"]), "setting --config: nowhere.toml");
    is_wrong(run(&[("SHOP__ORDER__EXPIRES_AFTER", "soon")], &["--check-config"]), "order.expires_after");
    is_wrong(run(&[("SHOP__BUS__BACKEND", "kafka")], &[]), "bus.kafka.bootstrap_servers");
    is_wrong(run(&[("SHOP__EXPORT__SINK", "splunk")], &[]), "export.splunk.token");
    let nothing = place.url.replace("jangteo_test_", "no_such_");
    is_wrong(run(&[("SHOP__DATABASE__URL", &nothing)], &[]), "does not exist");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    is_wrong(run(&[("SHOP__WORKER__HTTP__ADDRESS", &address)], &[]), "SHOP__WORKER__HTTP__ADDRESS");

    let url = ("SHOP__DATABASE__URL", &*place.url);
    let good = command("settlement", folder.path(), &[url]).arg("--check-config").output().unwrap();
    assert_eq!((good.status.code(), &*good.stdout), (Some(0), &b"the settings are good\n"[..]));
}
