package deadletter

import (
	"regexp"
	"strings"
	"unicode"
)

// unwelcome is what a broker's or a library's error text may quote of a message or of a connection. The order matters: a document goes before
// its parts are looked at.
var unwelcome = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(^|: )\[(\d{1,3})\] `), "${1}code $2: "},     // what an error of Kafka begins with is none
	{regexp.MustCompile(`(?s)[{\[].*[}\]]`), "<redacted>"},            // JSON: an event, or a part of one
	{regexp.MustCompile(`(?s)[{\[].{40,}`), "<redacted>"},             // its beginning
	{regexp.MustCompile(`\?[^\s"'<>]+`), "?<redacted>"},               // a URL's query
	{regexp.MustCompile(`//[^/\s"'@]*@`), "//<redacted>@"},            // user and password in a URL
	{regexp.MustCompile(`eyJ[A-Za-z0-9_.-]*`), "<redacted>"},          // a JWT or the beginning of one: base64url of {"
	{regexp.MustCompile(`[A-Za-z0-9+/=_-]{40,}`), "<redacted>"},       // keys, encoded data; SIDs have 34 characters
	{regexp.MustCompile(`(?i)\b(Basic|Bearer) \S+`), "$1 <redacted>"}, // a header
}

// longestText bounds an error's text in bytes.
const longestText = 300

// Redact makes an error's text fit to be kept and told: one line of at most some 300 bytes, without anything that may be part of an event or of
// a credential.
func Redact(text string) string {
	text = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' ' // what could end a line, or draw on a terminal
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.Join(strings.Fields(text), " ")
	for _, u := range unwelcome {
		text = u.pattern.ReplaceAllString(text, u.instead)
	}
	if len(text) > longestText {
		text = strings.ToValidUTF8(text[:longestText], "") + "…"
	}
	return text
}
