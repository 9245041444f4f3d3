// Package schemas holds the published contract of the events: the files here are what consumers validate against and generate from.
package schemas

import _ "embed"

// Event is the JSON Schema (draft 2020-12) of an event in CloudEvents structured mode. The schema of its data alone is embedded in it
// under the $id urn:taskbridge:event-data:1.0, the value of the attribute dataschema. The tests of internal/event hold it against the Go
// types.
//
//go:embed event.schema.json
var Event []byte
