# What perf/compare and perf/growth share: getting the servers, starting one, running a scenario
# against it, and ending it whatever happens.
# To be sourced, from bash, in strict mode.
# shellcheck shell=bash disable=SC2034,SC2154

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/lib.sh"

perf=$root/perf
peers=$perf/.peers
scenarios=$perf/scenarios
# CPI_HUB_BINARY names a hub that was built already, such as one that was released.
hub=${CPI_HUB_BINARY:-$target/release/cpi-hub}
generator=$target/release/cpi-hub-perf
centrifugo_version=6.9.1

# Set by the options of the commands.
server_core=0 client_core=1 affinity=apart out='' quick='' store=sqlite announce=500
pin_server=() pin_client=()
# How many shards a hub has: one for the one core, or, where it may use all, what it is shipped with,
# but at least two.
hub_shards=1
# The rates that are made for people; a hub is started without them unless a command sets this.
hub_rates=(--message-rate off --user-message-rate off --connection-rate off)
# What the generator is told beside.
generator_options=()

# Of the server that runs.
server_pid='' server_port='' server_log='' server_scheme=ws dialect=hub

# Of the PostgreSQL that runs: start_cluster sets them.
cluster='' programs='' database_url=''

prepare() {
    need_build_tools
    has taskset || install_packages util-linux || die "taskset is missing (util-linux)"
    if [ "$affinity" = all ]; then
        hub_shards=$(($(nproc) > 2 ? $(nproc) - 1 : 2))
    elif [ "$(nproc)" -gt 1 ]; then
        pin_server=(taskset -c "$server_core") pin_client=(--core "$client_core")
    else
        say "one core for both sides: the ratios will say little"
    fi
    # Each connection is a file, on both sides.
    ulimit -n "$(ulimit -Hn)"
    if [ -n "${CPI_HUB_BINARY:-}" ]; then
        say "building the generator, for $hub"
        (cd "$root" && cargo build --release --locked --package cpi-hub-perf --quiet)
    else
        say "building the hub and the generator"
        (cd "$root" && cargo build --release --locked --workspace --quiet)
    fi
    mkdir -p "$out/runs" "$peers"
    : >"$out/servers.tsv"
    scratch=$(mktemp -d)
    trap cleanup EXIT
    trap 'exit 130' INT TERM
}

cleanup() {
    stop_server
    stop_cluster
    rm -rf "$scratch"
}

# Programs of PostgreSQL, which refuses to run as root.
as_postgres() {
    if is_root; then
        (cd / && runuser -u postgres -- "$@")
    else
        "$@"
    fi
}

# Starts a new PostgreSQL with fsync on, as shipped: start_cluster, or start_cluster taskset -c N.
start_cluster() {
    local newest
    newest=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -V | tail -n 1 || true)
    programs=$(dirname "${newest:-$(command -v postgres)}")
    cluster=$scratch/cluster
    database_url="host=$cluster user=hub dbname=postgres"
    mkdir "$cluster" && chmod 755 "$scratch" || return 1
    if is_root; then chown postgres "$cluster"; fi
    as_postgres "$programs/initdb" --auth trust --username hub -D "$cluster/data" \
        >>"$out/cluster.log" || return 1
    as_postgres "$@" "$programs/pg_ctl" -D "$cluster/data" -w -l "$cluster/log" \
        -o "-k $cluster -c listen_addresses=" start >>"$out/cluster.log"
}

stop_cluster() {
    [ -n "$cluster" ] || return 0
    as_postgres "$programs/pg_ctl" -D "$cluster/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
    cluster='' database_url=''
}

# What the report says about where it ran: facts ROUNDS.
facts() {
    {
        printf 'machine\t%s\n' "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores"
        printf 'kernel\t%s\n' "$(uname -sr)"
        printf 'date\t%s\n' "$(date -u '+%Y-%m-%d %H:%M UTC')"
        printf 'commit\t%s\n' "$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)"
        printf 'hub\t%s, %s\n' "$("$hub" --version)" "$(sha256sum "$hub" | cut -c 1-12)"
        printf 'rounds\t%s\n' "$1"
        # More than a little of it is somebody else's work, which every figure feels.
        printf 'load average before\t%s\n' "$(cut -d ' ' -f 1-3 /proc/loadavg)"
        if [ "$affinity" = all ]; then
            printf 'cores\t%s\n' "server and generator share all $(nproc)"
        else
            printf 'cores\t%s\n' "server $server_core, generator $client_core"
        fi
    } >"$out/machine.tsv"
}

note_server() { printf '%s\t%s\t%s\n' "$1" "$2" "${3:-}" >>"$out/servers.tsv"; }

# Waits until a port is served: wait_for PID PORT.
wait_for() {
    for _ in $(seq 100); do
        kill -0 "$1" 2>/dev/null || return 1
        if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then return 0; fi
        sleep 0.1
    done
    return 1
}

# Starts a peer on a free port: launch COMMAND...; its log: $server_log.
launch() {
    PORT=$server_port NODE_ENV=production ANNOUNCE_MEMBERS_MAX=$announce "${pin_server[@]}" "$@" >"$server_log" 2>&1 &
    server_pid=$!
    wait_for "$server_pid" "$server_port"
}

# Starts a hub as shipped, but for the rates: launch_hub FOLDER BINARY SHARDS OPTIONS...
# Where the store is PostgreSQL, it gets a new one on its core. Where the generator shares the hub's
# cores, no shard is kept on one of them.
launch_hub() {
    local store_at=() pinned=true
    [ "$affinity" != all ] || pinned=false
    if [ "$store" = postgres ]; then
        start_cluster "${pin_server[@]}" || return 1
        store_at=(DATABASE_URL="$database_url")
    fi
    start_hub "$1" env "${store_at[@]}" "${pin_server[@]}" "$2" serve --shards "$3" --pinned "$pinned" \
        "${hub_rates[@]}" --announce-members-max "$announce" "${@:4}" || return 1
    server_pid=$hub_pid server_port=$hub_port
}

# A certificate for this run in $scratch: tls.pem with tls.key.
make_certificate() {
    [ -e "$scratch/tls.pem" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
        -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$scratch/tls.key" -out "$scratch/tls.pem" 2>>"$out/runs.log"
}

# Waits until the hub that is spoken to plainly on a port is ready: ready_at PORT.
ready_at() {
    for _ in $(seq 300); do
        case $(get_status "$1" /readyz || true) in *" 200 "*) return ;; esac
        kill -0 "$server_pid" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}

# Starts a hub that speaks TLS: launch_hub_within_tls FOLDER.
launch_hub_within_tls() {
    make_certificate || return 1
    server_scheme=wss hub_port=$(free_port)
    launch "$hub" serve --listen "127.0.0.1:$server_port" --tls-plain-listen "127.0.0.1:$hub_port" \
        --data-dir "$1/data" --tls-certificate "$scratch/tls.pem" --tls-key "$scratch/tls.key" \
        --shards "$hub_shards" "${hub_rates[@]}" --announce-members-max "$announce" && ready_at "$hub_port"
}

# Starts nginx, which speaks TLS, before a hub that doesn't: launch_nginx FOLDER. The server's process
# is a shell that has begun both.
launch_nginx() {
    make_certificate || return 1
    server_scheme=wss hub_port=$(free_port)
    sed -e "s|@PORT@|$server_port|; s|@HUB@|$hub_port|; s|@CERTIFICATE@|$scratch/tls.pem|" \
        -e "s|@KEY@|$scratch/tls.key|; s|@FOLDER@|$1|" "$perf/peers/nginx.conf" >"$1/nginx.conf"
    launch "$perf/peers/nginx-before" "$1/nginx.conf" "$hub" serve --listen "127.0.0.1:$hub_port" \
        --data-dir "$1/data" --shards "$hub_shards" "${hub_rates[@]}" \
        --announce-members-max "$announce" && ready_at "$hub_port"
}

# Starts a hub that asks who people are, and has the generator show tokens: launch_hub_with_auth FOLDER.
launch_hub_with_auth() {
    head -c 32 /dev/urandom | base64 >"$1/secret"
    chmod 600 "$1/secret"
    generator_options=(--token-secret "$1/secret")
    launch_hub "$1" "$hub" "$hub_shards" --jwt-secret-file "$1/secret"
}

# Starts a hub that compresses, for members who have asked for it: launch_hub_with_deflate FOLDER.
launch_hub_with_deflate() {
    dialect=hub-deflate
    launch_hub "$1" "$hub" "$hub_shards" --compression 6
}

# Starts a hub that counts every message and connection against rates that nobody reaches:
# launch_hub_with_limits FOLDER.
launch_hub_with_limits() {
    local hub_rates=(--message-rate 1000000 --user-message-rate 1000000 --connection-rate 1000000)
    launch_hub "$1" "$hub" "$hub_shards"
}

# Starts a Centrifugo: launch_centrifugo FOLDER SCENARIO. It has no bound on spaces whose joins and
# leaves it announces, so that of a scenario's members decides.
launch_centrifugo() {
    local announces=false members
    members=$(sed -n 's/^members = \([0-9]*\)$/\1/p' "$scenarios/$2.toml")
    # Kinds that need no such key have spaces of ten.
    [ "${members:-10}" -gt "$announce" ] || announces=true
    sed "s/^\(.*join_leave\) = false/\1 = $announces/" "$perf/peers/centrifugo.toml" >"$1/centrifugo.toml"
    launch "$peers/centrifugo-$centrifugo_version/centrifugo" --config "$1/centrifugo.toml" \
        --http_server.address 127.0.0.1 --http_server.port "$server_port"
}

# Starts a server by name for a scenario, with its data in a folder of its own: start_server NAME SCENARIO.
# Returns 1 if it doesn't serve.
start_server() {
    local folder=$scratch/server
    rm -rf "$folder"
    mkdir -p "$folder"
    server_log=$folder/hub.log server_port=$(free_port) dialect=hub server_scheme=ws generator_options=()
    case $1 in
        hub) launch_hub "$folder" "$hub" "$hub_shards" ;;
        tls) launch_hub_within_tls "$folder" ;;
        nginx) launch_nginx "$folder" ;;
        auth) launch_hub_with_auth "$folder" ;;
        limits) launch_hub_with_limits "$folder" ;;
        deflate) launch_hub_with_deflate "$folder" ;;
        one-shard) launch_hub "$folder" "$hub" 1 ;;
        no-journal | no-metrics | other) launch_hub "$folder" "$peers/$1" "$hub_shards" ;;
        uws) launch env ${uws_preload:+LD_PRELOAD="$uws_preload"} node "$peers/npm/uws.js" ;;
        bun) launch "$peers/npm/node_modules/bun/bin/bun.exe" "$peers/npm/bun.js" ;;
        ws) launch node "$peers/npm/ws.js" ;;
        socketio)
            dialect=socketio
            launch node "$peers/npm/socketio.js"
            ;;
        nats)
            dialect=nats
            printf 'host: "127.0.0.1"\nport: %s\nwebsocket { listen: "127.0.0.1:%s", no_tls: true }\n' \
                "$(free_port)" "$server_port" >"$folder/nats.conf"
            launch "$nats" -c "$folder/nats.conf"
            ;;
        floor)
            dialect=bytes
            launch "$generator" floor --listen "127.0.0.1:$server_port"
            ;;
        sockudo)
            dialect=pusher
            launch env RUST_LOG=warn "$peers/sockudo/bin/sockudo" --config "$perf/peers/sockudo.toml"
            ;;
        centrifugo)
            dialect=centrifugo
            launch_centrifugo "$folder" "$2"
            ;;
        axum) launch "$peers/axum/release/axum-broadcast" ;;
        *) return 1 ;;
    esac
}

stop_server() {
    hub_pid=$server_pid
    stop_hub
    server_pid=''
}

# Why a server is not there, for the report: its log's last words.
last_words() {
    local words
    words=$(tail -n 3 "$server_log" 2>/dev/null | tr -c '[:alnum:] .,:;()_/=-' ' ' | cut -c 1-300)
    echo "${words:-it said nothing}"
}

# The line of a run that could not be made: failed_run SCENARIO SERVER ROUND WHY.
failed_run() {
    local kind
    kind=$(sed -n 's/^kind = "\(.*\)"/\1/p' "$scenarios/$1.toml")
    printf '{"scenario":"%s","kind":"%s","server":"%s","round":%s,"failed":"%s"}\n' \
        "$1" "$kind" "$2" "$3" "$4"
}

# Less time for each run, where a kind has times.
short_times() {
    [ -n "$quick" ] || return 0
    case $(sed -n 's/^kind = "\(.*\)"/\1/p' "$scenarios/$1.toml") in
        fanout | open | stalled | durable | churn) echo --set warmup=1 --set seconds=3 ;;
    esac
}

# One run against a server of its own: run_one SCENARIO SERVER ROUND ARGUMENTS... With
# hot_space=N beside a closed loop of 1,000 members in space N; with beside=FUNCTION beside the
# processes that this begins and adds to `watching`.
# Whatever goes wrong is in the file that it writes; it never fails itself.
run_one() {
    local scenario=$1 server=$2 round=$3
    shift 3
    local name=${run_name:-$scenario} file code=0
    file=$out/runs/$round-${name// /_}-$server.json
    say "round $round: $name: $server"
    if ! start_server "$server" "$scenario"; then
        failed_run "$scenario" "$server" "$round" "it did not start: $(last_words)" >"$file"
        stop_server
        stop_cluster
        return 0
    fi
    local hot=''
    if [ -n "${hot_space:-}" ]; then
        # Both generators are on one core: this one must not keep the other from seeing what came.
        nice -n 10 "$generator" run "$scenarios/fanout-1000.toml" \
            --url "127.0.0.1:$server_port" "${pin_client[@]}" --first-space "$hot_space" \
            --set seconds=60 >>"$out/runs.log" 2>&1 &
        hot=$!
        sleep 4
    fi
    local watching=()
    [ -z "${beside:-}" ] || "$beside"
    # shellcheck disable=SC2046
    timeout 900 "$generator" run "$scenarios/$scenario.toml" --url "$server_scheme://127.0.0.1:$server_port" --ca "$scratch/tls.pem" \
        --pid "$server_pid" "${pin_client[@]}" "${generator_options[@]}" --dialect "$dialect" --server "$server" \
        --round "$round" --json "$file" $(short_times "$scenario") "$@" >>"$out/runs.log" || code=$?
    if [ ${#watching[@]} -gt 0 ]; then
        kill "${watching[@]}" 2>/dev/null || true
        wait "${watching[@]}" 2>/dev/null || true
    fi
    if [ -n "$hot" ] && ! kill "$hot" 2>/dev/null; then
        failed_run "$scenario" "$server" "$round" "the hot space's load ended too early" >"$file"
        say "the hot space's load ended too early, see $out/runs.log"
    fi
    if ! kill -0 "$server_pid" 2>/dev/null; then
        failed_run "$scenario" "$server" "$round" "the server died: $(last_words)" >"$file"
        say "$server died"
    elif [ "$code" -gt 1 ]; then
        [ -s "$file" ] ||
            failed_run "$scenario" "$server" "$round" "the generator ended with $code" >"$file"
        say "$server: the run could not be made"
    elif [ "$code" -eq 1 ]; then
        say "$server: faults, see the report"
    fi
    stop_server
    stop_cluster
}

# A figure of a run's file: figure FILE NAME.
figure() { sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$1"; }

write_report() {
    "$generator" report "$out"
    say "$out/report.html, report.json"
}
