package main

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestToken(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	const worker = "WK00000000000000000000000000000009"
	dir := t.TempDir()
	file := write(t, dir, "bridge.yaml", good)
	code, stdout, stderr := exec(t, "token", "taskrouter", "-c", file, worker)
	if code != 0 || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("got exit code %d, %q and %s, want the token alone", code, stdout, stderr)
	}
	if !strings.Contains(stderr, "this token can act as worker "+worker) || strings.Contains(stderr, "eyJ") {
		t.Errorf("got %s, want what the token is good for, and not the token", stderr)
	}
	var claims struct {
		jwt.RegisteredClaims
		Grants struct {
			TaskRouter map[string]string `json:"task_router"`
		} `json:"grants"`
	}
	if _, err := jwt.ParseWithClaims(strings.TrimSpace(stdout), &claims, func(*jwt.Token) (any, error) { return []byte("hunter2"), nil }); err != nil {
		t.Fatal(err)
	}
	if got := claims.Grants.TaskRouter; got["worker_sid"] != worker || got["role"] != "worker" || time.Until(claims.ExpiresAt.Time) < 50*time.Minute {
		t.Errorf("got %+v", claims)
	}

	two := write(t, dir, "two.yaml", strings.Replace(good, "sinks:\n", `  - name: sales
    taskrouter:
      account: AC00000000000000000000000000000001
      workspace: WS00000000000000000000000000000002
      api_key: SK00000000000000000000000000000001
      api_secret: ${BRIDGE_TEST_SECRET}
      agents: [WK00000000000000000000000000000002]
sinks:
`, 1))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"-c", file, "alice"}, "the worker: WK followed by 32 hex digits\n"},
		{[]string{"-c", two, worker}, "choose a source with --source: support, sales\n"},
		{[]string{"-c", two, "--source", "none", worker}, "choose a source with --source: support, sales\n"},
		{[]string{worker}, "no configuration: name one with -c FILE"},
		{[]string{"-c", file}, "accepts 1 arg(s), received 0"},
	} {
		if code, stdout, stderr := exec(t, append([]string{"token", "taskrouter"}, test.args...)...); code != 2 || stdout != "" || !strings.Contains(stderr, test.want) {
			t.Errorf("%v: got exit code %d, %q and %s, want 2 and %s", test.args, code, stdout, stderr, test.want)
		}
	}
	if code, stdout, _ := exec(t, "token", "taskrouter", "-c", two, "--source", "sales", worker); code != 0 || !strings.HasPrefix(stdout, "eyJ") {
		t.Errorf("--source sales: got exit code %d and %q", code, stdout)
	}
}
