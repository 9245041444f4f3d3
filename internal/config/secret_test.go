package config

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.yaml.in/yaml/v3"
)

type holder struct {
	Public  Secret
	private Secret
	Pointer *Secret
	List    []Secret
	Map     map[string]Secret
}

type wrapper struct{ S Secret }

func TestSecretIsNeverPrinted(t *testing.T) {
	s := NewSecret("hunter2")
	h := holder{s, s, &s, []Secret{s}, map[string]Secret{"k": s}}
	var out bytes.Buffer
	for _, verb := range "vTtbcdoOqxXUeEfFgGsp" {
		for _, flag := range []string{"", "+", "#", " ", "-20", ".3"} {
			format := "%" + flag + string(verb) + "\n"
			fmt.Fprintf(&out, format, s)
			fmt.Fprintf(&out, format, &s)
			fmt.Fprintf(&out, format, h)
			fmt.Fprintf(&out, format, &h)
		}
	}
	fmt.Fprintln(&out, s, h, &h)
	fmt.Fprintln(&out, fmt.Errorf("dial with %v, %w", s, os.ErrClosed))

	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal, xml.Marshal} {
		for _, v := range []any{s, &s, wrapper{s}} {
			data, err := encode(v)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(data), "redacted") {
				t.Errorf("got %s, want the secret redacted", data)
			}
			out.Write(data)
		}
	}

	for _, encoder := range []zapcore.Encoder{
		zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()),
	} {
		log := zap.New(zapcore.NewCore(encoder, zapcore.AddSync(&out), zap.DebugLevel))
		log.Info("m", zap.Any("a", s), zap.Reflect("b", s), zap.Stringer("c", s), zap.Any("d", h), zap.Reflect("e", &h), zap.Any("f", []Secret{s}))
		log.Sugar().Infow("m", "g", s, "h", h)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "a", s, "b", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "a", s, "b", h)

	if strings.Contains(out.String(), "hunter") || strings.Contains(out.String(), fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("the secret was printed:\n%s", out.String())
	}
	if got, want := fmt.Sprintf("%v %+v %#v %s %q %d", s, s, s, s, s, s), strings.Repeat("<redacted> ", 6); got+" " != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := s.Reveal(); got != "hunter2" {
		t.Errorf("got %q, want the text", got)
	}
}

func TestSecretZero(t *testing.T) {
	if s := NewSecret(""); !s.IsZero() || s.Reveal() != "" || !s.Equal(Secret{}) || s.Equal(NewSecret("x")) {
		t.Errorf("got a set secret of empty text")
	}
}

func TestReadSecret(t *testing.T) {
	folder := t.TempDir()
	file := func(name, content string, mode os.FileMode) Path {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // WriteFile's mode is cut by the umask
			t.Fatal(err)
		}
		return Path(path)
	}
	tests := []struct {
		name      string
		value     Secret
		file      Path
		want      string
		wantError string
	}{
		{name: "value", value: NewSecret("v"), want: "v"},
		{name: "neither"},
		{name: "file", file: file("a", "line\n\n", 0o600), want: "line\n"},
		{name: "windows line break", file: file("b", "line\r\n", 0o400), want: "line"},
		{name: "group", file: file("c", "x", 0o440), want: "x"},
		{name: "others", file: file("d", "hunter2", 0o644), wantError: "others can access it (mode 0644); run: chmod 600 " + filepath.Join(folder, "d")},
		{name: "empty", file: file("e", "\n", 0o600), wantError: "e: empty; write the secret into it"},
		{name: "absent", file: Path(filepath.Join(folder, "none")), wantError: "no such file"},
		{name: "largest", file: file("f", strings.Repeat("x", maxSecret), 0o600), want: strings.Repeat("x", maxSecret)},
		{name: "too large", file: file("g", strings.Repeat("x", maxSecret+1), 0o600), wantError: "larger than 64KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && test.name == "others" {
				t.Skip("modes say nothing on Windows")
			}
			got, err := ReadSecret(test.value, test.file)
			if got.Reveal() != test.want {
				t.Errorf("got %q, want %q", got.Reveal(), test.want)
			}
			if test.wantError == "" && err != nil {
				t.Errorf("got %v, want no error", err)
			}
			if test.wantError != "" && (err == nil || !strings.Contains(err.Error(), test.wantError) || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("got %v, want an error with %q", err, test.wantError)
			}
		})
	}
}
