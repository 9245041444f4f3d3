package config

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
)

// Validator is implemented (on the value or the pointer) by types that check themselves. The error is a [Problem], several joined (see
// [Problems]), or any other, which then belongs to the value as a whole. It must not call the Validate of values inside: Load does.
type Validator interface{ Validate() error }

// Validate runs every Validate in the struct that v points to, as Load does, for configurations that programs and tests build.
func Validate(v any) error {
	var all Problems
	validate("", reflect.ValueOf(v).Elem(), func(p Problem) { all = append(all, p) })
	return all.Err()
}

// validate walks v, which is addressable, and reports each problem with its full path.
func validate(path string, v reflect.Value, report func(Problem)) {
	if v.Kind() == reflect.Pointer {
		if !v.IsNil() {
			validate(path, v.Elem(), report)
		}
		return
	}
	if checked, ok := v.Addr().Interface().(Validator); ok {
		flatten(checked.Validate(), func(p Problem) {
			p.Path = joinPath(path, p.Path)
			report(p)
		})
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			validate(joinPath(path, f.key), v.FieldByIndex(f.index), report)
		}
	case reflect.Slice:
		for i := range v.Len() {
			validate(itemPath(path, i), v.Index(i), report)
		}
	case reflect.Map:
		for entries := v.MapRange(); entries.Next(); {
			entry := reflect.New(v.Type().Elem()).Elem() // a map's own values have no address
			entry.Set(entries.Value())
			validate(joinPath(path, pathKey(entries.Key().String())), entry, report)
		}
	}
}

// flatten reports the problems in what a Validate method returned.
func flatten(err error, report func(Problem)) {
	if err == nil {
		return
	}
	// Only the join itself is taken apart; errors.As would look through text wrapped around one, and lose it.
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			flatten(one, report)
		}
		return
	}
	var p Problem
	if !errors.As(err, &p) {
		p.What = err.Error()
	}
	report(p)
}

func joinPath(parent, child string) string {
	if parent == "" || child == "" || child[0] == '[' {
		return parent + child
	}
	return parent + "." + child
}

func itemPath(parent string, i int) string { return fmt.Sprintf("%s[%d]", parent, i) }

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// pathKey is how a path shows a key of the file: quoted where its text would make the path ambiguous or break the line.
func pathKey(key string) string {
	if plainKey.MatchString(key) {
		return key
	}
	return fmt.Sprintf("[%.64q]", key)
}
