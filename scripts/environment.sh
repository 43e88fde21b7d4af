# Sourced by the other scripts: makes or reuses .venv, installs the project into it, puts it on PATH.
# Usage: . scripts/environment.sh [EXTRA]

cd "$(dirname "${BASH_SOURCE[0]}")/.."
extra="${1:-}"
python="${PYTHON:-python3}"

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "lookalike needs Python 3.11 or newer; $python is older. Name another with PYTHON=…" >&2
    exit 2
fi

[ -x .venv/bin/python ] || "$python" -m venv .venv

# Installed again only when what is to be installed has changed.
stamp=".venv/installed${extra:+-$extra}"
wanted="$(cksum pyproject.toml)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing lookalike${extra:+ with its $extra extra} into .venv (once; some minutes) …" >&2
    .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --editable ".${extra:+[$extra]}"
    echo "$wanted" > "$stamp"
fi
export PATH="$PWD/.venv/bin:$PATH"
