#!/bin/sh
# redis-cluster - a real Redis Cluster of six nodes on this machine: three masters, three replicas.
#
# Usage: tools/redis-cluster.sh start|stop|status [--dir D] [--base-port P] [--node-timeout MS]
#
#   start    starts what is not running, makes the cluster and waits until all of it is well; then prints
#            one line: host:port of the six nodes
#   stop     ends the six by their process ids and removes their files
#   status   prints a line for each node; exits 0 when the cluster is well
#
# The nodes listen on 127.0.0.1, ports P to P+5 (7100 to 7105) and 10000 above for each other, keep
# nothing on disk but their cluster's map and live in D (${TMPDIR:-/tmp}/penstock-redis-cluster). A master
# that is silent for MS milliseconds (2000) is replaced by its replica. Valkey is as good as Redis. The
# distribution's own service is neither needed nor touched.
#
# SPDX-License-Identifier: Apache-2.0
set -eu

NODES="0 1 2 3 4 5"
PATIENCE=300 # tenths of a second

say() {
    echo "redis-cluster: $*" >&2
}

die() {
    say "$*"
    exit 1
}

usage() {
    sed -n 's/^# Usage: /usage: /p' "$0" >&2
    exit 2
}

# The first of these programs that is there; daemons live in sbin at times.
find_program() {
    for program in "$@"; do
        for folder in $(echo "$PATH" | tr ':' ' ') /usr/sbin /usr/local/sbin; do
            if [ -x "$folder/$program" ]; then
                echo "$folder/$program"
                return 0
            fi
        done
    done
    die "none of these is installed: $*"
}

cli() {
    node_port=$1
    shift
    "$CLI" -h 127.0.0.1 -p "$node_port" "$@" 2>/dev/null
}

# The process of a node, if it still is what was started: a number may have become somebody else's.
pid_of() {
    [ -s "$DIR/$1/redis.pid" ] || return 1
    pid=$(cat "$DIR/$1/redis.pid" 2>/dev/null) || return 1
    [ -r "/proc/$pid/cmdline" ] || return 1
    tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "127.0.0.1:$1 " || return 1
    echo "$pid"
}

start_node() {
    mkdir -p "$DIR/$1"
    "$SERVER" --port "$1" --bind 127.0.0.1 --daemonize yes --dir "$DIR/$1" \
        --pidfile "$DIR/$1/redis.pid" --logfile "$DIR/$1/redis.log" \
        --cluster-enabled yes --cluster-config-file nodes.conf \
        --cluster-node-timeout "$NODE_TIMEOUT" --cluster-port "$(($1 + 10000))" \
        --save '' --appendonly no --maxmemory 256mb --maxmemory-policy allkeys-lru >/dev/null ||
        die "the node on port $1 did not start; see $DIR/$1/redis.log"
}

answers() {
    [ "$(cli "$1" ping)" = PONG ]
}

# Does this node see all slots served and a replica, or a master, on each of the other five?
is_well() {
    cli "$1" cluster info | tr -d '\r' | grep -qx 'cluster_state:ok' &&
        [ "$(cli "$1" cluster nodes | grep -c ' connected')" -eq 6 ] &&
        case $(cli "$1" role | head -n 1) in
        master) true ;;
        *) cli "$1" info replication | tr -d '\r' | grep -qx 'master_link_status:up' ;;
        esac
}

# Waits until a check holds for every node.
wait_for() {
    tenths=0
    for i in $NODES; do
        until "$1" "$((BASE + i))"; do
            tenths=$((tenths + 1))
            [ "$tenths" -le "$PATIENCE" ] || die "port $((BASE + i)) was not ready in time; see $DIR"
            sleep 0.1
        done
    done
}

addresses() {
    for i in $NODES; do
        printf '%s127.0.0.1:%s' "${separator:-}" "$((BASE + i))"
        separator=' '
    done
    echo
}

start() {
    for i in $NODES; do
        pid_of "$((BASE + i))" >/dev/null || start_node "$((BASE + i))"
    done
    wait_for answers
    if [ "$(cli "$BASE" cluster info | tr -d '\r' | sed -n 's/^cluster_known_nodes://p')" = 1 ]; then
        # shellcheck disable=SC2046
        "$CLI" --cluster create $(addresses) --cluster-replicas 1 --cluster-yes \
            >"$DIR/create.log" 2>&1 || die "the cluster could not be made; see $DIR/create.log"
    fi
    wait_for is_well
    addresses
}

# Asked to end all at once: a master waits for its replica, if that is still there.
ask_to_end() {
    for i in 5 4 3 2 1 0; do
        pid=$(pid_of "$((BASE + i))") || continue
        kill -CONT "$pid" 2>/dev/null || true # one that was stopped does not hear the next
        kill "$pid" 2>/dev/null || true
    done
}

wait_for_end() {
    tenths=0
    while pid_of "$1" >/dev/null && [ "$tenths" -lt 50 ]; do
        tenths=$((tenths + 1))
        sleep 0.1
    done
    if pid=$(pid_of "$1"); then
        kill -KILL "$pid" 2>/dev/null || true
    fi
}

stop() {
    ask_to_end
    for i in $NODES; do
        wait_for_end "$((BASE + i))"
        rm -rf "${DIR:?}/$((BASE + i))"
    done
    rm -f "$DIR/create.log"
    rmdir "$DIR" 2>/dev/null || true
}

status() {
    well=0
    for i in $NODES; do
        node_port=$((BASE + i))
        if ! pid=$(pid_of "$node_port"); then
            echo "127.0.0.1:$node_port not running"
            well=1
        elif is_well "$node_port"; then
            echo "127.0.0.1:$node_port $(cli "$node_port" role | head -n 1) pid $pid"
        else
            echo "127.0.0.1:$node_port not well, pid $pid"
            well=1
        fi
    done
    return "$well"
}

[ "$#" -ge 1 ] || usage
command=$1
shift
DIR=${TMPDIR:-/tmp}/penstock-redis-cluster
BASE=7100
NODE_TIMEOUT=2000
while [ "$#" -gt 0 ]; do
    [ "$#" -ge 2 ] || usage
    case $1 in
    --dir) DIR=$2 ;;
    --base-port) BASE=$2 ;;
    --node-timeout) NODE_TIMEOUT=$2 ;;
    *) usage ;;
    esac
    shift 2
done
case $BASE$NODE_TIMEOUT in
*[!0-9]*) usage ;;
esac
if [ "$BASE" -lt 1024 ] || [ "$BASE" -gt 55530 ]; then
    die "--base-port must be 1024 to 55530"
fi
CLI=$(find_program redis-cli valkey-cli)
case $command in
start)
    SERVER=$(find_program redis-server valkey-server)
    start
    ;;
stop) stop ;;
status) status ;;
*) usage ;;
esac
