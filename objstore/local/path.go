package local

import (
	"strings"
)

// tempDir holds uploads in progress. No key maps to a name that starts with a
// dot, so it can't clash with an object, and listings pass it over.
const tempDir = ".tmp"

// Keys map to paths part by part, and every part to one file name, itself but
// for two escapes: "%" becomes "%25", a leading "." becomes "%2e". The mapping
// is one to one and stays below the root, as objstore.CheckKey admits neither
// empty parts nor "..". It needs a file system that tells upper from lower case
// where keys differ in nothing else; the keys of TabletDB never do.

// escape returns the file name of one part of a key.
func escape(part string) string {
	part = strings.ReplaceAll(part, "%", "%25")
	if strings.HasPrefix(part, ".") {
		part = "%2e" + part[1:]
	}
	return part
}

// unescape is the inverse of escape; ok is false for names that no part maps to.
func unescape(name string) (part string, ok bool) {
	part = name
	if rest, found := strings.CutPrefix(part, "%2e"); found {
		part = "." + rest
	}
	part = strings.ReplaceAll(part, "%25", "%")
	return part, escape(part) == name && part != "" && part != "." && part != ".."
}

// path returns the file of the object key.
func (s *Store) path(key string) string {
	if !strings.ContainsAny(key, ".%") {
		return s.root + "/" + key
	}
	parts := strings.Split(key, "/")
	for i, part := range parts {
		parts[i] = escape(part)
	}
	return s.root + "/" + strings.Join(parts, "/")
}
