#!/usr/bin/env bash
# Tests of lib/greet.sh; the matrix chooses LANGUAGE and SUITE.
set -euo pipefail
cd "$(dirname "$0")/.."
. lib/greet.sh

expect() {
	if [ "$1" != "$2" ]; then
		echo "FAILED: got '$1', want '$2'"
		exit 1
	fi
	echo "ok: $1"
}

case "$SUITE" in
	unit)
		declare -A want=([en]='Hello, litci!' [de]='Hallo, litci!' [cs]='Ahoj, litci!')
		expect "$(greet litci "$LANGUAGE")" "${want[$LANGUAGE]}"
		;;
	many)
		for i in $(seq 1 200); do
			greet "friend $i" "$LANGUAGE" >/dev/null
		done
		echo "ok: 200 friends greeted"
		;;
esac
if greet litci xx 2>/dev/null; then
	echo "FAILED: an unknown language was accepted"
	exit 1
fi
echo "ok: unknown language refused"
