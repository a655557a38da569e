// Package lint holds the house rules as tests.
package lint
