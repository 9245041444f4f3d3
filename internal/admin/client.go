package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// Client asks another process's admin listener. Address is host:port.
type Client struct{ Address string }

// largestAnswer bounds what is read of an answer, in bytes: some 100,000 agents.
const largestAnswer = 64 << 20

// Agents is who that process serves.
func (c Client) Agents(ctx context.Context) ([]Agent, error) {
	var list agentList
	err := c.do(ctx, http.MethodGet, "/agents", nil, &list)
	return list.Agents, err
}

// level is zap.AtomicLevel's document.
type level struct {
	Level string `json:"level"`
}

// LogLevel is that process's log level.
func (c Client) LogLevel(ctx context.Context) (string, error) {
	var l level
	err := c.do(ctx, http.MethodGet, "/loglevel", nil, &l)
	return l.Level, err
}

// SetLogLevel changes it: debug, info, warn or error, until that process ends.
func (c Client) SetLogLevel(ctx context.Context, text string) error {
	body, err := json.Marshal(level{text})
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPut, "/loglevel", body, &level{})
}

func (c Client) do(ctx context.Context, method, path string, body []byte, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("admin address %q: %w", c.Address, err)
	}
	// Its own transport: a loopback address is not asked through a proxy, and nothing is kept open.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%w; is a bridge running there, and its admin.listen not off?", err)
	}
	defer func() { _ = response.Body.Close() }() // only read
	answer, err := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s http://%s%s: HTTP status %d; is this a bridge's admin listener?", method, c.Address, path, response.StatusCode)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("%s http://%s%s: %w; is this a bridge's admin listener?", method, c.Address, path, err)
	}
	return nil
}
