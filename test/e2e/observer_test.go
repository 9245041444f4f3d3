package e2e

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// TestObserverControl: the simulator sees what clients do that are no mere observers.
func TestObserverControl(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"evicts": "closeExistingSessions=true&setWorkerOfflineIfDisconnected=false", "stands for presence": "closeExistingSessions=false", "writes": observing,
	} {
		r := newRig(t, setup{})
		if err := r.state(t).OnlyObserved(); err != nil {
			t.Fatal(err)
		}
		r.disturbed = true
		conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(r.vendor.EventBridgeURL, "http")+"?token="+r.token(t)+"&"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "writes" {
			_ = conn.WriteMessage(websocket.TextMessage, []byte("{}"))
		}
		if name == "stands for presence" { // the last of its worker's sockets is gone
			r.stop(t)
			_ = conn.Close()
		}
		until(t, "it is seen that a client "+name, func() bool { return r.state(t).OnlyObserved() != nil })
		_ = conn.Close() // not before: frames that it has not read make that a reset, which destroys what it has written
	}
}

const observing = "closeExistingSessions=false&setWorkerOfflineIfDisconnected=false"

// token is one for the first worker, made by the program.
func (r *rig) token(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(r.bridge.cmd.Path, "token", "taskrouter", "-c", r.config, r.vendor.Workers[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
