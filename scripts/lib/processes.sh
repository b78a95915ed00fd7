# shellcheck shell=bash
# Servers in the background: ports for them, files with their ids, and an end for those that we started and no others.

# Whether somebody listens there.
port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The first of so many free ports in a row. They lie below those that the system gives to clients, so that a server that
# was down for a while finds its port as it left it.
free_ports() { # count
    local lowest=10240 end=32768 first
    for _ in {1..100}; do
        first=$((lowest + (RANDOM << 15 | RANDOM) % (end - lowest - $1)))
        if all_free "$first" "$1"; then
            echo "$first"
            return
        fi
    done
    return 1
}

all_free() { # first count
    local port
    for ((port = $1; port < $1 + $2; port++)); do
        ! port_taken "$port" || return
    done
}

# When a process began: together with its id no other process has that. Nothing for one that is gone.
began() {
    local line fields
    if [[ -d /proc/self ]]; then
        { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
        read -ra fields <<<"${line##*) }" # the name before that may hold anything
        [[ ${fields[0]} == [ZX] ]] || echo "${fields[19]}"
    else
        ps -o state=,lstart= -p "$1" | awk '$1 !~ /^Z/ { print $2 $3 $4 $5 $6 }'
    fi
}

# Replaces this (sub)shell by a program that outlives us: its output goes to the file, and it has no descriptor of ours,
# or else a lock that we hold would be held for as long as it runs.
become() { # file program arguments
    local file=$1 fd
    shift
    for fd in /dev/fd/*; do
        fd=${fd##*/}
        ((fd <= 2)) || eval "exec $fd>&-"
    done
    exec </dev/null >>"$file" 2>&1
    # Ctrl-C at our terminal is not meant for it
    if has setsid; then exec setsid "$@"; fi
    exec "$@"
}

note_pid() { # file pid
    printf '%s %s\n' "$2" "$(began "$2")" >"$1"
}

# The process of a file, while it runs.
pid_of() {
    local pid since
    { read -r pid since <"$1"; } 2>/dev/null || return
    [[ -n $since && $(began "$pid") == "$since" ]] && echo "$pid"
}

running() { pid_of "$1" >/dev/null; }

# A server's own children would outlive it: nginx and PostgreSQL have some.
signal_tree() { # signal file
    local pid children
    pid=$(pid_of "$2") || return
    children=$(pgrep -P "$pid") || true
    # shellcheck disable=SC2086 # one word a process
    kill "-$1" "$pid" $children 2>/dev/null || true
}

# Returns when it is gone, so that it can be started again at once.
kill_now() { # file
    signal_tree KILL "$1" || true
    for _ in {1..100}; do
        running "$1" || break
        sleep 0.05
    done
    rm -f "$1"
}

# Asks all of them to finish, at once, and then takes those that did not within so many seconds.
finish_all() { # seconds files
    local deadline=$((SECONDS + $1)) file pid
    shift
    for file in "$@"; do
        pid=$(pid_of "$file") || continue
        kill -TERM "$pid" 2>/dev/null || true
        signal_tree CONT "$file" || true # it may be frozen
    done
    for file in "$@"; do
        while running "$file" && ((SECONDS < deadline)); do
            sleep 0.1
        done
        kill_now "$file"
    done
}

# Whether a server answers 200 there.
answers() { # port path
    local line
    line=$(
        exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3 &&
            read -r -t 2 line <&3 && echo "$line"
    ) 2>/dev/null
    [[ $line == *' 200 '* ]]
}
