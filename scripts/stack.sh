#!/bin/sh
# Runs a whole TabletDB on this machine, one process per server, over MinIO.
#
#   scripts/stack.sh start               start what does not run yet, wait until it serves
#   scripts/stack.sh stop                stop what start started, in an orderly way
#   scripts/stack.sh status              say what runs, and where
#   scripts/stack.sh restart-one NAME    stop one process in an orderly way, start it again
#   scripts/stack.sh kill-one NAME       kill one process without warning, to watch a fail-over
#
# It needs bin/minio (`make minio`) and bin/tabletd (`make build`). Everything
# lies below ./data: data/minio (the bucket), data/lock-N (the lock service),
# data/logs (one log per process), data/pids. Delete ./data for a fresh start.
#
# Processes and ports, all on 127.0.0.1; those of TabletDB also have status
# pages (and /metrics, /debug/pprof/) on their port + STATUS_OFFSET
# (10000):
#
#   minio                   9000    MINIO_PORT
#   lock-1 .. lock-3        8290-   LOCK_PORT      LOCKS=1, 3 or 5
#   master-1, master-2      8300-   MASTER_PORT    MASTERS
#   tablet-1 .. tablet-3    8310-   TABLET_PORT    TABLETS
#   compactor-1 ..          8320-   COMPACTOR_PORT COMPACTORS=0
#   gateway                 8086    GATEWAY_PORT
#
# Other variables: DATA_DIR (./data); STORE, the URL of a bucket to use in place
# of MinIO; BUCKET (tabletdb), its name in MinIO; MINIO_ROOT_USER and
# MINIO_ROOT_PASSWORD (minioadmin); SESSION_TTL (the default of tabletd);
# READY_WITHIN (60) and STOP_WITHIN (30), seconds. A variable that was set for
# start must be set for the other commands too.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
bin=${BIN_DIR:-$root/bin}
data=${DATA_DIR:-$root/data}
logs=$data/logs
pids=$data/pids
host=127.0.0.1

MINIO_PORT=${MINIO_PORT:-9000}
LOCK_PORT=${LOCK_PORT:-8290}
MASTER_PORT=${MASTER_PORT:-8300}
TABLET_PORT=${TABLET_PORT:-8310}
GATEWAY_PORT=${GATEWAY_PORT:-8086}
LOCKS=${LOCKS:-3}
MASTERS=${MASTERS:-2}
TABLETS=${TABLETS:-3}
COMPACTOR_PORT=${COMPACTOR_PORT:-8320}
COMPACTORS=${COMPACTORS:-0}
BUCKET=${BUCKET:-tabletdb}
STATUS_OFFSET=${STATUS_OFFSET:-10000}
READY_WITHIN=${READY_WITHIN:-60}
STOP_WITHIN=${STOP_WITHIN:-30}
store=${STORE:-s3://$BUCKET?endpoint=http://$host:$MINIO_PORT}
export MINIO_ROOT_USER="${MINIO_ROOT_USER:-minioadmin}"
export MINIO_ROOT_PASSWORD="${MINIO_ROOT_PASSWORD:-minioadmin}"
export MINIO_BROWSER=off MINIO_UPDATE=off
if [ -z "${STORE:-}" ]; then
	export TABLETDB_S3_ACCESS_KEY="$MINIO_ROOT_USER" TABLETDB_S3_SECRET_KEY="$MINIO_ROOT_PASSWORD"
fi

say() { printf '%s\n' "$*"; }
die() { printf 'stack: %s\n' "$*" >&2; exit 1; }

# numbered PREFIX COUNT: PREFIX-1 .. PREFIX-COUNT
numbered() {
	n=1
	while [ "$n" -le "$2" ]; do
		say "$1-$n"
		n=$((n + 1))
	done
}

# names: every process, in the order of starting.
names() {
	[ -n "${STORE:-}" ] || say minio
	numbered lock "$LOCKS"
	numbered master "$MASTERS"
	numbered tablet "$TABLETS"
	numbered compactor "$COMPACTORS"
	say gateway
}

reversed() { names | awk '{ a[NR] = $0 } END { for (i = NR; i > 0; i--) print a[i] }'; }

port_of() {
	case $1 in
	minio) say "$MINIO_PORT" ;;
	gateway) say "$GATEWAY_PORT" ;;
	lock-*) say $((LOCK_PORT + ${1#*-} - 1)) ;;
	master-*) say $((MASTER_PORT + ${1#*-} - 1)) ;;
	tablet-*) say $((TABLET_PORT + ${1#*-} - 1)) ;;
	compactor-*) say $((COMPACTOR_PORT + ${1#*-} - 1)) ;;
	esac
}

known() { names | grep -qx "$1" || die "no process is called \"$1\"; there are: $(names | tr '\n' ' ')"; }

# lock_members PREFIX: the lock servers joined by commas; with a PREFIX as id=address.
lock_members() {
	for m in $(numbered lock "$LOCKS"); do
		if [ "$1" = id ]; then printf '%s=' "$m"; fi
		printf '%s:%s ' "$host" "$(port_of "$m")"
	done | sed 's/ $//; s/ /,/g'
}

# pid_of NAME: its process id if it runs. A pid file whose number belongs to
# another program by now counts for nothing.
pid_of() {
	[ -s "$pids/$1.pid" ] || return 1
	pid=$(cat "$pids/$1.pid")
	case $(ps -p "$pid" -o args= 2>/dev/null) in
	*"$host:$(port_of "$1")"*) say "$pid" ;;
	*) return 1 ;;
	esac
}

# launch NAME COMMAND...: run it in the background, away from the terminal. What
# it prints when it is ready goes to a file of its own.
launch() {
	name=$1
	shift
	if command -v setsid >/dev/null 2>&1; then set -- setsid "$@"; else set -- nohup "$@"; fi
	: >"$pids/$name.ready"
	"$@" </dev/null >"$pids/$name.ready" 2>>"$logs/$name.log" &
	say $! >"$pids/$name.pid"
}

run() {
	name=$1
	port=$(port_of "$name")
	addr=$host:$port
	common="--store $store --create-bucket --listen $addr --status $host:$((port + STATUS_OFFSET))"
	server="$common --lockservice $(lock_members addr)"
	ttl=${SESSION_TTL:+--session-ttl $SESSION_TTL}
	# The words of common, server and ttl hold no blanks.
	# shellcheck disable=SC2086
	case $name in
	minio) launch minio "$bin/minio" server "$data/minio" --address "$addr" --quiet ;;
	lock-*) launch "$name" "$bin/tabletd" lockservice $common --id "$name" --data "$data/$name" --bootstrap "$(lock_members id)" ;;
	master-*) launch "$name" "$bin/tabletd" master $server $ttl ;;
	tablet-*) launch "$name" "$bin/tabletd" tabletserver $server $ttl --name "$name" ;;
	compactor-*) launch "$name" "$bin/tabletd" compactor $server $ttl --name "$name" ;;
	gateway) launch gateway "$bin/tabletd" gateway $server ;;
	esac
}

is_ready() {
	if [ "$1" = minio ]; then
		curl -fs -o /dev/null "http://$host:$MINIO_PORT/minio/health/ready"
	else
		grep -q 'serve' "$pids/$1.ready" 2>/dev/null
	fi
}

# await NAME: until it is ready; it fails when the process ends or time is up.
await() {
	tries=0
	until is_ready "$1"; do
		tries=$((tries + 1))
		if ! pid_of "$1" >/dev/null && [ "$tries" -gt 5 ]; then
			tail -n 5 "$logs/$1.log" >&2
			die "$1 has ended; the end of $logs/$1.log stands above"
		fi
		if [ "$tries" -gt $((READY_WITHIN * 10)) ]; then
			tail -n 5 "$logs/$1.log" >&2
			die "$1 is not ready after $READY_WITHIN s; the end of $logs/$1.log stands above"
		fi
		sleep 0.1
	done
}

start() {
	case $store in *" "*) die "STORE must not hold blanks" ;; esac
	[ -x "$bin/tabletd" ] || die "$bin/tabletd is missing: run \`make build\`"
	if [ -z "${STORE:-}" ] && [ ! -x "$bin/minio" ]; then
		die "$bin/minio is missing: run \`make minio\`, or set STORE to the URL of a bucket"
	fi
	mkdir -p "$logs" "$pids"
	started=
	for p in $(names); do
		if pid_of "$p" >/dev/null; then continue; fi
		run "$p"
		started="$started $p"
		if [ "$p" = minio ]; then await minio; fi
	done
	for p in $(names); do await "$p"; done
	if [ -n "$started" ]; then say "started:$started"; else say "everything runs already"; fi
	connect
}

connect() {
	cat <<END

  Bigtable API    export BIGTABLE_EMULATOR_HOST=$host:$GATEWAY_PORT
                  cbt -project local -instance main ls
                  (each tablet server serves it too, from port $TABLET_PORT on)
  tabletadm       bin/tabletadm --lockservice $(lock_members addr) status
  bucket          $store
  logs            $logs
END
}

# end_all NAMES: ask them to stop, wait, then kill what is left.
end_all() {
	for p in "$@"; do
		if pid=$(pid_of "$p"); then kill -TERM "$pid" 2>/dev/null || true; fi
	done
	tries=0
	for p in "$@"; do
		while pid=$(pid_of "$p"); do
			tries=$((tries + 1))
			if [ "$tries" -gt $((STOP_WITHIN * 10)) ]; then
				say "$p did not stop within $STOP_WITHIN s: killing it"
				kill -KILL "$pid" 2>/dev/null || true
				tries=0
			fi
			sleep 0.1
		done
		rm -f "$pids/$p.pid" "$pids/$p.ready"
	done
}

# launched: every process that was started and not stopped since, with whatever
# numbers of them were asked for then.
launched() {
	for f in "$pids"/*.pid; do
		if [ -e "$f" ]; then basename "$f" .pid; fi
	done
}

stop() {
	ran=
	for p in $(launched); do
		if pid_of "$p" >/dev/null; then ran="$ran $p"; fi
	done
	# Clients first, the ground last; servers of one role together.
	for role in gateway tablet compactor master lock minio; do
		# shellcheck disable=SC2046
		end_all $(launched | grep "^$role" || true)
	done
	if [ -n "$ran" ]; then say "stopped:$ran"; else say "nothing ran"; fi
}

status() {
	missing=0
	for p in $(names); do
		if pid=$(pid_of "$p"); then
			state=starting
			if is_ready "$p"; then state=serves; fi
		else
			pid=- state=stopped missing=1
		fi
		printf '%-10s %-9s pid %-8s %s:%s\n' "$p" "$state" "$pid" "$host" "$(port_of "$p")"
	done
	[ "$missing" = 0 ] || return 1
	connect
}

case ${1:-} in
start) start ;;
stop) stop ;;
status) status ;;
restart-one)
	[ $# -eq 2 ] || die "usage: scripts/stack.sh restart-one NAME"
	known "$2"
	end_all "$2"
	mkdir -p "$logs" "$pids"
	run "$2"
	await "$2"
	say "$2 runs again, pid $(pid_of "$2")"
	;;
kill-one)
	[ $# -eq 2 ] || die "usage: scripts/stack.sh kill-one NAME"
	known "$2"
	pid=$(pid_of "$2") || die "$2 does not run"
	kill -KILL "$pid"
	say "$2 (pid $pid) is killed; \`scripts/stack.sh start\` brings it back"
	;;
*)
	sed -n '2,/^set -eu/p' "$0" | sed '/^set -eu/d; s/^# \{0,1\}//' >&2
	exit 2
	;;
esac
