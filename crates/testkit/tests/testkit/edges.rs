//! Dependencies point one way, as ARCHITECTURE.md explains. Dev-dependencies are free.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Layers of crates, the lowest first; a crate may depend on lower layers only.
const LAYERS: &[&[&str]] = &[
    &["telemetry"],
    &["db"],
    &["messaging", "program"],
    &["messaging-kafka", "rest"],
    &["contracts"],
    &["member", "stock", "payment", "coupon", "order"],
    &["checkout", "consumers", "event-proxy-client"],
    &["runtime"],
    &["shop", "workers"],
    &["bench"],
];

/// Crates outside of the layers, and their permitted dependencies in the workspace.
const ASIDE: &[(&str, &[&str])] = &[
    ("testkit", &["telemetry", "db", "messaging", "messaging-kafka", "contracts"]),
    ("model", &[]),
    ("event-proxy-client", &["event-proxy-macros"]),
    ("event-proxy-macros", &[]),
    ("event-proxy", &["telemetry", "db", "messaging", "messaging-kafka", "program", "rest"]),
];

/// External crates that only some workspace crates may name.
const RESERVED: &[(&str, &[&str])] = &[
    ("rdkafka", &["messaging-kafka", "bench"]),
    // bench measures against the bare library
    ("actix-web", &["shop", "runtime", "event-proxy", "rest", "bench"]),
    ("libsqlite3-sys", &["db"]),
    ("stateright", &["model"]),
    // its list describes every metric
    ("metrics", &["telemetry"]),
    ("pq-sys", &["db"]),
    ("tokio-postgres", &["db"]),
];

/// Package that unifies the features of libraries.
const FEATURES: &str = "workspace-hack";

/// Words that distinguish one kind of database from another.
const KINDS: &[&str] =
    &["Conn::Pg", "Conn::Sqlite", "is_pg(", "PgConnection", "SqliteConnection", "diesel::pg", "diesel::sqlite"];

fn metadata() -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut metadata =
        MetadataCommand::new().manifest_path(manifest).no_deps().other_options(["--offline".into()]).exec().unwrap();
    // a list of features without code
    metadata.packages.retain(|package| package.name.as_str() != FEATURES);
    metadata
}

/// Returns the names of a crate's dependencies, without dev-dependencies.
fn needs(package: &Package) -> Vec<&str> {
    let of_tests = |kind| kind == DependencyKind::Development;
    let own = package.dependencies.iter().filter(|it| !of_tests(it.kind) && it.name != FEATURES);
    own.map(|it| it.name.as_str()).collect()
}

/// Returns each workspace crate with the permitted dependencies in the workspace.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut allowed = BTreeMap::new();
    for (height, layer) in LAYERS.iter().enumerate() {
        for name in *layer {
            allowed.insert(*name, LAYERS[..height].concat());
        }
    }
    allowed.extend(ASIDE.iter().map(|(name, needs)| (*name, needs.to_vec())));
    allowed
}

#[test]
fn dependencies_point_one_way() {
    let (metadata, allowed) = (metadata(), allowed());
    let ours: Vec<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let name = package.name.as_str();
        let Some(may) = allowed.get(name) else {
            wrong.push(format!("{name} has no place in LAYERS"));
            continue;
        };
        let needs = needs(package).into_iter().filter(|need| ours.contains(need));
        wrong.extend(needs.filter(|need| !may.contains(need)).map(|need| format!("{name} -> {need}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_domain_depends_on_a_domain() {
    let metadata = metadata();
    let is_domain = |package: &&Package| package.manifest_path.as_str().contains("/crates/domains/");
    let domains: Vec<_> = metadata.packages.iter().filter(is_domain).collect();
    assert_eq!(domains.len(), 5);
    for domain in &domains {
        for other in &domains {
            assert!(!needs(domain).contains(&other.name.as_str()), "{} -> {}", domain.name, other.name);
        }
    }
}

#[test]
fn some_libraries_are_named_in_one_place() {
    for package in &metadata().packages {
        for (library, places) in RESERVED {
            let named = needs(package).contains(library);
            assert!(!named || places.contains(&package.name.as_str()), "{} names {library}", package.name);
        }
    }
}

#[test]
fn nothing_outside_the_platform_asks_which_database_it_is() {
    let mut found = Vec::new();
    for package in &metadata().packages {
        let folder = package.manifest_path.parent().unwrap().join("src");
        let is_free = folder.as_str().contains("/crates/platform/") || package.name.as_str() == "testkit";
        for file in if is_free { Vec::new() } else { rust_files(folder.as_std_path()) } {
            let text = fs::read_to_string(&file).unwrap();
            found.extend(KINDS.iter().filter(|word| text.contains(**word)).map(|word| (file.clone(), *word)));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// Targets without tests of their own are not built as tests, to save time. Cargo would leave out a later test in silence.
#[test]
fn every_test_in_the_code_is_run() {
    let mut left_out = Vec::new();
    for package in &metadata().packages {
        for target in
            package.targets.iter().filter(|target| target.is_lib() || target.is_bin() || target.is_proc_macro())
        {
            let marks: Vec<&str> =
                [(target.test, "#[test]"), (target.test, "#[cfg(test)]"), (target.doctest, "/// ```")]
                    .into_iter()
                    .filter_map(|(is_run, mark)| (!is_run).then_some(mark))
                    .collect();
            let root = target.src_path.as_std_path();
            let files = if target.is_bin() { vec![root.to_owned()] } else { rust_files(root.parent().unwrap()) };
            for file in files {
                let text = fs::read_to_string(&file).unwrap();
                left_out.extend(marks.iter().filter(|mark| text.contains(**mark)).map(|mark| (file.clone(), *mark)));
            }
        }
    }
    assert!(left_out.is_empty(), "{left_out:#?}: set test or doctest = true in the target's Cargo.toml");
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
