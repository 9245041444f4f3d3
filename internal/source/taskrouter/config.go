package taskrouter

import (
	"errors"
	"net/url"
	"regexp"
	"time"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source"
)

// Config is one workspace and how to reach it.
type Config struct {
	// Account and Workspace are the SIDs: AC and WS, each followed by 32 hex digits.
	Account   string `yaml:"account"`
	Workspace string `yaml:"workspace"`
	// APIKey is the SID (SK…) of a Main or Standard API key; a Restricted key cannot sign access tokens.
	APIKey string `yaml:"api_key"`
	// APISecret signs the tokens. Exactly one of the two is set.
	APISecret     config.Secret `yaml:"api_secret"`
	APISecretFile config.Path   `yaml:"api_secret_file"`
	// Region is a Twilio region such as ie1 or au1; empty or us1 is the default one.
	Region string `yaml:"region"`
	// EventBridgeURL replaces the URL made of Region: an absolute http or https URL including its path, to which commands are posted. The
	// socket has the same URL with ws or wss. http sends tokens in clear text and is meant for simulators.
	EventBridgeURL string `yaml:"event_bridge_url"`
	// TaskRouterURL replaces the URL of TaskRouter's REST API, which lists workers: an absolute http or https URL including its path, such as
	// https://taskrouter.dublin.ie1.twilio.com/v1. http sends the API secret in clear text and is meant for simulators.
	TaskRouterURL string `yaml:"taskrouter_url"`
	// RESTRate bounds the requests to the REST API, per second, 0.1 to 100, default 5. The vendor's limits are on the Console's Limits page.
	RESTRate float64 `yaml:"rest_rate"`
	// ClientVersion is what the bridge calls itself to the vendor: a version of the vendor's own SDK. Default 2.1.1.
	ClientVersion string `yaml:"client_version"`
	// TokenLifetime is the life of a session's token, 10s to 24h, default 1h. The session is replaced after 80 % of it.
	TokenLifetime config.Duration `yaml:"token_lifetime"`
	// Identity is the token's identity grant. Default taskbridge.
	Identity string `yaml:"identity"`
	// DialTimeout bounds TCP, proxy, TLS and upgrade together; InitTimeout the wait for the vendor's first frame. Default 10s each.
	DialTimeout config.Duration `yaml:"dial_timeout"`
	InitTimeout config.Duration `yaml:"init_timeout"`
	// SnapshotTimeout bounds the start-up reads with all their repeats, default 30s; RequestTimeout one HTTP request, default 15s.
	SnapshotTimeout config.Duration `yaml:"snapshot_timeout"`
	RequestTimeout  config.Duration `yaml:"request_timeout"`
	// Buffer bounds the frames kept back per session until its snapshot is there. Default 1MiB.
	Buffer config.Size `yaml:"buffer"`
	// FrameCap is the largest frame accepted; a larger one ends the session. Default 1MiB.
	FrameCap config.Size `yaml:"frame_cap"`
	// SnapshotChannels also reads the worker's channels at the start of a session: one more request.
	SnapshotChannels bool `yaml:"snapshot_channels"`
}

// SetDefaults implements config.Defaulter.
func (c *Config) SetDefaults() {
	c.RESTRate = 5
	c.ClientVersion = "2.1.1"
	c.TokenLifetime = config.Duration(time.Hour)
	c.Identity = "taskbridge"
	c.DialTimeout = config.Duration(10 * time.Second)
	c.InitTimeout = config.Duration(10 * time.Second)
	c.SnapshotTimeout = config.Duration(30 * time.Second)
	c.RequestTimeout = config.Duration(15 * time.Second)
	c.Buffer = 1 << 20
	c.FrameCap = 1 << 20
}

var (
	accountSID   = regexp.MustCompile(`^AC[0-9a-f]{32}$`)
	workspaceSID = regexp.MustCompile(`^WS[0-9a-f]{32}$`)
	keySID       = regexp.MustCompile(`^SK[0-9a-f]{32}$`)
	regionName   = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	versionText  = regexp.MustCompile(`^[0-9A-Za-z.-]{1,32}$`)
	identityText = regexp.MustCompile(`^[0-9A-Za-z_.@-]{1,121}$`)
)

const (
	shortest, longest           = config.Duration(10 * time.Millisecond), config.Duration(10 * time.Minute)
	shortestToken, longestToken = config.Duration(10 * time.Second), config.Duration(24 * time.Hour) // protocol, section 3.1
	smallest, largest           = config.Size(1 << 10), config.Size(64 << 20)
)

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var ps config.Problems
	ps.Match("account", c.Account, accountSID, "AC followed by 32 hex digits")
	ps.Match("workspace", c.Workspace, workspaceSID, "WS followed by 32 hex digits")
	ps.Match("api_key", c.APIKey, keySID, "SK followed by 32 hex digits")
	ps.RequireSecret("api_secret", c.APISecret, c.APISecretFile)
	if c.Region != "" {
		ps.Match("region", c.Region, regionName, "a region's short name such as ie1")
	}
	if c.Region != "" && c.EventBridgeURL != "" {
		ps.Add("event_bridge_url", "set together with region", "one of the two")
	}
	ps.Match("client_version", c.ClientVersion, versionText, "1 to 32 letters, digits, . and -")
	ps.Match("identity", c.Identity, identityText, "1 to 121 letters, digits, _ . @ and -")
	config.Between(&ps, "token_lifetime", c.TokenLifetime, shortestToken, longestToken)
	config.Between(&ps, "dial_timeout", c.DialTimeout, shortest, longest)
	config.Between(&ps, "init_timeout", c.InitTimeout, shortest, longest)
	config.Between(&ps, "snapshot_timeout", c.SnapshotTimeout, shortest, longest)
	config.Between(&ps, "request_timeout", c.RequestTimeout, shortest, longest)
	config.Between(&ps, "buffer", c.Buffer, smallest, largest)
	config.Between(&ps, "frame_cap", c.FrameCap, smallest, largest)
	config.Between(&ps, "rest_rate", c.RESTRate, 0.1, 100)
	_, err := c.baseURL()
	if c.TaskRouterURL != "" {
		_, notURL := absoluteURL("taskrouter_url", c.TaskRouterURL)
		err = errors.Join(err, notURL)
	}
	return errors.Join(ps.Err(), err)
}

// WorkerSID is what the id of an agent looks like. A roster's text is checked by it before it becomes part of a request.
var WorkerSID = regexp.MustCompile(`^WK[0-9a-f]{32}$`)

// WorkerSIDForm says in words what [WorkerSID] matches.
const WorkerSIDForm = "WK followed by 32 hex digits"

// Agent names the worker with the given SID. Its Source is left to the caller, who knows the source's configured name.
func (c Config) Agent(id string) source.Agent {
	return source.Agent{
		ID: id, Provider: "twilio", URI: "/twilio/taskrouter/" + c.Account + "/" + c.Workspace, Account: c.Account, Site: c.Workspace,
	}
}

// baseURL is where commands are posted (protocol, sections 4.1 and 7.1).
func (c *Config) baseURL() (*url.URL, error) {
	if c.EventBridgeURL == "" {
		host := "event-bridge.twilio.com"
		if c.Region != "" && c.Region != "us1" {
			host = "event-bridge." + c.Region + ".twilio.com"
		}
		return &url.URL{Scheme: "https", Host: host, Path: "/v1/wschannels"}, nil
	}
	return absoluteURL("event_bridge_url", c.EventBridgeURL)
}

// edges are the network edges that serve a region: since 2026-04-28 host names with a region need one, and this is the table of the vendor's own
// libraries (protocol, section 14).
var edges = map[string]string{
	"au1": "sydney", "br1": "sao-paulo", "de1": "frankfurt", "ie1": "dublin", "jp1": "tokyo", "jp2": "osaka", "sg1": "singapore", "us2": "umatilla",
}

// restURL is the base of the REST API (protocol, section 14). The error is a [config.Problem].
func (c *Config) restURL() (*url.URL, error) {
	edge := edges[c.Region]
	switch {
	case c.TaskRouterURL != "":
		return absoluteURL("taskrouter_url", c.TaskRouterURL)
	case c.EventBridgeURL != "":
		// A simulator's credentials are not for Twilio, nor Twilio's for a simulator.
		return nil, config.Problem{Path: "taskrouter_url", What: "missing beside event_bridge_url", Allowed: "the REST API's URL, which lists the workers"}
	case c.Region == "" || c.Region == "us1":
		return &url.URL{Scheme: "https", Host: "taskrouter.twilio.com", Path: "/v1"}, nil
	case edge == "":
		return nil, config.Problem{
			Path: "taskrouter_url", What: "missing: no network edge is known for this region", Allowed: "https://taskrouter.EDGE.REGION.twilio.com/v1",
		}
	}
	return &url.URL{Scheme: "https", Host: "taskrouter." + edge + "." + c.Region + ".twilio.com", Path: "/v1"}, nil
}

// absoluteURL parses what the setting at path holds.
func absoluteURL(path, text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path == "" || u.User != nil ||
		u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, config.Problem{
			Path: path, What: "not valid", Allowed: "an absolute http or https URL with its path, without user, query and fragment",
		}
	}
	return u, nil
}
