# Runs a PostgreSQL server for as long as standard input stays open: when the test process ends, in whatever way, the
# kernel closes the pipe, and the server and its folder go.
#   $1 the folder, ours alone; $2 where the server's programs are; $3 the port; $4 more options of the server, if any;
#   $5 for a standby its primary's port
# Says 'ready' on standard output; anything else there is the reason why not. Afterwards it stops, starts and
# promotes the server when a line says so, and answers 'done'.
folder=$1 bin=$2 port=$3 options=${4:-} primary=${5:-}
cd / || exit
trap '' PIPE INT HUP
finish() {
    "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1
    rm -rf "$folder"
}
trap finish EXIT

if [ -n "$primary" ]; then
    "$bin/pg_basebackup" -D "$folder/data" -R -X stream -c fast --no-sync \
        -d "host=127.0.0.1 port=$primary user=postgres password=$(cat "$folder/password")" 2>&1 || exit
else
    "$bin/initdb" -D "$folder/data" --username=postgres --auth=password --pwfile="$folder/password" \
        --encoding=UTF8 --locale=C --no-sync 2>&1 || exit
fi
# No fsync: no test pulls the plug. Many connections: tests run in parallel, each with its own pools.
start() {
    "$bin/pg_ctl" -D "$folder/data" -l "$folder/log" -w -t 60 -o "-p $port -c listen_addresses=127.0.0.1 \
-c unix_socket_directories= -c max_connections=400 -c shared_buffers=128MB \
-c fsync=off -c full_page_writes=off -c autovacuum_naptime=10s $options" start >/dev/null 2>&1
}
start || { cat "$folder/log"; exit; }
echo ready
while read -r order; do
    case $order in
    stop) "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 ;;
    start) start ;;
    promote) "$bin/pg_ctl" -D "$folder/data" -w promote >/dev/null 2>&1 ;;
    esac
    echo done
done
