package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// DeadLetters is what can be asked of the store of dead letters, here or, over [Client.DeadLetters], of another process. Letters are named by their
// ids; those that are not held are left out.
type DeadLetters interface {
	// List gives those that f chooses in the order in which they were set aside, without the first skip of them: at most [MostLetters].
	List(ctx context.Context, f LetterFilter, skip int) (LetterList, error)
	// Replay gives letters back to the spool, and Purge throws them away: at most [MostLetters] at a time. They return how many it were, also
	// beside an error.
	Replay(ctx context.Context, ids []string) (int, error)
	Purge(ctx context.Context, ids []string) (int, error)
}

// MostLetters bounds one answer and one request.
const MostLetters = 2000

// Letter is a dead letter as it is listed: never with what is in its event.
type Letter struct {
	ID         string    `json:"id"`
	Sink       string    `json:"sink"`
	Reason     string    `json:"reason"`
	Attempts   int       `json:"attempts"`
	FirstAt    time.Time `json:"first_failed_at"`
	At         time.Time `json:"set_aside_at"`
	FirstError string    `json:"first_error"`
	LastError  string    `json:"last_error"`
	EventID    string    `json:"event_id"`
	Type       string    `json:"type"` // in its short form, reservation.created
	Subject    string    `json:"subject"`
	Agent      string    `json:"agent"`
	Bytes      int       `json:"bytes"` // of the event's data
}

// LetterList is the document of GET /deadletters.
type LetterList struct {
	// Dir is the folder of the store. An event itself is read there, by whoever may read the files: this listener asks for no password.
	Dir     string   `json:"dir"`
	Letters []Letter `json:"letters"`
	More    bool     `json:"more"`    // there are others after these
	Corrupt int      `json:"corrupt"` // letters that could not be read
}

// LetterFilter chooses letters: of each field that is set, one value must match.
type LetterFilter struct {
	IDs     []string // of letters or of their events
	Sinks   []string
	Types   []string // reservation.created, or all of a noun: reservation
	Agents  []string
	Reasons []string
	Since   time.Time // set aside then or later
	Until   time.Time // set aside then or earlier
}

// lists are the fields by the names that they have in a query.
func (f *LetterFilter) lists() map[string]*[]string {
	return map[string]*[]string{"id": &f.IDs, "sink": &f.Sinks, "type": &f.Types, "agent": &f.Agents, "reason": &f.Reasons}
}

func (f *LetterFilter) times() map[string]*time.Time {
	return map[string]*time.Time{"since": &f.Since, "until": &f.Until}
}

func (f *LetterFilter) query() url.Values {
	q := url.Values{}
	for name, list := range f.lists() {
		q[name] = *list
	}
	for name, at := range f.times() {
		if !at.IsZero() {
			q.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	return q
}

func parseLetterFilter(q url.Values) (f LetterFilter, err error) {
	for name, list := range f.lists() {
		*list = q[name]
	}
	for name, at := range f.times() {
		if text := q.Get(name); text != "" {
			var bad error
			if *at, bad = time.Parse(time.RFC3339, text); bad != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, bad))
			}
		}
	}
	return f, err
}

// letterIDs is the body of the requests that change something, taken the answer to them.
type (
	letterIDs struct {
		IDs []string `json:"ids"`
	}
	taken struct {
		Letters int    `json:"letters"`
		Error   string `json:"error,omitempty"`
	}
)

// largestRequest bounds such a body, in bytes.
const largestRequest = 1 << 20

func handleDeadLetters(mux *http.ServeMux, d DeadLetters) {
	mux.HandleFunc("GET /deadletters", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseLetterFilter(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		skip := 0
		if text := r.URL.Query().Get("skip"); text != "" {
			if skip, err = strconv.Atoi(text); err != nil || skip < 0 {
				http.Error(w, "skip: want a number of letters", http.StatusBadRequest)
				return
			}
		}
		list, err := d.List(r.Context(), f, skip)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		list.Letters = append([]Letter{}, list.Letters...) // [] rather than null
		answerJSON(w, list)
	})
	take := func(do func(context.Context, []string) (int, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var body letterIDs
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, largestRequest)).Decode(&body); err != nil || len(body.IDs) > MostLetters {
				http.Error(w, fmt.Sprintf(`want {"ids":[…]} with at most %d of them`, MostLetters), http.StatusBadRequest)
				return
			}
			n, err := do(r.Context(), body.IDs)
			answer := taken{Letters: n}
			if err != nil {
				answer.Error = err.Error()
			}
			answerJSON(w, answer)
		}
	}
	mux.HandleFunc("POST /deadletters/replay", take(d.Replay))
	mux.HandleFunc("POST /deadletters/purge", take(d.Purge))
}

func answerJSON(w http.ResponseWriter, document any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(document) // fails only when the client has gone
}

// DeadLetters are those of that process.
func (c Client) DeadLetters() DeadLetters { return clientLetters{c} }

type clientLetters struct{ Client }

// List implements DeadLetters.
func (c clientLetters) List(ctx context.Context, f LetterFilter, skip int) (list LetterList, err error) {
	q := f.query()
	q.Set("skip", strconv.Itoa(skip))
	err = c.do(ctx, http.MethodGet, "/deadletters?"+q.Encode(), nil, &list)
	return list, err
}

// Replay implements DeadLetters.
func (c clientLetters) Replay(ctx context.Context, ids []string) (int, error) {
	return c.take(ctx, "/deadletters/replay", ids)
}

// Purge implements DeadLetters.
func (c clientLetters) Purge(ctx context.Context, ids []string) (int, error) {
	return c.take(ctx, "/deadletters/purge", ids)
}

func (c clientLetters) take(ctx context.Context, path string, ids []string) (int, error) {
	body, err := json.Marshal(letterIDs{ids})
	if err != nil {
		return 0, err
	}
	var answer taken
	if err := c.do(ctx, http.MethodPost, path, body, &answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return answer.Letters, errors.New(answer.Error)
	}
	return answer.Letters, nil
}
