package e2e

import (
	"fmt"
	"net"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/event"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// vendorName is the vendor's host. Only the front can resolve it.
const vendorName = "taskrouter.test"

// troubles are what goes wrong on the way to the vendor, and the reason that operators then read.
var troubles = map[string]struct {
	proxy    int    // status of its answer to CONNECT; 0: it hangs up
	plain    bool   // TLS is asked of a server that knows none
	stranger string // whose certificate is shown: a name that the right authority has not signed
	reason   string
	short    bool
}{
	"proxy, 407":                {proxy: 407, reason: "proxy"},
	"proxy, 502":                {proxy: 502, reason: "proxy", short: true},
	"proxy hangs up":            {reason: "eof"},
	"certificate of a stranger": {stranger: vendorName, reason: "tls"},
	"no TLS":                    {plain: true, reason: "tls"},
}

// TestNetwork: the program reaches the vendor over TLS and through a proxy. When one of them fails, operators read why, the agents are tried again at
// a moderate pace, and once it is over, all are back with a gap each.
func TestNetwork(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("SSL_CERT_FILE may mean nothing here")
	}
	for name, n := range troubles {
		t.Run(name, func(t *testing.T) {
			if !n.short {
				long(t)
			}
			t.Parallel()
			right, authority := certificate(t, vendorName)
			f := newFront(t)
			r := newRig(t, setup{
				env: []string{"HTTPS_PROXY=http://" + f.listener.Addr().String(), "NO_PROXY=", "no_proxy=", "SSL_CERT_FILE=" + authority},
				source: func(v simulator.Ready) string {
					f.become(tunnels(address(t, v.EventBridgeURL), &right))
					return fmt.Sprintf(`event_bridge_url: "https://%s/v1/wschannels", agents: [%s]`, vendorName, strings.Join(v.Workers, ", "))
				},
			})
			var serve func(net.Conn)
			switch vendor := address(t, r.vendor.EventBridgeURL); {
			case n.plain:
				serve = tunnels(vendor, nil)
			case n.stranger != "":
				wrong, _ := certificate(t, n.stranger)
				serve = tunnels(vendor, &wrong)
			default:
				serve = refuses(n.proxy)
			}
			r.grow(t, 150)
			before, asked, began := r.state(t), f.count(), time.Now()
			f.become(serve)
			until(t, "operators read why nobody is heard", func() bool {
				return !slices.ContainsFunc(r.agents(t), func(a admin.Agent) bool {
					return a.State != string(event.SessionStateLost) || a.LastEnd != n.reason || len(a.OpenGaps) != 1
				})
			})
			r.grow(t, 200) // two seconds' worth, in which a hasty bridge tries often
			until(t, "the agents were tried twice", func() bool { return f.count() >= asked+2*agents })
			if tries, seconds := f.count()-asked, time.Since(began).Seconds(); float64(tries) > agents*(4+2*seconds) {
				t.Errorf("%d agents were tried %d times within %.1f s", agents, tries, seconds)
			}
			f.become(tunnels(address(t, r.vendor.EventBridgeURL), &right))
			s := scenario{faults: []fault{{}}, lasted: time.Since(began), cause: event.CauseConnectionLost}
			r.opened(t, before, 1)
			r.healed(t, s)
			r.grow(t, 100)
			r.settle(t, s)
		})
	}
}

// agents are as operators see them.
func (r *rig) agents(t *testing.T) []admin.Agent {
	t.Helper()
	all, err := r.admin.Agents(t.Context())
	if err != nil || len(all) != agents {
		t.Fatalf("got %d agents and %v, want %d", len(all), err, agents)
	}
	return all
}

// address is the host and port of a URL.
func address(t *testing.T, text string) string {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}
