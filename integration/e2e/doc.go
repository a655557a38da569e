// Package e2e tests TabletDB as users run it: the built binaries as processes on
// loopback ports, a real S3 server (MinIO) below, the official Go client for
// Cloud Bigtable on top, and faults in between: processes are killed, paused,
// stopped and started again under load, files are damaged, buckets are wrong.
//
// The tests need the build tag e2e (`make e2e`). The environment says how they
// run:
//
//	E2E_STORE=minio|dir  what holds the data: MinIO (the default; bin/minio, see
//	                     scripts/minio.sh) or a directory
//	E2E_BIN=DIR          use DIR/tabletd and DIR/tabletadm in place of fresh builds
//	E2E_MINIO=FILE       the MinIO server, ./bin/minio by default
//	E2E_REQUIRE=1        fail, not skip, where MinIO is missing
//	E2E_ARTIFACTS=DIR    where results go: recovery.json, recovery.md, and the
//	                     logs of tests that failed (default: a temporary directory)
//	E2E_KEEP=1           keep the logs of tests that passed, too
//	E2E_SOAK=DURATION    run TestSoak for that long (`make soak`)
//	E2E_PAUSES=N         split, merge and move N times in TestPauses
//	SEED=N               the seed of the workload
//
// Each fault test checks afterwards: every acknowledged write is there with its
// value; no value is there that nobody wrote; counters are exact; what clients
// saw of each row is linearizable (package linearizability); the tablets of each
// table tile its rows and are served; `tabletadm check` finds nothing. It also
// measures how long tablets were away, as a client sees it: a prober writes and
// reads a row of each tablet all the time.
package e2e
