# shellcheck shell=bash
# Servers that are tried from outside: each in a fresh folder, on a port that the system chooses. Sourced by a script
# that has `temp`, the folder for all, and `logs`.

declare -A servers=() # their process ids, by name

# Starts a program in a folder of its own; `address` is where it answers then, as it says itself.
start_server() { # name program variables of its environment
    # shellcheck disable=SC2154
    local name=$1 program=$2 folder=$temp/$1
    shift 2
    mkdir "$folder" || return
    say "== a fresh $name"
    # shellcheck disable=SC2154
    (cd "$folder" && exec env "$@" "$program" >"$folder/said" 2>"$logs/$name.log") &
    servers[$name]=$!
    for _ in {1..300}; do
        # shellcheck disable=SC2034 # for who called
        address=$(grep -oE 'http://[0-9.]+:[0-9]+' "$folder/said" | head -n 1)
        [[ -z $address ]] || return 0
        kill -0 "${servers[$name]}" 2>/dev/null || break
        sleep 0.2
    done
    say "$name did not start:"
    tail -n 5 "$logs/$name.log"
    return 1
}

stop_server() { # name
    local pid=${servers[$1]:-}
    [[ -n $pid ]] || return
    kill -TERM "$pid" 2>/dev/null
    for _ in {1..150}; do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.2
    done
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    unset "servers[$1]"
}

stop_servers() {
    local name
    for name in "${!servers[@]}"; do stop_server "$name"; done
}

is_ready() { # address
    python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/readyz")' "$1"
}
