package config

import (
	"encoding"
	"fmt"
	"math"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
)

var variablePattern = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// expand replaces text that is ${NAME} as a whole by that environment variable.
func expand(text string) (expanded, variable string, err error) {
	if !strings.Contains(text, "${") {
		return text, "", nil
	}
	m := variablePattern.FindStringSubmatch(text)
	if m == nil {
		return "", "", Problem{
			What:    "${…} inside a longer text is not replaced",
			Allowed: "${NAME} as the whole value, the name of letters, digits and underscores",
		}
	}
	value, ok := os.LookupEnv(m[1])
	if !ok {
		return "", "", Problem{What: "environment variable " + m[1] + " is not set", Allowed: "set it before the bridge starts: export " + m[1] + "=…"}
	}
	return value, m[1], nil
}

var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`) // no 017 and 0x1F: readers of YAML disagree about them

// setScalar converts text to v's type. A literal keeps the type that YAML gives it by its tag: "8080" in quotes is no number, and a bare
// true is no text. A variable's value has no tag and fits every type it can be read as.
func setScalar(v reflect.Value, text, tag string) error {
	if target, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return target.UnmarshalText([]byte(text))
	}
	isNumber := tag != "!!str" && wholeNumber.MatchString(text)
	ok := false
	switch kind := v.Kind(); {
	case kind == reflect.String:
		if tag == "!!bool" {
			return Problem{What: "wrong type", Allowed: "text (true and false in quotes)"}
		}
		v.SetString(text)
		ok = true
	case kind == reflect.Bool:
		v.SetBool(text == "true")
		ok = tag != "!!str" && (text == "true" || text == "false")
	case v.CanInt() && isNumber:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v.OverflowInt(n) {
			high := int64(math.MaxInt64) >> (64 - v.Type().Bits())
			return Problem{What: "out of range", Allowed: fmt.Sprintf("%d to %d", -high-1, high)}
		}
		v.SetInt(n)
		ok = true
	case v.CanUint() && isNumber:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || v.OverflowUint(n) {
			return Problem{What: "out of range", Allowed: fmt.Sprintf("0 to %d", uint64(math.MaxUint64)>>(64-v.Type().Bits()))}
		}
		v.SetUint(n)
		ok = true
	case v.CanFloat():
		f, err := strconv.ParseFloat(text, v.Type().Bits())
		v.SetFloat(f)
		ok = tag != "!!str" && err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	}
	if !ok {
		return Problem{What: "wrong type", Allowed: wanted(v.Type())}
	}
	return nil
}
