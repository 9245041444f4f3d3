package taskrouter

import (
	"errors"
	"regexp"
	"strings"
)

// redacted is an error whose text was cleaned. It does not unwrap, since the cause's own text would then be one errors.As away; errors.Is
// still finds what the cause is.
type redacted struct {
	cause error
	text  string
}

func (r *redacted) Error() string { return r.text }

// Is is asked by errors.Is.
func (r *redacted) Is(target error) bool { return errors.Is(r.cause, target) }

// The order matters: a whole query goes before its parts are looked at.
var secrets = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\?[^\s"'<>]+`), "?<redacted>"},               // queries: the socket's token is in one
	{regexp.MustCompile(`//[^/\s"'@]*@`), "//<redacted>@"},            // user and password in a URL: a proxy's
	{regexp.MustCompile(`eyJ[A-Za-z0-9_.-]*`), "<redacted>"},          // a JWT or the beginning of one: base64url of {"
	{regexp.MustCompile(`[A-Za-z0-9_-]{40,}`), "<redacted>"},          // the rest of one; SIDs have 34 characters
	{regexp.MustCompile(`(?i)\b(Basic|Bearer) \S+`), "$1 <redacted>"}, // a header, for instance of a proxy
}

// longestText bounds an error's text in bytes: servers and proxies write parts of it.
const longestText = 400

// redact makes err fit to be told. A failed dial, request, proxy or redirect may carry the URL with the token in it, and so may an
// answer that echoes the request: net/http quotes a malformed one.
func redact(err error) error {
	text := err.Error()
	for _, s := range secrets {
		text = s.pattern.ReplaceAllString(text, s.instead)
	}
	if len(text) > longestText {
		text = text[:longestText] + "…"
	}
	return &redacted{err, strings.ToValidUTF8(text, "�")}
}
