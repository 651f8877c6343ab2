#!/bin/sh
# Makes the Python environment $1 with the packages that the file $2 pins. Does nothing where it is there already.
set -eu

folder=$1
requirements=$2

cmp -s "$requirements" "$folder/requirements.txt" && exit 0
if ! python3 -c "import venv, ensurepip" 2>/dev/null; then
    echo "error: python3 with venv is needed; on Debian: apt-get install python3-venv" >&2
    exit 1
fi
echo "installing $requirements"
rm -rf "$folder"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
# Last, so that an install that was broken off is made anew.
cp "$requirements" "$folder/requirements.txt"
