# shellcheck shell=bash
# What the scripts beside this file share: the project's root, parts that are timed and listed in
# a table, and getting the tools that are missing. It is sourced, never run.
# Not for: checks themselves (each has its own script), nor anything that only one script needs.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# Everything that the scripts make goes here, so that one `rm -r` forgets it.
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR=$target
# What is not here is asked of Debian, never of rustup.
export RUSTUP_AUTO_INSTALL=0

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The oldest Rust that the workspace promises to build with, such as 1.85.
msrv() {
    sed -n 's/^rust-version = "\([0-9]*\.[0-9]*\).*"$/\1/p' "$root/Cargo.toml" | head -n 1
}

# --- parts -----------------------------------------------------------------------------------

ONLY=()        # names of the parts to run; empty: all
PART_ROWS=()   # "seconds|result|name"
PARTS_FAILED=0
# A part ends with this code to say "cannot be done with what this machine has"; it must have
# printed why.
readonly NOT_AVAILABLE=77

wanted() {
    local name
    [[ ${#ONLY[@]} -eq 0 ]] && return
    for name in "${ONLY[@]}"; do [[ $name == "$1" ]] && return; done
    return 1
}

# part NAME COMMAND…: runs the command and notes how long it took and how it ended. A failed part
# does not stop the others: one run is to show everything that is wrong. With CI=true nothing may
# be missing.
part() {
    local name=$1 start=$EPOCHREALTIME status=0 result
    shift
    wanted "$name" || return 0
    printf '\n=== %s\n' "$name"
    # In a process of its own with `set -e` in force, which the `||` would otherwise switch off.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    case $status in
        0) result=passed ;;
        "$NOT_AVAILABLE")
            result='not available with this toolchain'
            [[ ${CI:-} == true ]] && PARTS_FAILED=$((PARTS_FAILED + 1)) result="FAILED ($result)" ;;
        *) PARTS_FAILED=$((PARTS_FAILED + 1)) result="FAILED ($status)" ;;
    esac
    note_row "$start" "$result" "$name"
}

# prepare NAME COMMAND…: the same for what the parts need: it runs in this very shell, so that what
# it exports stays, and a failure ends the script.
prepare() {
    local name=$1 start=$EPOCHREALTIME
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    note_row "$start" passed "$name"
}

note_row() {
    PART_ROWS+=("$(awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')|$2|$3")
}

# Prints what each part took; fails if a part did. The last words of a script.
finish() {
    local row seconds result name
    printf '\n%9s  %-12s %s\n' seconds part result
    for row in "${PART_ROWS[@]}"; do
        IFS='|' read -r seconds result name <<<"$row"
        printf '%9s  %-12s %s\n' "$seconds" "$name" "$result"
    done
    printf '%9s  %-12s %s\n' "$SECONDS" total \
        "$([[ $PARTS_FAILED -eq 0 ]] && echo passed || echo "$PARTS_FAILED FAILED")"
    [[ $PARTS_FAILED -eq 0 ]]
}

# --- Debian packages ---------------------------------------------------------------------------

NEEDED=()

# need_deb PROGRAM-OR-PATH PACKAGE…: notes the packages if the program (or a file matching the
# path) is not there. `install_needed` then gets all of them at once.
need_deb() {
    case $1 in
        */*) compgen -G "$1" >/dev/null ;;
        *) command -v "$1" >/dev/null ;;
    esac || NEEDED+=("${@:2}")
}

install_needed() {
    [[ ${#NEEDED[@]} -gt 0 ]] || return 0
    apt_install "${NEEDED[@]}"
    NEEDED=()
}

# Lists are fetched at most once, and only when the ones at hand did not do.
apt_update_once() {
    [[ -z ${APT_UPDATED:-} ]] || return 0
    APT_UPDATED=yes
    [[ $EUID -eq 0 ]] || return 0
    apt-get update -qq
}

# Installs packages and starts nothing: no service, no database cluster. Removes nothing either.
apt_install() {
    command -v apt-get >/dev/null || die "missing, and no apt-get to install it: $*"
    [[ $EUID -eq 0 ]] || die "missing packages. As root: apt-get install --no-install-recommends $*"
    # Lists that were never fetched, or name what is no longer there.
    apt-get install --simulate "$@" >/dev/null 2>&1 || apt_update_once
    apt_install_now "$@" && return
    apt_update_once
    apt_install_now "$@" || die "apt-get could not install: $*"
}

apt_install_now() (
    policy=/usr/sbin/policy-rc.d
    cluster=/etc/postgresql-common/createcluster.conf
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # The tests make clusters of their own in folders of their own.
    if [[ " $* " == *' postgresql'* && ! -e $cluster ]]; then
        mkdir -p "${cluster%/*}"
        echo 'create_main_cluster = false' >"$cluster"
    fi
    printf 'installing: %s\n' "$*"
    DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 apt-get install -qq \
        --no-install-recommends --no-remove -o Dpkg::Options::=--force-confold \
        -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
)

# deb_versions PACKAGE: the versions that Debian offers, newest first.
deb_versions() {
    command -v apt-cache >/dev/null || return 0
    apt-cache madison "$1" 2>/dev/null | awk -F'|' '{ gsub(/ /, "", $2); print $2 }' | sort -Vru
}

# --- Rust ----------------------------------------------------------------------------------------

# at_least VERSION MINIMUM: compares as versions.
at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# good_cargo [CARGO]: is there one that is new enough?
good_cargo() {
    local version
    version=$("${1:-cargo}" --version 2>/dev/null | awk '{ print $2 }')
    [[ -n $version ]] && at_least "$version" "$(msrv)"
}

# Finds a Rust that is new enough: the one on PATH, else Debian's, which is installed if need be.
# On Debian 12 `rustc` is too old, while `rustc-web`, there for browsers, is new.
need_rust() {
    local suffix
    if ! good_cargo && good_cargo /usr/bin/cargo; then PATH=/usr/bin:$PATH; fi
    if ! good_cargo; then
        [[ -n $(deb_versions rustc) ]] || apt_update_once
        if at_least "$(deb_versions rustc | head -n 1)" "$(msrv)"; then suffix=''
        elif at_least "$(deb_versions rustc-web | head -n 1)" "$(msrv)"; then suffix=-web
        else die "no Rust of at least $(msrv) is here, and Debian offers none"
        fi
        apt_install "rustc$suffix" "cargo$suffix"
        PATH=/usr/bin:$PATH
        good_cargo || die "cargo is still older than $(msrv): $(command -v cargo)"
    fi
    export PATH
    # Debian packs the formatter and the linter apart; another toolchain has them or does without.
    if [[ $(command -v cargo) -ef /usr/bin/cargo ]]; then
        suffix=''
        dpkg-query -W cargo-web >/dev/null 2>&1 && suffix=-web
        need_deb cargo-fmt "rustfmt$suffix"
        need_deb cargo-clippy "$([[ $suffix ]] && echo rust-web-clippy || echo rust-clippy)"
        install_needed
    fi
    printf 'Rust: %s, %s\n' "$(rustc --version)" "$(command -v cargo)"
}

# Debian's own Rust with the source of its standard library, which can then be built for any target: nobody packs it
# built. It is used whatever else is on PATH, and takes options that are not stable. The C compiler is the caller's to ask for.
need_rust_source() {
    local suffix=''
    if ! good_cargo /usr/bin/cargo; then
        [[ -n $(deb_versions rustc) ]] || apt_update_once
        at_least "$(deb_versions rustc | head -n 1)" "$(msrv)" || suffix=-web
        NEEDED+=("rustc$suffix" "cargo$suffix")
    elif dpkg-query -W cargo-web >/dev/null 2>&1; then
        suffix=-web
    fi
    if [[ $suffix ]]; then need_deb '/usr/lib/rustlib/src/rust/library/std' rust-web-src
    else need_deb '/usr/lib/rustlib/src/rust/library/std' rust-src
    fi
    install_needed
    export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc CARGO=/usr/bin/cargo RUSTC_BOOTSTRAP=1
    unset RUSTC_WRAPPER
    printf 'Rust: %s\n' "$($RUSTC --version)"
}

# --- Python ----------------------------------------------------------------------------------------

# make_venv FOLDER PYTHON REQUIREMENTS…: a Python of our own with these packages; made anew when they or Python change.
make_venv() {
    local folder=$1 python=$2 stamp=$1/made-from want file
    shift 2
    want=$("$python" --version; command -v "$python"; cat "$@")
    [[ -e $stamp && $(<"$stamp") == "$want" ]] && return
    "$python" -m venv --clear "$folder"
    for file in "$@"; do
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --only-binary :all: -r "$file" </dev/null
    done
    printf '%s\n' "$want" >"$stamp"
}

# The Python for everything that is met or used in the tests.
need_venv() {
    venv=$target/venv
    make_venv "$venv" python3 "$root"/scripts/requirements{,-pytest}.txt
    printf 'Python: %s, %s\n' "$("$venv/bin/python" --version)" "$venv"
}

# Those of CPython 3.9 to 3.13 that are here, one a line: on PATH, or where pyenv keeps them.
pythons() {
    local minor found
    for minor in 9 10 11 12 13; do
        for found in "python3.$minor" "$(pyenv prefix "3.$minor" 2>/dev/null || true)/bin/python"; do
            if "$found" -c "import sys; sys.exit(sys.version_info[:2] != (3, $minor))" 2>/dev/null; then
                command -v "$found"
                break
            fi
        done
    done
}
