#!/bin/sh
# Makes the Python environment $1 with the clients that the server is tested with, and makes sure that there is a Chromium for its page.
# Does nothing where both are there already.
set -eu

folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
requirements=$here/tests/clients/requirements.txt

missing=""
command -v chromium >/dev/null || missing="$missing chromium"
command -v curl >/dev/null || missing="$missing curl"
python3 -c "import venv, ensurepip" 2>/dev/null || missing="$missing python3-venv"
# shellcheck disable=SC2086 # a list of package names
sh "$here/scripts/packages.sh" "the test of the server with real clients" $missing

sh "$here/scripts/venv.sh" "$folder" "$requirements"
