package kafka

import "testing"

func TestAnotherTopic(t *testing.T) {
	one, two, unknown := topicID{1}, topicID{2}, topicID{}
	for _, test := range []struct {
		a, b topicID
		want bool
	}{{one, one, false}, {one, two, true}, {one, unknown, false}, {unknown, two, false}, {unknown, unknown, false}} {
		if got := test.a.another(test.b); got != test.want {
			t.Errorf("%x and %x: got %v, want %v", test.a, test.b, got, test.want)
		}
	}
}
