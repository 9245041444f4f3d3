package mapping

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"reflect"
	"testing"

	"github.com/taskbridge/taskbridge/internal/event"
)

// fullView is a view in which no member has its zero value.
func fullView() *View {
	return &View{
		Agent: alice, Name: "alice", Met: true,
		Activity: Activity{ID: "WA1", Name: "Idle", Available: event.Some(true), Since: 1, Revision: event.Some[int64](2), EventID: "e"},
		Reservations: map[string]*Reservation{"WR1": {
			Task: "WT1", Chain: "WT0", Status: event.ReservationPending, Revision: event.Some[int64](3), Told: 4, Created: 5, Offered: 6, Accepted: 7, Wraps: 8,
		}},
		Channels: map[string]Channel{"WC1": {Revision: event.Some[int64](9), EventID: "c"}},
		Gaps:     []Gap{{Feed: "live", Number: 10, From: 11, To: 12, Cause: event.CauseCrash, State: event.GapOpened}},
		LastGap:  13,
		told:     Told{map[event.Digest]entry{event.DigestOf("WR1"): {14, verbsOf(event.ReservationCreated)}}, 15},
	}
}

// A member that is added to the view and forgotten here would be forgotten by every crash.
func TestEveryMemberOfAViewIsSaved(t *testing.T) {
	v := fullView()
	all := reflect.ValueOf(*v)
	for i := range all.NumField() {
		if all.Field(i).IsZero() {
			t.Errorf("%s is not in this test", all.Type().Field(i).Name)
		}
	}
	sameView(t, v, restored(t, v))
}

// A view that an earlier version has saved is read by this one.
func TestSavedViewsAreRead(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(savedOnce)
	if err != nil {
		t.Fatal(err)
	}
	var s SavedView
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	sameView(t, fullView(), s.View())
}

// savedOnce is fullView in gob.
const savedOnce = "/4B/AwEBCVNhdmVkVmlldwH/gAABCQEFQWdlbnQB/4IAAQROYW1lAQwAAQNNZXQBAgABCEFjdGl2aXR5Af+EAAEMUmVzZXJ2YXRpb25zAf+MAAEIQ2hhbm5lbHMB/5AAAQRHYXBzAf+U" +
	"AAEHTGFzdEdhcAEEAAEEVG9sZAH/lgAAAE//gQMBAQVBZ2VudAH/ggABBgECSUQBDAABBlNvdXJjZQEMAAEIUHJvdmlkZXIBDAABA1VSSQEMAAEHQWNjb3VudAEMAAEEU2l0ZQEMAAAA" +
	"Wf+DAwEBCEFjdGl2aXR5Af+EAAEGAQJJRAEMAAEETmFtZQEMAAEJQXZhaWxhYmxlAf+GAAEFU2luY2UBBAABCFJldmlzaW9uAf+IAAEHRXZlbnRJRAEMAAAAJf+FAwEBCk51bGxbYm9v" +
	"bF0B/4YAAQIBAVYBAgABAk9LAQIAAAAm/4cDAQELTnVsbFtpbnQ2NF0B/4gAAQIBAVYBBAABAk9LAQIAAAAw/4sEAQEfbWFwW3N0cmluZ10qbWFwcGluZy5SZXNlcnZhdGlvbgH/jAAB" +
	"DAH/igAAcP+JAwEC/4oAAQkBBFRhc2sBDAABBUNoYWluAQwAAQZTdGF0dXMBDAABCFJldmlzaW9uAf+IAAEEVG9sZAEEAAEHQ3JlYXRlZAEEAAEHT2ZmZXJlZAEEAAEIQWNjZXB0ZWQB" +
	"BAABBVdyYXBzAQQAAAAr/48EAQEabWFwW3N0cmluZ11tYXBwaW5nLkNoYW5uZWwB/5AAAQwB/44AACb/jQMBAv+OAAECAQhSZXZpc2lvbgH/iAABB0V2ZW50SUQBDAAAABz/kwIBAQ1b" +
	"XW1hcHBpbmcuR2FwAf+UAAH/kgAASf+RAwEBA0dhcAH/kgABBgEERmVlZAEMAAEGTnVtYmVyAQQAAQRGcm9tAQQAAQJUbwEEAAEFQ2F1c2UBDAABBVN0YXRlAQwAAAAQ/5UFAQEEVG9s" +
	"ZAH/lgAAAP4Bg/+AAQEiV0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMQEHc3VwcG9ydAEGdHdpbGlvAVgvdHdpbGlvL3Rhc2tyb3V0ZXIvQUMwMDAwMDAwMDAwMDAwMDAw" +
	"MDAwMDAwMDAwMDAwMDAwMS9XUzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAxASJBQzAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAxASJXUzAwMDAwMDAwMDAwMDAw" +
	"MDAwMDAwMDAwMDAwMDAwMDAxAAEFYWxpY2UBAQEBA1dBMQEESWRsZQEBAQEBAAECAQEEAQEAAQFlAAEBA1dSMQEDV1QxAQNXVDABB3BlbmRpbmcBAQYBAQABCAEKAQwBDgEQAAEBA1dD" +
	"MQEBEgEBAAEBYwABAQEEbGl2ZQEUARYBGAEFY3Jhc2gBBm9wZW5lZAABGgEkDwAAAAAAAADo2IlkhX7SaimQTqkkaQQ3DgAAAAAAAAACAAAAAA=="
