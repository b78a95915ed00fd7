//! A test in a separate process.

use std::env;
use std::process::Command;

/// Runs the named test again in a new process with additional environment variables, because a process can't safely
/// change environment variables. Returns true in the new process; false in the old process, after the test passed in
/// the new one.
///
/// # Panics
/// If the test failed in the new process.
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
