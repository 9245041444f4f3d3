package generator

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// Client talks to the control listener of a generator in another process. Errors: it does not answer, or says why it cannot do that.
type Client struct {
	// Control is [Ready.Control].
	Control string
}

// Go starts a load of n events, rate per second over all sockets; 0 is a flood.
func (c Client) Go(ctx context.Context, n uint64, rate float64) (s Started, err error) {
	err = c.ask(ctx, http.MethodPost, fmt.Sprintf("/go?n=%d&rate=%g", n, rate), decode(&s))
	return s, err
}

// Stat tells how the load goes.
func (c Client) Stat(ctx context.Context) (s Stat, err error) {
	err = c.ask(ctx, http.MethodGet, "/stat", decode(&s))
	return s, err
}

// Drop closes all sockets and returns how many.
func (c Client) Drop(ctx context.Context) (n int, err error) {
	err = c.ask(ctx, http.MethodPost, "/drop", decode(&n))
	return n, err
}

// Dials sums up the upgrades after a moment.
func (c Client) Dials(ctx context.Context, since time.Time) (d Dials, err error) {
	err = c.ask(ctx, http.MethodGet, fmt.Sprintf("/dials?since=%d", since.UnixNano()), decode(&d))
	return d, err
}

// Stamps returns when the n events of the last, paced load were sent, in ns since 1970: those of all agents for the first sequence, then for the next.
func (c Client) Stamps(ctx context.Context, n int) ([]int64, error) {
	stamps := make([]int64, n)
	err := c.ask(ctx, http.MethodGet, "/stamps", func(r io.Reader) error { return binary.Read(r, binary.LittleEndian, stamps) })
	return stamps, err
}

func decode(into any) func(io.Reader) error {
	return func(r io.Reader) error { return json.NewDecoder(r).Decode(into) }
}

func (c Client) ask(ctx context.Context, method, path string, read func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, method, c.Control+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("generator: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // only read
	if resp.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("generator: %s %s: %s", method, path, strings.TrimSpace(string(why)))
	}
	if err := read(resp.Body); err != nil {
		return fmt.Errorf("generator: %s %s: %w", method, path, err)
	}
	return nil
}
