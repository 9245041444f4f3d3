package event_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// A clone is equal and shares no memory that can be written. full has every member, so one that is added and forgotten by Clone turns this red.
func TestCloneSharesNothing(t *testing.T) {
	for name, e := range map[string]*event.Event{"full": full(t), "empty": empty(), "hollow": hollow()} {
		c := e.Clone()
		if diff := cmp.Diff(e, c); diff != "" {
			t.Errorf("%s (-event +clone):\n%s", name, diff)
		}
		shared(t, reflect.ValueOf(e), reflect.ValueOf(c), name)
	}
}

// shared reports each pointer and slice that a and b, which are equal, have in common.
func shared(t *testing.T, a, b reflect.Value, path string) {
	t.Helper()
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() {
			return
		}
		if a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
			return
		}
		shared(t, a.Elem(), b.Elem(), path)
	case reflect.Slice:
		if a.Len() > 0 && a.Pointer() == b.Pointer() {
			t.Errorf("%s is shared", path)
		}
		for i := range a.Len() {
			shared(t, a.Index(i), b.Index(i), path)
		}
	case reflect.Struct:
		for i := range a.NumField() {
			shared(t, a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name)
		}
	case reflect.String, reflect.Int64, reflect.Uint8, reflect.Float64, reflect.Bool: // cannot be written through
	default:
		t.Errorf("%s: no rule for a %s", path, a.Type())
	}
}
