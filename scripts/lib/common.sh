# shellcheck shell=bash
# What the scripts share: words, places, packages. Sourced in the project's folder.

say() { printf '%s\n' "$*"; }

has() { command -v "$1" >/dev/null 2>&1; }

# One line, and the end: 1 for what failed, 2 for a command that was not understood.
die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit "${2:-1}"
}

# The usage is the first lines of the script, so that it is written once.
help() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# Where everything goes that is built or fetched, as cargo has it.
target_folder() {
    local folder=${CARGO_TARGET_DIR:-target}
    mkdir -p "$folder" && (cd "$folder" && pwd)
}

# With a repository of its own, so that nothing is left outside target/, which the caller knows as `target`.
# shellcheck disable=SC2154
maven() { mvn -q -B -Dmaven.repo.local="$target/maven" "$@"; }

# Debian's packages, where we may.
install_packages() {
    [[ $EUID == 0 ]] && has apt-get || return
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}
