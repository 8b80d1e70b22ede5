// Package failpoint names the points at which tests kill a service, so that each
// row of the failure table is a test. Outside of binaries built with the tag
// failpoint nothing of it exists.
package failpoint
