#!/bin/sh
# Installs Debian packages where apt is; elsewhere says which are missing, and for what. $1: who needs them, then their names, of which there may be none.
set -eu

who=$1
shift
[ $# = 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "error: $who needs (names as in Debian): $*" >&2
    echo "       install them with your system's package manager and run this again" >&2
    exit 1
fi
echo "installing: $*"
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
$as_root apt-get update -qq
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
