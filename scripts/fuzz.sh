#!/bin/sh
# Runs every fuzz target for the given time: scripts/fuzz.sh 10s
set -eu
for pkg in $(go list ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "== $pkg $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" "$pkg"
	done
done
