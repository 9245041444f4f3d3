package spool

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// fullHeader is a header in which no field is empty and no two are the same: one that the layout forgets is found out.
func fullHeader() event.Header {
	var h event.Header
	v := reflect.ValueOf(&h).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(fmt.Sprintf("text %d", i))
		case reflect.Int64:
			f.SetInt(int64(1_000_000_000_000 + i))
		default:
			panic("a header with a field of a new kind")
		}
	}
	return h
}

func TestRecordLayout(t *testing.T) {
	h := fullHeader()
	b := appendRecord(nil, 7, 300, 42, "facts", &h, []byte(`{"a":1}`))
	if most := recordBound("facts", &h, 7); len(b) > most {
		t.Errorf("got %d bytes, more than the bound %d", len(b), most)
	}
	f, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	got, target := f.record(99)
	want := Record{Pos: 7, Epoch: 99, Key: 42, Header: h, Data: []byte(`{"a":1}`)}
	if diff := cmp.Diff(want, got); diff != "" || target != "facts" || f.back != 300 {
		t.Errorf("target %q, back %d, record differs (-want +got):\n%s", target, f.back, diff)
	}
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			if _, err := parseRecord(b); !errors.Is(err, errDamaged) {
				t.Errorf("bit %d of byte %d flipped: got %v, want errDamaged", bit, i, err)
			}
			b[i] ^= 1 << bit
		}
	}
	at := time.Unix(5, 6)
	if f, err := parseRecord(appendAlive(nil, 9, 1, at)); err != nil || !f.alive().Equal(at) || f.pos != 9 || f.takesPosition() {
		t.Errorf("alive record: got %+v and %v", f, err)
	}
}

// TestRecordOfLaterMinor: a later version may add to the head.
func TestRecordOfLaterMinor(t *testing.T) {
	h := fullHeader()
	b := append(make([]byte, recordFixed), appendHead(nil, "", &h)...)
	b = appendText(b, "what is not known yet")
	head := len(b) - recordFixed
	b = append(b, "{}"...)
	seal(b, kindEvent, head, 1, 0, 0)
	f, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := f.record(1); r.Header != h || string(r.Data) != "{}" {
		t.Errorf("got %+v", r)
	}
}
