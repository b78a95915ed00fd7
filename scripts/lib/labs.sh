# shellcheck shell=bash
# What the blocks and the conditions of a page become for scripts/labs. Sourced by the page, in a folder of its own.

output=$PWD/output # of the block
page=${0##*/}
patience=120 # seconds for a condition to come true
block=
exec 3>&1 4>&2

has() { command -v "$1" >/dev/null 2>&1; }
has kcat || kcat() { kafkacat "$@"; }

trap 'failed $? "$BASH_COMMAND"' EXIT

# What follows is the block at this line.
block() { # line
    block=$1
    printf '== %s, line %s\n' "$page" "$block" >&3
    exec >"$output" 2>&1
}

block_ends() {
    exec >&3 2>&4
    cat "$output"
    block=
}

failed() { # status command
    exec >&3 2>&4
    if [[ $1 != 0 && -n $block ]]; then
        cat "$output"
        printf 'the block at line %s failed with %s: %s\n' "$block" "$1" "$2"
    fi
}

# How many lines of the block's output have a pattern: so many, or any.
shown() { # pattern [times]
    local lines
    lines=$(grep -cE -- "$1" "$output") || true
    if (($# > 1)); then ((lines == $2)); else ((lines > 0)); fi
}

# The sum of a number that has this name in JSON.
sum() { # name
    grep -oE "\"$1\":[0-9]+" | awk -F : '{ sum += $2 } END { print sum + 0 }'
}

# Asks `condition`, which stands at this line, until it is true.
holds() { # line
    local deadline=$((SECONDS + patience))
    until (condition) >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            printf 'what line %s promises does not hold after %s s:\n' "$1" "$patience"
            (set -x && condition) || true
            exit 1
        fi
        sleep 2
    done
    printf '   line %s holds\n' "$1"
}
