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
		told:     map[string]event.Instant{"WR1:created": 14},
		swept:    15,
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

// A view that the first version has saved is read by this one.
func TestViewsOfTheFirstVersionAreRead(t *testing.T) {
	b, err := base64.StdEncoding.DecodeString(firstVersion)
	if err != nil {
		t.Fatal(err)
	}
	var s SavedView
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&s); err != nil {
		t.Fatal(err)
	}
	sameView(t, fullView(), s.View())
}

// firstVersion is fullView in gob.
const firstVersion = "/4p/AwEBCVNhdmVkVmlldwH/gAABCgEFQWdlbnQB/4IAAQROYW1lAQwAAQNNZXQBAgABCEFjdGl2aXR5Af+EAAEMUmVzZXJ2YXRpb25zAf+MAAEIQ2hhbm5lbHMB/5AAAQ" +
	"RHYXBzAf+UAAEHTGFzdEdhcAEEAAEEVG9sZAH/lgABBVN3ZXB0AQQAAABP/4EDAQEFQWdlbnQB/4IAAQYBAklEAQwAAQZTb3VyY2UBDAABCFByb3ZpZGVyAQwAAQNVUkkB" +
	"DAABB0FjY291bnQBDAABBFNpdGUBDAAAAFn/gwMBAQhBY3Rpdml0eQH/hAABBgECSUQBDAABBE5hbWUBDAABCUF2YWlsYWJsZQH/hgABBVNpbmNlAQQAAQhSZXZpc2lvbg" +
	"H/iAABB0V2ZW50SUQBDAAAACX/hQMBAQpOdWxsW2Jvb2xdAf+GAAECAQFWAQIAAQJPSwECAAAAJv+HAwEBC051bGxbaW50NjRdAf+IAAECAQFWAQQAAQJPSwECAAAAMP+L" +
	"BAEBH21hcFtzdHJpbmddKm1hcHBpbmcuUmVzZXJ2YXRpb24B/4wAAQwB/4oAAHD/iQMBAv+KAAEJAQRUYXNrAQwAAQVDaGFpbgEMAAEGU3RhdHVzAQwAAQhSZXZpc2lvbg" +
	"H/iAABBFRvbGQBBAABB0NyZWF0ZWQBBAABB09mZmVyZWQBBAABCEFjY2VwdGVkAQQAAQVXcmFwcwEEAAAAK/+PBAEBGm1hcFtzdHJpbmddbWFwcGluZy5DaGFubmVsAf+Q" +
	"AAEMAf+OAAAm/40DAQL/jgABAgEIUmV2aXNpb24B/4gAAQdFdmVudElEAQwAAAAc/5MCAQENW11tYXBwaW5nLkdhcAH/lAAB/5IAAEn/kQMBAQNHYXAB/5IAAQYBBEZlZW" +
	"QBDAABBk51bWJlcgEEAAEERnJvbQEEAAECVG8BBAABBUNhdXNlAQwAAQVTdGF0ZQEMAAAAKP+VBAEBGG1hcFtzdHJpbmddZXZlbnQuSW5zdGFudAH/lgABDAEEAAD+AW7/" +
	"gAEBIldLMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDEBB3N1cHBvcnQBBnR3aWxpbwFYL3R3aWxpby90YXNrcm91dGVyL0FDMDAwMDAwMDAwMDAwMDAwMDAwMD" +
	"AwMDAwMDAwMDAwMDEvV1MwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMQEiQUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMQEiV1MwMDAwMDAwMDAw" +
	"MDAwMDAwMDAwMDAwMDAwMDAwMDAwMQABBWFsaWNlAQEBAQNXQTEBBElkbGUBAQEBAQABAgEBBAEBAAEBZQABAQNXUjEBA1dUMQEDV1QwAQdwZW5kaW5nAQEGAQEAAQgBCg" +
	"EMAQ4BEAABAQNXQzEBARIBAQABAWMAAQEBBGxpdmUBFAEWARgBBWNyYXNoAQZvcGVuZWQAARoBAQtXUjE6Y3JlYXRlZBwBHgA="
