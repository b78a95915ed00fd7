//! Depth of JSON, measured without recursion: libraries skip or refuse deep values inconsistently.

use crate::kinds;
use crate::problem::Problem;

/// Maximum number of arrays and objects within each other; readers with the usual limit of 128 can read such JSON.
pub const MAX_DEPTH: usize = 127;

/// Checks that a JSON text is not nested too deeply, in one pass over the bytes. Text other than JSON passes.
///
/// # Errors
/// `invalid-request` with the name of the `field`.
pub fn check(field: &str, json: &[u8], most: usize) -> Result<(), Problem> {
    let (mut depth, mut in_text, mut at) = (0_usize, false, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            let problem = Problem::new(&kinds::INVALID_REQUEST);
            return Err(problem.field(field, format_args!("may have at most {most} levels of arrays and objects")));
        }
        at += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn brackets_count_but_not_in_text() {
        let levels = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(check("data", levels(3).as_bytes(), 3).is_ok());
        assert!(check("data", levels(4).as_bytes(), 3).is_err());
        assert!(check("data", br#"["[[[[", "\"[[[[", {"a": [1]}, [[2]]]"#, 3).is_ok());
        assert!(check("data", "[".repeat(1_000_000).as_bytes(), 3).is_err());
    }
}
