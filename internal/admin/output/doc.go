// Package output prints what a command found out: as aligned text for people,
// as JSON or YAML for programs. A command gives a value, whose JSON form is the
// machine-readable answer, and a function that writes the same for people.
package output
