// Package inspect shows what stands in the files of the bucket: log objects,
// SSTables and manifests, each as a value with a JSON form and a form for people.
package inspect
