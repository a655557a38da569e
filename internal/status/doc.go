// Package status is the pages on which a process shows people what it sees:
// the cluster, its servers and tablets, what runs, what went wrong, and where
// the load is. Each page is HTML that needs no script, and JSON with
// ?format=json.
//
// The pages ask, and change nothing. They show what can be known: while the
// lock service has no leader, what one of its replicas remembers; while nobody
// answers, what this process knows itself. They wait a few seconds at most.
package status
