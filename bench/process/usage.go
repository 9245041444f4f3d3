package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Usage is what a program has used.
type Usage struct {
	CPU  time.Duration // user and system, since it began, in ticks of 10 ms
	RSS  int64         // resident memory now, bytes
	Peak int64         // the most that it ever was, bytes
}

// tick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// Usage is [UsageOf] the program. The error says that it has ended.
func (p *Process) Usage() (Usage, error) {
	if err := p.Err(); err != nil {
		return Usage{}, err
	}
	return UsageOf(p.PID())
}

// UsageOf reads /proc/PID/stat and status. The error says that there is no such process.
func UsageOf(pid int) (u Usage, err error) {
	dir := fmt.Sprintf("/proc/%d/", pid)
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	if u.CPU, err = cpuOf(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return u, err
	}
	u.RSS, u.Peak = kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:")
	return u, nil
}

// OwnCPU is what the calling process has used, user and system.
func OwnCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Errorf("getrusage cannot fail for the own process: %w", err))
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cpuOf adds fields 14 and 15 of /proc/PID/stat (proc_pid_stat(5)). The second field is a name in parentheses and may hold any of them.
func cpuOf(stat []byte) (time.Duration, error) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const user, system = 14 - 3, 15 - 3
	if len(fields) <= system {
		return 0, fmt.Errorf("/proc/PID/stat has %d fields", len(fields))
	}
	var sum time.Duration
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// kilobytes is the value of a line such as "VmRSS:	  1234 kB", in bytes; 0 where there is none.
func kilobytes(status []byte, name string) int64 {
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64) // the kernel wrote it
			return n << 10
		}
	}
	return 0
}

// Busy is how long all cores together have been busy since the machine's start (proc_stat(5)).
func Busy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	var sum time.Duration
	for i, f := range strings.Fields(line) {
		const name, idle, wait, guest = 0, 4, 5, 9 // guests' time is in the user's
		if i == name || i == idle || i == wait || i >= guest {
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
