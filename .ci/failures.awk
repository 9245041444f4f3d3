# Of what `go test -v` prints: the logs of tests that failed, were skipped or never ended, and what is of no test. Logs of tests that passed are dropped, or
# the few that matter would be lost among thousands of lines.
function tell(test,   i, n, lines) {
  n = split(log_of[test], lines, "\n") - 1
  for (i = 1; i <= n; i++) {
    if (i == first + 1 && n > first + last) {
      printf "    … %d lines left out …\n", n - first - last
      i = n - last + 1
    }
    print lines[i]
  }
  delete log_of[test]
}

BEGIN { first = 40; last = 20 }
/^=== (RUN|PAUSE|CONT|NAME) / { test = $3; if (!(test in log_of)) log_of[test] = ""; next }
/^ *--- PASS: / { delete log_of[$3]; next }
/^ *--- (FAIL|SKIP): / { print; tell($3); fflush(); next }
/^(PASS|FAIL|ok |panic: |fatal error: |SIG|exit status )/ { test = "" }
test != "" { log_of[test] = log_of[test] $0 "\n"; next }
{ print; fflush() }
END { for (test in log_of) { print "--- NO RESULT: " test; tell(test) } }
