//! A test in a process of its own.

use std::env;
use std::process::Command;

/// Runs the test of this name again in a process that has these variables too, for a process can't safely change its
/// own. True in that process; false where it has run and passed.
///
/// # Panics
/// When it failed there.
pub fn again_with(test: &str, variables: &[(&str, &str)]) -> bool {
    const AGAIN: &str = "JANGTEO_TEST_AGAIN";
    if env::var_os(AGAIN).is_some() {
        return true;
    }
    let mut again = Command::new(env::current_exe().expect("this program"));
    again.args(["--exact", test, "--nocapture"]).env(AGAIN, "1").envs(variables.iter().copied());
    // what is given to this process by whoever pays for it is not for tests
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        if !variables.iter().any(|(ours, _)| name == *ours) {
            again.env_remove(name);
        }
    }
    let output = again.output().expect("this program");
    let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("1 passed"), "there is no test {test}: {said}");
    false
}
