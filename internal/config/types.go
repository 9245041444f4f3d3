package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is one configurable field of a struct.
type field struct {
	key   string
	index []int
}

// fieldsOf lists the fields that have a yaml name, in their order in the struct; none for other types. The fields of an embedded struct tagged
// ",inline" stand among them: so a section can be put together from what several packages configure. SetDefaults and Validate of the embedded
// struct are promoted, and so called, unless the outer one has its own.
func fieldsOf(t reflect.Type) []field {
	if t.Kind() != reflect.Struct {
		return nil
	}
	var fields []field
	for i := range t.NumField() {
		key, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
		if t.Field(i).Anonymous && option == "inline" {
			for _, f := range fieldsOf(t.Field(i).Type) {
				fields = append(fields, field{f.key, append([]int{i}, f.index...)})
			}
		} else if key != "" && key != "-" {
			fields = append(fields, field{key, []int{i}})
		}
	}
	return fields
}

// listField is the index of the field tagged ",list" of a struct, which takes a list that stands in place of the mapping; ok is false where there
// is none. It has no key: so a section can be a list in its short form and a mapping in its long one.
func listField(t reflect.Type) (index int, ok bool) {
	if t.Kind() != reflect.Struct {
		return 0, false
	}
	for i := range t.NumField() {
		if key, option, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); key == "" && option == "list" {
			return i, true
		}
	}
	return 0, false
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		keys = append(keys, f.key)
	}
	slices.Sort(keys)
	return keys
}

// isScalar reports whether a single value can be decoded into t without an UnmarshalText.
func isScalar(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		return t == secretType
	case reflect.Slice, reflect.Map:
		return false
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.Array, reflect.Complex64, reflect.Complex128, reflect.Uintptr,
		reflect.UnsafePointer:
		panic(fmt.Sprintf("config: a field of type %v cannot be decoded", t))
	}
	if t == reflect.TypeFor[time.Duration]() {
		panic("config: a time.Duration would read 30 as nanoseconds; use config.Duration")
	}
	return true
}

// wanted says in the reader's words what can be decoded into t.
func wanted(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var forms []string
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) || t == secretType {
		forms = append(forms, "a single value")
	}
	if _, ok := listField(t); ok {
		forms = append(forms, "a list")
	}
	switch {
	case len(fieldsOf(t)) > 0:
		forms = append(forms, "a mapping with the keys "+strings.Join(keysOf(t), ", "))
	case t.Kind() == reflect.Map:
		forms = append(forms, "a mapping")
	case t.Kind() == reflect.Slice:
		forms = append(forms, "a list")
	case len(forms) > 0:
	case t.Kind() == reflect.String:
		forms = append(forms, "text")
	case t.Kind() == reflect.Bool:
		forms = append(forms, "true or false")
	case t.Kind() == reflect.Float64 || t.Kind() == reflect.Float32:
		forms = append(forms, "a number")
	default:
		forms = append(forms, "a whole number")
	}
	return strings.Join(forms, " or ")
}

// suggest lists the keys, and the one that key may be a slip of.
func suggest(key string, keys []string) string {
	list := strings.Join(keys, ", ")
	best, least := "", 3 // up to two slips
	for _, k := range keys {
		if n := distance(key, k); n < least && n < len(k)/2 {
			best, least = k, n
		}
	}
	if best == "" {
		return list
	}
	return fmt.Sprintf("%s (did you mean %q?)", list, best)
}

// distance is the number of bytes to insert, remove or change between a and b (Levenshtein), or large when a is hopelessly long.
func distance(a, b string) int {
	if len(a) > len(b)+2 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
