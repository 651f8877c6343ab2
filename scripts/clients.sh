#!/bin/sh
# Makes the Python environment $1 with the clients that the server is tested with, and makes sure that there is a Chromium for its page.
# Does nothing where both are there already.
set -eu

folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
requirements=$here/tests/clients/requirements.txt

install() { # packages...
    if ! command -v apt-get >/dev/null; then
        echo "error: the tests of the server need (names as in Debian): $*" >&2
        echo "       install them with your system's package manager and run this again" >&2
        exit 1
    fi
    echo "installing: $*"
    as_root=""
    [ "$(id -u)" = 0 ] || as_root="sudo"
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

missing=""
command -v chromium >/dev/null || missing="chromium"
command -v curl >/dev/null || missing="$missing curl"
python3 -c "import venv, ensurepip" 2>/dev/null || missing="$missing python3-venv"
# shellcheck disable=SC2086 # a list of package names
[ -z "$missing" ] || install $missing

sh "$here/scripts/venv.sh" "$folder" "$requirements"
