#!/bin/sh
# Builds the MinIO server that the S3 tests run against, and runs it.
#
#   scripts/minio.sh                     build ./bin/minio, if that is not done yet
#   scripts/minio.sh serve DIR [ADDR]    build, then serve DIR on ADDR (127.0.0.1:9000)
#   scripts/minio.sh test  [GO TEST ARGS]
#                                        build, serve a temporary directory on a
#                                        free port, run the tests of objstore/...
#                                        against it, stop the server
#
# The version is pinned to the head of the archived repository: the last tagged
# release ignores the condition of a conditional PUT when a read quorum is lost.
# MinIO is only ever a process of its own; nothing of it is linked into TabletDB.
set -eu

version=v0.0.0-20260212201848-7aac2a2c5b7c
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/bin
stamp=$bin/minio.version

build() {
	if [ -x "$bin/minio" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$version" ]; then
		return
	fi
	mkdir -p "$bin"
	echo "building minio $version (some minutes of CPU)" >&2
	GOBIN=$bin CGO_ENABLED=0 nice go install -trimpath "github.com/minio/minio@$version"
	echo "$version" >"$stamp"
}

export MINIO_ROOT_USER="${MINIO_ROOT_USER:-minioadmin}"
export MINIO_ROOT_PASSWORD="${MINIO_ROOT_PASSWORD:-minioadmin}"
export MINIO_BROWSER=off MINIO_UPDATE=off

serve() {
	dir=$1
	addr=${2:-127.0.0.1:9000}
	mkdir -p "$dir"
	exec "$bin/minio" server "$dir" --address "$addr" --quiet
}

# run_tests serves a fresh directory for the duration of one `go test`.
run_tests() {
	dir=$(mktemp -d)
	port=${MINIO_PORT:-$((20000 + $$ % 20000))}
	"$bin/minio" server "$dir/data" --address "127.0.0.1:$port" --quiet >"$dir/log" 2>&1 &
	pid=$!
	trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; rm -rf "$dir"' EXIT INT TERM
	tries=0
	until curl -fs "http://127.0.0.1:$port/minio/health/ready" >/dev/null; do
		tries=$((tries + 1))
		if [ $tries -gt 100 ] || ! kill -0 $pid 2>/dev/null; then
			echo "minio does not come up:" >&2
			cat "$dir/log" >&2
			return 1
		fi
		sleep 0.1
	done
	cd "$root"
	[ $# -gt 0 ] || set -- ./objstore/...
	AWS_ACCESS_KEY_ID=$MINIO_ROOT_USER AWS_SECRET_ACCESS_KEY=$MINIO_ROOT_PASSWORD \
		TABLETDB_TEST_S3="s3://tabletdb-test/suite?endpoint=http://127.0.0.1:$port&region=us-east-1" \
		go test -count=1 "$@"
}

command=${1:-build}
[ $# -eq 0 ] || shift
case $command in
build) build ;;
serve)
	[ $# -ge 1 ] || { echo "usage: scripts/minio.sh serve DIR [ADDR]" >&2; exit 2; }
	build
	serve "$@"
	;;
test)
	build
	run_tests "$@"
	;;
*)
	echo "unknown command $command; see the head of scripts/minio.sh" >&2
	exit 2
	;;
esac
