package kafka

import (
	"encoding/json"
	"testing"

	binding "github.com/cloudevents/sdk-go/protocol/kafka_sarama/v2"
	ce "github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"

	"github.com/taskbridge/taskbridge/internal/event"
)

// TestOfficialBinding has what landed decoded by the CloudEvents SDK's Kafka binding, in both modes.
func TestOfficialBinding(t *testing.T) {
	for mode, encoding := range map[string]ce.Encoding{Structured: ce.EncodingStructured, Binary: ce.EncodingBinary} {
		t.Run(mode, func(t *testing.T) {
			c, _, _ := one(t)
			cfg := testConfig(c)
			cfg.Mode = mode
			s, _ := opened(t, cfg)
			all := records("Zoë", 1, 3)
			b, answers := batch(s, all)
			if err := send(t, s, b, answers); err != nil {
				t.Fatal(err)
			}
			landed, err := storedRecords(t.Context(), c.client, "facts")
			if err != nil || len(landed) != len(all) {
				t.Fatalf("got %d records (%v), want %d", len(landed), err, len(all))
			}
			for i, r := range landed {
				headers := map[string][]byte{}
				for k, v := range r.Headers {
					headers[k] = []byte(v)
				}
				message := binding.NewMessage([]byte(r.Value), r.Headers[headerContentType], headers)
				if got := message.ReadEncoding(); got != encoding {
					t.Errorf("record %d: got encoding %v, want %v", i, got, encoding)
				}
				e, err := ce.ToEvent(t.Context(), message)
				if err != nil {
					t.Fatalf("record %d: %v", i, err)
				}
				if err := e.Validate(); err != nil {
					t.Errorf("record %d: %v", i, err)
				}
				want, got := map[string]string{}, map[string]string{
					"specversion": e.SpecVersion(), "id": e.ID(), "source": e.Source(), "type": e.Type(), "subject": e.Subject(),
					"time": event.InstantOf(e.Time()).String(), "datacontenttype": e.DataContentType(), "dataschema": e.DataSchema(),
				}
				for name, value := range e.Extensions() {
					got[name], _ = value.(string)
				}
				all[i].Header.Attributes(all[i].Sequence(), func(name, value string) { want[name] = value })
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("record %d: attributes (-want +got):\n%s", i, d)
				}
				if r.Key != all[i].Header.PartitionKey || !json.Valid(e.Data()) || string(e.Data()) != string(all[i].Data) {
					t.Errorf("record %d: got key %q, data %s", i, r.Key, e.Data())
				}
			}
		})
	}
}
