package event

// SpecVersion, ContentType and DataSchema are the same in every event.
const (
	SpecVersion = "1.0"
	ContentType = "application/json"
	DataSchema  = "urn:taskbridge:event-data:1.0"
)

// Header is what a sink needs of an event without parsing its data: the CloudEvents attributes and the routing tokens. It is
// immutable once made.
type Header struct {
	ID, Source    string
	Type          Type
	Subject       string
	Time          Instant
	TimeSource    TimeSource
	Recorded      Instant
	Origin        Origin
	PartitionKey  string
	CorrelationID string
	BridgeID      string

	// Routing tokens for subject and topic templates; noun and verb are those of Type.
	Provider Provider
	Account  string
	Agent    string
}

// attribute is one of the header's, in text or as an instant; absent where both are zero.
type attribute struct {
	name, text string
	instant    Instant
}

func (a *attribute) absent() bool { return a.text == "" && a.instant == 0 }

// attributes are those of CloudEvents, in the order of the documentation.
func (h *Header) attributes(sequence string) [15]attribute {
	return [...]attribute{
		{name: "specversion", text: SpecVersion},
		{name: "id", text: h.ID},
		{name: "source", text: h.Source},
		{name: "type", text: h.Type.Name()},
		{name: "subject", text: h.Subject},
		{name: "time", instant: h.Time},
		{name: "timesource", text: string(h.TimeSource)},
		{name: "recordedtime", instant: h.Recorded},
		{name: "origin", text: string(h.Origin)},
		{name: "partitionkey", text: h.PartitionKey},
		{name: "correlationid", text: h.CorrelationID},
		{name: "sequence", text: sequence},
		{name: "bridgeid", text: h.BridgeID},
		{name: "datacontenttype", text: ContentType},
		{name: "dataschema", text: DataSchema},
	}
}

// Attributes calls yield for every CloudEvents attribute that is present, in the order of the documentation. sequence is rendered by
// the log's record, because only the log knows positions. datacontenttype is among them.
func (h *Header) Attributes(sequence string, yield func(name, value string)) {
	for _, a := range h.attributes(sequence) {
		switch {
		case a.absent(): // CloudEvents 1.0.2, "Context Attributes": an attribute without a value is left out
		case a.instant != 0:
			yield(a.name, a.instant.String())
		default:
			yield(a.name, a.text)
		}
	}
}

// AppendStructured appends the event in CloudEvents structured mode (JSON event format 1.0, content type
// application/cloudevents+json), compact.
func AppendStructured(dst []byte, h *Header, sequence string, data []byte) []byte {
	dst = append(dst, '{')
	list := h.attributes(sequence)
	for i := range list {
		a := &list[i]
		if a.absent() {
			continue
		}
		dst = append(dst, '"')
		dst = append(dst, a.name...)
		dst = append(dst, `":`...)
		if a.instant != 0 {
			dst = a.instant.appendQuoted(dst)
		} else {
			dst = appendString(dst, a.text)
		}
		dst = append(dst, ',')
	}
	dst = append(dst, `"data":`...)
	dst = append(dst, data...)
	return append(dst, '}')
}
